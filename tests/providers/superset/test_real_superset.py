"""The hook and the warming operator against a real Superset.

The test brings its own database connection, virtual dataset, charts and dashboard, and removes them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from superset_provider.exceptions import SupersetAuthenticationError, SupersetNotFoundError, SupersetWarmingError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

ROWS = "select 'EU' as region, 10 as amount union all select 'US', 20 union all select 'ASIA', 40"
METRIC = {"expressionType": "SQL", "sqlExpression": "SUM(amount)", "label": "total", "hasCustomLabel": True}


def _query(dataset: int, filters: list[dict[str, Any]], columns: list[str]) -> dict[str, Any]:
    return {
        "datasource": {"id": dataset, "type": "table"},
        "force": False,
        "queries": [
            {
                "time_range": "No filter",
                "filters": filters,
                "extras": {"having": "", "where": ""},
                "applied_time_extras": {},
                "columns": columns,
                "metrics": [METRIC],
                "orderby": [[METRIC, False]],
                "annotation_layers": [],
                "row_limit": 1000,
                "series_limit": 0,
                "order_desc": True,
                "url_params": {},
                "custom_params": {},
                "custom_form_data": {},
            }
        ],
        "form_data": {},
        "result_format": "json",
        "result_type": "full",
    }


class Dashboard:
    """A dashboard with two charts and a select filter whose default is EU and US."""

    def __init__(self, hook: SupersetHook, database_uri: str) -> None:
        self.hook = hook
        self.slug = f"providers-{uuid.uuid4().hex[:10]}"
        self.created: list[tuple[str, int]] = []
        database = self._create(
            "database",
            {
                "database_name": self.slug,
                "sqlalchemy_uri": database_uri,
                "expose_in_sqllab": False,
            },
        )
        self.dataset = self._create(
            "dataset", {"database": database, "table_name": self.slug, "sql": ROWS, "schema": None}
        )
        self.plain = self._chart("plain", [])
        self.own_filter = self._chart("own filter", [{"col": "amount", "op": ">", "val": 5}])
        position: dict[str, Any] = {
            "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
            "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
        }
        for chart in (self.plain, self.own_filter):
            key = f"CHART-{chart}"
            position["GRID_ID"]["children"].append(key)
            position[key] = {"type": "CHART", "id": key, "children": [], "meta": {"chartId": chart, "width": 4}}
        self.filter = {
            "id": "NATIVE_FILTER-region",
            "name": "Region",
            "type": "NATIVE_FILTER",
            "filterType": "filter_select",
            "targets": [{"datasetId": self.dataset, "column": {"name": "region"}}],
            "defaultDataMask": {
                "extraFormData": {"filters": [{"col": "region", "op": "IN", "val": ["EU", "US"]}]},
                "filterState": {"value": ["EU", "US"]},
            },
            "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
            "controlValues": {"multiSelect": True, "enableEmptyFilter": False},
            "cascadeParentIds": [],
        }
        metadata = {"native_filter_configuration": [self.filter]}
        self.id = self._create(
            "dashboard",
            {
                "dashboard_title": self.slug,
                "slug": self.slug,
                "position_json": json.dumps(position),
                "json_metadata": json.dumps(metadata),
                "published": True,
            },
        )
        for chart in (self.plain, self.own_filter):
            hook.request("PUT", f"/api/v1/chart/{chart}", json={"dashboards": [self.id]})

    def _chart(self, name: str, filters: list[dict[str, Any]]) -> int:
        context = _query(self.dataset, filters, ["region"])
        return self._create(
            "chart",
            {
                "slice_name": f"{self.slug} {name}",
                "viz_type": "only_saved",
                "datasource_id": self.dataset,
                "datasource_type": "table",
                "params": "{}",
                "query_context": json.dumps(context),
            },
        )

    def _create(self, kind: str, body: dict[str, Any]) -> int:
        number = int(self.hook.request("POST", f"/api/v1/{kind}/", json=body)["id"])
        self.created.append((kind, number))
        return number

    def remove(self) -> None:
        for kind, number in reversed(self.created):
            self.hook.request("DELETE", f"/api/v1/{kind}/{number}")


@pytest.fixture(scope="module")
def dashboard(hook: SupersetHook, real_superset: Any) -> Iterator[Dashboard]:
    built = Dashboard(hook, real_superset.database_uri)
    yield built
    built.remove()


def test_the_connection_test_proves_the_credentials(hook: SupersetHook, real_superset: Any) -> None:
    assert hook.test_connection() == (True, f"Logged in as {real_superset.user} at {hook.address}.")


def test_wrong_credentials_are_refused(hook: SupersetHook, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"conn_type": "superset", "host": hook.address, "login": "admin", "password": "wrong-one"}
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_WRONG", json.dumps(wrong))
    with SupersetHook("superset_wrong") as other, pytest.raises(SupersetAuthenticationError, match="superset_wrong"):
        other.list_dashboards()


def test_a_dashboard_is_found_by_id_slug_and_uuid(hook: SupersetHook, dashboard: Dashboard) -> None:
    found = hook.get_dashboard(dashboard.slug)
    assert found["id"] == dashboard.id
    assert hook.get_dashboard(dashboard.id)["slug"] == dashboard.slug
    assert hook.get_dashboard(found["uuid"])["id"] == dashboard.id
    with pytest.raises(SupersetNotFoundError):
        hook.get_dashboard("no-such-dashboard")


def test_listings_have_all_pages_and_take_filters(hook: SupersetHook, dashboard: Dashboard) -> None:
    only = [{"col": "slug", "opr": "eq", "value": dashboard.slug}]
    assert [entry["id"] for entry in hook.list_dashboards(only)] == [dashboard.id]
    assert {dashboard.plain, dashboard.own_filter} <= {entry["id"] for entry in hook.list_charts()}
    assert dashboard.dataset in {entry["id"] for entry in hook.list_datasets()}
    assert dashboard.slug in {entry["database_name"] for entry in hook.list_databases()}


def test_warming_makes_the_browsers_requests_hit(
    hook: SupersetHook, dashboard: Dashboard, context: dict[str, Any]
) -> None:
    operator = SupersetWarmDashboardOperator(task_id="warm", dashboards=[dashboard.slug])
    summary = operator.execute(context)
    assert sorted((entry["kind"], entry["hit"]) for entry in summary["charts"]) == [
        ("chart", True),
        ("chart", True),
        ("filter_options", True),
    ]
    # What a browser was seen to send: the dashboard's filter first, then the chart's own.
    region = {"col": "region", "op": "IN", "val": ["EU", "US"]}
    for own in ([], [{"col": "amount", "op": ">", "val": 5}]):
        body = _query(dashboard.dataset, [region, *own], ["region"])
        assert hook.chart_data(body)[0]["is_cached"] is True
    # The same filters in the other order are another key: the order is what makes the hit.
    swapped = _query(dashboard.dataset, [{"col": "amount", "op": ">", "val": 5}, region], ["region"])
    assert hook.chart_data(swapped)[0]["is_cached"] is not True


def test_the_link_leads_to_the_dashboard(hook: SupersetHook, dashboard: Dashboard, context: dict[str, Any]) -> None:
    SupersetWarmDashboardOperator(task_id="warm", dashboards=[dashboard.id], verify=False).execute(context)
    assert context["ti"].pushed["_link_SupersetDashboardLink"] == (
        f"{hook.address}/superset/dashboard/{dashboard.slug}/"
    )


def test_a_chart_that_cannot_be_warmed_is_named(
    hook: SupersetHook, dashboard: Dashboard, context: dict[str, Any]
) -> None:
    broken = _query(dashboard.dataset, [], ["no_such_column"])
    saved = hook.get_chart(dashboard.plain)["query_context"]
    hook.request("PUT", f"/api/v1/chart/{dashboard.plain}", json={"query_context": json.dumps(broken)})
    try:
        with pytest.raises(SupersetWarmingError, match=f"{dashboard.slug} plain.*no_such_column") as caught:
            SupersetWarmDashboardOperator(task_id="warm", dashboards=[dashboard.slug]).execute(context)
        assert [failure["chart"] for failure in caught.value.failures] == [f"{dashboard.slug} plain"]
    finally:
        hook.request("PUT", f"/api/v1/chart/{dashboard.plain}", json={"query_context": saved})


def test_a_bundle_goes_out_and_comes_back(hook: SupersetHook, dashboard: Dashboard) -> None:
    bundle = hook.export_dashboards([dashboard.id])
    assert bundle.startswith(b"PK")
    hook.import_dashboards(bundle, overwrite=True)
    assert hook.get_dashboard(dashboard.slug)["id"] == dashboard.id
