"""Form data becomes a query: the part that all kinds of charts and filters share.

Follows superset-frontend/packages/superset-ui-core/src/query: buildQueryObject.ts, extractQueryFields.ts,
extractExtras.ts, processFilters.ts, processExtraFormData.ts, normalizeTimeColumn.ts and normalizeOrderBy.ts of
Superset 6.1.0. A key that JavaScript has as ``undefined`` is absent here, because it is never sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Fields of form data that hold metrics or columns under another name.
_ALIASES: Mapping[str, str] = {
    "metric": "metrics",
    "metric_2": "metrics",
    "secondary_metric": "metrics",
    "x": "metrics",
    "y": "metrics",
    "size": "metrics",
    "all_columns": "columns",
    "series": "groupby",
    "order_by_cols": "orderby",
}
# What a filter's value replaces in a query, and under which name.
REPLACED: Mapping[str, str] = {
    "granularity": "granularity",
    "granularity_sqla": "granularity",
    "time_column": "time_column",
    "time_grain": "time_grain",
    "time_range": "time_range",
    "time_compare": "time_compare",
    "visible_deckgl_layers": "visible_deckgl_layers",
}
REPLACED_EXTRAS = ("relative_start", "relative_end", "time_grain_sqla")
_OWN_FIELDS = frozenset(
    [
        "annotation_layers",
        "extra_form_data",
        "time_range",
        "since",
        "until",
        "row_limit",
        "row_offset",
        "order_desc",
        "limit",
        "timeseries_limit_metric",
        "granularity",
        "url_params",
        "custom_params",
        "series_columns",
        "series_limit",
        "series_limit_metric",
        "group_others_when_limit_reached",
        "query_mode",
    ]
)
_UNARY_OPERATORS = ("IS NULL", "IS NOT NULL")


def as_list(value: Any) -> list[Any]:
    """``ensureIsArray``: nothing is an empty list, one thing a list of it."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def column_label(column: Any) -> Any:
    """The name a column has in the result."""
    if not isinstance(column, Mapping):
        return column
    return column.get("label") or column.get("sqlExpression")


def metric_label(metric: Any) -> Any:
    """The name a metric has in the result."""
    if not isinstance(metric, Mapping):
        return metric
    if metric.get("label"):
        return metric["label"]
    if metric.get("expressionType") == "SIMPLE":
        column = metric.get("column") or {}
        return f"{metric.get('aggregate')}({column.get('columnName') or column.get('column_name')})"
    return metric.get("sqlExpression")


def unique(values: Iterable[Any], label: Callable[[Any], Any] = lambda value: value) -> list[Any]:
    """The first of each label, in their order."""
    found: dict[Any, Any] = {}
    for value in values:
        found.setdefault(label(value), value)
    return list(found.values())


def x_axis(form_data: Mapping[str, Any]) -> Any:
    """The column of a chart's x axis, None when it has none of its own."""
    column = form_data.get("x_axis")
    return column if isinstance(column, str) or _is_expression(column) else None


def x_axis_label(form_data: Mapping[str, Any]) -> Any:
    """What the x axis is called in the result; old charts have the time column there. None without any."""
    column = x_axis(form_data)
    if column is not None:
        return column_label(column)
    return "__timestamp" if form_data.get("granularity_sqla") or form_data.get("x_axis") else None


def base_axis(column: str, grain: Any) -> dict[str, Any]:
    """A time column that is cut to a grain."""
    axis = {"columnType": "BASE_AXIS", "sqlExpression": column, "label": column, "expressionType": "SQL"}
    return axis if grain is None else {"timeGrain": grain, **axis}


def build_query_object(form_data: Mapping[str, Any], query_fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The query that a chart's own builder starts from.

    :param form_data: Of the chart, with ``extra_form_data`` of the dashboard's filters.
    :param query_fields: Further aliases of fields, for example ``{"source": "columns"}``.
    """
    extra: dict[str, Any] = dict(form_data.get("extra_form_data") or {})
    appended = list(extra.pop("filters", None) or ())
    adhoc_filters = [*(form_data.get("adhoc_filters") or ()), *(extra.pop("adhoc_filters", None) or ())]
    custom_form_data = extra.pop("custom_form_data", {})
    columns, metrics, orderby = _query_fields(form_data, {**_ALIASES, **(query_fields or {})})
    filters, clauses = split_adhoc_filters(adhoc_filters, form_data.get("where"))
    query: dict[str, Any] = {name: form_data[name] for name in ("time_range", "since", "until") if form_data.get(name)}
    if form_data.get("granularity"):
        query["granularity"] = form_data["granularity"]
    else:
        _put(query, "granularity", form_data, "granularity_sqla")
    query["filters"] = [*appended, *filters]
    query["extras"] = dict(clauses)
    _put(query["extras"], "time_grain_sqla", form_data)
    query |= {"applied_time_extras": {}, "columns": columns}
    if metrics is not None:
        query["metrics"] = metrics
    if orderby is not None:
        query["orderby"] = orderby
    query["annotation_layers"] = form_data.get("annotation_layers", [])
    for name in ("row_limit", "row_offset"):
        number = _number(form_data.get(name))
        if number is not None:
            query[name] = number
    _put(query, "series_columns", form_data)
    limits = (form_data.get("series_limit"), _number(form_data.get("limit")))
    query["series_limit"] = next((limit for limit in limits if limit is not None), 0)
    series_metric = form_data.get("series_limit_metric")
    if not isinstance(series_metric, str) and not _is_metric(series_metric):
        series_metric = form_data.get("timeseries_limit_metric")
    if series_metric is not None:
        query["series_limit_metric"] = series_metric
    query["group_others_when_limit_reached"] = form_data.get("group_others_when_limit_reached") or False
    query["order_desc"] = form_data.get("order_desc", True)
    query["url_params"] = form_data.get("url_params") or {}
    query["custom_params"] = form_data.get("custom_params", {})
    for name, target in REPLACED.items():
        _put(query, target, extra, name)
    for name in REPLACED_EXTRAS:
        _put(query["extras"], name, extra)
    query["custom_form_data"] = custom_form_data
    return query


def split_adhoc_filters(
    adhoc_filters: Iterable[Mapping[str, Any]], where: str | None = None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Simple conditions become filters; SQL conditions become text for WHERE and HAVING.

    :param where: Free text of old charts.
    :returns: Filters, and ``{"having": text, "where": text}``.
    """
    simple: list[dict[str, Any]] = []
    clauses: dict[str, list[str]] = {"having": [], "where": [where] if where else []}
    for entry in adhoc_filters:
        in_where = entry.get("clause") == "WHERE"
        if entry.get("expressionType") != "SIMPLE":
            clauses["where" if in_where else "having"].append(str(entry.get("sqlExpression")))
        elif in_where:
            condition = {"col": entry.get("subject"), "op": entry.get("operator")}
            if entry.get("operator") not in _UNARY_OPERATORS and "comparator" in entry:
                condition["val"] = entry["comparator"]
            simple.append(condition)
    # A comment would swallow the closing bracket.
    bracketed = {
        clause: " AND ".join(f"({text}\n)" if "--" in text else f"({text})" for text in texts)
        for clause, texts in clauses.items()
    }
    return simple, bracketed


def normalize_time_column(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, Any]:
    """The query with the x axis marked as such, cut to the grain that the chart or a filter wants."""
    axis = x_axis(form_data)
    changed = dict(query)
    for index, column in enumerate(query.get("columns") or ()):
        if isinstance(column, str) and column == axis:
            marked = {**base_axis(column, None), "isColumnReference": True}
        elif _is_expression(column) and _is_expression(axis) and column["sqlExpression"] == axis["sqlExpression"]:
            marked = {"columnType": "BASE_AXIS", **column}
        else:
            continue
        extras = query.get("extras") or {}
        if "time_grain_sqla" in extras:
            marked = {"timeGrain": extras["time_grain_sqla"], **marked}
        changed["columns"] = [*query["columns"][:index], marked, *query["columns"][index + 1 :]]
        changed.pop("is_timeseries", None)
        break
    return changed


def normalize_order_by(query: Mapping[str, Any]) -> dict[str, Any]:
    """The query ordered by its series' metric, or by its first one, unless it says otherwise."""
    first = next(iter(query.get("orderby") or ()), None)
    if isinstance(first, list | tuple) and len(first) == 2 and first[0] and isinstance(first[1], bool):
        return dict(query)
    dropped = ("series_limit_metric", "legacy_order_by", "order_desc", "orderby")
    changed = {key: value for key, value in query.items() if key not in dropped}
    metric = query.get("series_limit_metric") or query.get("legacy_order_by")
    if not metric and query.get("metrics"):
        metric = query["metrics"][0]
    if metric:
        changed["orderby"] = [[metric, not query.get("order_desc")]]
    return changed


def _query_fields(form_data: Mapping[str, Any], aliases: Mapping[str, str]) -> tuple[list[Any], Any, Any]:
    mode = form_data.get("query_mode")
    found: dict[str, list[Any]] = {"columns": [], "metrics": [], "orderby": []}
    for name, value in form_data.items():
        kind = aliases.get(name, name)
        if name in _OWN_FIELDS or value is None or (mode == "aggregate" and kind == "columns"):
            continue
        if mode == "raw" and kind in ("groupby", "metrics"):
            continue
        kind = "columns" if kind == "groupby" else kind
        if kind in found:
            found[kind].extend(as_list(value))
    columns = unique((column for column in found["columns"] if column != ""), column_label)
    metrics = None if mode == "raw" else unique(found["metrics"], metric_label)
    orderby = [json.loads(entry) if isinstance(entry, str) else entry for entry in found["orderby"]]
    return columns, metrics, orderby or None


def _put(target: dict[str, Any], key: str, source: Mapping[str, Any], name: str | None = None) -> None:
    if (name or key) in source:
        target[key] = source[name or key]


def _is_expression(column: Any) -> bool:
    return (
        isinstance(column, Mapping)
        and "sqlExpression" in column
        and "label" in column
        and column.get("expressionType", "SQL") == "SQL"
    )


def _is_metric(metric: Any) -> bool:
    return isinstance(metric, Mapping) and metric.get("expressionType") in ("SIMPLE", "SQL")


def _number(value: Any) -> float | int | None:
    """``Number(value)``, None where that is nothing or not a number."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value) if value.strip() else 0
        except ValueError:
            return None
    return int(value) if float(value).is_integer() else value
