"""Listings, layouts and links between objects."""

from __future__ import annotations

import json

from tests.providers.superset.workshop import Workshop


def test_the_layout_alone_links_no_chart(workshop: Workshop) -> None:
    chart = workshop.chart(workshop.dataset(workshop.database()))
    position = {
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": ["CHART-a"], "parents": ["ROOT_ID"]},
        "CHART-a": {"type": "CHART", "id": "CHART-a", "children": [], "meta": {"chartId": chart, "width": 4}},
    }
    dashboard = workshop.dashboard([], position_json=json.dumps(position))
    assert workshop.hook.get_dashboard_charts(dashboard) == []
    workshop.hook.request("PUT", f"/api/v1/chart/{chart}", json={"dashboards": [dashboard]})
    assert [entry["id"] for entry in workshop.hook.get_dashboard_charts(dashboard)] == [chart]


def test_listings_are_paged_and_filtered(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    made = [workshop.chart(dataset) for _ in range(3)]
    ours = [{"col": "slice_name", "opr": "ct", "value": workshop.name}]
    assert [entry["id"] for entry in workshop.hook.list_charts(ours)] == made
    query = {"filters": ours, "page": 1, "page_size": 2, "order_column": "slice_name", "order_direction": "asc"}
    page = workshop.hook.request("GET", "/api/v1/chart/", params={"q": json.dumps(query)})
    assert (page["count"], [entry["id"] for entry in page["result"]]) == (3, made[2:])


def test_a_dashboards_datasets_have_the_columns_that_its_charts_use(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    dashboard = workshop.dashboard([workshop.chart(dataset)])
    (found,) = workshop.hook.get_dashboard_datasets(dashboard)
    assert (found["id"], found["uid"]) == (dataset, f"{dataset}__table")
    assert {column["column_name"] for column in found["columns"]} == {"region"}


def test_an_unpublished_dashboard_is_for_its_owners(workshop: Workshop) -> None:
    draft = workshop.dashboard([], published=False)
    assert workshop.hook.get_dashboard(draft)["published"] is False
