"""Operator that refreshes reflections and waits until each of them can accelerate."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, conf

from dremio_provider.anchors import Target, find_anchors, find_targets, finished_times, take_baselines
from dremio_provider.exceptions import (
    DremioConfigurationError,
    DremioNotFoundError,
    DremioReflectionError,
    DremioTerminalError,
    DremioTransientError,
)
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.links import DremioDatasetLink, dataset_page
from dremio_provider.protocol import DEFAULT_CONN_ID
from dremio_provider.reflections import (
    IDLE_WAKE_UPS,
    WAKE_UP_SECONDS,
    Baseline,
    Outcome,
    ReflectionStatus,
    Watch,
    WatchSet,
)
from dremio_provider.triggers.reflections import DremioReflectionsTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class DremioRefreshReflectionsOperator(BaseOperator):
    """Refresh reflections, many at once, and wait until queries are served from the new data.

    The community edition refreshes through the tables that the reflections are built from; the Enterprise edition
    refreshes each reflection by its id. Killing the task ends the waiting and leaves the refreshes to Dremio.

    :param reflections: Names, or ``{"dataset", "name"}``.
    :param datasets: Paths of datasets, all of whose enabled reflections are meant.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param anchors: Paths of the tables to refresh, where Dremio's own record is not wanted (community edition).
    :param wait: False returns as soon as Dremio has taken the requests.
    :param timeout: Seconds until waiting ends with an error.
    :param poll_interval: Seconds between two looks.
    :param edition: ``community`` or ``enterprise``; by default what the connection says.
    :param idle_limit: Seconds a reflection may sit idle with old data before that means "nothing to do".
    :param deferrable: Wait in the triggerer instead of in a worker.
    """

    template_fields: Sequence[str] = ("reflections", "datasets", "anchors", "dremio_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"reflections": "json", "datasets": "json"}
    ui_color = "#b9e3e6"
    operator_extra_links = (DremioDatasetLink(),)

    def __init__(
        self,
        *,
        reflections: Sequence[str | Mapping[str, str]] | None = None,
        datasets: Sequence[str] | None = None,
        dremio_conn_id: str = DEFAULT_CONN_ID,
        anchors: Sequence[str] | None = None,
        wait: bool = True,
        timeout: float = 1200.0,
        poll_interval: float = 2.0,
        edition: str | None = None,
        idle_limit: float = WAKE_UP_SECONDS * IDLE_WAKE_UPS,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reflections = reflections
        self.datasets = datasets
        self.dremio_conn_id = dremio_conn_id
        self.anchors = anchors
        self.wait = wait
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.edition = edition
        self.idle_limit = idle_limit
        self.deferrable = deferrable
        self._killed = threading.Event()

    def execute(self, context: Context) -> dict[str, dict[str, Any]]:
        """Refresh and wait.

        :returns: ``{"<dataset>.<reflection>": {"outcome": "REFRESHED" | "NO_CHANGE" | "REQUESTED", "seconds":
            float}}``.
        :raises DremioReflectionError: Names every reflection that cannot accelerate, with Dremio's reason.
        """
        self._check_arguments()
        deadline = time.time() + self.timeout
        with DremioHook(self.dremio_conn_id) as hook:
            targets = find_targets(hook, self.reflections, self.datasets)
            if not targets:
                self.log.info("None of the datasets has an enabled reflection: nothing to refresh.")
                return {}
            DremioDatasetLink.persist(context, dataset_page(hook.address, targets[0].dataset))
            baselines = self._settled_baselines(hook, targets, deadline)
            self._refuse_dead_ends(baselines)
            requested_at = time.time()
            self._request(hook, targets, {b.reflection_id for b in baselines if b.available})
            if not self.wait:
                return {b.label: {"outcome": "REQUESTED", "seconds": 0.0} for b in baselines}
            if self.deferrable:
                self._defer(baselines, requested_at, deadline)
            watches = WatchSet(baselines, requested_at, deadline, self.idle_limit)
            self._wait(hook, watches)
        return self._conclude(watches.results())

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Judge what the trigger reported; arguments and errors as for :meth:`execute`."""
        if event["status"] == "error":
            raise DremioTransientError(
                f"Waiting for Dremio's reflections ended early. {event['message']}",
                check="Dremio's health; the refreshes themselves go on without Airflow.",
                details={"outcomes": event["results"]},
            )
        return self._conclude(event["results"])

    def on_kill(self) -> None:
        """End the waiting. The refreshes go on: others query them, and a cancelled one counts as a failure."""
        self._killed.set()

    def _check_arguments(self) -> None:
        if not self.reflections and not self.datasets:
            raise DremioConfigurationError(
                f"Task {self.task_id!r} names neither reflections nor datasets.",
                check="give DremioRefreshReflectionsOperator one of the two.",
            )
        if self.edition not in (None, "community", "enterprise"):
            raise DremioConfigurationError(
                f"Task {self.task_id!r} has edition {self.edition!r}.", check="allowed are community and enterprise."
            )

    def _settled_baselines(self, hook: DremioHook, targets: Sequence[Target], deadline: float) -> list[Baseline]:
        """Baselines taken while nothing runs: a refresh that began before now may have read older data, and its end
        must not be taken for the end of ours."""
        while True:
            baselines, active = take_baselines(hook, targets)
            if not active:
                return baselines
            if time.time() >= deadline:
                raise DremioReflectionError(
                    f"An earlier refresh of {', '.join(active)} did not end within {self.timeout:g} s.",
                    address=hook.address,
                    check="Dremio's job list for running REFRESH REFLECTION jobs.",
                    details={"outcomes": {label: {"outcome": Outcome.TIMED_OUT.value} for label in active}},
                )
            self.log.info("Waiting for the refresh that is already running: %s", ", ".join(active))
            self._pause()

    def _refuse_dead_ends(self, baselines: Sequence[Baseline]) -> None:
        dead = {b.label: b.dead_end for b in baselines if b.dead_end}
        if dead:
            self._conclude(
                {
                    label: {
                        "outcome": Outcome.FAILED.value,
                        "seconds": 0.0,
                        "message": f"{reason}. A refresh does not help: edit the reflection (or enable it) first",
                    }
                    for label, reason in dead.items()
                }
            )

    def _request(self, hook: DremioHook, targets: Sequence[Target], available: set[str]) -> None:
        if (self.edition or hook.edition) == "enterprise":
            for target in targets:
                hook.refresh_reflection(target.reflection_id)
            return
        if self.anchors:
            tables = {hook.dataset_id(path): path for path in self.anchors}
        else:
            tables = self._anchors_of(hook, targets, available)
        for table_id, path in tables.items():
            self.log.info("Asking for a refresh of what is built from %s", path)
            hook.refresh_dataset_by_id(table_id)

    def _anchors_of(self, hook: DremioHook, targets: Sequence[Target], available: set[str]) -> dict[str, str]:
        anchors = find_anchors(hook, targets)
        unknown = [t for t in targets if not anchors[t.reflection_id] and t.reflection_id in available]
        if unknown:
            raise DremioTerminalError(
                "Dremio does not say which tables these reflections are built from: "
                + ", ".join(f"{target.dataset}.{target.name}" for target in unknown)
                + ".",
                asked="sys.reflection_dependencies",
                address=hook.address,
                check="name the tables in the operator's argument anchors.",
            )
        return {table_id: path for tables in anchors.values() for table_id, path in tables.items()}

    def _defer(self, baselines: Sequence[Baseline], requested_at: float, deadline: float) -> None:
        self.defer(
            trigger=DremioReflectionsTrigger(
                dremio_conn_id=self.dremio_conn_id,
                baselines=[baseline.to_dict() for baseline in baselines],
                requested_at=requested_at,
                deadline=deadline,
                poll_interval=self.poll_interval,
                idle_limit=self.idle_limit,
            ),
            method_name="execute_complete",
            # The trigger ends by itself; this only catches a triggerer that is gone.
            timeout=timedelta(seconds=max(0.0, deadline - time.time()) + 2 * self.poll_interval + 60),
        )

    def _wait(self, hook: DremioHook, watches: WatchSet) -> None:
        while True:
            self._look(hook, watches)
            if watches.expire(time.time()):
                return
            self._pause()

    def _look(self, hook: DremioHook, watches: WatchSet) -> None:
        for watch in watches.pending():
            try:
                body: dict[str, Any] | None = hook.get_reflection(watch.baseline.reflection_id)
            except DremioNotFoundError:
                body = None
            status = ReflectionStatus.from_api(body) if body is not None else None
            if body is not None and status is not None and watch.needs_finished(status):
                finished = finished_times(hook, [watch.baseline.reflection_id])
                status = ReflectionStatus.from_api(body, finished.get(watch.baseline.reflection_id))
            self._observe(watch, status)

    def _observe(self, watch: Watch, status: ReflectionStatus | None) -> None:
        verdict = watch.observe(status, time.time())
        if watch.done:
            self.log.info(
                "%s: %s after %.1f s %s", watch.baseline.label, verdict.outcome, watch.seconds, verdict.message
            )

    def _pause(self) -> None:
        if self._killed.wait(self.poll_interval):
            raise DremioTransientError(
                "Waiting for Dremio's reflections was ended by a kill.",
                check="nothing: the refreshes go on in Dremio.",
            )

    def _conclude(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        bad = {label: entry for label, entry in results.items() if not Outcome(entry["outcome"]).accelerates}
        if bad:
            reasons = "; ".join(f"{label}: {entry['outcome']}, {entry['message']}" for label, entry in bad.items())
            raise DremioReflectionError(
                f"{len(bad)} of {len(results)} reflections cannot accelerate. {reasons}.",
                asked="refresh of reflections",
                check="the reflection's page in Dremio; after a TIMED_OUT, whether the refresh only needs more time.",
                details={"outcomes": {label: dict(entry) for label, entry in results.items()}},
            )
        return {label: {"outcome": e["outcome"], "seconds": e["seconds"]} for label, e in results.items()}
