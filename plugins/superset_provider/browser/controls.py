"""Default values of the controls that a query depends on, per kind of chart.

A dashboard fills in the defaults of a chart's control panel before it asks (``applyDefaultFormData`` in
superset-frontend/src/explore/store.ts), so a chart made by API, which lacks most controls, is asked with them. The
order of the names is the control panel's: it decides the order of columns and metrics that several controls
contribute to. Read out of the running frontend of Superset 6.1.0; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Controls:
    """The controls of one kind of chart.

    :param names: In the order of its control panel.
    :param defaults: Of those that have one.
    """

    names: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def fill(self, form_data: Mapping[str, Any]) -> dict[str, Any]:
        """The form data with defaults for what it lacks, the controls first."""
        filled: dict[str, Any] = {}
        for name in (*self.names, *self.defaults, *form_data):
            if name in form_data:
                filled[name] = form_data[name]
            elif name in self.defaults:
                filled[name] = self.defaults[name]
        return filled


def _controls(names: str, **defaults: Any) -> Controls:
    return Controls(tuple(names.split()), {"adhoc_filters": [], **defaults})


_SERIES = _controls(
    "x_axis metrics groupby timeseries_limit_metric",
    x_axis_sort_asc=True,
    groupby=[],
    group_others_when_limit_reached=False,
    order_desc=True,
    row_limit=10000,
    truncate_metric=True,
    show_empty_columns=True,
    comparison_type="values",
    annotation_layers=[],
    forecastEnabled=False,
    forecastPeriods=10,
    forecastInterval=0.8,
)
_HALF: dict[str, Any] = {
    "groupby": [],
    "adhoc_filters": [],
    "order_desc": True,
    "row_limit": 10000,
    "truncate_metric": True,
    "comparison_type": "values",
}
# A control of the second half hides the first half's one even when it is empty.
HALF_NAMES = (
    *["metrics", "limit", "timeseries_limit_metric", "rolling_type", "rolling_periods", "min_periods", "time_compare"],
    *["resample_rule", "resample_method"],
    *_HALF,
)

CONTROLS: Mapping[str, Controls] = {
    "big_number": _controls("x_axis metric", aggregation="LAST_VALUE", rolling_type="None"),
    "big_number_total": _controls("metric"),
    "box_plot": _controls(
        "columns groupby metrics",
        columns=[],
        temporal_columns_lookup={},
        groupby=[],
        row_limit=10000,
        whiskerOptions="Tukey",
    ),
    "bubble_v2": _controls("series entity x y size orderby", order_desc=True, row_limit=10000),
    "echarts_area": _SERIES,
    "echarts_timeseries": _SERIES,
    "echarts_timeseries_bar": _SERIES,
    "echarts_timeseries_line": _SERIES,
    "echarts_timeseries_scatter": _SERIES,
    "echarts_timeseries_smooth": _SERIES,
    "echarts_timeseries_step": _SERIES,
    "funnel": _controls("groupby metric", groupby=[], row_limit=10, sort_by_metric=True),
    "gantt_chart": _controls(
        "start_time end_time y_axis series tooltip_metrics", tooltip_columns=[], order_by_cols=[], row_limit=10000
    ),
    "gauge_chart": _controls("groupby metric", groupby=[], row_limit=10),
    "graph_chart": _controls("source target metric source_category target_category", row_limit=10000),
    "handlebars": _controls(
        "query_mode groupby metrics all_columns percent_metrics timeseries_limit_metric order_by_cols",
        groupby=[],
        all_columns=[],
        percent_metrics=[],
        order_by_cols=[],
        order_desc=True,
        row_limit=10000,
    ),
    "heatmap_v2": _controls("x_axis groupby metric", groupby=[], row_limit=10000, normalize_across="heatmap"),
    "histogram_v2": _controls(
        "column groupby", column=[], groupby=[], row_limit=10000, bins=5, normalize=False, cumulative=False
    ),
    "mixed_timeseries": _controls(
        "x_axis metrics groupby metrics_b groupby_b",
        **_HALF,
        **{f"{name}_b": value for name, value in _HALF.items()},
        annotation_layers=[],
    ),
    "pie": _controls("groupby metric", groupby=[], row_limit=100, sort_by_metric=True),
    "pivot_table_v2": _controls(
        "groupbyColumns groupbyRows metrics series_limit_metric",
        groupbyColumns=[],
        groupbyRows=[],
        temporal_columns_lookup={},
        row_limit=10000,
        order_desc=True,
    ),
    "radar": _controls("groupby metrics timeseries_limit_metric", groupby=[], row_limit=10),
    "sankey_v2": _controls("source target metric", source=[], target=[], row_limit=10000),
    "sunburst_v2": _controls("columns metric secondary_metric", columns=[], row_limit=10000),
    "table": _controls(
        "query_mode groupby metrics all_columns percent_metrics timeseries_limit_metric order_by_cols",
        groupby=[],
        temporal_columns_lookup={},
        all_columns=[],
        percent_metrics=[],
        order_by_cols=[],
        order_desc=True,
        server_pagination=False,
        server_page_length=10,
        row_limit=10000,
        percent_metric_calculation="row_limit",
        show_totals=False,
        comparison_type="values",
    ),
    "tree_chart": _controls("id parent name metric", row_limit=10000),
    "treemap_v2": _controls("groupby metric", groupby=[], row_limit=10000),
    "waterfall": _controls("x_axis groupby metric", groupby=[], row_limit=10000),
    "word_cloud": _controls("series metric", row_limit=100),
}
