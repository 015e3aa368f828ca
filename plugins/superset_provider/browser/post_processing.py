"""The operations that the server applies to a query's rows, as a chart's builder asks for them.

Follows superset-frontend/packages/superset-ui-chart-controls/src/operators of Superset 6.1.0. Each function returns
an operation, or None where the chart wants none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from superset_provider.browser.query_object import as_list, column_label, metric_label, x_axis_label

Operation = dict[str, Any]
_COMPARISONS = ("values", "difference", "percentage", "ratio")
_PERCENTILES = re.compile(r"(\d+)/(\d+) percentiles")


def offset_metrics(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, str]:
    """``{"revenue__1 year ago": "revenue"}`` of all metrics and time comparisons."""
    return {
        f"{label}__{offset}": label
        for label in map(metric_label, query.get("metrics") or ())
        for offset in as_list(form_data.get("time_compare"))
    }


def is_time_comparison(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Whether the chart compares with another time."""
    return form_data.get("comparison_type") in _COMPARISONS and bool(offset_metrics(form_data, query))


def time_offsets(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> Any:
    """The times a series is compared with, as the chart has them."""
    return form_data.get("time_compare") if is_time_comparison(form_data, query) else []


def extra_metrics(form_data: Mapping[str, Any]) -> list[Any]:
    """The metric that the x axis is sorted by, where it is none of the chart's own."""
    wanted = next(iter(as_list(form_data.get("timeseries_limit_metric"))), None)
    sort = form_data.get("x_axis_sort")
    if form_data.get("groupby") or not wanted or metric_label(wanted) != sort:
        return []
    if any(metric_label(metric) == sort for metric in form_data.get("metrics") or ()):
        return []
    return [wanted]


def pivot(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> Operation | None:
    """A column a series."""
    metrics = (*as_list(query.get("metrics")), *extra_metrics(form_data))
    return _pivot(form_data, query, [metric_label(metric) for metric in metrics])


def comparing_pivot(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> Operation | None:
    """A column a series, and one a series and time that it is compared with."""
    if not is_time_comparison(form_data, query):
        return pivot(form_data, query)
    offsets = offset_metrics(form_data, query)
    return _pivot(form_data, query, [*offsets.values(), *offsets])


def _pivot(form_data: Mapping[str, Any], query: Mapping[str, Any], labels: list[Any]) -> Operation | None:
    axis = x_axis_label(form_data)
    if not axis or not labels:
        return None
    return {
        "operation": "pivot",
        "options": {
            "index": [axis],
            "columns": [column_label(column) for column in _series(query)],
            "aggregates": {label: {"operator": "mean"} for label in labels},
            "drop_missing_columns": not form_data.get("show_empty_columns"),
        },
    }


def _series(query: Mapping[str, Any]) -> list[Any]:
    columns = query.get("series_columns")
    return as_list(query.get("columns") if columns is None else columns)


def resample(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> Operation | None:
    """Fill or thin out the times."""
    method, rule = form_data.get("resample_method"), form_data.get("resample_rule")
    zero = method == "zerofill"
    if not method or not rule:
        return None
    options = {"method": "asfreq" if zero else method, "rule": rule, "fill_value": 0 if zero else None}
    return {"operation": "resample", "options": options}


def rolling(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> Operation | None:
    """A rolling window, or the cumulated sum."""
    if is_time_comparison(form_data, query):
        offsets = offset_metrics(form_data, query)
        labels = [*offsets.values(), *offsets]
    else:
        labels = [
            metric if isinstance(metric, str) else metric.get("label") for metric in as_list(query.get("metrics"))
        ]
    # A metric without a label of its own gets lost here.
    columns = {label: label for label in labels if label is not None}
    kind = form_data.get("rolling_type")
    if kind == "cumsum":
        return {"operation": "cum", "options": {"operator": "sum", "columns": columns}}
    if kind not in ("sum", "mean", "std"):
        return None
    options = {
        "rolling_type": kind,
        "window": _integer(form_data.get("rolling_periods"), 1),
        "min_periods": _integer(form_data.get("min_periods"), 0),
        "columns": columns,
    }
    return {"operation": "rolling", "options": options}


def compare(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> Operation | None:
    """The difference to another time in place of its values."""
    kind = form_data.get("comparison_type")
    if kind == "values" or not is_time_comparison(form_data, query):
        return None
    offsets = offset_metrics(form_data, query)
    options = {
        "source_columns": list(offsets.values()),
        "compare_columns": list(offsets),
        "compare_type": kind,
        "drop_original_columns": True,
    }
    return {"operation": "compare", "options": options}


def rename(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> Operation | None:
    """Short names of the series."""
    metrics = as_list(query.get("metrics"))
    columns = _series(query)
    offsets = as_list(form_data.get("time_compare"))
    comparing = is_time_comparison(form_data, query)
    truncating = bool(form_data.get("truncate_metric")) and (bool(columns) or len(offsets) > 1)
    if not metrics or not x_axis_label(form_data) or not (comparing or truncating):
        return None
    kind = form_data.get("comparison_type")
    renamed: dict[str, Any] = {}
    if comparing:
        for shifted, label in offset_metrics(form_data, query).items():
            offset = next((entry for entry in offsets if entry in shifted), None)
            key = shifted if kind == "values" else f"{kind}__{label}__{shifted}"
            renamed[key] = f"{label}, {offset}" if len(metrics) > 1 else offset
    if not renamed and kind not in ("difference", "percentage", "ratio") and len(metrics) == 1:
        renamed[metric_label(metrics[0])] = None
    if not renamed:
        return None
    return {"operation": "rename", "options": {"columns": renamed, "level": 0, "inplace": True}}


def series_operations(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> list[Operation | None]:
    """What all charts with lines or bars over an axis have in common."""
    return [
        comparing_pivot(form_data, query),
        resample(form_data, query),
        rolling(form_data, query),
        compare(form_data, query),
        rename(form_data, query),
    ]


def contribution(form_data: Mapping[str, Any], shifts: Any) -> Operation | None:
    """Shares in place of values."""
    mode = form_data.get("contributionMode")
    if not mode:
        return None
    return {"operation": "contribution", "options": {"orientation": mode, "time_shifts": shifts}}


def sort(form_data: Mapping[str, Any]) -> Operation | None:
    """The x axis sorted by its values or by a metric."""
    axis = x_axis_label(form_data)
    metrics = [metric_label(metric) for metric in (*as_list(form_data.get("metrics")), *extra_metrics(form_data))]
    by, ascending = form_data.get("x_axis_sort"), form_data.get("x_axis_sort_asc")
    if by is None or ascending is None or form_data.get("groupby") or by not in [axis, *metrics]:
        return None
    options = {"is_sort_index": True} if by == axis else {"by": by}
    return {"operation": "sort", "options": {**options, "ascending": ascending}}


def flatten() -> Operation:
    """One row of names above the columns."""
    return {"operation": "flatten"}


def prophet(form_data: Mapping[str, Any]) -> Operation | None:
    """A forecast."""
    axis = x_axis_label(form_data)
    if not form_data.get("forecastEnabled") or not axis:
        return None
    options = {
        "time_grain": form_data.get("time_grain_sqla"),
        "periods": _integer(form_data.get("forecastPeriods"), None),
        "confidence_interval": float(form_data.get("forecastInterval", 0)),
        "yearly_seasonality": form_data.get("forecastSeasonalityYearly"),
        "weekly_seasonality": form_data.get("forecastSeasonalityWeekly"),
        "daily_seasonality": form_data.get("forecastSeasonalityDaily"),
        "index": axis,
    }
    names = {
        "time_grain": "time_grain_sqla",
        "yearly_seasonality": "forecastSeasonalityYearly",
        "weekly_seasonality": "forecastSeasonalityWeekly",
        "daily_seasonality": "forecastSeasonalityDaily",
    }
    sent = {key: value for key, value in options.items() if key not in names or names[key] in form_data}
    return {"operation": "prophet", "options": sent}


def boxplot(form_data: Mapping[str, Any], query: Mapping[str, Any]) -> Operation | None:
    """Quartiles, whiskers and outliers.

    :raises ValueError: The chart's whiskers are of an unknown kind.
    """
    whiskers = form_data.get("whiskerOptions")
    if not whiskers:
        return None
    options: dict[str, Any] = {
        "whisker_type": "tukey",
        "groupby": [column_label(column) for column in as_list(form_data.get("groupby"))],
        "metrics": [metric_label(metric) for metric in as_list(query.get("metrics"))],
    }
    if whiskers == "Min/max (no outliers)":
        options["whisker_type"] = "min/max"
    elif whiskers != "Tukey":
        match = _PERCENTILES.match(whiskers)
        if match is None:
            raise ValueError(f"whiskers of the unknown kind {whiskers!r}")
        options |= {"whisker_type": "percentile", "percentiles": [int(match[1]), int(match[2])]}
    return {"operation": "boxplot", "options": options}


def histogram(form_data: Mapping[str, Any]) -> Operation:
    """Counts a bin."""
    options: dict[str, Any] = {
        "groupby": [column_label(column) for column in form_data.get("groupby") or ()],
        "bins": _integer(form_data.get("bins"), 5),
    }
    # A chart without a column has an empty list there.
    if not isinstance(form_data.get("column"), list):
        options["column"] = column_label(form_data.get("column"))
    options |= {name: form_data[name] for name in ("cumulative", "normalize") if name in form_data}
    return {"operation": "histogram", "options": options}


def rank(metric: Any, group_by: Any) -> Operation:
    """Ranks in place of values."""
    options = {"metric": metric} if group_by is None else {"metric": metric, "group_by": group_by}
    return {"operation": "rank", "options": options}


def share(labels: list[Any], renamed: list[str]) -> Operation:
    """Shares beside the values."""
    return {"operation": "contribution", "options": {"columns": labels, "rename_columns": renamed}}


def _integer(value: Any, default: int | None) -> int | None:
    match = re.match(r"\s*[+-]?\d+", "" if value is None else str(value))
    return int(match[0]) if match else default
