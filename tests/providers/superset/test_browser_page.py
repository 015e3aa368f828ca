"""What a page asks, worked out from its configuration; that a real browser asks the same is proven beside this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superset_provider.browser.filters import NativeFilter
from superset_provider.browser.form_data import apply_to_query, merge_extra_form_data, with_time_range
from superset_provider.browser.page import DashboardPage, PageQuery
from superset_provider.browser.scope import Layout

REGION = {"col": "region", "op": "IN", "val": ["EU", "US"]}
OWN = {"expressionType": "SIMPLE", "clause": "WHERE", "subject": "rev", "operator": ">", "comparator": 5}
EVERYWHERE = {"rootPath": ["ROOT_ID"], "excluded": []}
FIRST = {"defaultToFirstItem": True}
# A tab with chart 1, a second tab with chart 2 in a row; chart 3 is not placed.
LAYOUT = json.dumps(
    {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["TABS-1"]},
        "TABS-1": {"type": "TABS", "id": "TABS-1", "children": ["TAB-a", "TAB-b"]},
        "TAB-a": {"type": "TAB", "id": "TAB-a", "children": ["CHART-1"]},
        "TAB-b": {"type": "TAB", "id": "TAB-b", "children": ["ROW-1"]},
        "ROW-1": {"type": "ROW", "id": "ROW-1", "children": ["CHART-2"]},
        "CHART-1": {"type": "CHART", "id": "CHART-1", "children": [], "meta": {"chartId": 1}},
        "CHART-2": {"type": "CHART", "id": "CHART-2", "children": [], "meta": {"chartId": 2}},
    }
)


def a_filter(name: str = "Region", column: str = "region", **changes: Any) -> dict[str, Any]:
    return {
        "id": f"NATIVE_FILTER-{name}",
        "name": name,
        "type": "NATIVE_FILTER",
        "filterType": "filter_select",
        "targets": [{"datasetId": 7, "column": {"name": column}}],
        "defaultDataMask": {"extraFormData": {"filters": [REGION]}, "filterState": {"value": ["EU", "US"]}},
        "scope": EVERYWHERE,
        "controlValues": {},
        "cascadeParentIds": [],
        **changes,
    }


def a_chart(chart_id: int = 1, kind: str = "pie", **params: Any) -> dict[str, Any]:
    form_data = {"datasource": "7__table", "groupby": ["region"], "metric": "count", **params}
    return {"id": chart_id, "slice_name": f"Chart {chart_id}", "viz_type": kind, "params": json.dumps(form_data)}


def a_page(*filters: Mapping[str, Any], charts: Any = None, **options: Any) -> DashboardPage:
    metadata = json.dumps({"native_filter_configuration": list(filters)})
    dashboard = {"id": 5, "position_json": LAYOUT, "json_metadata": metadata}
    return DashboardPage.parse(dashboard, [a_chart()] if charts is None else charts, [], **options)


def due_charts(page: DashboardPage) -> list[PageQuery]:
    return [query for query in page.due() if query.kind == "chart"]


def first_query(page: DashboardPage, *, kind: str = "chart") -> dict[str, Any]:
    query: dict[str, Any] = next(query.body["queries"][0] for query in page.due() if query.kind == kind)
    return query


def test_the_dashboards_filters_stand_in_front_of_the_charts_own() -> None:
    page = a_page(a_filter(), charts=[a_chart(adhoc_filters=[OWN])])
    assert first_query(page)["filters"] == [REGION, {"col": "rev", "op": ">", "val": 5}]


def test_several_filters_are_joined_in_the_order_of_the_dashboard() -> None:
    city = {"col": "city", "op": "IN", "val": ["Bonn"]}
    parts = [{"filters": [REGION], "time_range": "Last week"}, {"filters": [city]}, {"time_range": "Last day"}]
    assert merge_extra_form_data(parts) == {"filters": [REGION, city], "time_range": "Last day"}


MASKS = st.fixed_dictionaries(
    {},
    optional={
        "filters": st.lists(st.sampled_from([REGION, {"col": "a", "op": "==", "val": 1}]), max_size=3),
        "time_range": st.sampled_from(["Last day", "No filter"]),
        "time_grain_sqla": st.sampled_from(["P1D", None]),
        "unknown": st.just(1),
    },
)


@given(st.lists(MASKS, max_size=4), st.integers(0, 4))
def test_filters_may_be_joined_in_any_grouping_but_only_in_their_order(parts: list[Any], cut: int) -> None:
    whole = merge_extra_form_data(parts)
    assert merge_extra_form_data([merge_extra_form_data(parts[:cut]), merge_extra_form_data(parts[cut:])]) == whole
    assert whole.get("filters", []) == [entry for part in parts for entry in part.get("filters", ())]


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (EVERYWHERE, [1, 2, 3]),
        ({"rootPath": ["ROOT_ID"], "excluded": [1]}, [2, 3]),
        ({"rootPath": ["TAB-a"], "excluded": []}, [1, 3]),
        ({"rootPath": ["TAB-b"], "excluded": []}, [2]),
        ({"rootPath": ["TAB-b", "TAB-a"], "excluded": [2]}, [1, 3]),
        ({"rootPath": ["ROOT_ID"]}, []),
        (None, []),
    ],
)
def test_a_filter_covers_the_charts_of_its_scope(scope: Any, covered: list[int]) -> None:
    layout = Layout(LAYOUT, [1, 2, 3])
    assert [chart for chart in (1, 2, 3) if layout.in_scope(chart, scope)] == covered
    page = a_page(a_filter(scope=scope), charts=[a_chart(chart) for chart in (1, 2, 3)])
    filtered = {query.chart_id for query in due_charts(page) if query.body["queries"][0]["filters"]}
    assert filtered == set(covered)


def test_an_unplaced_chart_of_a_dashboard_without_layout_is_covered_too() -> None:
    assert Layout(None, [4]).in_scope(4, EVERYWHERE)


def test_charts_wait_for_the_first_option_and_are_asked_once() -> None:
    page = a_page(a_filter(defaultDataMask={}, controlValues=FIRST, requiredFirst=True), charts=[a_chart(), a_chart(2)])
    (options,) = page.due()
    assert (options.kind, options.name, options.dataset_id) == ("filter_options", "options of filter Region", 7)
    assert page.due() == []
    page.learn(options, [{"region": "ASIA"}, {"region": "EU"}])
    queries = page.due()
    assert [query.chart_id for query in queries] == [1, 2]
    assert queries[0].body["queries"][0]["filters"] == [{"col": "region", "op": "IN", "val": ["ASIA"]}]
    assert page.due() == []


def test_a_first_option_that_nobody_has_to_wait_for_does_not_reach_the_charts() -> None:
    shown = a_filter(defaultDataMask={}, controlValues=FIRST)
    awaited = a_filter("City", "city", defaultDataMask={}, controlValues=FIRST, requiredFirst=True)
    page = a_page(shown, awaited)
    of_region, of_city = page.due()
    page.learn(of_region, [{"region": "ASIA"}])
    assert page.due() == []
    page.learn(of_city, [{"city": "Bonn"}])
    (chart,) = page.due()
    assert chart.body["queries"][0]["filters"] == [{"col": "city", "op": "IN", "val": ["Bonn"]}]


def test_a_dashboard_that_shows_nothing_says_which_filter_it_waits_for() -> None:
    page = a_page(a_filter(defaultDataMask={}, controlValues=FIRST, requiredFirst=True))
    page.learn(page.due()[0], [])
    assert page.due() == []
    ((name, chart_id, reason),) = page.problems
    assert (name, chart_id) == ("Chart 1", 1)
    assert "picks a value for 'Region'" in reason


def test_a_value_without_a_mask_is_worked_out_when_its_control_is_drawn() -> None:
    page = a_page(a_filter(defaultDataMask={"filterState": {"value": ["EU"]}}))
    assert [query.body["queries"][0]["filters"] for query in due_charts(page)] == [
        [],
        [{"col": "region", "op": "IN", "val": ["EU"]}],
    ]


@pytest.mark.parametrize(
    ("kind", "value", "controls", "mask"),
    [
        ("filter_select", ["a"], {"inverseSelection": True}, {"filters": [{"col": "c", "op": "NOT IN", "val": ["a"]}]}),
        ("filter_select", [None], {}, {"filters": [{"col": "c", "op": "IN", "val": [None]}]}),
        ("filter_select", [], {}, {}),
        (
            "filter_select",
            [],
            {"enableEmptyFilter": True},
            {"adhoc_filters": [{"expressionType": "SQL", "clause": "WHERE", "sqlExpression": "1 = 0"}]},
        ),
        (
            "filter_range",
            [1, 9],
            {},
            {"filters": [{"col": "c", "op": ">=", "val": 1}, {"col": "c", "op": "<=", "val": 9}]},
        ),
        ("filter_range", [None, 9], {}, {"filters": [{"col": "c", "op": "<=", "val": 9}]}),
        ("filter_range", [4, 4], {}, {"filters": [{"col": "c", "op": "==", "val": 4}]}),
        ("filter_time", "Last week", {}, {"time_range": "Last week"}),
        ("filter_timegrain", ["P1W"], {}, {"time_grain_sqla": "P1W"}),
        ("filter_timecolumn", ["day"], {}, {"granularity_sqla": "day"}),
    ],
)  # fmt: skip
def test_a_value_means_a_mask(kind: str, value: Any, controls: Any, mask: Any) -> None:
    raw = a_filter(column="c", filterType=kind, controlValues=controls, defaultDataMask={})
    assert NativeFilter.parse(raw).mask_of(value) == mask


def test_a_time_range_and_a_grain_replace_those_of_the_chart() -> None:
    grain = a_filter(
        "Grain", filterType="filter_timegrain", defaultDataMask={"extraFormData": {"time_grain_sqla": "P1M"}}
    )
    time = a_filter("Time", filterType="filter_time", defaultDataMask={"extraFormData": {"time_range": "Last month"}})
    chart = a_chart(
        kind="echarts_timeseries_line", x_axis="day", metrics=["count"], time_grain_sqla="P1D", time_range="Last week"
    )
    query = first_query(a_page(grain, time, charts=[chart]))
    assert query["time_range"] == "Last month"
    assert query["columns"][0]["timeGrain"] == "P1M"
    assert query["extras"]["time_grain_sqla"] == "P1M"


def test_options_may_be_sorted_by_a_metric_downwards() -> None:
    page = a_page(a_filter(sortMetric="rev", controlValues={"sortAscending": False}))
    query = first_query(page, kind="filter_options")
    assert (query["columns"], query["metrics"], query["orderby"]) == (["region"], ["rev"], [["rev", False]])


def test_what_a_filter_offers_may_be_limited_beforehand() -> None:
    limits = {"adhoc_filters": [OWN], "time_range": "Last year", "granularity_sqla": "day"}
    query = first_query(a_page(a_filter(**limits), option_row_limit=50), kind="filter_options")
    assert (query["filters"], query["time_range"], query["granularity"], query["row_limit"]) == (
        [{"col": "rev", "op": ">", "val": 5}],
        "Last year",
        "day",
        50,
    )


def test_a_dependent_filter_asks_under_its_parent_and_while_that_is_not_drawn() -> None:
    child = a_filter("City", "city", defaultDataMask={}, cascadeParentIds=["NATIVE_FILTER-Region"])
    options = [query for query in a_page(a_filter(), child).due() if query.name == "options of filter City"]
    assert [query.body["queries"][0]["filters"] for query in options] == [[REGION], []]


def test_a_dependent_filter_asks_again_when_its_parent_has_taken_its_first_option() -> None:
    parent = a_filter(defaultDataMask={}, controlValues=FIRST, requiredFirst=True)
    child = a_filter("City", "city", defaultDataMask={}, cascadeParentIds=["NATIVE_FILTER-Region"])
    page = a_page(parent, child)
    options = {query.name: query for query in page.due()}
    assert options["options of filter City"].body["queries"][0]["filters"] == []
    page.learn(options["options of filter Region"], [{"region": "ASIA"}])
    again = next(query for query in page.due() if query.kind == "filter_options")
    assert again.body["queries"][0]["filters"] == [{"col": "region", "op": "IN", "val": ["ASIA"]}]


def test_filters_that_depend_on_each_other_do_not_hang() -> None:
    pair = [
        a_filter("A", cascadeParentIds=["NATIVE_FILTER-B"]),
        a_filter("B", cascadeParentIds=["NATIVE_FILTER-A", "gone"]),
    ]
    assert {query.name for query in a_page(*pair).due()} >= {"options of filter A", "options of filter B"}


def test_a_range_filter_asks_for_its_bounds_and_a_divider_for_nothing() -> None:
    divider = {"id": "x", "type": "DIVIDER", "targets": [{}]}
    page = a_page(divider, a_filter(filterType="filter_range"), a_filter("Time", filterType="filter_time"), charts=[])
    (query,) = page.due()
    assert [metric["label"] for metric in query.body["queries"][0]["metrics"]] == ["min", "max"]


def test_a_permalink_chooses_values_and_parameters() -> None:
    chosen = {"NATIVE_FILTER-Region": {"extraFormData": {"filters": []}, "filterState": {"value": None}}}
    page = a_page(a_filter(), state={"dataMask": chosen, "urlParams": [["country", "FRA"]]})
    (chart,) = due_charts(page)
    assert chart.body["queries"][0]["filters"] == []
    assert chart.body["form_data"]["url_params"] == {"country": "FRA"}


def test_a_chart_is_built_from_its_parameters_and_not_from_what_was_saved_with_it() -> None:
    stale = {"datasource": {"id": 7, "type": "table"}, "queries": [{"columns": ["gone"], "metrics": []}]}
    (query,) = a_page(charts=[{**a_chart(), "query_context": json.dumps(stale)}]).due()
    assert query.body["queries"][0]["columns"] == ["region"]


def test_a_chart_of_an_unknown_kind_is_asked_as_it_was_saved() -> None:
    saved = {
        "datasource": {"id": 7, "type": "table"},
        "queries": [{"columns": ["a"], "filters": [{"col": "rev", "op": ">", "val": 5}], "extras": {"where": ""}}],
    }
    chart = {**a_chart(kind="deck_hex"), "query_context": json.dumps(saved)}
    (query,) = due_charts(a_page(a_filter(), charts=[chart]))
    assert query.body["queries"][0]["filters"] == [REGION, {"col": "rev", "op": ">", "val": 5}]


def test_a_saved_query_is_filtered_as_the_frontend_would() -> None:
    axis = {"columnType": "BASE_AXIS", "sqlExpression": "day", "timeGrain": "P1D"}
    saved = {"filters": [], "extras": {"where": "a = 1", "time_grain_sqla": "P1D"}, "columns": [axis, "region"]}
    extra = {
        "adhoc_filters": [OWN, {"expressionType": "SQL", "clause": "WHERE", "sqlExpression": "b > 2"}],
        "time_grain_sqla": "P1M",
        "granularity_sqla": "day",
    }
    changed = apply_to_query(saved, extra)
    assert changed["filters"] == [{"col": "rev", "op": ">", "val": 5}]
    assert changed["extras"] == {"where": "a = 1 AND (b > 2)", "time_grain_sqla": "P1M"}
    assert changed["granularity"] == "day"
    assert changed["columns"] == [{**axis, "timeGrain": "P1M"}, "region"]
    assert saved["columns"] == [axis, "region"]


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        ({**a_chart(kind="deck_hex"), "query_context": None}, "open and save"),
        (a_chart(kind="world_map"), "explore_json"),
        (a_chart(matrixify_enable=True), "matrix"),
        (a_chart(kind="box_plot", whiskerOptions="odd"), "unknown kind 'odd'"),
    ],
)
def test_a_chart_whose_query_cannot_be_known_says_what_to_do(chart: dict[str, Any], said: str) -> None:
    page = a_page(charts=[chart])
    assert page.due() == []
    ((name, chart_id, reason),) = page.problems
    assert (name, chart_id) == ("Chart 1", 1)
    assert said in reason


def test_old_time_bounds_become_a_range() -> None:
    assert with_time_range({"since": "2020", "until": None}) == {"time_range": "2020 : "}
    unfiltered = [{"subject": "day", "comparator": "No filter"}]
    assert with_time_range({"granularity_sqla": "day", "adhoc_filters": unfiltered})["time_range"] == "No filter"


def test_queries_that_share_a_cache_entry_are_equal_whatever_their_form_data() -> None:
    first = PageQuery("a", 1, 7, "chart", {"queries": [{"columns": ["x"]}], "form_data": {"slice_id": 1}})
    second = PageQuery("b", 2, 7, "chart", {"form_data": {"slice_id": 2}, "queries": [{"columns": ["x"]}]})
    assert first.identity == second.identity
    assert first.identity != PageQuery("a", 1, 7, "chart", {"queries": [{"columns": ["y"]}]}).identity
