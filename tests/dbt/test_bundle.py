"""The Superset bundle: complete, in step with the gold views, and free of anything that belongs to one instance."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "include/superset/assets"
VIEWS = REPOSITORY / "include/dremio/views"
COLUMN = sqlglot.exp.Column


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


def parts(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in dashboard["position"].values() if isinstance(part, dict)]


def columns_of(table: str) -> list[str]:
    """Columns of a view of gold: as declared, or as dbt describes the one over change data."""
    declared = VIEWS / "gold" / f"{table}.sql"
    if declared.is_file():
        return sqlglot.parse_one(declared.read_text(), read="duckdb").named_selects
    model = yaml.safe_load((REPOSITORY / f"dbt/models/marts/{table}.yml").read_text())["models"][0]
    return [column["name"] for column in model["columns"]]


def tiles(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in parts(dashboard) if part["type"] == "CHART"]


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
        names = columns_of(dataset["table_name"])
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
        for name in ("slice_id", "chart_id", "dashboardId", "dashboards"):
            assert f'"{name}"' not in text, chart["slice_name"]
    for dashboard in dashboards.values():
        for entry in dashboard["metadata"]["native_filter_configuration"]:
            assert "chartsInScope" not in entry
            assert all("datasetId" not in target for target in entry["targets"])


def test_dashboards_show_charts_of_many_kinds_in_full_rows(dashboards, charts):
    assert set(dashboards) == {"customer-analytics", "daily-revenue"}
    shown = []
    for dashboard in dashboards.values():
        assert len([part for part in parts(dashboard) if part["type"] == "TAB"]) >= 2
        assert [part for part in parts(dashboard) if part["type"] == "MARKDOWN"], "a page says what it is about"
        for tile in tiles(dashboard):
            shown.append(tile["meta"]["uuid"])
        for row in parts(dashboard):
            if row["type"] == "ROW":
                row_tiles = [dashboard["position"][child]["meta"] for child in row["children"]]
                assert sum(meta["width"] for meta in row_tiles) == 12
                assert len({meta["height"] for meta in row_tiles}) == 1
    assert sorted(shown) == sorted(charts)
    assert len(shown) >= 12
    assert len({chart["viz_type"] for chart in charts.values()}) >= 10


def test_native_filters_have_defaults_and_reach_only_charts_with_their_column(dashboards, charts, datasets):
    for dashboard in dashboards.values():
        filters = {entry["id"]: entry for entry in dashboard["metadata"]["native_filter_configuration"]}
        assert any(entry["defaultDataMask"]["extraFormData"] for entry in filters.values())
        assert any(entry["cascadeParentIds"] for entry in filters.values())
        known = {tile["meta"]["chartId"] for tile in tiles(dashboard)}
        for entry in filters.values():
            assert set(entry["cascadeParentIds"]) < set(filters)
            assert entry["description"]
            excluded = set(entry["scope"]["excluded"])
            assert excluded < known, "some chart follows it"
            for tile in tiles(dashboard):
                if tile["meta"]["chartId"] in excluded:
                    continue
                chart = charts[tile["meta"]["uuid"]]
                if entry["filterType"] == "filter_time":
                    operators = [item["operator"] for item in chart["params"]["adhoc_filters"]]
                    assert "TEMPORAL_RANGE" in operators, (entry["name"], chart["slice_name"])
                else:
                    names = {column["column_name"] for column in datasets[chart["dataset_uuid"]]["columns"]}
                    assert entry["targets"][0]["column"]["name"] in names, (entry["name"], chart["slice_name"])


def test_what_a_number_means_is_said_once(datasets, charts):
    """In the dataset: charts name metrics, they do not define any."""
    for dataset in datasets.values():
        assert dataset["extra"]["certification"]["certified_by"]
        assert dataset["description"]
        for metric in dataset["metrics"]:
            assert metric["verbose_name"], metric["metric_name"]
            assert metric["description"], metric["metric_name"]
            assert metric["d3format"], metric["metric_name"]
        money = {metric["metric_name"] for metric in dataset["metrics"] if "amount)" in metric["expression"]}
        shares = {metric["metric_name"] for metric in dataset["metrics"] if metric["d3format"].endswith("%")}
        for metric in dataset["metrics"]:
            if metric["metric_name"] in money - shares:
                assert metric["currency"] == {"symbol": "USD", "symbolPosition": "prefix"}, metric["metric_name"]
    for chart in charts.values():
        assert chart["description"], chart["slice_name"]
        for query in json.loads(chart["query_context"])["queries"]:
            assert all(isinstance(metric, str) for metric in query.get("metrics") or []), chart["slice_name"]


def test_columns_are_described_as_dbt_describes_them(datasets):
    """Columns that only the view has are described in the dataset alone."""
    by_table = {}
    for path in (REPOSITORY / "dbt/models/marts").glob("*.sql"):
        (file,) = re.findall(r"\bfile='(\w+)'", path.read_text()) or [path.stem]
        declared = yaml.safe_load(path.with_suffix(".yml").read_text())["models"][0]["columns"]
        by_table[file] = {column["name"]: " ".join(column["description"].split()) for column in declared}
    compared = 0
    for dataset in datasets.values():
        view = VIEWS / "gold" / f"{dataset['table_name']}.sql"
        if view.is_file():
            tree = sqlglot.parse_one(view.read_text(), read="duckdb")
            (table,) = {table.name for table in tree.find_all(sqlglot.exp.Table)} & set(by_table)
            passed_on = {
                part.alias_or_name: part.this.name for part in tree.selects if isinstance(part.unalias(), COLUMN)
            }
        else:
            table = dataset["table_name"]
            passed_on = {name: name for name in columns_of(table)}
        for column in dataset["columns"]:
            assert column["verbose_name"], column["column_name"]
            assert column["description"], f"{dataset['table_name']}.{column['column_name']}"
            described = by_table[table].get(passed_on.get(column["column_name"], ""))
            if described:
                assert column["description"] == described, f"{dataset['table_name']}.{column['column_name']}"
                compared += 1
    assert compared > 50


def test_dashboards_are_certified_and_filter_across(dashboards):
    for dashboard in dashboards.values():
        assert dashboard["certified_by"]
        assert dashboard["published"]
        assert dashboard["description"]
        assert dashboard["metadata"]["cross_filters_enabled"]


def test_a_label_has_one_colour(dashboards):
    one, other = (dashboard["metadata"]["label_colors"] for dashboard in dashboards.values())
    common = set(one) & set(other)
    assert {"completed", "high", "West"} <= common
    assert {label: one[label] for label in common} == {label: other[label] for label in common}


def test_what_is_warmed_is_in_the_bundle(dashboards):
    warmed = yaml.safe_load((REPOSITORY / "include/config/dashboards.yml").read_text())["dashboards"]
    assert {entry["slug"]: entry["title"] for entry in warmed} == {
        slug: dashboard["dashboard_title"] for slug, dashboard in dashboards.items()
    }
