"""The hook against a real Superset: what it finds, what it lists, and bundles out and in."""

from __future__ import annotations

from typing import Any

import pytest
from superset_provider.exceptions import SupersetNotFoundError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

from tests.providers.superset.workshop import Workshop


def test_the_connection_test_proves_the_credentials(hook: SupersetHook, real_superset: Any) -> None:
    assert hook.test_connection() == (True, f"Logged in as {real_superset.user} at {hook.address}.")
    hook.health()


def test_a_dashboard_is_found_by_id_slug_and_uuid(workshop: Workshop) -> None:
    dashboard = workshop.dashboard([])
    found = workshop.hook.get_dashboard(dashboard)
    assert workshop.hook.get_dashboard(found["slug"])["id"] == dashboard
    assert workshop.hook.get_dashboard(found["uuid"])["id"] == dashboard
    with pytest.raises(SupersetNotFoundError):
        workshop.hook.get_dashboard("no-such-dashboard")


def test_each_kind_is_listed(workshop: Workshop) -> None:
    database = workshop.database()
    dataset = workshop.dataset(database)
    chart = workshop.chart(dataset)
    dashboard = workshop.dashboard([chart])
    hook = workshop.hook
    for made, listed in (
        (database, hook.list_databases()),
        (dataset, hook.list_datasets()),
        (chart, hook.list_charts()),
        (dashboard, hook.list_dashboards()),
    ):
        assert made in {entry["id"] for entry in listed}
    only = [{"col": "slug", "opr": "eq", "value": hook.get_dashboard(dashboard)["slug"]}]
    assert [entry["id"] for entry in hook.list_dashboards(only)] == [dashboard]


def test_the_link_leads_to_the_dashboard(workshop: Workshop, context: dict[str, Any]) -> None:
    dashboard = workshop.dashboard([workshop.chart(workshop.dataset(workshop.database()))])
    SupersetWarmDashboardOperator(task_id="warm", dashboards=[dashboard]).execute(context)
    slug = workshop.hook.get_dashboard(dashboard)["slug"]
    link = f"{workshop.hook.address}/superset/dashboard/{slug}/"
    assert context["ti"].pushed["_link_SupersetDashboardLink"] == link


def test_a_bundle_goes_out_and_comes_back(workshop: Workshop) -> None:
    dashboard = workshop.dashboard([workshop.chart(workshop.dataset(workshop.database()))])
    title = workshop.hook.get_dashboard(dashboard)["dashboard_title"]
    bundle = workshop.hook.export_dashboards([dashboard])
    workshop.hook.request("PUT", f"/api/v1/dashboard/{dashboard}", json={"dashboard_title": "changed"})
    workshop.hook.import_dashboards(bundle, overwrite=True)
    assert workshop.hook.get_dashboard(dashboard)["dashboard_title"] == title
