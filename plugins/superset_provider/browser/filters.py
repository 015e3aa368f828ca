"""The native filters of a dashboard: the values they have when it is opened, and the queries for what they offer.

Follows superset-frontend/src/dashboard/components/nativeFilters (utils.ts, FilterBar) and src/filters/components of
Superset 6.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from superset_provider.browser.query_object import as_list, build_query_object

OPTION_ROW_LIMIT = 1000
"""Superset's default of NATIVE_FILTER_DEFAULT_ROW_LIMIT."""
SELECT, RANGE, TIME = "filter_select", "filter_range", "filter_time"
# What these offer comes from the dataset's metadata: the page asks, nothing is queried and nothing cached.
_UNQUERIED: Mapping[str, str] = {"filter_timegrain": "time_grain_sqla", "filter_timecolumn": "granularity_sqla"}

Mask = Mapping[str, Any]


@dataclass(frozen=True)
class NativeFilter:
    """A filter of a dashboard.

    :param mask: What it gives to charts as soon as the dashboard is opened: ``extraFormData``.
    :param state: Its ``filterState``; ``value`` is missing where nobody chose any.
    :param parents: Ids of the filters that limit what it offers.
    :param shown: The first option, where its control shows that without giving it to the charts.
    """

    filter_id: str
    name: str
    kind: str
    dataset_id: int | None
    column: str | None
    mask: Mask
    state: Mapping[str, Any]
    scope: Mapping[str, Any] | None
    parents: tuple[str, ...]
    controls: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False)
    shown: Any = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any], chosen: Mapping[str, Any] | None = None) -> NativeFilter:
        """Read an entry of ``json_metadata.native_filter_configuration``.

        :param chosen: What a permalink's ``dataMask`` has for it.
        """
        target: Mapping[str, Any] = next(iter(raw.get("targets") or ()), {}) or {}
        chosen = {**(raw.get("defaultDataMask") or {}), **(chosen or {})}
        return cls(
            filter_id=str(raw.get("id")),
            name=str(raw.get("name") or raw.get("id")),
            kind=str(raw.get("filterType") or ""),
            dataset_id=target.get("datasetId"),
            column=(target.get("column") or {}).get("name"),
            mask=chosen.get("extraFormData") or {},
            state=chosen.get("filterState") or {},
            scope=raw.get("scope"),
            parents=tuple(raw.get("cascadeParentIds") or ()),
            controls=raw.get("controlValues") or {},
            raw=raw,
        )

    @property
    def has_value(self) -> bool:
        """Whether a value was saved or chosen."""
        return "value" in self.state

    @property
    def takes_first_option(self) -> bool:
        """Whether the browser takes the first option, because there is no value."""
        return self.kind == SELECT and bool(self.controls.get("defaultToFirstItem")) and not self.has_value

    @property
    def holds_back(self) -> bool:
        """Whether the whole dashboard waits for its value (``useNativeFilters`` in FilterBar/state.ts)."""
        return self.raw.get("requiredFirst") is True and self.kind != TIME and not self.has_value

    @property
    def has_options(self) -> bool:
        """Whether opening the dashboard queries the dataset for what it offers."""
        return self.kind in (SELECT, RANGE) and bool(self.dataset_id)

    @property
    def settled_mask(self) -> Mask:
        """What it gives to charts once its control is drawn: the control works its value out again.

        Only an empty mask is replaced at once, and that of a filter the dashboard waits for (``FilterBar/index.tsx``).
        """
        if not self.has_value or (self.mask and not self.raw.get("requiredFirst")):
            return self.mask
        return self.mask_of(self.state["value"]) or self.mask

    @property
    def drawn_mask(self) -> Mask:
        """What it gives to filters that depend on it, once its control is drawn."""
        if self.shown is not None:
            return self.mask_of(self.shown)
        return self.mask_of(self.state["value"]) if self.has_value else self.mask

    def mask_of(self, value: Any) -> Mask:
        """What a value means for charts and dependent filters."""
        if self.kind == SELECT:
            return self._selected(value)
        if self.kind == RANGE:
            return _between(self.column, *(value or (None, None))[:2])
        first = next(iter(as_list(value)), None)
        if self.kind == TIME:
            return {"time_range": first} if first else {}
        return {_UNQUERIED[self.kind]: first} if first and self.kind in _UNQUERIED else {}

    def _selected(self, value: Any) -> Mask:
        inverse = bool(self.controls.get("inverseSelection"))
        if not value:
            if self.controls.get("enableEmptyFilter") and not inverse:
                return {"adhoc_filters": [{"expressionType": "SQL", "clause": "WHERE", "sqlExpression": "1 = 0"}]}
            return {}
        excluding = inverse and self.state.get("excludeFilterValues", True)
        return {"filters": [{"col": self.column, "op": "NOT IN" if excluding else "IN", "val": value}]}

    def with_options(self, rows: Sequence[Mapping[str, Any]]) -> NativeFilter:
        """The filter after the browser has taken its first option; itself when it offers nothing.

        Without ``requiredFirst`` the control shows the option, and the charts wait for a click on "Apply filters".

        :param rows: Of the first query for its options, in the order of the server.
        """
        if not rows or self.column is None or self.column not in rows[0]:
            return self
        value = [rows[0][self.column]]
        if not self.raw.get("requiredFirst"):
            return replace(self, shown=value)
        return replace(self, mask=self.mask_of(value), state={**self.state, "value": value})


def option_context(
    entry: NativeFilter,
    dependencies: Mapping[str, Any],
    *,
    dashboard_id: int,
    url_params: Mapping[str, str],
    row_limit: int = OPTION_ROW_LIMIT,
) -> dict[str, Any]:
    """What the browser asks for the options of one filter: the body of ``POST /api/v1/chart/data``.

    :param entry: One with ``has_options``.
    :param dependencies: Joined masks of the filters above it.
    :param row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT.
    """
    raw = entry.raw
    form_data: dict[str, Any] = {
        **entry.controls,
        "datasource": f"{entry.dataset_id}__table",
        **({"groupby": [entry.column]} if entry.column else {}),
        **({"sortMetric": raw["sortMetric"]} if raw.get("sortMetric") else {}),
        "adhoc_filters": raw.get("adhoc_filters") or [],
        "extra_form_data": dict(dependencies),
        **({"granularity_sqla": raw["granularity_sqla"]} if "granularity_sqla" in raw else {}),
        "row_limit": row_limit,
        "time_range": raw.get("time_range"),
        "url_params": dict(url_params),
        "viz_type": entry.kind,
        "dashboardId": dashboard_id,
        "native_filter_id": entry.filter_id,
    }
    query = build_query_object(form_data)
    if entry.kind == RANGE:
        query |= {"columns": [], "metrics": [_bound(entry.column, name) for name in ("min", "max")]}
    else:
        metric = form_data.get("sortMetric")
        ascending = bool(form_data.get("sortAscending", True))
        by = [metric] if metric else query["columns"]
        query |= {"metrics": [metric] if metric else [], "orderby": [[column, ascending] for column in by]}
    return {
        "datasource": {"id": entry.dataset_id, "type": "table"},
        "queries": [query],
        "form_data": form_data,
        "result_format": "json",
        "result_type": "full",
    }


def _bound(column: str | None, name: str) -> dict[str, Any]:
    return {
        "aggregate": name.upper(),
        "column": {"column_name": column or "", "id": 1 if name == "min" else 2, "type_generic": 0},
        "expressionType": "SIMPLE",
        "hasCustomLabel": True,
        "label": name,
    }


def _between(column: str | None, lower: Any, upper: Any) -> Mask:
    if lower is not None and lower == upper:
        return {"filters": [{"col": column, "op": "==", "val": upper}]}
    bounds = [(">=", lower), ("<=", upper)]
    filters = [{"col": column, "op": operator, "val": bound} for operator, bound in bounds if bound is not None]
    return {"filters": filters} if filters else {}
