"""The filters of a dashboard: their values when it is opened, and the queries for what they offer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from superset_provider.browser.form_data import REPLACED, apply_to_query, merge_extra_form_data
from superset_provider.browser.scope import ROOT, in_scope

OPTION_ROW_LIMIT = 1000
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

    def applies_to(self, chart_id: int, parents: Mapping[int, set[str]]) -> bool:
        """Whether it filters this chart.

        :param parents: Result of :func:`layout_parents`.
        """
        return in_scope(chart_id, self.root_path, self.excluded, parents)


def parse_filters(json_metadata: str | None) -> list[NativeFilter]:
    """The filters of a dashboard in the order of its configuration, dividers left out.

    :param json_metadata: JSON text of the dashboard.
    """
    metadata = json.loads(json_metadata or "{}")
    raw = metadata.get("native_filter_configuration") or []
    return [NativeFilter.parse(entry) for entry in raw if entry.get("type") != "DIVIDER"]


def option_query(
    native_filter: NativeFilter,
    filters: Sequence[NativeFilter],
    *,
    row_limit: int = OPTION_ROW_LIMIT,
) -> dict[str, Any]:
    """What the browser asks for the options of one filter: the body of ``POST /api/v1/chart/data``.

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
            query[REPLACED[key]] = native_filter.raw[key]
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
    return {
        "datasource": {"id": native_filter.dataset_id, "type": "table"},
        "queries": [query],
        "result_format": "json",
        "result_type": "full",
    }


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
