"""A dashboard as a browser opens it: all its requests for data, each as soon as it can be known."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from superset_provider.browser.charts import DashboardChart
from superset_provider.browser.customizations import Customization, parse_customizations
from superset_provider.browser.filters import OPTION_ROW_LIMIT, SELECT, NativeFilter, option_context
from superset_provider.browser.form_data import merge_extra_form_data, url_params_of
from superset_provider.browser.scope import Layout

_MOST_STATES = 27
"""Of the filters above one filter: three of them, with three masks each."""


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
        charts: Sequence[DashboardChart],
        filters: Sequence[NativeFilter],
        layout: Layout,
        customizations: Sequence[Customization],
        *,
        option_row_limit: int,
        url_params: Mapping[str, str],
    ) -> None:
        self.dashboard_id = dashboard_id
        self.problems: list[tuple[str, int, str]] = []
        self._charts = list(charts)
        self._filters = {entry.filter_id: entry for entry in filters}
        self._layout = layout
        self._customizations = customizations
        self._option_row_limit = option_row_limit
        self._url_params = url_params
        self._first_query: dict[str, str] = {}
        self._unanswered = {entry.filter_id for entry in filters if entry.takes_first_option and entry.has_options}
        self._handed_out: set[tuple[str, str]] = set()
        self._charts_done = False

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
        :param charts: ``GET /api/v1/chart/<id>`` of each chart, with ``id``; ``form_data`` of
            ``GET /api/v1/dashboard/<id>/charts`` in it is preferred to ``params``, because it names the dataset.
        :param datasets: ``GET /api/v1/dashboard/<id>/datasets``.
        :param option_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT.
        :param state: What a permalink holds: ``dataMask``, ``activeTabs``, ``urlParams``. None for the plain address.
        """
        metadata: Mapping[str, Any] = json.loads(dashboard.get("json_metadata") or "{}")
        state = state or {}
        chosen: Mapping[str, Any] = state.get("dataMask") or {}
        parsed = [DashboardChart.parse(chart) for chart in charts]
        filters = [
            NativeFilter.parse(raw, chosen.get(str(raw.get("id"))))
            for raw in metadata.get("native_filter_configuration") or ()
            if raw.get("type") != "DIVIDER"
        ]
        layout = Layout(dashboard.get("position_json"), [chart.chart_id for chart in parsed])
        return cls(
            int(dashboard["id"]),
            parsed,
            filters,
            layout,
            parse_customizations(metadata, chosen),
            option_row_limit=option_row_limit,
            url_params=url_params_of(state),
        )

    def due(self) -> list[PageQuery]:
        """What can be asked now and was not handed out before."""
        found = [query for entry in self._filters.values() if entry.has_options for query in self._options(entry)]
        waiting = [entry for entry in self._filters.values() if entry.holds_back]
        if not self._charts_done and not (self._unanswered & {entry.filter_id for entry in waiting}):
            self._charts_done = True
            if waiting:
                self._blocked(waiting)
            else:
                found.extend(query for chart in self._charts for query in self._chart(chart))
        return [query for query in found if self._is_new(query)]

    def learn(self, query: PageQuery, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the answer of an option query, so that what waited for it becomes due.

        :param query: One with ``kind == "filter_options"`` from :meth:`due`.
        :param rows: ``result[0].data`` of the answer; empty when it failed.
        """
        answered = [filter_id for filter_id in self._unanswered if self._first_query.get(filter_id) == query.identity]
        for filter_id in answered:
            self._unanswered.remove(filter_id)
            self._filters[filter_id] = self._filters[filter_id].with_options(rows)

    def _is_new(self, query: PageQuery) -> bool:
        key = (query.name, query.identity)
        if key in self._handed_out:
            return False
        self._handed_out.add(key)
        return True

    def _blocked(self, waiting: Sequence[NativeFilter]) -> None:
        names = ", ".join(repr(entry.name) for entry in waiting)
        reason = (
            f"the dashboard shows no chart before somebody picks a value for {names}: give the filter a default value, "
            "or data to take the first value from."
        )
        self.problems.extend((chart.name, chart.chart_id, reason) for chart in self._charts)

    # -- options ------------------------------------------------------------------------------------------------------

    def _options(self, entry: NativeFilter) -> list[PageQuery]:
        """All that the control of one filter asks one after the other.

        A control asks when it is created, and again when the masks of the filters above it change. Until their controls
        are drawn these are the saved ones; for a moment each select filter's is empty; then they are what the control
        works out. Which of these states a control catches depends on whose answer comes first.
        """
        above = self._ancestors(entry.filter_id)
        states = [self._states(each) for each in above]
        combined = [[each[0] for each in states], [each[-1] for each in states], *itertools.product(*states)]
        queries = [self._option_query(entry, masks) for masks in combined[: _MOST_STATES + 2]]
        self._first_query.setdefault(entry.filter_id, queries[0].identity)
        return queries

    def _states(self, entry: NativeFilter) -> list[Mapping[str, Any]]:
        if entry.filter_id in self._unanswered:
            return [entry.mask]
        return [entry.mask, *([{}] if entry.kind == SELECT else []), entry.drawn_mask]

    def _ancestors(self, filter_id: str) -> list[NativeFilter]:
        found: list[NativeFilter] = []
        seen = {filter_id}

        def visit(current: str) -> None:
            for parent in self._filters[current].parents:
                if parent in seen or parent not in self._filters:
                    continue
                seen.add(parent)
                visit(parent)
                found.append(self._filters[parent])

        visit(filter_id)
        return found

    def _option_query(self, entry: NativeFilter, masks: Sequence[Mapping[str, Any]]) -> PageQuery:
        body = option_context(
            entry,
            merge_extra_form_data(masks),
            dashboard_id=self.dashboard_id,
            url_params=self._url_params,
            row_limit=self._option_row_limit,
        )
        return PageQuery(f"options of filter {entry.name}", None, entry.dataset_id, "filter_options", body)

    # -- charts -------------------------------------------------------------------------------------------------------

    def _chart(self, chart: DashboardChart) -> list[PageQuery]:
        """What one chart asks: at once, and again if a control changes its mask when it is drawn."""
        problem = chart.problem()
        if problem is not None:
            self.problems.append((chart.name, chart.chart_id, problem))
            return []
        filters = [entry for entry in self._filters.values() if self._layout.in_scope(chart.chart_id, entry.scope)]
        states = [merge_extra_form_data(entry.mask for entry in filters)]
        settled = merge_extra_form_data(entry.settled_mask for entry in filters)
        if settled != states[0]:
            states.append(settled)
        customizations = [item for item in self._customizations if self._layout.in_scope(chart.chart_id, item.scope)]
        # Charts that a click could filter count as covered, although a plain address and a permalink (whose clicks get
        # lost in 6.1.0) open without one: nothing of the chart's own extra_form_data is left then.
        covered = bool(filters) or any(other.filters_others for other in self._charts if other is not chart)
        bodies = [
            chart.query_context(
                state if covered else None,
                dashboard_id=self.dashboard_id,
                url_params=self._url_params,
                customizations=customizations,
            )
            for state in states
        ]
        return [PageQuery(chart.name, chart.chart_id, chart.dataset_id, "chart", body) for body in bodies]
