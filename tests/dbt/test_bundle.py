"""The Superset bundle: complete, in step with the gold views, and free of anything that belongs to one instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "include/superset/assets"
VIEWS = REPOSITORY / "include/dremio/views"


def documents(kind: str) -> dict[str, dict[str, Any]]:
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((BUNDLE / kind).rglob("*.yaml"))}


@pytest.fixture(scope="module")
def datasets() -> dict[str, dict[str, Any]]:
    return {dataset["uuid"]: dataset for dataset in documents("datasets").values()}


@pytest.fixture(scope="module")
def charts() -> dict[str, dict[str, Any]]:
    return {chart["uuid"]: chart for chart in documents("charts").values()}


@pytest.fixture(scope="module")
def dashboards() -> dict[str, dict[str, Any]]:
    return {dashboard["slug"]: dashboard for dashboard in documents("dashboards").values()}


def tiles(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [tile for tile in dashboard["position"].values() if isinstance(tile, dict) and tile["type"] == "CHART"]


def test_it_is_a_bundle_of_assets():
    metadata = yaml.safe_load((BUNDLE / "metadata.yaml").read_text())
    assert (metadata["type"], metadata["version"]) == ("assets", "1.0.0")
    every = [
        document for kind in ("databases", "datasets", "charts", "dashboards") for document in documents(kind).values()
    ]
    assert len({document["uuid"] for document in every}) == len(every)
    assert {document["version"] for document in every} == {"1.0.0"}


def test_the_database_holds_no_address_and_no_secret():
    database = documents("databases")["Dremio"]
    assert ":XXXXXXXXXX@" in database["sqlalchemy_uri"]
    assert "conn.dremio_default.host" in database["sqlalchemy_uri"]
    assert "127.0.0.1" not in (BUNDLE / "databases/Dremio.yaml").read_text()
    assert isinstance(database["extra"], dict), "Superset's import fails without it"


def test_datasets_have_the_columns_of_the_gold_views(datasets):
    for dataset in datasets.values():
        assert dataset["schema"] == "gold"
        view = (VIEWS / "gold" / f"{dataset['table_name']}.sql").read_text()
        names = sqlglot.parse_one(view, read="duckdb").named_selects
        assert {column["column_name"] for column in dataset["columns"]} == set(names), dataset["table_name"]
        for metric in dataset["metrics"]:
            used = {column.name for column in sqlglot.parse_one(metric["expression"]).find_all(sqlglot.exp.Column)}
            assert used <= set(names), metric["metric_name"]


def asked(query: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Columns and metrics of a query."""
    columns = {entry if isinstance(entry, str) else entry["sqlExpression"] for entry in query["columns"]}
    return columns | {entry["col"] for entry in query["filters"]}, set(query.get("metrics") or [])


def test_every_chart_can_be_asked_without_a_browser(charts, datasets):
    for chart in charts.values():
        dataset = datasets[chart["dataset_uuid"]]
        context = json.loads(chart["query_context"])
        assert context["result_type"] == "full"
        assert context["form_data"] == chart["params"]
        assert context["queries"]
        for query in context["queries"]:
            columns, metrics = asked(query)
            assert columns <= {column["column_name"] for column in dataset["columns"]}, chart["slice_name"]
            assert metrics <= {metric["metric_name"] for metric in dataset["metrics"]}, chart["slice_name"]
            # Superset's time grains end up in GROUP BY in a form that Dremio refuses: dates come truncated.
            assert not query["extras"].get("time_grain_sqla"), chart["slice_name"]


def test_nothing_belongs_to_one_instance(charts, dashboards):
    for chart in charts.values():
        text = json.dumps(chart)
        assert chart["params"]["datasource"] == "0__table"
        for name in ("slice_id", "chart_id", "dashboardId", "dashboards"):
            assert f'"{name}"' not in text, chart["slice_name"]
    for dashboard in dashboards.values():
        for entry in dashboard["metadata"]["native_filter_configuration"]:
            assert "chartsInScope" not in entry
            assert all("datasetId" not in target for target in entry["targets"])


def test_dashboards_show_four_to_six_charts_in_full_rows(dashboards, charts):
    assert set(dashboards) == {"customer-analytics", "daily-revenue"}
    shown = []
    for dashboard in dashboards.values():
        assert 4 <= len(tiles(dashboard)) <= 6
        for tile in tiles(dashboard):
            assert tile["meta"]["sliceName"] == charts[tile["meta"]["uuid"]]["slice_name"]
            shown.append(tile["meta"]["uuid"])
        for row in dashboard["position"].values():
            if isinstance(row, dict) and row["type"] == "ROW":
                row_tiles = [dashboard["position"][child]["meta"] for child in row["children"]]
                assert sum(meta["width"] for meta in row_tiles) == 12
                assert len({meta["height"] for meta in row_tiles}) == 1
    assert sorted(shown) == sorted(charts)


def test_native_filters_have_defaults_and_reach_only_charts_with_their_column(dashboards, charts, datasets):
    for dashboard in dashboards.values():
        filters = dashboard["metadata"]["native_filter_configuration"]
        assert any(entry["defaultDataMask"]["extraFormData"] for entry in filters)
        for entry in filters:
            if entry["filterType"] == "filter_time":
                assert entry["defaultDataMask"]["extraFormData"] == {"time_range": "No filter"}
                continue
            (target,) = entry["targets"]
            excluded = entry["scope"]["excluded"]
            assert set(excluded) <= {tile["meta"]["chartId"] for tile in tiles(dashboard)}
            for tile in tiles(dashboard):
                dataset = datasets[charts[tile["meta"]["uuid"]]["dataset_uuid"]]
                has_it = target["column"]["name"] in {column["column_name"] for column in dataset["columns"]}
                assert has_it == (tile["meta"]["chartId"] not in excluded), (entry["name"], tile["meta"]["sliceName"])


def test_what_is_warmed_is_in_the_bundle(dashboards):
    warmed = yaml.safe_load((REPOSITORY / "include/config/dashboards.yml").read_text())["dashboards"]
    assert {entry["slug"]: entry["title"] for entry in warmed} == {
        slug: dashboard["dashboard_title"] for slug, dashboard in dashboards.items()
    }
