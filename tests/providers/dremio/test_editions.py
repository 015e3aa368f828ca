"""What depends on Dremio's edition, against a running server of each; and the refresh that a kill cancels."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from dremio_provider.exceptions import DremioNotFoundError, DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.operators.catalog import DremioApplyGrantsOperator
from dremio_provider.operators.reflections import DremioApplyReflectionsOperator, DremioRefreshReflectionsOperator

from tests.providers.dremio.real import RealDremio, running_dremio


@pytest.fixture(scope="module")
def enterprise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DremioHook]:
    """A hook for a Dremio of the Enterprise edition, with a role, a user and a view on a table."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as only_for_the_start:
            only_for_the_start.setenv("SANDBOX_DREMIO_EDITION", "enterprise")
            running = stack.enter_context(running_dremio(tmp_path_factory.mktemp("enterprise")))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AIRFLOW_CONN_DREMIO_ENTERPRISE", json.dumps(running.connection))
        hook = stack.enter_context(DremioHook("dremio_enterprise", poll_interval=0.1))
        if hook.edition != "enterprise":
            pytest.skip("the Dremio that DREMIO_URL names is of the community edition")
        prepare(hook, running)
        yield hook


def prepare(hook: DremioHook, running: RealDremio) -> None:
    hook.create_catalog_entity(running.source("edition_lake"))
    hook.create_catalog_entity({"entityType": "space", "name": "edition"})
    table = f'edition_lake."{running.bucket}".edition_orders'
    hook.run_sql(f"CREATE TABLE {table} AS SELECT * FROM (VALUES (1, 'paid'), (2, 'open')) AS t (n, status)")
    hook.run_sql(f"CREATE VIEW edition.orders AS SELECT * FROM {table}")
    hook.run_sql('CREATE ROLE "edition_analysts"')
    hook.run_sql('CREATE USER "edition_ann"')


def grants(context: Any, declared: Any, **arguments: Any) -> list[str]:
    task = DremioApplyGrantsOperator(task_id="grants", dremio_conn_id="dremio_enterprise", grants=declared, **arguments)
    return [difference for step in task.execute(context) for difference in step["differences"]]


def test_grants_are_applied_and_revoked(enterprise: DremioHook, context: Any) -> None:
    declared = {
        "edition.orders": [
            {"role": "edition_analysts", "privileges": ["select"]},
            {"user": "edition_ann", "privileges": ["SELECT", "ALTER"]},
        ]
    }
    assert grants(context, declared) == [
        "role edition_analysts: grant SELECT",
        "user edition_ann: grant ALTER, SELECT",
    ]
    assert grants(context, declared) == []
    declared["edition.orders"].pop()
    assert grants(context, declared) == []
    assert grants(context, declared, revoke_undeclared=True) == ["user edition_ann: revoke ALTER, SELECT"]
    rows = enterprise.execute_sql("SELECT grantee_id, privilege FROM sys.privileges").rows
    assert [row["privilege"] for row in rows if row["grantee_id"] == "edition_analysts"] == ["SELECT"]
    assert not [row for row in rows if row["grantee_id"] == "edition_ann"]
    with pytest.raises(DremioNotFoundError, match="no role nobody"):
        grants(context, {"edition.orders": [{"role": "nobody", "privileges": ["SELECT"]}]})


def test_a_reflection_of_a_view_is_refreshed_by_its_id(
    enterprise: DremioHook, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = [{"name": "edition_raw", "dataset": "edition.orders", "type": "raw", "display": ["n", "status"]}]
    common: dict[str, Any] = {"dremio_conn_id": "dremio_enterprise"}
    DremioApplyReflectionsOperator(task_id="apply", reflections=declared, **common).execute(context)
    common |= {"datasets": ["edition.orders"], "poll_interval": 0.2, "timeout": 120, "deferrable": False}
    DremioRefreshReflectionsOperator(task_id="first", **common).execute(context)

    def refused(*_: Any) -> None:
        raise AssertionError("the Enterprise edition refreshes by reflection")

    monkeypatch.setattr(DremioHook, "refresh_dataset_by_id", refused)
    result = DremioRefreshReflectionsOperator(task_id="refresh", **common).execute(context)
    assert result["edition.orders.edition_raw"]["outcome"] == "REFRESHED"


@pytest.fixture
def slow(real_hook: DremioHook, lake: str) -> Iterator[str]:
    """A view whose reflection takes long to build."""
    mark = secrets.token_hex(4)
    real_hook.create_catalog_entity({"entityType": "space", "name": f"slow_{mark}"})
    digits = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))"
    table = f"{lake}.slow_{mark}"
    letters = "abcd"
    joined = ", ".join(f"{digits} AS {letter} (n)" for letter in letters)
    value = " + ".join(f"{letter}.n * {10**power}" for power, letter in enumerate(letters))
    real_hook.run_sql(f"CREATE TABLE {table} AS SELECT {value} AS n FROM {joined}")
    view = f"slow_{mark}.pairs"
    real_hook.run_sql(
        f"CREATE VIEW {view} AS SELECT l.n AS n, r.n AS m, l.n || ' and ' || r.n AS label FROM {table} l, {table} r"
    )
    yield view
    entity = real_hook.get_catalog_entity([f"slow_{mark}"])
    assert entity is not None
    real_hook.delete_catalog_entity(entity["id"])
    real_hook.run_sql(f"DROP TABLE {table}")


def running_refreshes(hook: DremioHook, reflection_id: str) -> list[str]:
    rows = hook.execute_sql("SELECT job_id, query, status FROM sys.jobs").rows
    open_states = [row for row in rows if row["status"] not in ("COMPLETED", "FAILED", "CANCELED")]
    return [str(row["job_id"]) for row in open_states if f"REFRESH REFLECTION '{reflection_id}'" in str(row["query"])]


def test_a_kill_cancels_the_refresh_that_runs(real_hook: DremioHook, slow: str, context: Any) -> None:
    declared = [{"name": "pairs", "dataset": slow, "type": "raw", "display": ["n", "m", "label"]}]
    DremioApplyReflectionsOperator(task_id="apply", reflections=declared).execute(context)
    [reflection] = real_hook.list_reflections(slow)
    try:
        deadline = time.monotonic() + 60
        while not (jobs := running_refreshes(real_hook, reflection["id"])):
            assert time.monotonic() < deadline, "the refresh did not begin"
            time.sleep(0.1)
        task = DremioRefreshReflectionsOperator(
            task_id="refresh", datasets=[slow], poll_interval=0.2, timeout=120, deferrable=False
        )
        task._asked = (real_hook, [reflection["id"]])
        task.on_kill()
        while real_hook.get_job(jobs[0])["jobState"] not in ("CANCELED", "FAILED", "COMPLETED"):
            assert time.monotonic() < deadline, "the refresh was not cancelled"
            time.sleep(0.1)
        assert real_hook.get_job(jobs[0])["jobState"] == "CANCELED"
    finally:
        real_hook.delete_reflection(reflection["id"])


def test_a_community_server_that_is_called_enterprise_says_so(real_hook: DremioHook, slow: str, context: Any) -> None:
    if real_hook.edition != "community":
        pytest.skip("the Dremio that DREMIO_URL names is of the Enterprise edition")
    with pytest.raises(DremioTerminalError, match="only in Dremio's Enterprise edition"):
        DremioApplyGrantsOperator(task_id="grants", grants={slow: []}).execute(context)
    declared = [{"name": "few", "dataset": slow, "type": "aggregation", "dimensions": ["n"], "enabled": True}]
    DremioApplyReflectionsOperator(task_id="apply", reflections=declared).execute(context)
    [reflection] = real_hook.list_reflections(slow)
    task = DremioRefreshReflectionsOperator(
        task_id="refresh", datasets=[slow], edition="enterprise", poll_interval=0.2, timeout=120, deferrable=False
    )
    try:
        with pytest.raises(DremioTerminalError, match=r"community edition.*or auto to ask the server"):
            task.execute(context)
    finally:
        real_hook.delete_reflection(reflection["id"])
