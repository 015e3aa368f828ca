"""Hook, operators and trigger against a running Dremio: the one DREMIO_URL names, otherwise the sandbox."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioConfigurationError,
    DremioConflictError,
    DremioJobFailedError,
    DremioReflectionError,
    DremioTerminalError,
)
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.operators.reflections import DremioRefreshReflectionsOperator
from dremio_provider.operators.sql import DremioRunSqlOperator
from dremio_provider.paths import quote_path
from dremio_provider.reflection_sets import apply_reflections

from tests.providers.dremio.real import RealDremio


@pytest.fixture(scope="module")
def dremio(real_dremio: RealDremio) -> RealDremio:
    return real_dremio


@pytest.fixture(scope="module")
def hook(dremio: RealDremio) -> Iterator[DremioHook]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps(dremio.connection))
        with DremioHook(poll_interval=0.1) as opened:
            yield opened


class Place:
    """A source and a space of this test run alone, with a table and a view over it."""

    def __init__(self, hook: DremioHook, dremio: RealDremio) -> None:
        mark = secrets.token_hex(4)
        self.hook, self.source, self.space = hook, f"providers_lake_{mark}", f"providers_{mark}"
        self.table = [self.source, dremio.bucket, f"orders_{mark}", "version=v2"]
        self.view = f"{self.space}.orders"
        hook.create_catalog_entity({"entityType": "space", "name": self.space})
        hook.create_catalog_entity(dremio.source(self.source))
        hook.run_sql(
            f"CREATE TABLE {quote_path(self.table)} AS SELECT * FROM "
            "(VALUES (1, 'paid', 10), (2, 'paid', 20), (3, 'open', 40)) AS t (order_id, status, amount)"
        )
        hook.run_sql(f"CREATE VIEW {quote_path(self.view)} AS SELECT * FROM {quote_path(self.table)}")

    def declared(self, **changes: Any) -> list[dict[str, Any]]:
        totals = {
            "name": f"totals_{self.space}",
            "dataset": self.view,
            "type": "aggregation",
            "dimensions": ["status"],
            "measures": [{"name": "amount", "functions": ["SUM", "COUNT"]}],
        }
        detail = {
            "name": f"detail_{self.space}",
            "dataset": self.view,
            "type": "raw",
            "display": ["order_id", "status", "amount"],
            "sort_by": ["order_id"],
        }
        return [{**totals, **changes}, detail]

    def remove(self) -> None:
        self.hook.run_sql(f"DROP TABLE {quote_path(self.table)}")
        for name in (self.space, self.source):
            entity = self.hook.get_catalog_entity([name])
            assert entity is not None
            self.hook.delete_catalog_entity(entity["id"], entity.get("tag"))


@pytest.fixture(scope="module")
def place(hook: DremioHook, dremio: RealDremio) -> Iterator[Place]:
    made = Place(hook, dremio)
    yield made
    made.remove()


def test_the_connection_test_proves_rest_and_flight(hook: DremioHook) -> None:
    worked, message = hook.test_connection()
    assert worked, message
    assert hook.address in message
    assert hook.flight_address in message


def test_wrong_credentials_are_refused_on_both_ways(
    hook: DremioHook, dremio: RealDremio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DREMIO_WRONG", json.dumps({**dremio.connection, "password": "wrong-one"}))
    other = DremioHook("dremio_wrong")
    with other, pytest.raises(DremioAuthenticationError, match="dremio_wrong"):
        other.request("GET", "/api/v3/catalog")
    with pytest.raises(DremioAuthenticationError, match="dremio_wrong"):
        other.get_arrow_table("SELECT 1")


def test_rows_are_the_same_over_rest_and_flight(hook: DremioHook, place: Place) -> None:
    sql = f"SELECT order_id, status FROM {quote_path(place.view)} ORDER BY order_id"
    rows = [{key: str(value) for key, value in row.items()} for row in hook.execute_sql(sql).rows]
    table = hook.get_arrow_table(sql)
    assert [{key: str(value) for key, value in row.items()} for row in table.to_pylist()] == rows
    assert [row["status"] for row in rows] == ["paid", "paid", "open"]


def test_more_rows_than_a_page_holds(hook: DremioHook, place: Place) -> None:
    ten = f"SELECT order_id * 3 + n AS n FROM {quote_path(place.view)}, (VALUES (0), (1), (2), (3)) AS v (n)"
    sql = f"SELECT a.n FROM ({ten}) a, ({ten}) b, ({ten}) c"
    assert len(hook.execute_sql(sql).rows) == 12**3


def test_a_wrong_statement_says_so(hook: DremioHook) -> None:
    with pytest.raises(DremioJobFailedError, match="providers_nothing"):
        hook.run_sql("SELECT * FROM providers_nothing")
    with pytest.raises(DremioTerminalError, match="providers_nothing"):
        hook.get_arrow_table("SELECT * FROM providers_nothing")


def test_what_exists_already_is_a_refusal(hook: DremioHook, place: Place) -> None:
    with pytest.raises((DremioConflictError, DremioTerminalError), match=r"already exist|exists already"):
        hook.create_catalog_entity({"entityType": "space", "name": place.space})


def test_the_sql_operator_runs_statements(hook: DremioHook, place: Place, context: Any) -> None:
    first = f"INSERT INTO {quote_path(place.table)} VALUES (9, 'open', 1)"
    second = f"DELETE FROM {quote_path(place.table)} WHERE order_id = 9"
    jobs = DremioRunSqlOperator(task_id="sql", sql=[first, second]).execute(context)["job_ids"]
    assert [hook.get_job(job)["jobState"] for job in jobs] == ["COMPLETED", "COMPLETED"]


def test_reflections_are_applied_once(hook: DremioHook, place: Place) -> None:
    assert [change.action for change in apply_reflections(hook, place.declared())] == ["created", "created"]
    again = apply_reflections(hook, place.declared())
    assert [(change.action, change.differences) for change in again] == [("unchanged", ()), ("unchanged", ())]
    changed = apply_reflections(hook, place.declared(measures=[{"name": "amount", "functions": ["SUM", "MAX"]}]))
    assert [change.action for change in changed] == ["updated", "unchanged"]
    assert len(hook.list_reflections(place.view)) == 2


def test_new_reflections_are_awaited(hook: DremioHook, place: Place, context: Any) -> None:
    names = [entry["name"] for entry in place.declared()]
    task = DremioRefreshReflectionsOperator(
        task_id="refresh", reflections=names, poll_interval=0.2, timeout=120, deferrable=False
    )
    result = task.execute(context)
    assert {entry["outcome"] for entry in result.values()} <= {"REFRESHED", "NO_CHANGE"}
    statuses = [reflection["status"] for reflection in hook.list_reflections(place.view)]
    assert {status["availability"] for status in statuses} == {"AVAILABLE"}


def test_a_refresh_after_a_change_ends_with_newer_data(hook: DremioHook, place: Place, context: Any) -> None:
    before = {
        r["id"]: hook.get_reflection(r["id"])["status"]["lastDataFetch"] for r in hook.list_reflections(place.view)
    }
    hook.run_sql(f"INSERT INTO {quote_path(place.table)} VALUES (4, 'paid', 80)")
    task = DremioRefreshReflectionsOperator(
        task_id="refresh", datasets=[place.view], poll_interval=0.2, timeout=120, deferrable=False
    )
    assert {entry["outcome"] for entry in task.execute(context).values()} == {"REFRESHED"}
    after = {rid: hook.get_reflection(rid)["status"]["lastDataFetch"] for rid in before}
    assert all(after[rid] > before[rid] for rid in before)
    sql = f"SELECT status, SUM(amount) AS total FROM {quote_path(place.view)} GROUP BY status"
    rows = hook.execute_sql(sql).rows
    assert {row["status"]: int(row["total"]) for row in rows} == {"paid": 110, "open": 40}


def test_the_trigger_waits_like_the_operator(hook: DremioHook, place: Place, context: Any) -> None:
    hook.run_sql(f"INSERT INTO {quote_path(place.table)} VALUES (5, 'paid', 1)")
    task = DremioRefreshReflectionsOperator(
        task_id="refresh", datasets=[place.view], poll_interval=0.2, timeout=120, deferrable=True
    )
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)

    async def wait() -> dict[str, Any]:
        (event,) = [found async for found in deferred.value.trigger.run()]
        return dict(event.payload)

    result = task.execute_complete(context, asyncio.run(wait()))
    assert {entry["outcome"] for entry in result.values()} == {"REFRESHED"}


def test_a_disabled_reflection_is_refused_at_once(hook: DremioHook, place: Place, context: Any) -> None:
    apply_reflections(hook, place.declared(enabled=False))
    name = place.declared()[0]["name"]
    task = DremioRefreshReflectionsOperator(task_id="refresh", reflections=[name], deferrable=False)
    with pytest.raises(DremioReflectionError, match=f"{name}: FAILED, it is disabled"):
        task.execute(context)


def test_a_reflection_whose_column_has_gone_is_explained(hook: DremioHook, place: Place, context: Any) -> None:
    apply_reflections(hook, place.declared())
    hook.run_sql(
        f"CREATE OR REPLACE VIEW {quote_path(place.view)} AS SELECT order_id, amount FROM {quote_path(place.table)}"
    )
    task = DremioRefreshReflectionsOperator(
        task_id="refresh", datasets=[place.view], poll_interval=0.2, timeout=60, deferrable=False
    )
    with pytest.raises(DremioReflectionError, match=rf"no longer fits the dataset.*{place.view} no longer has status"):
        task.execute(context)
    with pytest.raises(DremioConfigurationError, match=r"does not have: status.*it has order_id, amount"):
        apply_reflections(hook, place.declared())
