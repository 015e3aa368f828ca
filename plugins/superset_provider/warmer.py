"""Warming one dashboard over the wire: ask with force, then prove the hit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from superset_provider.browser.page import DashboardPage, PageQuery
from superset_provider.exceptions import SupersetError, SupersetTransientError
from superset_provider.hooks.superset import SupersetHook


@dataclass(frozen=True)
class Warmed:
    """What became of one query.

    :param seconds: Time of the cold query.
    :param hit: Whether the second read came out of the cache; None when it was not verified or not reached.
    :param reason: Why it failed, None when it did not.
    :param transient: Whether the reason may be gone at the next try.
    """

    chart: str
    chart_id: int | None
    kind: str
    seconds: float
    hit: bool | None
    reason: str | None = None
    transient: bool = False
    rows: Sequence[dict[str, Any]] = ()

    def summary(self) -> dict[str, Any]:
        """The part that goes into XCom."""
        return {
            "chart": self.chart,
            "chart_id": self.chart_id,
            "kind": self.kind,
            "seconds": round(self.seconds, 3),
            "hit": self.hit,
        }


class DashboardWarmer:
    """Warms the dashboards of one Superset.

    :param hook: An open hook, shared by the threads of ``pool``.
    :param pool: Where the queries run.
    :param stop: Set from outside to start no further query.
    :param deadline: Value of ``time.monotonic()`` after which no further query is started.
    :param verify: Whether to prove the hit.
    :param filter_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT.
    """

    def __init__(
        self,
        hook: SupersetHook,
        pool: Executor,
        *,
        stop: threading.Event,
        deadline: float,
        verify: bool,
        filter_row_limit: int,
    ) -> None:
        self.hook = hook
        self.pool = pool
        self.stop = stop
        self.deadline = deadline
        self.verify = verify
        self.filter_row_limit = filter_row_limit

    def warm(self, dashboard: dict[str, Any]) -> list[Warmed]:
        """Warm all charts and filter options of a dashboard.

        :param dashboard: As :meth:`SupersetHook.get_dashboard` returns it.
        :returns: One entry a query, charts first.
        :raises SupersetTransientError: It was stopped, or ran out of time.
        """
        dashboard_id = int(dashboard["id"])
        since = self._server_time()
        charts = [
            {**self.hook.get_chart(int(chart["id"])), "id": int(chart["id"])}
            for chart in self.hook.get_dashboard_charts(dashboard_id)
        ]
        page = DashboardPage.parse(
            dashboard,
            charts,
            self.hook.get_dashboard_datasets(dashboard_id),
            option_row_limit=self.filter_row_limit,
        )
        running: dict[Future[Warmed], PageQuery] = {}
        warmed: list[Warmed] = []
        while True:
            running |= {self.pool.submit(self._ask, query, dashboard_id, since): query for query in page.due()}
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                query = running.pop(future)
                warmed.append(future.result())
                if query.kind == "filter_options":
                    page.learn(query, warmed[-1].rows)
        warmed.extend(Warmed(name, chart_id, "chart", 0.0, None, reason) for name, chart_id, reason in page.problems)
        return sorted(warmed, key=lambda entry: (entry.kind, entry.chart_id or 0))

    def _server_time(self) -> datetime:
        # Times in answers are the server's; ours may go wrong by more than a query takes.
        header = self.hook.send("GET", "/api/v1/me/").headers.get("date")
        return parsedate_to_datetime(header).astimezone(UTC) if header else datetime.now(UTC)

    def _ask(self, query: PageQuery, dashboard_id: int, since: datetime) -> Warmed:
        self._go_on()
        who = (query.name, query.chart_id, query.kind)
        form_data = {"slice_id": query.chart_id} if query.chart_id is not None else None
        started = time.monotonic()
        try:
            cold = self.hook.chart_data(query.request_body(force=True), form_data=form_data, dashboard_id=dashboard_id)
            seconds = time.monotonic() - started
            rows = cold[0].get("data") or [] if query.kind == "filter_options" and cold else []
            if not self.verify:
                return Warmed(*who, seconds, None, rows=rows)
            again = self.hook.chart_data(
                query.request_body(force=False), form_data=form_data, dashboard_id=dashboard_id
            )
        except SupersetError as error:
            transient = isinstance(error, SupersetTransientError)
            return Warmed(*who, time.monotonic() - started, None, str(error), transient)
        reason = miss_reason(again, since)
        return Warmed(*who, seconds, reason is None, reason, rows=rows)

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise SupersetTransientError(
                "Warming was ended by a kill.", address=self.hook.address, check="nothing: start the task again."
            )
        if time.monotonic() >= self.deadline:
            raise SupersetTransientError(
                "Warming ran out of time.",
                address=self.hook.address,
                check="the slowest charts in the log of this task, more concurrency, or a longer timeout.",
            )


def miss_reason(result: Sequence[dict[str, Any]], since: datetime) -> str | None:
    """Why the second read is no proof, or None when every one of its queries is a fresh hit.

    :param result: Entries of the answer.
    :param since: Server time at which warming began.
    """
    if not result:
        return "Superset answered without any result"
    for entry in result:
        if entry.get("is_cached") is not True:
            return (
                "the second read was no cache hit: the chart's cache timeout is -1, Superset's DATA_CACHE_CONFIG is "
                "NullCache, or its workers do not share their cache"
            )
        cached_at = entry.get("cached_dttm")
        if not cached_at:
            return "the second read is a hit without a time, which proves nothing"
        moment = datetime.fromisoformat(str(cached_at))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        # The Date header has whole seconds, the cache time has more.
        if moment < since.replace(microsecond=0):
            return (
                f"the second read hit an entry of {cached_at} UTC, older than this warming: the forced read was "
                "not stored"
            )
    return None
