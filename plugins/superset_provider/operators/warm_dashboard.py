"""Operator that fills Superset's cache with what the first visitor will ask, and proves that it hits."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from superset_provider.connection import DEFAULT_CONN_ID
from superset_provider.exceptions import SupersetConfigurationError, SupersetTransientError, SupersetWarmingError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.links import SupersetDashboardLink
from superset_provider.warmer import DashboardWarmer, Warmed

if TYPE_CHECKING:
    from airflow.sdk import Context


class SupersetWarmDashboardOperator(BaseOperator):
    """Ask for every chart and filter of the dashboards as a browser does, with ``force``; then ask again without, and
    accept only an answer out of the cache that is not older than this run.

    Cache keys depend on row level security: warm once per distinct set of rules, with a connection of a user who has
    it.

    :param dashboards: Slugs, uuids or ids.
    :param superset_conn_id: Airflow connection of type ``superset``.
    :param concurrency: Queries at the same time, 1 to 16; more than 8 gained nothing where it was measured.
    :param verify: Whether to prove the hit.
    :param timeout: Seconds for all dashboards together.
    :param filter_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT, if it was changed there.
    """

    template_fields: Sequence[str] = ("dashboards", "superset_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"dashboards": "json"}
    ui_color = "#cfe8d5"
    operator_extra_links = (SupersetDashboardLink(),)

    def __init__(
        self,
        *,
        dashboards: Sequence[str | int],
        superset_conn_id: str = DEFAULT_CONN_ID,
        concurrency: int = 4,
        verify: bool = True,
        timeout: float = 900.0,
        filter_row_limit: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dashboards = dashboards
        self.superset_conn_id = superset_conn_id
        self.concurrency = concurrency
        self.verify = verify
        self.timeout = timeout
        self.filter_row_limit = filter_row_limit
        self._killed = threading.Event()

    def execute(self, context: Context) -> dict[str, Any]:
        """Warm the dashboards.

        :returns: ``{"<dashboard>": {"url", "seconds", "charts": [{"chart", "chart_id", "kind", "seconds", "hit"}]}}``;
            ``hit`` is None when it was not verified.
        :raises SupersetWarmingError: Names every chart that failed or does not hit, with the reason.
        """
        if not self.dashboards or not 1 <= self.concurrency <= 16:
            raise SupersetConfigurationError(
                f"Task {self.task_id!r} has dashboards {self.dashboards!r} and concurrency {self.concurrency!r}.",
                check="name at least one dashboard, and a concurrency from 1 to 16.",
            )
        summary: dict[str, Any] = {}
        failures: list[tuple[str, Warmed]] = []
        with SupersetHook(self.superset_conn_id) as hook, ThreadPoolExecutor(self.concurrency) as pool:
            warmer = DashboardWarmer(
                hook,
                pool,
                stop=self._killed,
                deadline=time.monotonic() + self.timeout,
                verify=self.verify,
                filter_row_limit=self.filter_row_limit,
            )
            for name in self.dashboards:
                dashboard = hook.get_dashboard(name)
                url = hook.address + str(dashboard.get("url") or f"/superset/dashboard/{dashboard['id']}/")
                if not summary:
                    SupersetDashboardLink.persist(context, url)
                started = time.monotonic()
                warmed = warmer.warm(dashboard)
                seconds = round(time.monotonic() - started, 3)
                summary[str(name)] = {
                    "url": url,
                    "seconds": seconds,
                    "charts": [entry.summary() for entry in warmed],
                }
                failures.extend((str(name), entry) for entry in warmed if entry.reason)
                self._log(str(name), warmed, seconds)
            if failures:
                self._fail(hook.address, failures)
        return summary

    def on_kill(self) -> None:
        """Start no further query."""
        self._killed.set()

    def _log(self, name: str, warmed: Sequence[Warmed], seconds: float) -> None:
        self.log.info("Dashboard %s: %s queries in %.1f s", name, len(warmed), seconds)
        for entry in warmed:
            self.log.info(
                "  %s: %.2f s cold, %s", entry.chart, entry.seconds, entry.reason or ("hit" if entry.hit else "asked")
            )

    def _fail(self, address: str, failures: Sequence[tuple[str, Warmed]]) -> None:
        listed = "; ".join(f"{name}, {entry.chart}: {entry.reason}" for name, entry in failures)
        # When each of them may be gone at the next try, the task may be tried again.
        kind = SupersetTransientError if all(entry.transient for _, entry in failures) else SupersetWarmingError
        raise kind(
            f"{len(failures)} queries are not warm. {listed}",
            address=address,
            check="each chart in Superset; a query that fails there cannot be warmed.",
            details={
                "failures": [
                    {"dashboard": name, "chart": entry.chart, "reason": entry.reason} for name, entry in failures
                ]
            },
        )
