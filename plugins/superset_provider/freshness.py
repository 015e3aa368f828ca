"""How old what a dashboard shows is: of its cache entries, and of the data in its tables."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from superset_provider import protocol
from superset_provider.browser.page import DashboardPage, PageQuery
from superset_provider.charts import time_value
from superset_provider.exceptions import SupersetChartDataError, SupersetTerminalError
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.warmer.engine import server_time
from superset_provider.warmer.pages import LoadedPage, PageLoader
from superset_provider.warmer.proof import decode, moment
from superset_provider.warmer.request import PageAddress
from superset_provider.warmer.selection import match_datasets

_NEWEST = "newest"


@dataclass(frozen=True)
class FreshnessRequest:
    """What has to be fresh; JSON-serialisable, without secrets.

    :param dashboards: Slugs, uuids or ids: every query of theirs.
    :param time_columns: ``{dataset: column}``: the newest value in the table.
    :param since: ISO time from which on something is fresh; None where ``max_age`` says it.
    :param max_age: Seconds before now, by Superset's clock.
    :param option_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT.
    """

    dashboards: Sequence[str | int] = ()
    time_columns: Mapping[str, str] = field(default_factory=dict)
    since: str | None = None
    max_age: float | None = None
    option_row_limit: int = 1000

    def to_dict(self) -> dict[str, Any]:
        """The arguments to build the same from."""
        return {**asdict(self), "dashboards": list(self.dashboards), "time_columns": dict(self.time_columns)}


class FreshnessWatch:
    """Looks at the same things again and again; what they are is read once.

    :param hook: An open hook of a user who sees the dashboards.
    """

    def __init__(self, hook: SupersetAsyncHook, request: FreshnessRequest) -> None:
        self.hook = hook
        self.request = request
        self._pages: list[LoadedPage] | None = None
        self._datasets: dict[str, int] | None = None

    async def look(self) -> list[str]:
        """Ask once, as a browser does: what is not cached at all is cached by that, and fresh.

        :returns: What is too old, in sentences; empty when all is fresh.
        :raises SupersetError: Something cannot be read, so that waiting for it is in vain.
        """
        bound = await self._bound()
        if self._pages is None:
            found = await asyncio.gather(*(self.hook.get_dashboard(name) for name in self.request.dashboards))
            self._pages = await PageLoader(self.hook).load([PageAddress(int(entry["id"])) for entry in found])
        if self._datasets is None:
            names = list(self.request.time_columns)
            ids = match_datasets(await self.hook.list_datasets(), names) if names else []
            self._datasets = dict(zip(names, ids, strict=True))
        looks = [self._page(loaded, bound) for loaded in self._pages]
        looks += [self._table(name, number, bound) for name, number in self._datasets.items()]
        return [sentence for sentences in await asyncio.gather(*looks) for sentence in sentences]

    async def _bound(self) -> datetime:
        since = moment(self.request.since)
        if since is not None:
            return since
        return await server_time(self.hook) - timedelta(seconds=float(self.request.max_age or 0))

    async def _page(self, loaded: LoadedPage, bound: datetime) -> list[str]:
        page = loaded.open(self.request.option_row_limit)
        stale: list[str] = []
        while due := page.due():
            answers = await asyncio.gather(*(self._query(page, loaded, query, bound) for query in due))
            stale += [sentence for sentence in answers if sentence]
        if page.problems:
            listed = "; ".join(f"{name}: {reason}" for name, _, reason in page.problems)
            raise SupersetTerminalError(
                f"What charts of dashboard {loaded.title!r} ask is not known. {listed}",
                check="the charts; SupersetRepairChartsOperator repairs most of them.",
            )
        return stale

    async def _query(self, page: DashboardPage, loaded: LoadedPage, query: PageQuery, bound: datetime) -> str | None:
        dataset = loaded.dataset_name(query.dataset_id)
        try:
            response = await self.hook.send(
                "POST", protocol.CHART_DATA_PATH, json=query.request_body(force=False), idempotent=True
            )
        except SupersetTerminalError as error:
            raise protocol.chart_data_error(error, query.name, dataset) from error
        answer = decode(response.content)
        if answer.error:
            raise SupersetChartDataError.about(query.name, dataset, answer.error)
        if query.kind == "filter_options":
            page.learn(query, answer.result[0].rows if answer.result else [])
        times = [entry.queried_at for entry in answer.result if entry.queried_at is not None]
        # Times of queries have whole seconds.
        if not times or min(times) >= bound.replace(microsecond=0):
            return None
        return f"{loaded.title}, {query.name}: cached data of {min(times).isoformat()}"

    async def _table(self, name: str, dataset_id: int, bound: datetime) -> list[str]:
        column = self.request.time_columns[name]
        metric = {"expressionType": "SIMPLE", "column": {"column_name": column}, "aggregate": "MAX", "label": _NEWEST}
        body = {
            "datasource": {"id": dataset_id, "type": "table"},
            "force": True,
            "queries": [{"columns": [], "metrics": [metric], "row_limit": 1}],
            "result_format": "json",
            "result_type": "full",
        }
        [answer] = await self.hook.chart_data(body, dataset=name)
        newest = next((row[_NEWEST] for row in answer.get("data") or ()), None)
        if newest is None:
            return [f"{name}: {column} has no value"]
        try:
            found = time_value(newest)
        except ValueError as error:
            raise SupersetTerminalError(
                f"The newest value of {column} in dataset {name} is no time: {newest!r}.",
                check="the argument time_columns.",
            ) from error
        return [] if found >= bound else [f"{name}: the newest {column} is {found.isoformat()}"]
