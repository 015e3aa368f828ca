"""A chart's parameters become the body that a browser sends for it.

Every kind of chart has a builder of its own in the frontend (``buildQuery.ts`` of superset-frontend/plugins, Superset
6.1.0); a dashboard uses it, never the query context that was saved with the chart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from superset_provider.browser import post_processing as post
from superset_provider.browser.controls import CONTROLS, HALF_NAMES
from superset_provider.browser.query_object import (
    as_list,
    base_axis,
    build_query_object,
    column_label,
    metric_label,
    normalize_order_by,
    normalize_time_column,
    unique,
    x_axis,
)
from superset_provider.browser.table import build_table_queries

FormData = Mapping[str, Any]
Query = dict[str, Any]
Builder = Callable[[FormData], list[Query]]

# They ask another address, whose answers are cached under other keys.
LEGACY = frozenset(
    [
        "bubble",
        "bullet",
        "cal_heatmap",
        "chord",
        "compare",
        "country_map",
        "deck_geojson",
        "deck_multi",
        "horizon",
        "mapbox",
        "paired_ttest",
        "para",
        "partition",
        "rose",
        "time_pivot",
        "time_table",
        "world_map",
    ]
)


_NO_LIMIT = (0, "0", "")


def is_known(viz_type: str | None) -> bool:
    """Whether the query of this kind of chart can be built from its parameters."""
    return viz_type in _BUILDERS


def build_query_context(
    params: Mapping[str, Any], *, dataset_id: int, viz_type: str | None = None, chart_id: int | None = None
) -> dict[str, Any]:
    """The body of ``POST /api/v1/chart/data`` for a chart, as a browser builds it.

    :param params: The chart's ``params``, decoded; with ``extra_form_data`` where a dashboard's filters apply.
    :param dataset_id: Id of the dataset.
    :param viz_type: Kind of chart; default: the one in ``params``.
    :param chart_id: Id of the chart; the server reads its cache timeout through it.
    :returns: ``datasource``, ``queries``, ``form_data``, ``force``, ``result_format`` and ``result_type``.
    :raises ValueError: The kind of chart is not known, see :func:`is_known`, or its parameters contradict themselves.
    """
    kind = str(viz_type or params.get("viz_type"))
    if kind not in _BUILDERS:
        raise ValueError(f"no builder for charts of the kind {kind!r}")
    # The frontend gets the parameters in the order of their names.
    sorted_params = dict(sorted(params.items()))
    form_data = CONTROLS[kind].fill({**sorted_params, "viz_type": kind, "datasource": f"{dataset_id}__table"})
    if chart_id is not None:
        form_data["slice_id"] = chart_id
    queries = [_finished(form_data, query) for query in _BUILDERS[kind](form_data)]
    # The body must not share anything with the parameters; what JSON cannot hold must fail here.
    body: dict[str, Any] = json.loads(
        json.dumps(
            {
                "datasource": {"id": dataset_id, "type": "table"},
                "force": False,
                "queries": queries,
                "form_data": {**form_data, "force": False, "result_format": "json", "result_type": "full"},
                "result_format": "json",
                "result_type": "full",
            }
        )
    )
    return body


def _finished(form_data: FormData, query: Query) -> Query:
    if "post_processing" in query:
        query = {**query, "post_processing": [entry for entry in query["post_processing"] if entry]}
    return normalize_time_column(form_data, query) if x_axis(form_data) is not None else query


def _axis(form_data: FormData) -> list[Any]:
    return as_list(x_axis(form_data))


def _plain(form_data: FormData) -> list[Query]:
    return [build_query_object(form_data)]


def _sorted_by_metric(form_data: FormData) -> list[Query]:
    query = build_query_object(form_data)
    if form_data.get("sort_by_metric"):
        query["orderby"] = [[form_data.get("metric"), False]]
    return [query]


def _pie(form_data: FormData) -> list[Query]:
    label = metric_label(form_data.get("metric"))
    (query,) = _sorted_by_metric(form_data)
    return [{**query, "post_processing": [post.share([label], [f"{label}__contribution"])]}]


def _limited(query: Query, row_limit: Any, orderby: list[list[Any]], unlimited: tuple[Any, ...] = (0,)) -> list[Query]:
    """Order only what is cut off."""
    return [query if row_limit is None or row_limit in unlimited or not orderby else {**query, "orderby": orderby}]


def _by_metric(form_data: FormData) -> list[list[Any]]:
    metric = form_data.get("metric")
    return [[metric, False]] if form_data.get("sort_by_metric") and metric else []


def _names(*columns: Any) -> list[list[Any]]:
    return [[column, True] for column in columns if isinstance(column, str) and column]


def _treemap(form_data: FormData) -> list[Query]:
    orderby = [*_by_metric(form_data), *_names(*(form_data.get("groupby") or ()))]
    return _limited(build_query_object(form_data), form_data.get("row_limit"), orderby, _NO_LIMIT)


def _word_cloud(form_data: FormData) -> list[Query]:
    series = form_data.get("series")
    orderby = [*_by_metric(form_data), *([[series, True]] if series else [])]
    return _limited(build_query_object(form_data), form_data.get("row_limit"), orderby)


def _sankey(form_data: FormData) -> list[Query]:
    ends = [form_data.get("source"), form_data.get("target")]
    query = {**build_query_object(form_data), "groupby": ends}
    orderby = [*_by_metric(form_data), *([end, True] for end in ends if end not in (None, ""))]
    return _limited(query, form_data.get("row_limit"), orderby)


def _columns_of(*names: str, order: tuple[str, ...]) -> Builder:
    def build(form_data: FormData) -> list[Query]:
        query = build_query_object(form_data, dict.fromkeys(names, "columns"))
        return _limited(query, form_data.get("row_limit"), _names(*(form_data.get(name) for name in order)), _NO_LIMIT)

    return build


def _radar(form_data: FormData) -> list[Query]:
    query = build_query_object(form_data)
    metrics = query.get("metrics") or []
    first = next(iter(as_list(form_data.get("series_limit_metric"))), None) or next(iter(metrics), None)
    return [{**query, "orderby": [[first, False]] if first else query.get("orderby", [])}]


def _bubble(form_data: FormData) -> list[Query]:
    query = build_query_object(form_data)
    columns = [*as_list(form_data.get("entity")), *as_list(form_data.get("series"))]
    query |= {"columns": columns}
    orderby = query.pop("orderby", None)
    if orderby:
        query["orderby"] = [[orderby[0], not query.get("order_desc")]]
    return [query]


def _waterfall(form_data: FormData) -> list[Query]:
    axis = form_data.get("x_axis") or form_data.get("granularity_sqla")
    columns = [*as_list(axis), *as_list(form_data.get("groupby"))]
    return [{**build_query_object(form_data), "columns": columns, "orderby": [[column, True] for column in columns]}]


def _heatmap(form_data: FormData) -> list[Query]:
    metric = metric_label(form_data.get("metric"))
    axis = _axis(form_data) or (["__timestamp"] if form_data.get("granularity_sqla") else [])
    columns = [*axis, *as_list(form_data.get("groupby"))]
    orderby = [
        [metric if "value" in how else next(iter(columns[index:]), None), "asc" in how]
        for index, how in enumerate((form_data.get("sort_x_axis"), form_data.get("sort_y_axis")))
        if how
    ]
    across = {"x": form_data.get("x_axis"), "y": form_data.get("groupby")}.get(str(form_data.get("normalize_across")))
    if isinstance(across, list):
        # A list has neither label nor expression.
        across = None
    operation = post.rank(metric, column_label(across))
    return [{**build_query_object(form_data), "columns": columns, "orderby": orderby, "post_processing": [operation]}]


def _histogram(form_data: FormData) -> list[Query]:
    query = build_query_object(form_data)
    query.pop("metrics", None)
    columns = [*(form_data.get("groupby") or ()), form_data.get("column")]
    return [{**query, "columns": columns, "post_processing": [post.histogram(form_data)]}]


def _box_plot(form_data: FormData) -> list[Query]:
    query = build_query_object(form_data)
    grain, temporal = form_data.get("time_grain_sqla"), form_data.get("temporal_columns_lookup") or {}
    columns = as_list(form_data.get("columns"))
    if not columns and form_data.get("granularity_sqla"):
        columns = [form_data["granularity_sqla"]]
    query["columns"] = [
        *(
            base_axis(column, grain) if isinstance(column, str) and grain and temporal.get(column) else column
            for column in columns
        ),
        *as_list(form_data.get("groupby")),
    ]
    query["series_columns"] = form_data.get("groupby")
    return [{**query, "post_processing": [post.boxplot(form_data, query)]}]


def _pivot_table(form_data: FormData) -> list[Query]:
    extra = form_data.get("extra_form_data") or {}
    grain = extra.get("time_grain_sqla") or form_data.get("time_grain_sqla")
    temporal = form_data.get("temporal_columns_lookup") or {}
    # A set in the frontend: expressions are equal only when they are the same object.
    columns = unique(
        [*as_list(form_data.get("groupbyColumns")), *as_list(form_data.get("groupbyRows"))],
        lambda column: column if isinstance(column, str) else id(column),
    )
    query = build_query_object(form_data)
    query["columns"] = [
        base_axis(column, grain)
        if isinstance(column, str) and grain and (temporal.get(column) or form_data.get("granularity_sqla") == column)
        else column
        for column in columns
    ]
    first = query.get("series_limit_metric") or next(iter(query.get("metrics") or ()), None)
    query.pop("orderby", None)
    return [{**query, "orderby": [[first, not query.get("order_desc")]]} if first else query]


def _gantt(form_data: FormData) -> list[Query]:
    orderby = [json.loads(entry) for entry in as_list(form_data.get("order_by_cols"))]
    series = as_list(form_data.get("series"))
    columns = [
        form_data.get("start_time"),
        form_data.get("end_time"),
        form_data.get("y_axis"),
        *series,
        *as_list(form_data.get("tooltip_columns")),
        *(entry[0] for entry in orderby),
    ]
    return [
        {
            **build_query_object(form_data),
            "columns": unique(columns, lambda column: column if isinstance(column, str) else id(column)),
            "metrics": as_list(form_data.get("tooltip_metrics")),
            "orderby": orderby,
            "series_columns": series,
        }
    ]


def _big_number(form_data: FormData) -> list[Query]:
    base = build_query_object(form_data)
    axis = _axis(form_data)
    raw = form_data.get("aggregation") == "raw"
    trend: Query = {**base, "columns": axis}
    if not axis:
        trend["is_timeseries"] = True
    trend["post_processing"] = [
        post.pivot(form_data, base),
        post.resample(form_data, base),
        post.rolling(form_data, base),
        post.flatten(),
    ]
    total: Query = {**base, "columns": [], "is_timeseries": False, "post_processing": []}
    return [trend, total] if raw else [trend]


def _timeseries(form_data: FormData) -> list[Query]:
    base = build_query_object(form_data)
    axis = _axis(form_data)
    offsets = post.time_offsets(form_data, base)
    query: Query = {
        **base,
        "metrics": [*(base.get("metrics") or ()), *post.extra_metrics(form_data)],
        "columns": [*axis, *as_list(form_data.get("groupby"))],
        "series_columns": form_data.get("groupby"),
        "time_offsets": offsets,
        "post_processing": [
            *post.series_operations(form_data, base),
            post.contribution(form_data, offsets),
            post.sort(form_data),
            post.flatten(),
            post.prophet(form_data),
        ],
    }
    if not axis:
        query["is_timeseries"] = True
    query.pop("orderby", None)
    orderby = normalize_order_by(base).get("orderby")
    return [query if orderby is None else {**query, "orderby": orderby}]


def _mixed_half(form_data: FormData, axis: list[Any]) -> Query:
    base = build_query_object(form_data)
    base |= {"columns": [*axis, *as_list(form_data.get("groupby"))], "series_columns": form_data.get("groupby")}
    if not axis:
        base["is_timeseries"] = True
    query: Query = {
        **base,
        "time_offsets": post.time_offsets(form_data, base),
        "post_processing": [
            *post.series_operations(form_data, base),
            post.flatten(),
        ],
    }
    return normalize_order_by(query)


def _mixed(form_data: FormData) -> list[Query]:
    axis = _axis(form_data)
    first = {name: value for name, value in form_data.items() if not name.endswith("_b")}
    second = {name.removesuffix("_b"): value for name, value in form_data.items() if name.endswith("_b")}
    hidden = {*second, *HALF_NAMES}
    second |= {name: value for name, value in first.items() if name not in hidden}
    return [_mixed_half(first, axis), _mixed_half(second, axis)]


def _handlebars(form_data: FormData) -> list[Query]:
    query = build_query_object(form_data)
    orderby = normalize_order_by(query).get("orderby")
    query.pop("orderby", None)
    return [query if orderby is None else {**query, "orderby": orderby}]


_BUILDERS: Mapping[str, Builder] = {
    "big_number": _big_number,
    "big_number_total": _plain,
    "box_plot": _box_plot,
    "bubble_v2": _bubble,
    "echarts_area": _timeseries,
    "echarts_timeseries": _timeseries,
    "echarts_timeseries_bar": _timeseries,
    "echarts_timeseries_line": _timeseries,
    "echarts_timeseries_scatter": _timeseries,
    "echarts_timeseries_smooth": _timeseries,
    "echarts_timeseries_step": _timeseries,
    "funnel": _sorted_by_metric,
    "gantt_chart": _gantt,
    "gauge_chart": _sorted_by_metric,
    "graph_chart": _columns_of(
        "source",
        "target",
        "source_category",
        "target_category",
        order=("source", "target", "source_category", "target_category"),
    ),
    "handlebars": _handlebars,
    "heatmap_v2": _heatmap,
    "histogram_v2": _histogram,
    "mixed_timeseries": _mixed,
    "pie": _pie,
    "pivot_table_v2": _pivot_table,
    "radar": _radar,
    "sankey_v2": _sankey,
    "sunburst_v2": _sorted_by_metric,
    "table": build_table_queries,
    "tree_chart": _columns_of("id", "parent", "name", order=("parent", "id", "name")),
    "treemap_v2": _treemap,
    "waterfall": _waterfall,
    "word_cloud": _word_cloud,
}
