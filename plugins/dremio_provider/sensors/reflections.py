"""Sensor that waits until reflections accelerate with data that is new enough."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowSensorTimeout

from dremio_provider.anchors import find_targets, take_baselines
from dremio_provider.exceptions import DremioConfigurationError, DremioReflectionError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.links import DremioDatasetLink, dataset_page
from dremio_provider.reflections import Baseline, WatchSet, failures, parse_time
from dremio_provider.sensors.base import DremioSensor
from dremio_provider.triggers.reflections import DremioReflectionsTrigger
from dremio_provider.watching import look

if TYPE_CHECKING:
    from airflow.sdk import Context


class DremioReflectionSensor(DremioSensor):
    """Wait until every reflection is available, idle, and holds data fetched after a given time. Asks for no refresh.

    :param reflections: Names, or ``{"dataset", "name"}``.
    :param datasets: Paths of datasets, all of whose enabled reflections are meant.
    :param since: Moment after which Dremio must have fetched the data (ISO text or a datetime, compared with the clock
        of Dremio); by default any data will do.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param deferrable: Wait in the triggerer instead of in a worker.

    ``timeout``, ``poke_interval``, ``soft_fail`` and ``mode`` are those of every sensor.
    """

    template_fields: Sequence[str] = ("reflections", "datasets", "since", "dremio_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"reflections": "json", "datasets": "json"}
    operator_extra_links = (DremioDatasetLink(),)

    def __init__(
        self,
        *,
        reflections: Sequence[str | Mapping[str, str]] | None = None,
        datasets: Sequence[str] | None = None,
        since: datetime | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reflections = reflections
        self.datasets = datasets
        self.since = since
        self._baselines: list[Baseline] | None = None

    def trigger(self, deadline: float, **polling: Any) -> DremioReflectionsTrigger:
        """The trigger that waits for the same, from what the first look has found."""
        return DremioReflectionsTrigger(
            dremio_conn_id=self.dremio_conn_id,
            baselines=[baseline.to_dict() for baseline in self._baselines or ()],
            requested_at=time.time(),
            deadline=deadline,
            idle_limit=None,
            cancel_on_kill=False,
            **polling,
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Judge what the trigger reported; errors as for :meth:`execute`."""
        if event["status"] == "timeout":
            raise AirflowSensorTimeout(f"The reflections did not become ready in time. {failures(event['results'])}.")
        return super().execute_complete(context, event)

    def conclude(self, event: dict[str, Any]) -> None:
        """Every reflection has a verdict.

        :raises DremioReflectionError: Not every verdict is good.
        """
        self._refuse(event["results"])

    def poke(self, context: Context) -> bool:
        """Look once.

        :returns: Whether every reflection is ready.
        """
        if not self.reflections and not self.datasets:
            raise DremioConfigurationError(
                f"Task {self.task_id!r} names neither reflections nor datasets.",
                check="give DremioReflectionSensor one of the two.",
            )
        with DremioHook(self.dremio_conn_id) as hook:
            if self._baselines is None:
                targets = find_targets(hook, self.reflections, self.datasets)
                if targets:
                    DremioDatasetLink.persist(context, dataset_page(hook.address, targets[0].dataset))
                since = parse_time(self.since.isoformat() if isinstance(self.since, datetime) else self.since)
                moment = since.isoformat() if since else None
                taken, _ = take_baselines(hook, targets)
                self._baselines = [replace(b, last_data_fetch=moment, last_finished=moment) for b in taken]
            now = time.time()
            watches = WatchSet(self._baselines, now, now + self.timeout, idle_limit=None)
            look(hook, watches, self.log)
        self._refuse({label: e for label, e in watches.results().items() if e["outcome"] != "WAITING"})
        return not watches.pending()

    def _refuse(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        reasons = failures(results)
        if reasons:
            raise DremioReflectionError(
                f"Reflections did not become ready. {reasons}.",
                asked=f"data fetched after {self.since}" if self.since else "any data",
                check="the reflection's page in Dremio, and what refreshes it.",
                details={"outcomes": {label: dict(entry) for label, entry in results.items()}},
            )
