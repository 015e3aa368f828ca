"""Superset's own way to warm a chart, and why nobody should trust its 200."""

from __future__ import annotations

import json
from typing import Any

from tests.providers.superset.workshop import Workshop, query_context

EU = {"col": "region", "op": "IN", "val": ["EU", "US"]}
REGION = {
    "id": "NATIVE_FILTER-region",
    "name": "Region",
    "type": "NATIVE_FILTER",
    "filterType": "filter_select",
    "targets": [{"column": {"name": "region"}}],
    "defaultDataMask": {"extraFormData": {"filters": [EU]}, "filterState": {"value": ["EU", "US"]}},
    "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
    "controlValues": {"multiSelect": True, "enableEmptyFilter": False},
    "cascadeParentIds": [],
}


def warm(workshop: Workshop, chart: int, **more: Any) -> Any:
    body = {"chart_id": chart, **more}
    (result,) = workshop.hook.request("PUT", "/api/v1/chart/warm_up_cache", json=body)["result"]
    return result


def test_a_chart_that_worked_is_warm(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    chart = workshop.chart(dataset)
    assert warm(workshop, chart) == {"chart_id": chart, "viz_error": None, "viz_status": "success"}
    assert workshop.hook.chart_data(query_context(dataset))[0]["is_cached"] is True


def test_a_chart_that_failed_is_a_200_all_the_same(workshop: Workshop) -> None:
    chart = workshop.chart(workshop.lost_dataset(workshop.database()))
    result = warm(workshop, chart)
    assert (result["chart_id"], result["viz_status"]) == (chart, None)
    assert "lost" in result["viz_error"]


def test_a_chart_without_a_query_context_cannot_be_warmed(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    chart = workshop.chart(dataset, query_context=None)
    assert warm(workshop, chart)["viz_error"] == "Chart's query context does not exist"
    repaired = {"query_context": json.dumps(query_context(dataset)), "query_context_generation": True}
    workshop.hook.request("PUT", f"/api/v1/chart/{chart}", json=repaired)
    assert warm(workshop, chart)["viz_error"] is None


def test_a_default_of_a_native_filter_is_not_warmed(workshop: Workshop) -> None:
    """apache/superset#43024."""
    dataset = workshop.dataset(workshop.database())
    chart = workshop.chart(dataset)
    targets = [{"datasetId": dataset, "column": {"name": "region"}}]
    dashboard = workshop.dashboard([chart], [{**REGION, "targets": targets}])
    assert warm(workshop, chart, dashboard_id=dashboard)["viz_error"] is None
    opened = query_context(dataset, filters=[EU])
    assert workshop.hook.chart_data(opened, dashboard_id=dashboard)[0]["is_cached"] is None


def test_a_filter_that_is_handed_over_goes_behind_the_charts_own(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    own = {"col": "amount", "op": ">", "val": 5}
    chart = workshop.chart(dataset, query_context(dataset, filters=[own]))
    dashboard = workshop.dashboard([chart])
    assert warm(workshop, chart, dashboard_id=dashboard, extra_filters=json.dumps([EU]))["viz_error"] is None
    for order, warmed in (([EU, own], None), ([own, EU], True)):
        assert workshop.hook.chart_data(query_context(dataset, filters=order))[0]["is_cached"] is warmed
