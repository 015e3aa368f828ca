"""Errors that a person can act on, each as a real Superset makes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from superset_provider.exceptions import (
    SupersetAuthenticationError,
    SupersetChartDataError,
    SupersetNotFoundError,
    SupersetTerminalError,
)
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.workshop import Workshop, query_context


def test_wrong_credentials(real_superset: Any, logged_in: Any) -> None:
    hook = logged_in(real_superset.connection(password="wrong-one"))
    with pytest.raises(SupersetAuthenticationError, match=r"login, password and provider \(db\)") as caught:
        hook.list_dashboards()
    assert "'other_0'" in str(caught.value)
    assert "wrong-one" not in str(caught.value)
    assert hook.test_connection() == (False, str(caught.value))


def test_a_provider_that_superset_does_not_have(real_superset: Any, logged_in: Any) -> None:
    hook = logged_in({**real_superset.connection(), "extra": {"provider": "ldap"}})
    with pytest.raises(SupersetAuthenticationError, match=r"not allowed.*provider \(ldap\)"):
        hook.list_dashboards()


def test_a_missing_right_is_named_as_the_role_editor_does(workshop: Workshop, logged_in: Any) -> None:
    chart = workshop.chart(workshop.dataset(workshop.database()))
    alpha = workshop.user(workshop.role_named("Alpha"))
    with pytest.raises(SupersetAuthenticationError, match="the right 'can warm up cache on Chart'") as caught:
        logged_in(alpha).request("PUT", "/api/v1/chart/warm_up_cache", json={"chart_id": chart})
    assert alpha["login"] in str(caught.value)
    with pytest.raises(SupersetAuthenticationError, match="'can write on Chart'; an object is changed by its owners"):
        logged_in(alpha).request("PUT", f"/api/v1/chart/{chart}", json={"description": "mine"})
    nobody = logged_in(workshop.user(workshop.role()))
    with pytest.raises(SupersetAuthenticationError, match="'can read on Dashboard'"):
        nobody.list_dashboards()
    worked, message = nobody.test_connection()
    assert not worked
    assert "'can read on CurrentUserRestApi'" in message


def test_a_dataset_that_one_may_not_read_is_named(workshop: Workshop, logged_in: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    name = workshop.hook.get_dataset(dataset)["table_name"]
    gamma = logged_in(workshop.user(workshop.role_named("Gamma")))
    with pytest.raises(SupersetAuthenticationError, match=f"'datasource access' on the dataset '{name}'") as caught:
        gamma.chart_data(query_context(dataset), chart="Revenue")
    assert "chart 'Revenue'" in str(caught.value)


def test_an_unknown_slug_names_near_ones_that_one_may_see(workshop: Workshop, logged_in: Any) -> None:
    name = f"Customers of {workshop.name}"
    workshop.dashboard([], slug=f"{workshop.name}-customers", dashboard_title=name)
    workshop.dashboard([], slug=None, dashboard_title=f"Orders of {workshop.name}")
    with pytest.raises(SupersetNotFoundError, match=f"near ones are '{workshop.name}-customers'"):
        workshop.hook.get_dashboard(f"{workshop.name}-custmers")
    with pytest.raises(SupersetNotFoundError, match=f"near ones are '{workshop.name}-customers'"):
        workshop.hook.get_dashboard(name.lower())
    with pytest.raises(SupersetNotFoundError, match=r"near ones are '\d+'"):
        workshop.hook.get_dashboard(f"orders of {workshop.name}")
    gamma = logged_in(workshop.user(workshop.role_named("Gamma")))
    with pytest.raises(SupersetNotFoundError) as caught:
        gamma.get_dashboard(f"{workshop.name}-custmers")
    assert "near" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"columns": ["no_such_column"]}, "Columns missing in dataset: ['no_such_column']"),
        ({"metrics": ["no_such_metric"]}, "Metric 'no_such_metric' does not exist"),
        ({"extras": {"where": "{{ open", "having": ""}}, "Jinja2 template error"),
        ({"row_limit": "many"}, "Not a valid integer."),
    ],
)
def test_a_broken_chart(workshop: Workshop, query: dict[str, Any], said: str) -> None:
    dataset = workshop.dataset(workshop.database())
    with pytest.raises(SupersetChartDataError) as caught:
        workshop.hook.chart_data(query_context(dataset, **query), chart="Revenue", dataset="orders")
    assert (caught.value.chart, caught.value.dataset) == ("Revenue", "orders")
    assert said in caught.value.database_message
    assert "The query of chart 'Revenue' on dataset 'orders' failed: " in str(caught.value)


def test_a_dataset_whose_table_is_gone(workshop: Workshop) -> None:
    dataset = workshop.lost_dataset(workshop.database())
    with pytest.raises(SupersetChartDataError, match=f"on dataset '{dataset}' failed: .*lost_") as caught:
        workshop.hook.chart_data(query_context(dataset))
    assert caught.value.chart is None


def test_a_dataset_that_is_gone(workshop: Workshop) -> None:
    with pytest.raises(SupersetNotFoundError, match="chart 'Revenue', dataset '987654'"):
        workshop.hook.chart_data(query_context(987654), chart="Revenue")


def test_a_refused_body_names_its_fields(workshop: Workshop) -> None:
    dashboard = workshop.dashboard([])
    slug = workshop.hook.get_dashboard(dashboard)["slug"]
    with pytest.raises(SupersetTerminalError, match="422 slug: Must be unique"):
        workshop.hook.request("POST", "/api/v1/dashboard/", json={"dashboard_title": "twin", "slug": slug})
    with pytest.raises(SupersetTerminalError, match="400 json_metadata: JSON not valid"):
        workshop.hook.request("PUT", f"/api/v1/dashboard/{dashboard}", json={"json_metadata": "{"})


@pytest.mark.parametrize("days", [1, 40])
def test_ended_tokens_are_replaced(hook: SupersetHook, real_superset: Any, days: int) -> None:
    """After a day the refresh token still holds, after forty the password is needed again."""
    hook.get_current_user()
    with real_superset.later(timedelta(days=days)):
        assert hook.get_current_user()["username"] == real_superset.user
    # And these, issued in the future, when the server's clock is put right.
    assert hook.get_current_user()["username"] == real_superset.user


def test_an_api_key_is_enough(hook: SupersetHook, workshop: Workshop, real_superset: Any, logged_in: Any) -> None:
    made = hook.request("POST", "/api/v1/security/api_keys/", json={"name": workshop.named("key")})["result"]
    other = logged_in({**real_superset.connection(password=made["key"]), "login": None, "extra": {"auth": "api_key"}})
    assert other.test_connection() == (True, f"Logged in as {real_superset.user} at {hook.address}.")
    chart = workshop.chart(workshop.dataset(workshop.database()))
    assert other.request("PUT", f"/api/v1/chart/{chart}", json={"description": "by key"})["id"] == chart
    hook.request("DELETE", f"/api/v1/security/api_keys/{made['uuid']}")
    with pytest.raises(SupersetAuthenticationError, match="FAB_API_KEY_ENABLED"):
        other.get_current_user()


def test_a_path_that_is_not_supersets(real_superset: Any, logged_in: Any) -> None:
    hook = logged_in({**real_superset.connection(), "host": f"{real_superset.address}/bi"})
    with pytest.raises(SupersetNotFoundError, match="/bi"):
        hook.list_dashboards()
