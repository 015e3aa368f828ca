"""Operators for reflections: apply a declared set, and refresh until each can accelerate."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import TaskDeferred

from dremio_provider.anchors import Target, find_targets, take_baselines
from dremio_provider.exceptions import (
    DremioConfigurationError,
    DremioError,
    DremioReflectionError,
    DremioTransientError,
)
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.links import DremioDatasetLink, dataset_page
from dremio_provider.operators.apply import ApplyOperator
from dremio_provider.protocol import DEFAULT_CONN_ID
from dremio_provider.reflection_sets import plan_reflections
from dremio_provider.reflections import (
    IDLE_WAKE_UPS,
    WAKE_UP_SECONDS,
    Baseline,
    Outcome,
    WatchSet,
    failures,
)
from dremio_provider.refresh import (
    RefreshRequest,
    anchor_tables,
    cancel_refreshes,
    explain_dead_end,
    refuse_without_record,
    request_refresh,
)
from dremio_provider.triggers.reflections import DremioReflectionsTrigger
from dremio_provider.watching import look

if TYPE_CHECKING:
    from airflow.sdk import Context

    from dremio_provider.plans import Step


class DremioApplyReflectionsOperator(ApplyOperator):
    """Make Dremio's reflections as declared: created where missing, updated only on a real difference (an update makes
    Dremio build the reflection anew), deleted where asked.

    :param reflections: ``{"name", "dataset", "type": "raw" | "aggregation", "display": [..] | "dimensions": [..] +
        "measures": [..], "partition_by"?, "sort_by"?, "distribute_by"?, "enabled"?}``, as for
        :func:`dremio_provider.reflection_sets.plan_reflections`; or the name of a ``.yml`` or ``.json`` file that holds
        such a list.
    :param delete_undeclared: Whether reflections that are not declared, on datasets that are, go away.
    :param skip_missing: Whether a dataset that does not exist is passed over instead of refused.
    :param dry_run: Only show the plan.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    """

    template_fields: Sequence[str] = ("reflections", "dremio_conn_id")
    template_ext: Sequence[str] = (".yml", ".yaml", ".json")
    template_fields_renderers: ClassVar[dict[str, str]] = {"reflections": "json"}
    declared_field = "reflections"

    def __init__(
        self,
        *,
        reflections: Sequence[Mapping[str, Any]] | str,
        delete_undeclared: bool = False,
        skip_missing: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reflections = reflections
        self.delete_undeclared = delete_undeclared
        self.skip_missing = skip_missing

    def plan(self, hook: DremioHook) -> list[Step]:
        """What has to be done."""
        return plan_reflections(
            hook, self.declared(), delete_undeclared=self.delete_undeclared, skip_missing=self.skip_missing
        )


class DremioRefreshReflectionsOperator(BaseOperator):
    """Refresh reflections, many at once, and wait until queries are served from the new data.

    The community edition refreshes through the tables that the reflections are built from, the Enterprise edition each
    reflection by its id. A retry goes on waiting for what an earlier try has asked for. Killing the task cancels the
    refreshes that are running; one that Dremio has taken but not begun cannot be taken back.

    :param reflections: Names, or ``{"dataset", "name"}``.
    :param datasets: Paths of datasets, all of whose enabled reflections are meant.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param anchors: Paths of the tables to refresh, where Dremio's own record is not wanted (community edition).
    :param refresh_metadata: Make Dremio see new files first. True: of all tables below the reflections. Or ``{table:
        [{"dir0": "date=2026-11-01"}, ..]}``: of these tables, only these partitions; an empty list means all of the
        table.
    :param wait: False returns as soon as Dremio has taken the requests.
    :param timeout: Seconds until waiting ends with an error.
    :param poll_interval: Seconds between two looks.
    :param edition: ``community`` or ``enterprise``; by default what the connection says.
    :param idle_limit: Seconds a reflection may sit idle with old data before that means "nothing to do".
    :param deferrable: Wait in the triggerer instead of in a worker.
    """

    template_fields: Sequence[str] = ("reflections", "datasets", "anchors", "refresh_metadata", "dremio_conn_id")
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
        refresh_metadata: bool | Mapping[str, Sequence[Mapping[str, Any]]] = False,
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
        self.refresh_metadata = refresh_metadata
        self.wait = wait
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.edition = edition
        self.idle_limit = idle_limit
        self.deferrable = deferrable
        self._killed = threading.Event()
        self._asked: tuple[DremioHook, list[str]] | None = None
        self._lineage: tuple[str, list[str], list[str]] | None = None

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
            try:
                return self._refresh(hook, targets, deadline, context)
            except (DremioError, TaskDeferred):
                if self._killed.is_set():
                    RefreshRequest.forget(context)
                raise
            except BaseException:
                # Airflow ends the task (its timeout, a signal) and has the refreshes cancelled: nothing to go on with.
                RefreshRequest.forget(context)
                raise

    def _refresh(
        self, hook: DremioHook, targets: Sequence[Target], deadline: float, context: Context
    ) -> dict[str, dict[str, Any]]:
        asked = RefreshRequest.recall(context, targets, 2 * self.timeout)
        if asked is None:
            asked = self._ask(hook, targets, deadline, context)
        else:
            self._resume(hook, asked, targets, deadline, context)
        self._asked = (hook, [baseline.reflection_id for baseline in asked.baselines])
        if not self.wait:
            RefreshRequest.forget(context)
            return {b.label: {"outcome": "REQUESTED", "seconds": 0.0} for b in asked.baselines}
        if self.deferrable:
            self._defer(asked, deadline)
        watches = WatchSet(asked.baselines, asked.requested_at, deadline, self.idle_limit)
        while True:
            look(hook, watches, self.log)
            if watches.expire(time.time()):
                return self._conclude(watches.results(), context)
            self._pause()

    def execute_complete(
        self, context: Context, event: dict[str, Any], lineage: Sequence[Any] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Judge what the trigger reported; errors as for :meth:`execute`.

        :param lineage: What was asked for before the task was deferred.
        """
        self._lineage = (lineage[0], lineage[1], lineage[2]) if lineage else None
        if event["status"] == "error":
            raise DremioTransientError(
                f"Waiting for Dremio's reflections ended early. {event['message']}",
                check="Dremio's health; the refreshes themselves go on without Airflow.",
                details={"outcomes": event["results"]},
            )
        return self._conclude(event["results"], context)

    def on_kill(self) -> None:
        """End the waiting and cancel the refreshes that are running."""
        self._killed.set()
        if self._asked is not None:
            (hook, reflection_ids), self._asked = self._asked, None
            # A signal may have come in the middle of a request: its connections must not be used here.
            with hook.clone() as other:
                self.log.info("Cancelled the refresh jobs %s", cancel_refreshes(other, reflection_ids) or "(none runs)")

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

    def _resume(
        self, hook: DremioHook, asked: RefreshRequest, targets: Sequence[Target], deadline: float, context: Context
    ) -> None:
        lost = asked.unnoticed(hook)
        self.log.info("An earlier try has asked for the refresh: waiting for it; asking anew for %s", lost or "none")
        if lost:
            again = self._ask(hook, [t for t in targets if t.reflection_id in lost], deadline, context)
            kept = [baseline for baseline in asked.baselines if baseline.reflection_id not in lost]
            asked.baselines, asked.requested_at = [*kept, *again.baselines], again.requested_at
        asked.keep(context)

    def _ask(self, hook: DremioHook, targets: Sequence[Target], deadline: float, context: Context) -> RefreshRequest:
        edition = self.edition or hook.edition
        tables: dict[str, str] = {}
        unrecorded: list[Target] = []
        if edition == "community" or self.refresh_metadata is True:
            tables, unrecorded = anchor_tables(hook, targets, self.anchors)
        self._lineage = (hook.address, sorted(tables.values()), sorted({t.dataset for t in targets}))
        wanted = self.refresh_metadata if isinstance(self.refresh_metadata, Mapping) else {}
        for path in tables.values() if self.refresh_metadata is True else wanted:
            self.log.info("Making Dremio see the new files of %s", path)
            hook.refresh_metadata(path, partitions=wanted.get(path, ()), timeout=max(1.0, deadline - time.time()))
        baselines = self._settled_baselines(hook, targets, deadline)
        self._refuse_dead_ends(hook, baselines, context)
        refuse_without_record(hook, unrecorded, {b.reflection_id for b in baselines if b.available})
        asked = RefreshRequest(baselines, time.time())
        # Kept before it is sent: a worker that dies in between only asks again.
        asked.keep(context)
        self.log.info("Asking for the refresh of what is built from %s", ", ".join(tables.values()) or "the datasets")
        request_refresh(hook, targets, edition, tables)
        return asked

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

    def _refuse_dead_ends(self, hook: DremioHook, baselines: Sequence[Baseline], context: Context) -> None:
        dead = [baseline for baseline in baselines if baseline.dead_end]
        if dead:
            self._conclude(
                {
                    baseline.label: {
                        "outcome": Outcome.FAILED.value,
                        "seconds": 0.0,
                        "message": f"{explain_dead_end(hook, baseline)}. A refresh does not help: edit the reflection "
                        "(or enable it) first",
                    }
                    for baseline in dead
                },
                context,
            )

    def _defer(self, asked: RefreshRequest, deadline: float) -> None:
        self.defer(
            trigger=DremioReflectionsTrigger(
                dremio_conn_id=self.dremio_conn_id,
                baselines=[baseline.to_dict() for baseline in asked.baselines],
                requested_at=asked.requested_at,
                deadline=deadline,
                poll_interval=self.poll_interval,
                idle_limit=self.idle_limit,
            ),
            method_name="execute_complete",
            kwargs={"lineage": self._lineage},
            # The trigger ends by itself; this only catches a triggerer that is gone.
            timeout=timedelta(seconds=max(0.0, deadline - time.time()) + 2 * self.poll_interval + 60),
        )

    def _pause(self) -> None:
        if self._killed.wait(self.poll_interval):
            raise DremioTransientError(
                "Waiting for Dremio's reflections was ended by a kill.",
                check="nothing: what was running has been cancelled, the reflections keep the data they had.",
            )

    def _conclude(self, results: Mapping[str, Mapping[str, Any]], context: Context) -> dict[str, dict[str, Any]]:
        outcomes = {label: dict(entry) for label, entry in results.items()}
        if not any(entry["outcome"] == Outcome.TIMED_OUT for entry in outcomes.values()):
            # What only needs more time is waited for by the next try; everything else it has to ask for anew.
            RefreshRequest.forget(context)
        reasons = failures(outcomes)
        if reasons:
            bad = sum(not Outcome(entry["outcome"]).accelerates for entry in outcomes.values())
            raise DremioReflectionError(
                f"{bad} of {len(outcomes)} reflections cannot accelerate. {reasons}.",
                asked="refresh of reflections",
                check="the reflection's page in Dremio; after a TIMED_OUT, whether the refresh only needs more time.",
                details={"outcomes": outcomes},
            )
        return {label: {"outcome": e["outcome"], "seconds": e["seconds"]} for label, e in outcomes.items()}

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """The tables that the reflections are built from, and the datasets whose reflections were refreshed; empty when
        nothing was asked for."""
        from dremio_provider.lineage import operator_lineage

        if self._lineage is None:
            return operator_lineage()
        address, tables, datasets = self._lineage
        return operator_lineage(address, read=tables, written=datasets)
