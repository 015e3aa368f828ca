"""Loading what the pages of dashboards are made of, each object once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from superset_provider.browser.page import DashboardPage
from superset_provider.browser.query_context import is_known
from superset_provider.exceptions import SupersetError
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.warmer.request import PageAddress


@dataclass(frozen=True)
class LoadedPage:
    """A dashboard with all that decides what a browser asks for it."""

    dashboard: Mapping[str, Any]
    charts: Sequence[Mapping[str, Any]]
    datasets: Sequence[Mapping[str, Any]]
    state: Mapping[str, Any] | None

    @property
    def dashboard_id(self) -> int:
        """Its id."""
        return int(self.dashboard["id"])

    @property
    def title(self) -> str:
        """What people call it; an opened permalink has a name of its own."""
        title = str(self.dashboard.get("dashboard_title") or self.dashboard.get("slug") or self.dashboard_id)
        return f"{title} (permalink)" if self.state is not None else title

    def open(self, option_row_limit: int) -> DashboardPage:
        """The page, nothing of which has been asked yet."""
        return DashboardPage.parse(
            self.dashboard, self.charts, self.datasets, option_row_limit=option_row_limit, state=self.state
        )

    def dataset_name(self, dataset_id: int | None) -> str:
        """``schema.table`` of a dataset, its id where the dashboard does not know it, empty for None."""
        for dataset in self.datasets:
            if dataset.get("id") == dataset_id:
                table = str(dataset.get("table_name") or dataset.get("datasource_name"))
                schema = dataset.get("schema")
                return f"{schema}.{table}" if schema and "." not in table else table
        return "" if dataset_id is None else str(dataset_id)

    def has_own_timeout(self, chart_id: int | None) -> bool:
        """Whether a chart's entries last as long as the chart says, not as its dataset does."""
        return any(chart.get("id") == chart_id and chart.get("cache_timeout") is not None for chart in self.charts)

    def timeout_owner(self, chart_id: int | None, dataset_id: int | None) -> str:
        """Which object's cache timeout of -1 keeps a query out of the cache; the first that has one decides."""
        if self.has_own_timeout(chart_id):
            return "the chart's"
        dataset = next((dataset for dataset in self.datasets if dataset.get("id") == dataset_id), {})
        # The dataset answers with its database's timeout where it has none (SqlaTable.cache_timeout).
        return "its dataset's or its database's" if dataset.get("cache_timeout") is not None else "DATA_CACHE_CONFIG's"


class PageLoader:
    """Loads pages over one connection; what several of them have is asked once.

    :param hook: An open hook of a user who sees the dashboards.
    """

    def __init__(self, hook: SupersetAsyncHook) -> None:
        self._hook = hook
        self._known: dict[int, Mapping[str, Any]] = {}
        self._ahead: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
        self._charts: dict[int, asyncio.Task[dict[str, Any]]] = {}
        self._dashboards: dict[int, asyncio.Task[LoadedPage]] = {}

    def know(self, dashboards: Mapping[int, Mapping[str, Any]]) -> None:
        """Take dashboards that have been read, by their ids."""
        self._known.update(dashboards)

    async def read_ahead(self, names: Collection[str | int]) -> None:
        """Read charts and datasets of dashboards while somebody else reads the dashboards themselves. What cannot be
        read is left for :meth:`load`, which says why.

        :param names: Slugs, uuids or ids.
        """
        await asyncio.gather(*(self._read_ahead(name) for name in names))

    async def _read_ahead(self, name: str | int) -> None:
        with suppress(SupersetError):
            self._ahead[str(name)] = await self._parts(name)

    async def load(self, addresses: Sequence[PageAddress]) -> list[LoadedPage]:
        """Load pages.

        :raises SupersetError: A dashboard or one of its charts cannot be read.
        """
        return list(await asyncio.gather(*(self._load(address) for address in addresses)))

    async def _load(self, address: PageAddress) -> LoadedPage:
        task = self._dashboards.get(address.dashboard_id)
        if task is None:
            task = asyncio.ensure_future(self._dashboard(address.dashboard_id))
            self._dashboards[address.dashboard_id] = task
        plain = await task
        if address.permalink is None:
            return plain
        found = await self._hook.request("GET", f"/api/v1/dashboard/permalink/{address.permalink}")
        return LoadedPage(plain.dashboard, plain.charts, plain.datasets, found["state"])

    async def _dashboard(self, dashboard_id: int) -> LoadedPage:
        dashboard, (charts, datasets) = await asyncio.gather(self._read(dashboard_id), self._parts_of(dashboard_id))
        full = await asyncio.gather(*(self._chart(chart) for chart in charts))
        return LoadedPage(dashboard, full, datasets, None)

    async def _read(self, dashboard_id: int) -> Mapping[str, Any]:
        return self._known.get(dashboard_id) or await self._hook.get_dashboard(dashboard_id)

    async def _parts_of(self, dashboard_id: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        dashboard = self._known.get(dashboard_id) or {}
        # A slug of digits names nothing: Superset takes it for an id.
        names = (str(name) for name in (dashboard_id, dashboard.get("uuid"), dashboard.get("slug")))
        ahead = (self._ahead.get(name) for name in names if name == str(dashboard_id) or not name.isdecimal())
        return next(filter(None, ahead), None) or await self._parts(dashboard_id)

    async def _parts(self, name: str | int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return await asyncio.gather(self._hook.get_dashboard_charts(name), self._hook.get_dashboard_datasets(name))

    async def _chart(self, chart: Mapping[str, Any]) -> Mapping[str, Any]:
        """A chart with all that decides what it asks. Of most kinds the dashboard's list of charts says it already,
        as it does to the browser; only that list names their datasets."""
        form_data: Mapping[str, Any] = chart.get("form_data") or {}
        dataset_id = str(form_data.get("datasource") or "").partition("__")[0]
        if is_known(form_data.get("viz_type")) and dataset_id.isdecimal():
            return chart
        chart_id = int(chart["id"])
        if chart_id not in self._charts:
            self._charts[chart_id] = asyncio.ensure_future(self._hook.get_chart(chart_id))
        return {**await self._charts[chart_id], "id": chart_id, "form_data": chart.get("form_data")}
