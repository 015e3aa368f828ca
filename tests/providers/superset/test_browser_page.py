"""Which bodies are asked for: against requests that a browser was seen to send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from superset_provider.browser.filters import NativeFilter, option_query, parse_filters, with_first_option
from superset_provider.browser.form_data import apply_to_query, merge_extra_form_data
from superset_provider.browser.page import DashboardPage, PageQuery
from superset_provider.browser.scope import in_scope, layout_parents

REGION = {"col": "region", "op": "IN", "val": ["EU", "US"]}
OWN = {"col": "rev", "op": ">", "val": 5}
# A tab with chart 1, a second tab with chart 2 in a row; chart 3 is on no dashboard any more.
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


def native_filter(**changes: Any) -> dict[str, Any]:
    return {
        "id": "NATIVE_FILTER-1",
        "name": "Region",
        "type": "NATIVE_FILTER",
        "filterType": "filter_select",
        "targets": [{"datasetId": 7, "column": {"name": "region"}}],
        "defaultDataMask": {"extraFormData": {"filters": [REGION]}, "filterState": {"value": ["EU", "US"]}},
        "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
        "controlValues": {},
        "cascadeParentIds": [],
        **changes,
    }


def chart(filters: list[dict[str, Any]] | None = None, **query: Any) -> dict[str, Any]:
    context = {
        "datasource": {"id": 7, "type": "table"},
        "force": False,
        "queries": [{"filters": filters or [], "extras": {"having": "", "where": ""}, "columns": ["region"], **query}],
        "form_data": {"viz_type": "bar"},
        "result_format": "csv",
        "result_type": "full",
    }
    return {"id": 1, "slice_name": "Revenue", "query_context": json.dumps(context)}


def filters_of(*raw: dict[str, Any]) -> list[NativeFilter]:
    return parse_filters(json.dumps({"native_filter_configuration": list(raw)}))


def page_of(chart_entry: dict[str, Any], *raw: dict[str, Any], chart_id: int = 1) -> DashboardPage:
    dashboard = {
        "id": 5,
        "position_json": LAYOUT,
        "json_metadata": json.dumps({"native_filter_configuration": list(raw)}),
    }
    return DashboardPage.parse(dashboard, [{**chart_entry, "id": chart_id}], [])


def body_of(chart_entry: dict[str, Any], *raw: dict[str, Any], chart_id: int = 1) -> dict[str, Any]:
    (query,) = (query for query in page_of(chart_entry, *raw, chart_id=chart_id).due() if query.kind == "chart")
    return query.request_body(force=True)


def test_the_dashboards_filters_stand_in_front_of_the_charts_own() -> None:
    body = body_of(chart([OWN]), native_filter())
    assert body["queries"][0]["filters"] == [REGION, OWN]
    assert body["queries"][0]["extras"] == {"having": "", "where": ""}
    assert (body["force"], body["result_format"], body["result_type"]) == (True, "json", "full")
    assert body["form_data"]["slice_id"] == 1


def test_every_query_of_a_mixed_chart_gets_the_filters() -> None:
    entry = chart()
    context = json.loads(entry["query_context"])
    context["queries"].append({"filters": [OWN], "columns": ["day"]})
    body = body_of({**entry, "query_context": json.dumps(context)}, native_filter())
    assert [query["filters"] for query in body["queries"]] == [[REGION], [REGION, OWN]]


def test_without_filters_the_saved_query_is_asked_as_it_is() -> None:
    entry = chart([OWN], time_range="Last week", row_limit=10)
    assert body_of(entry)["queries"] == json.loads(entry["query_context"])["queries"]


def test_a_time_range_filter_replaces_the_charts_time_range() -> None:
    raw = native_filter(
        filterType="filter_time", targets=[{}], defaultDataMask={"extraFormData": {"time_range": "Last month"}}
    )
    query = body_of(chart([OWN], time_range="No filter"), raw)["queries"][0]
    assert (query["time_range"], query["filters"]) == ("Last month", [OWN])


def test_a_grain_goes_into_the_extras_and_a_time_column_becomes_granularity() -> None:
    extra = {"time_grain_sqla": "P1M", "granularity_sqla": "order_date"}
    query = apply_to_query({"filters": [], "extras": {"where": "x > 1"}, "granularity": "day"}, extra)
    assert query["extras"] == {"where": "x > 1", "time_grain_sqla": "P1M"}
    assert query["granularity"] == "order_date"


def test_adhoc_filters_of_a_dashboard_stand_behind_the_charts_own() -> None:
    extra = {
        "adhoc_filters": [
            {"expressionType": "SIMPLE", "clause": "WHERE", "subject": "a", "operator": "==", "comparator": 1},
            {"expressionType": "SQL", "clause": "WHERE", "sqlExpression": "b > 2"},
        ]
    }
    query = apply_to_query({"filters": [OWN], "extras": {"having": "", "where": "c = 3"}}, extra)
    assert query["filters"] == [OWN, {"col": "a", "op": "==", "val": 1}]
    assert query["extras"]["where"] == "c = 3 AND (b > 2)"


def test_several_filters_are_joined_in_the_order_of_the_dashboard() -> None:
    city = {"col": "city", "op": "IN", "val": ["Bonn"]}
    parts = [
        {"filters": [REGION], "time_range": "Last week"},
        {"filters": [city]},
        {"time_range": "Last day", "filters": []},
    ]
    assert merge_extra_form_data(parts) == {"filters": [REGION, city], "time_range": "Last day"}


@pytest.mark.parametrize(
    ("scope", "chart_id", "applies"),
    [
        ({"rootPath": ["ROOT_ID"], "excluded": []}, 1, True),
        ({"rootPath": ["ROOT_ID"], "excluded": [1]}, 1, False),
        ({"rootPath": ["ROOT_ID"], "excluded": [1]}, 2, True),
        ({"rootPath": ["TAB-a"], "excluded": []}, 1, True),
        ({"rootPath": ["TAB-a"], "excluded": []}, 2, False),
        ({"rootPath": ["TAB-b"], "excluded": []}, 2, True),
        ({"rootPath": ["TAB-b"], "excluded": [2]}, 2, False),
        ({"rootPath": ["TAB-a"], "excluded": []}, 3, False),
        ({}, 3, True),
    ],
)
def test_a_filter_applies_within_its_scope(scope: dict[str, Any], chart_id: int, applies: bool) -> None:
    (entry,) = filters_of(native_filter(scope=scope))
    assert in_scope(chart_id, entry.root_path, entry.excluded, layout_parents(LAYOUT)) is applies
    expected = [REGION] if applies else []
    assert body_of(chart(), native_filter(scope=scope), chart_id=chart_id)["queries"][0]["filters"] == expected


def test_the_options_are_asked_exactly_as_the_browser_does() -> None:
    (entry,) = filters_of(native_filter())
    assert option_query(entry, [entry]) == {
        "datasource": {"id": 7, "type": "table"},
        "queries": [
            {
                "filters": [],
                "extras": {"having": "", "where": ""},
                "applied_time_extras": {},
                "columns": ["region"],
                "metrics": [],
                "orderby": [["region", True]],
                "annotation_layers": [],
                "row_limit": 1000,
                "series_limit": 0,
                "group_others_when_limit_reached": False,
                "order_desc": True,
                "url_params": {},
                "custom_params": {},
                "custom_form_data": {},
            }
        ],
        "result_format": "json",
        "result_type": "full",
    }


def test_options_may_be_sorted_by_a_metric_downwards() -> None:
    (entry,) = filters_of(native_filter(sortMetric="rev", controlValues={"sortAscending": False}))
    query = option_query(entry, [entry])["queries"][0]
    assert (query["metrics"], query["orderby"]) == (["rev"], [["rev", False]])


def test_options_of_a_dependent_filter_are_limited_by_its_parent() -> None:
    parent, child = filters_of(
        native_filter(),
        native_filter(
            id="NATIVE_FILTER-2",
            targets=[{"datasetId": 7, "column": {"name": "city"}}],
            defaultDataMask={},
            cascadeParentIds=["NATIVE_FILTER-1"],
        ),
    )
    assert option_query(child, [parent, child])["queries"][0]["filters"] == [REGION]
    assert option_query(parent, [parent, child])["queries"][0]["filters"] == []


def test_a_range_filter_asks_for_its_bounds() -> None:
    (entry,) = filters_of(
        native_filter(
            filterType="filter_range", targets=[{"datasetId": 7, "column": {"name": "rev"}}], defaultDataMask={}
        )
    )
    query = option_query(entry, [entry])["queries"][0]
    assert query["columns"] == []
    assert [(metric["aggregate"], metric["column"]["column_name"]) for metric in query["metrics"]] == [
        ("MIN", "rev"),
        ("MAX", "rev"),
    ]


def test_dividers_are_no_filters_and_a_time_filter_has_no_options() -> None:
    found = filters_of({"id": "x", "type": "DIVIDER"}, native_filter(filterType="filter_time", targets=[{}]))
    assert [entry.has_options for entry in found] == [False]


def test_a_filter_that_takes_its_first_option_gets_it_as_value() -> None:
    (entry,) = filters_of(native_filter(defaultDataMask={}, controlValues={"defaultToFirstItem": True}))
    assert entry.takes_first_option
    filled = with_first_option(entry, [{"region": "ASIA"}, {"region": "EU"}])
    assert filled.extra_form_data == {"filters": [{"col": "region", "op": "IN", "val": ["ASIA"]}]}
    assert not filled.takes_first_option
    assert with_first_option(entry, []) is entry


def test_a_chart_without_query_context_says_what_to_do() -> None:
    page = page_of({"slice_name": "Revenue", "query_context": None})
    assert page.due() == []
    ((name, chart_id, reason),) = page.problems
    assert (name, chart_id) == ("Revenue", 1)
    assert "open and save" in reason


def test_a_chart_waits_for_the_first_option_and_is_asked_once() -> None:
    page = page_of(chart(), native_filter(defaultDataMask={}, controlValues={"defaultToFirstItem": True}))
    (options,) = page.due()
    assert (options.kind, options.name, options.dataset_id) == ("filter_options", "options of filter Region", 7)
    assert page.due() == []
    page.learn(options, [{"region": "ASIA"}, {"region": "EU"}])
    (query,) = page.due()
    assert query.body["queries"][0]["filters"] == [{"col": "region", "op": "IN", "val": ["ASIA"]}]
    assert page.due() == []


def test_queries_that_share_a_cache_entry_are_equal_whatever_their_form_data() -> None:
    first = PageQuery("a", 1, 7, "chart", {"queries": [{"columns": ["x"]}], "form_data": {"slice_id": 1}})
    second = PageQuery("b", 2, 7, "chart", {"form_data": {"slice_id": 2}, "queries": [{"columns": ["x"]}]})
    assert first.identity == second.identity
    assert first.identity != PageQuery("a", 1, 7, "chart", {"queries": [{"columns": ["y"]}]}).identity
