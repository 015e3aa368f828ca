"""What an answer out of the cache looks like, and what its key depends on."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.workshop import Workshop, query_context

EU = {"col": "region", "op": "IN", "val": ["EU", "US"]}
MANY = {"col": "amount", "op": ">", "val": 5}
RULE_SECONDS = 10.0
"""A rule for rows acts soon, not at once, on a Superset that keeps rights (include/superset/kept_rights.py)."""


@pytest.fixture
def dataset(workshop: Workshop) -> int:
    return workshop.dataset(workshop.database())


def ask(hook: SupersetHook, body: dict[str, Any], **address: Any) -> dict[str, Any]:
    (answer,) = hook.chart_data(body, **address)
    return answer


def test_a_miss_is_null_and_a_hit_is_true(workshop: Workshop, dataset: int) -> None:
    body = query_context(dataset)
    before = datetime.now(UTC).replace(microsecond=0)
    miss, hit = ask(workshop.hook, body), ask(workshop.hook, body)
    assert (miss["is_cached"], miss["cached_dttm"]) == (None, None)
    assert hit["is_cached"] is True
    cached_at = datetime.fromisoformat(hit["cached_dttm"])
    assert (cached_at.replace(tzinfo=UTC) if cached_at.tzinfo is None else cached_at) >= before
    assert hit["cache_key"] == miss["cache_key"]
    assert hit["data"] == miss["data"]


def test_force_asks_anew_and_keeps_the_key(workshop: Workshop, dataset: int) -> None:
    body = query_context(dataset)
    first, forced, then = (ask(workshop.hook, {**body, "force": force}) for force in (False, True, False))
    assert (forced["is_cached"], then["is_cached"]) == (None, True)
    assert first["cache_key"] == forced["cache_key"] == then["cache_key"]
    assert then["queried_dttm"] == forced["queried_dttm"]


def test_what_the_browser_adds_to_the_address_is_not_in_the_key(workshop: Workshop, dataset: int) -> None:
    body = query_context(dataset)
    ask(workshop.hook, body)
    assert ask(workshop.hook, body, form_data={"slice_id": 1}, dashboard_id=1)["is_cached"] is True
    url_params = query_context(dataset, url_params={"native_filters_key": "abc"})
    assert ask(workshop.hook, url_params)["is_cached"] is True


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"filters": [MANY, EU]}, id="order of filters"),
        pytest.param({"filters": [{**EU, "op": "in"}, MANY]}, id="case of an operator"),
        pytest.param({"filters": [{**EU, "val": ["US", "EU"]}, MANY]}, id="order of values"),
        pytest.param({"row_limit": 999}, id="row limit"),
        pytest.param({"time_range": "Last day"}, id="time range"),
        pytest.param({"extras": {"having": "", "where": "1 = 1"}}, id="extras"),
    ],
)
def test_the_key_depends_on(workshop: Workshop, dataset: int, changed: dict[str, Any]) -> None:
    query: dict[str, Any] = {"filters": [EU, MANY]}
    key = ask(workshop.hook, query_context(dataset, **query))["cache_key"]
    other = ask(workshop.hook, query_context(dataset, **{**query, **changed}))
    assert other["is_cached"] is None
    assert other["cache_key"] != key


def test_a_part_that_is_left_out_makes_another_key(workshop: Workshop, dataset: int) -> None:
    body = query_context(dataset)
    key = ask(workshop.hook, body)["cache_key"]
    short = {name: body["queries"][0][name] for name in ("columns", "metrics", "orderby", "row_limit")}
    assert ask(workshop.hook, {**body, "queries": [short]})["cache_key"] != key


def test_changing_the_dataset_empties_the_cache(workshop: Workshop, dataset: int) -> None:
    body = query_context(dataset)
    key = ask(workshop.hook, body)["cache_key"]
    workshop.hook.request("PUT", f"/api/v1/dataset/{dataset}", json={"description": "changed"})
    changed = ask(workshop.hook, body)
    assert (changed["is_cached"], changed["cache_key"] != key) == (None, True)


def test_changing_a_chart_or_refreshing_the_dataset_does_not(workshop: Workshop) -> None:
    database = workshop.database()
    table = workshop.named("kept").replace("-", "_")
    workshop.execute(database, f"create table {table} as select 'EU' as region, 1 as amount")
    try:
        dataset = workshop.dataset(database, None, table_name=table)
        chart = workshop.chart(dataset)
        body = query_context(dataset)
        ask(workshop.hook, body)
        workshop.hook.request("PUT", f"/api/v1/chart/{chart}", json={"description": "changed"})
        workshop.hook.request("PUT", f"/api/v1/dataset/{dataset}/refresh")
        assert ask(workshop.hook, body)["is_cached"] is True
    finally:
        workshop.execute(database, f"drop table {table}")
    # A hit says nothing about the table.
    assert ask(workshop.hook, body)["is_cached"] is True


def test_the_invalidation_invalidates_nothing(workshop: Workshop, dataset: int) -> None:
    body = query_context(dataset)
    ask(workshop.hook, body)
    uids = {"datasource_uids": [f"{dataset}__table"]}
    answer = workshop.hook.send("POST", "/api/v1/cachekey/invalidate", json=uids)
    assert answer.status_code == 201
    assert ask(workshop.hook, body)["is_cached"] is True


def test_users_share_entries_unless_row_level_security_tells_them_apart(
    workshop: Workshop, dataset: int, logged_in: Any
) -> None:
    body = query_context(dataset)
    role, alpha = workshop.role(), workshop.role_named("Alpha")
    free, limited = logged_in(workshop.user(alpha)), logged_in(workshop.user(alpha, role))
    everything = ask(workshop.hook, body)
    assert ask(free, body)["is_cached"] is True
    assert ask(limited, body)["is_cached"] is True
    workshop.row_level_security("region = 'EU'", [dataset], [role])
    deadline = time.monotonic() + RULE_SECONDS
    while (seen := ask(limited, body))["cache_key"] == everything["cache_key"] and time.monotonic() < deadline:
        pass
    assert (seen["is_cached"], seen["cache_key"] != everything["cache_key"]) == (None, True)
    assert [row["region"] for row in seen["data"]] == ["EU"]
    assert ask(free, body)["is_cached"] is True


def test_tomorrow_last_day_is_another_day_under_the_same_key(workshop: Workshop, real_superset: Any) -> None:
    rows = "select 'EU' as region, 1 as amount, '2020-01-01' as happened"
    dataset = workshop.dataset(workshop.database(), rows)
    columns = [
        {"column_name": column["column_name"], "is_dttm": column["column_name"] == "happened"}
        for column in workshop.hook.get_dataset(dataset)["columns"]
    ]
    body = {"columns": columns, "main_dttm_col": "happened"}
    workshop.hook.request("PUT", f"/api/v1/dataset/{dataset}?override_columns=true", json=body)
    asked = query_context(dataset, time_range="Last day", granularity="happened")
    today = ask(workshop.hook, asked)
    with real_superset.later(timedelta(days=1)):
        tomorrow = ask(workshop.hook, asked)
        renewed = ask(workshop.hook, {**asked, "force": True})
    assert tomorrow["is_cached"] is True
    assert today["cache_key"] == tomorrow["cache_key"] == renewed["cache_key"]
    assert tomorrow["queried_dttm"] == today["queried_dttm"] < renewed["queried_dttm"]
    # The answer claims tomorrow's range for today's rows.
    assert tomorrow["from_dttm"] == renewed["from_dttm"] == today["from_dttm"] + 86_400_000
