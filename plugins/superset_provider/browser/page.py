"""A dashboard as a browser opens it: all its requests for data, each as soon as it can be known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from superset_provider.browser.filters import (
    OPTION_ROW_LIMIT,
    NativeFilter,
    option_query,
    parse_filters,
    with_first_option,
)
from superset_provider.browser.form_data import apply_to_query, merge_extra_form_data
from superset_provider.browser.scope import layout_parents


@dataclass(frozen=True)
class PageQuery:
    """One request that the browser will send.

    :param name: Name for people, for example ``options of filter Status``.
    :param chart_id: Id of the chart, None for the options of a filter.
    :param dataset_id: Id of the dataset that it reads, None when the body does not say.
    :param kind: ``chart`` or ``filter_options``.
    :param body: Body of ``POST /api/v1/chart/data`` without ``force``.
    """

    name: str
    chart_id: int | None
    dataset_id: int | None
    kind: str
    body: Mapping[str, Any]

    def request_body(self, *, force: bool) -> dict[str, Any]:
        """The body; ``force`` fills the cache, without it the cache answers."""
        return {**self.body, "force": force}

    @property
    def identity(self) -> str:
        """Canonical JSON of what the cache key is made of: equal for two queries that share a cache entry."""
        keyed = {key: value for key, value in self.body.items() if key not in ("form_data", "force")}
        return json.dumps(keyed, sort_keys=True, separators=(",", ":"))


class DashboardPage:
    """The requests of one dashboard. ``due`` hands each of them out once; some become known only by an answer.

    :param problems: ``(chart's name, chart's id, reason and what to do)`` of charts whose query cannot be known.
    """

    def __init__(
        self,
        dashboard_id: int,
        charts: Sequence[Mapping[str, Any]],
        filters: Sequence[NativeFilter],
        parents: Mapping[int, set[str]],
        option_row_limit: int,
    ) -> None:
        self.dashboard_id = dashboard_id
        self.problems: list[tuple[str, int, str]] = []
        self._charts = list(charts)
        self._filters = {entry.filter_id: entry for entry in filters}
        self._parents = parents
        self._option_row_limit = option_row_limit
        self._options_asked: set[str] = set()
        self._waiting_for: dict[str, list[str]] = {}

    @classmethod
    def parse(
        cls,
        dashboard: Mapping[str, Any],
        charts: Sequence[Mapping[str, Any]],
        datasets: Sequence[Mapping[str, Any]],
        *,
        option_row_limit: int = OPTION_ROW_LIMIT,
        state: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read a dashboard from Superset's answers.

        :param dashboard: ``GET /api/v1/dashboard/<id>``.
        :param charts: ``GET /api/v1/chart/<id>`` of each chart, with ``id``, ``params`` and ``query_context``.
        :param datasets: ``GET /api/v1/dashboard/<id>/datasets``.
        :param option_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT.
        :param state: What a permalink holds: ``dataMask`` and ``activeTabs``. None for the plain address.
        """
        return cls(
            int(dashboard["id"]),
            charts,
            parse_filters(dashboard.get("json_metadata")),
            layout_parents(dashboard.get("position_json")),
            option_row_limit,
        )

    def due(self) -> list[PageQuery]:
        """What can be asked now and was not handed out before."""
        found: list[PageQuery] = []
        for entry in self._filters.values():
            if entry.has_options and entry.filter_id not in self._options_asked and not self._waits(entry.parents):
                self._options_asked.add(entry.filter_id)
                found.append(self._option_query(entry))
        waiting = []
        for chart in self._charts:
            applied = [entry for entry in self._filters.values() if entry.applies_to(int(chart["id"]), self._parents)]
            if self._waits([entry.filter_id for entry in applied]):
                waiting.append(chart)
            elif not chart.get("query_context"):
                name, chart_id = str(chart.get("slice_name") or chart["id"]), int(chart["id"])
                self.problems.append(
                    (
                        name,
                        chart_id,
                        "it has no query context, so what it asks is unknown: open and save it in Superset, or declare "
                        '"query_context" for it in the imported bundle.',
                    )
                )
            else:
                found.append(self._chart_query(chart, applied))
        self._charts = waiting
        return found

    def learn(self, query: PageQuery, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the answer of an option query, so that what waited for it becomes due.

        :param query: One with ``kind == "filter_options"`` from :meth:`due`.
        :param rows: ``result[0].data`` of the answer; empty when it failed.
        """
        for filter_id in self._waiting_for.pop(query.identity, ()):
            self._filters[filter_id] = with_first_option(self._filters[filter_id], rows)

    def _waits(self, filter_ids: Sequence[str]) -> bool:
        waited = {filter_id for group in self._waiting_for.values() for filter_id in group}
        return any(
            filter_id in waited or (entry.takes_first_option and filter_id not in self._options_asked)
            for filter_id in filter_ids
            if (entry := self._filters.get(filter_id)) is not None
        )

    def _option_query(self, entry: NativeFilter) -> PageQuery:
        body = option_query(entry, list(self._filters.values()), row_limit=self._option_row_limit)
        query = PageQuery(f"options of filter {entry.name}", None, entry.dataset_id, "filter_options", body)
        if entry.takes_first_option:
            self._waiting_for.setdefault(query.identity, []).append(entry.filter_id)
        return query

    def _chart_query(self, chart: Mapping[str, Any], applied: Sequence[NativeFilter]) -> PageQuery:
        chart_id = int(chart["id"])
        context: dict[str, Any] = json.loads(chart["query_context"])
        extra_form_data = merge_extra_form_data([entry.extra_form_data for entry in applied])
        body = {key: value for key, value in context.items() if key != "force"}
        body["queries"] = [apply_to_query(query, extra_form_data) for query in context.get("queries") or ()]
        body["result_format"] = "json"
        body["result_type"] = "full"
        # The server reads the chart's own cache timeout through slice_id.
        form_data = {**(context.get("form_data") or {}), "slice_id": chart_id, "dashboardId": self.dashboard_id}
        if extra_form_data:
            form_data["extra_form_data"] = extra_form_data
        body["form_data"] = form_data
        dataset_id = (body.get("datasource") or {}).get("id")
        name = str(chart.get("slice_name") or chart_id)
        return PageQuery(name, chart_id, int(dataset_id) if dataset_id is not None else None, "chart", body)
