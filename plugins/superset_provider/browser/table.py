"""The queries of a table: rows, and where wanted their number, totals and the base of percentages.

Follows superset-frontend/plugins/plugin-chart-table/src/buildQuery.ts of Superset 6.1.0, as for a person who neither
sorted nor searched nor turned a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from superset_provider.browser import post_processing as post
from superset_provider.browser.query_object import as_list, base_axis, build_query_object, metric_label, unique

_WHOLE = {"columns": [], "row_limit": 0, "row_offset": 0, "post_processing": []}


def build_table_queries(form_data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All queries of one table, the rows first.

    :param form_data: Of the chart, with its controls' defaults.
    """
    mode = form_data.get("query_mode")
    if mode not in ("aggregate", "raw"):
        mode = "raw" if form_data.get("all_columns") else "aggregate"
    query = build_query_object(form_data)
    offsets = _offsets(form_data, query)
    query["post_processing"] = []
    if mode == "aggregate":
        query = _aggregated(form_data, query, offsets)
    query = {"orderby": [], **query, "time_offsets": offsets}
    if not form_data.get("server_pagination"):
        return [query, *_further(form_data, query, mode)]
    query |= {"row_limit": form_data.get("server_page_length"), "row_offset": 0}
    count = {**query, "time_offsets": [], "post_processing": [], "is_rowcount": True}
    count["row_limit"] = int(form_data.get("row_limit") or 0)
    return [query, count, *_further(form_data, query, mode)]


def _aggregated(form_data: Mapping[str, Any], query: dict[str, Any], offsets: list[Any]) -> dict[str, Any]:
    metrics = query.get("metrics") or []
    operations: list[Any] = []
    orderby = query.get("orderby", [])
    sort_by = next(iter(as_list(form_data.get("timeseries_limit_metric"))), None)
    if sort_by:
        orderby = [[sort_by, not form_data.get("order_desc", False)]]
    elif metrics:
        orderby = [[metrics[0], False]]
    percent = form_data.get("percent_metrics")
    if percent:
        shifts = ["", *(f"__{offset}" for offset in offsets)] if post.is_time_comparison(form_data, query) else [""]
        labels = unique(f"{metric_label(metric)}{shift}" for metric in percent for shift in shifts)
        metrics = unique([*metrics, *percent], metric_label)
        operations.append(post.share(labels, [f"%{label}" for label in labels]))
    if offsets:
        operations.append(post.compare(form_data, query))
    columns = _columns(form_data, query["columns"])
    return {**query, "columns": columns, "metrics": metrics, "orderby": orderby, "post_processing": operations}


def _further(form_data: Mapping[str, Any], query: dict[str, Any], mode: str) -> list[dict[str, Any]]:
    further: list[dict[str, Any]] = []
    percent = form_data.get("percent_metrics")
    if percent and form_data.get("percent_metric_calculation", "row_limit") == "all_records":
        further.append({**query, **_WHOLE, "metrics": percent, "orderby": [], "is_timeseries": False})
    if query.get("metrics") and form_data.get("show_totals") and mode == "aggregate":
        totals = {**query, **_WHOLE}
        del totals["orderby"], totals["order_desc"]
        further.append(totals)
    return further


def _offsets(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> list[Any]:
    offsets: list[Any] = []
    if post.is_time_comparison(form_data, query):
        wanted = as_list(form_data.get("time_compare"))
        offsets = [entry for entry in wanted if entry not in ("custom", "inherit")]
        offsets += [form_data.get("start_date_offset")] if "custom" in wanted else []
        offsets += ["inherit"] if "inherit" in wanted else []
    compared = (form_data.get("extra_form_data") or {}).get("time_compare")
    return [compared] if compared and compared not in offsets else offsets


def _columns(form_data: Mapping[str, Any], columns: list[Any]) -> list[Any]:
    """The first time column cut to the grain, in front of the others."""
    extra = form_data.get("extra_form_data") or {}
    grain = extra.get("time_grain_sqla") or form_data.get("time_grain_sqla")
    temporal = form_data.get("temporal_columns_lookup") or {}
    for index, column in enumerate(columns):
        if isinstance(column, str) and grain and temporal.get(column):
            return [base_axis(column, grain), *columns[:index], *columns[index + 1 :]]
    return columns
