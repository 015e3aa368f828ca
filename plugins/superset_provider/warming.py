"""Which queries a browser will send when somebody opens a dashboard. Pure logic: no network.

Superset's cache key contains the filters in their order, so a warm-up hits only if it asks exactly what the browser
asks: the chart's saved query context, with the default values of the dashboard's filters **in front of** the chart's
own ones, and time range and grain replaced where a filter says so. The browser also asks for the options that each
filter offers.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from superset_provider.exceptions import SupersetTerminalError

ROOT = "ROOT_ID"
# As in the browser: lists of several filters are joined, of these keys the last one wins.
_JOINED = (
    "adhoc_filters",
    "filters",
    "interactive_groupby",
    "interactive_highlight",
    "interactive_drilldown",
    "custom_form_data",
)
_REPLACED = {
    "granularity": "granularity",
    "granularity_sqla": "granularity",
    "time_column": "time_column",
    "time_grain": "time_grain",
    "time_range": "time_range",
    "time_compare": "time_compare",
}
_REPLACED_EXTRAS = ("relative_start", "relative_end", "time_grain_sqla")
_OPTION_DEFAULT_ROW_LIMIT = 1000
_SELECT, _RANGE = "filter_select", "filter_range"


@dataclass(frozen=True)
class NativeFilter:
    """A filter of a dashboard, with the value it has when the dashboard is opened."""

    filter_id: str
    name: str
    kind: str
    dataset_id: int | None
    column: str | None
    extra_form_data: Mapping[str, Any]
    root_path: tuple[str, ...]
    excluded: frozenset[int]
    parents: tuple[str, ...]
    controls: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> NativeFilter:
        """Read an entry of ``json_metadata.native_filter_configuration``."""
        target: Mapping[str, Any] = next(iter(raw.get("targets") or [{}])) or {}
        scope: Mapping[str, Any] = raw.get("scope") or {}
        mask: Mapping[str, Any] = raw.get("defaultDataMask") or {}
        return cls(
            filter_id=str(raw.get("id")),
            name=str(raw.get("name") or raw.get("id")),
            kind=str(raw.get("filterType") or ""),
            dataset_id=target.get("datasetId"),
            column=(target.get("column") or {}).get("name"),
            extra_form_data=mask.get("extraFormData") or {},
            root_path=tuple(scope.get("rootPath") or (ROOT,)),
            excluded=frozenset(int(chart_id) for chart_id in scope.get("excluded") or ()),
            parents=tuple(raw.get("cascadeParentIds") or ()),
            controls=raw.get("controlValues") or {},
            raw=raw,
        )

    @property
    def takes_first_option(self) -> bool:
        """Whether the browser takes the first option as the value, because none was saved."""
        return self.kind == _SELECT and bool(self.controls.get("defaultToFirstItem")) and not self.extra_form_data

    @property
    def has_options(self) -> bool:
        """Whether opening the dashboard queries the dataset for what this filter offers."""
        return self.kind in (_SELECT, _RANGE) and self.dataset_id is not None and bool(self.column)


@dataclass(frozen=True)
class WarmQuery:
    """One request that the browser will send.

    :param chart: Name for people.
    :param chart_id: Id of the chart, None for the options of a filter.
    :param kind: ``chart`` or ``filter_options``.
    :param body: Body of ``POST /api/v1/chart/data`` without ``force``.
    """

    chart: str
    chart_id: int | None
    kind: str
    body: Mapping[str, Any]

    def request_body(self, *, force: bool) -> dict[str, Any]:
        """The body; ``force`` fills the cache, without it the cache answers."""
        return {**self.body, "force": force}


def parse_filters(json_metadata: str | None) -> list[NativeFilter]:
    """The filters of a dashboard in the order of its configuration, dividers left out.

    :param json_metadata: JSON text of the dashboard.
    """
    metadata = json.loads(json_metadata or "{}")
    raw = metadata.get("native_filter_configuration") or []
    return [NativeFilter.parse(entry) for entry in raw if entry.get("type") != "DIVIDER"]


def layout_parents(position_json: str | None) -> dict[int, set[str]]:
    """For each chart the ids of all containers above it.

    :param position_json: JSON text of the dashboard.
    """
    layout = json.loads(position_json or "{}")
    above: dict[int, set[str]] = {}
    nodes = {key: node for key, node in layout.items() if isinstance(node, dict)}
    parent_of = {child: key for key, node in nodes.items() for child in node.get("children") or ()}
    for key, node in nodes.items():
        chart_id = (node.get("meta") or {}).get("chartId")
        if node.get("type") != "CHART" or chart_id is None:
            continue
        current: str | None = key
        parents = above.setdefault(int(chart_id), set())
        while (current := parent_of.get(current or "")) is not None and current not in parents:
            parents.add(current)
    return above


def in_scope(native_filter: NativeFilter, chart_id: int, parents: Mapping[int, set[str]]) -> bool:
    """Whether a filter applies to a chart.

    :param parents: Result of :func:`layout_parents`.
    """
    if chart_id in native_filter.excluded:
        return False
    if ROOT in native_filter.root_path:
        return True
    return bool(parents.get(chart_id, set()) & set(native_filter.root_path))


def merge_extra_form_data(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the values of several filters as the browser does: filters are collected, time range and grain replaced."""
    merged: dict[str, Any] = {}
    for part in parts:
        for key in _JOINED:
            if part.get(key):
                value = part[key]
                if isinstance(value, Mapping):
                    merged[key] = {**merged.get(key, {}), **value}
                else:
                    merged[key] = [*merged.get(key, []), *value]
        for key in (*_REPLACED, *_REPLACED_EXTRAS):
            if part.get(key) is not None:
                merged[key] = part[key]
    return merged


def apply_to_query(query: Mapping[str, Any], extra_form_data: Mapping[str, Any]) -> dict[str, Any]:
    """A chart's query with the values of the dashboard's filters.

    :param query: One entry of ``query_context.queries``.
    :param extra_form_data: Result of :func:`merge_extra_form_data`.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(query))
    simple, clauses = split_adhoc_filters(extra_form_data.get("adhoc_filters") or ())
    changed["filters"] = [
        *copy.deepcopy(list(extra_form_data.get("filters") or ())),
        *(changed.get("filters") or []),
        *simple,
    ]
    extras = dict(changed.get("extras") or {})
    for clause, expressions in clauses.items():
        existing = [extras[clause]] if extras.get(clause) else []
        extras[clause] = " AND ".join([*existing, *(f"({expression})" for expression in expressions)])
    for key, target in _REPLACED.items():
        if key in extra_form_data:
            changed[target] = extra_form_data[key]
    for key in _REPLACED_EXTRAS:
        if key in extra_form_data:
            extras[key] = extra_form_data[key]
    if extras or "extras" in changed:
        changed["extras"] = extras
    if extra_form_data.get("custom_form_data"):
        changed["custom_form_data"] = extra_form_data["custom_form_data"]
    return changed


def split_adhoc_filters(
    adhoc_filters: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Simple conditions become filters; SQL conditions become text for WHERE or HAVING.

    :returns: Filters, and ``{"where" | "having": [expressions]}``.
    """
    simple: list[dict[str, Any]] = []
    clauses: dict[str, list[str]] = {}
    for entry in adhoc_filters:
        clause = str(entry.get("clause") or "WHERE").lower()
        if entry.get("expressionType") == "SIMPLE" and clause == "where":
            condition = {"col": entry.get("subject"), "op": entry.get("operator")}
            if entry.get("operator") not in ("IS NULL", "IS NOT NULL"):
                condition["val"] = entry.get("comparator")
            simple.append(condition)
        elif entry.get("sqlExpression"):
            clauses.setdefault(clause, []).append(str(entry["sqlExpression"]))
    return simple, clauses


def chart_query(
    chart: Mapping[str, Any],
    dashboard_id: int,
    filters: Sequence[NativeFilter],
    parents: Mapping[int, set[str]],
) -> WarmQuery:
    """What the browser asks for one chart.

    :param chart: ``id``, ``slice_name`` and ``query_context`` (JSON text).
    :param dashboard_id: Id of the dashboard.
    :param filters: All filters of the dashboard, with their values.
    :param parents: Result of :func:`layout_parents`.
    :raises SupersetTerminalError: The chart was saved without a query context.
    """
    chart_id = int(chart["id"])
    if not chart.get("query_context"):
        raise SupersetTerminalError(
            f"The chart {chart.get('slice_name')!r} (id {chart_id}) has no query context: what it asks is unknown.",
            check='open and save it in Superset, or declare "query_context" for it in the imported bundle.',
        )
    context: dict[str, Any] = json.loads(chart["query_context"])
    applied = merge_extra_form_data([entry.extra_form_data for entry in filters if in_scope(entry, chart_id, parents)])
    body = {key: value for key, value in context.items() if key != "force"}
    body["queries"] = [apply_to_query(query, applied) for query in context.get("queries") or ()]
    body["result_format"] = "json"
    body["result_type"] = "full"
    # The server reads the chart's own cache timeout through slice_id.
    form_data = {**(context.get("form_data") or {}), "slice_id": chart_id, "dashboardId": dashboard_id}
    if applied:
        form_data["extra_form_data"] = applied
    body["form_data"] = form_data
    return WarmQuery(str(chart.get("slice_name") or chart_id), chart_id, "chart", body)


def option_query(
    native_filter: NativeFilter,
    filters: Sequence[NativeFilter],
    *,
    row_limit: int = _OPTION_DEFAULT_ROW_LIMIT,
) -> WarmQuery:
    """What the browser asks for the options of one filter.

    :param native_filter: One with ``has_options``.
    :param filters: All filters, for those this one depends on.
    :param row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT.
    """
    column = native_filter.column
    above = [entry.extra_form_data for entry in filters if entry.filter_id in native_filter.parents]
    query: dict[str, Any] = {
        "filters": [],
        "extras": {"having": "", "where": ""},
        "applied_time_extras": {},
        "columns": [column],
        "metrics": [],
        "orderby": [],
        "annotation_layers": [],
        "row_limit": row_limit,
        "series_limit": 0,
        "group_others_when_limit_reached": False,
        "order_desc": True,
        "url_params": {},
        "custom_params": {},
        "custom_form_data": {},
    }
    for key in ("time_range", "granularity_sqla"):
        if native_filter.raw.get(key):
            query[_REPLACED[key]] = native_filter.raw[key]
    if native_filter.kind == _RANGE:
        query["columns"] = []
        query["metrics"] = [_bound(column, function) for function in ("MIN", "MAX")]
    else:
        metric = native_filter.raw.get("sortMetric")
        ascending = bool(native_filter.controls.get("sortAscending", True))
        query["metrics"] = [metric] if metric else []
        query["orderby"] = [[metric or column, ascending]]
    own = {"adhoc_filters": native_filter.raw.get("adhoc_filters") or []}
    query = apply_to_query(query, merge_extra_form_data([own, *above]))
    body = {
        "datasource": {"id": native_filter.dataset_id, "type": "table"},
        "queries": [query],
        "result_format": "json",
        "result_type": "full",
    }
    return WarmQuery(f"options of filter {native_filter.name}", None, "filter_options", body)


def _bound(column: str | None, function: str) -> dict[str, Any]:
    return {
        "aggregate": function,
        "column": {"column_name": column, "id": 1 if function == "MIN" else 2, "type_generic": 0},
        "expressionType": "SIMPLE",
        "hasCustomLabel": True,
        "label": function.lower(),
    }


def with_first_option(native_filter: NativeFilter, options: Sequence[Mapping[str, Any]]) -> NativeFilter:
    """The filter with the value the browser gives it when it takes the first option.

    :param options: Rows of the option query, in the order of the server.
    """
    if not options or native_filter.column is None:
        return native_filter
    value = options[0].get(native_filter.column)
    condition = {"col": native_filter.column, "op": "IN", "val": [value]}
    if native_filter.controls.get("inverseSelection"):
        condition["op"] = "NOT IN"
    return NativeFilter(**{**native_filter.__dict__, "extra_form_data": {"filters": [condition]}})
