"""What a refresh leaves behind for the next try, what a kill cancels, and how each edition is asked."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from dremio_provider.exceptions import (
    DremioNotFoundError,
    DremioReflectionError,
    DremioTerminalError,
    DremioTransientError,
)
from dremio_provider.operators.reflections import DremioRefreshReflectionsOperator
from dremio_provider.refresh import STATE_KEY

T1, T2 = "2026-11-01T01:00:00.000Z", "2026-11-02T01:00:00.000Z"


class TaskState(dict[str, Any]):
    """Airflow's task state: what a try writes, the next one reads."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


@pytest.fixture
def context(context: dict[str, Any]) -> dict[str, Any]:
    return {**context, "task_state_store": TaskState()}


def operator(**arguments: Any) -> DremioRefreshReflectionsOperator:
    settings = {"poll_interval": 0.01, "timeout": 20.0, "deferrable": False, "idle_limit": 30.0, **arguments}
    return DremioRefreshReflectionsOperator(task_id="refresh", **settings)


def running(dremio: Any, job_id: str, reflection_id: str) -> None:
    """The job that builds a reflection."""
    dremio.job(job_id, [{"jobState": "RUNNING"}], [])
    row = {"job_id": job_id, "query": f"REFRESH REFLECTION '{reflection_id}' AS 'm1'"}
    dremio.tables.setdefault("sys.jobs", []).append(row)


def test_a_retry_waits_for_what_the_first_try_asked_for(dremio: Any, state: Any, context: Any) -> None:
    line = [state(fetch=T1, refresh="RUNNING")]
    rid = dremio.reflection("totals", "gold.orders", [state(fetch=T1)], line)
    with pytest.raises(DremioReflectionError, match="TIMED_OUT"):
        operator(reflections=["totals"], timeout=0.2).execute(context)
    dremio.after[rid] = [state(fetch=T1, refresh="RUNNING"), state(fetch=T1, refresh="RUNNING"), state(fetch=T2)]
    result = operator(reflections=["totals"]).execute(context)
    assert result["gold.orders.totals"]["outcome"] == "REFRESHED"
    assert dremio.refreshed == ["table-1"]
    assert context["task_state_store"] == {}


def test_a_worker_that_died_is_followed_by_one_that_attaches(
    dremio: Any, state: Any, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])

    def die(*_: Any) -> None:
        raise DremioTransientError("The network went away.")

    with monkeypatch.context() as patch:
        patch.setattr("dremio_provider.operators.reflections.look", die)
        with pytest.raises(DremioTransientError):
            operator(reflections=["totals"]).execute(context)
    assert STATE_KEY in context["task_state_store"]
    assert operator(reflections=["totals"]).execute(context)["gold.orders.totals"]["outcome"] == "REFRESHED"
    assert dremio.refreshed == ["table-1"]


def test_a_deferred_task_that_is_tried_again_attaches_too(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1, refresh="RUNNING")])
    for _ in range(2):
        with pytest.raises(TaskDeferred) as deferred:
            operator(reflections=["totals"], deferrable=True).execute(context)
    assert dremio.refreshed == ["table-1"]
    assert deferred.value.trigger.baselines[0]["last_data_fetch"].startswith("2026-11-01")


def test_a_request_on_which_nothing_happened_is_made_again(dremio: Any, state: Any, context: Any) -> None:
    rid = dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1)])
    with pytest.raises(TaskDeferred):
        operator(reflections=["totals"], deferrable=True).execute(context)
    dremio.after[rid] = [state(fetch=T1), state(fetch=T1), state(fetch=T1), state(fetch=T2)]
    assert operator(reflections=["totals"]).execute(context)["gold.orders.totals"]["outcome"] == "REFRESHED"
    assert dremio.refreshed == ["table-1", "table-1"]


def test_after_a_failure_the_next_try_asks_anew(dremio: Any, state: Any, context: Any) -> None:
    rid = dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1), state(fetch=T1, failures=1)])
    with pytest.raises(DremioReflectionError, match="its refresh failed"):
        operator(reflections=["totals"]).execute(context)
    assert context["task_state_store"] == {}
    dremio.after[rid] = [state(fetch=T1, failures=1), state(fetch=T1, failures=1), state(fetch=T2)]
    operator(reflections=["totals"]).execute(context)
    assert dremio.refreshed == ["table-1", "table-1"]


def test_another_set_of_reflections_is_another_request(dremio: Any, state: Any, context: Any) -> None:
    for name in ("totals", "detail"):
        dremio.reflection(name, "gold.orders", [state(fetch=T1)], [state(fetch=T1, refresh="RUNNING")])
    with pytest.raises(DremioReflectionError):
        operator(reflections=["totals"], timeout=0.1).execute(context)
    dremio.after = {rid: [state(fetch=T1), state(fetch=T1), state(fetch=T2)] for rid in dremio.after}
    operator(reflections=["totals", "detail"]).execute(context)
    assert dremio.refreshed == ["table-1", "table-1"]


def test_a_kill_cancels_what_runs_and_leaves_nothing_to_attach_to(dremio: Any, state: Any, context: Any) -> None:
    rid = dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1, refresh="RUNNING")])
    running(dremio, "refresh-1", rid)
    running(dremio, "refresh-2", "of-somebody-else")
    task = operator(reflections=["totals"])
    original = task._pause

    def killed_while_waiting() -> None:
        task.on_kill()
        original()

    task._pause = killed_while_waiting  # type: ignore[method-assign]
    with pytest.raises(DremioTransientError, match="ended by a kill"):
        task.execute(context)
    assert dremio.cancelled == ["refresh-1"]
    assert context["task_state_store"] == {}


def test_airflows_own_timeout_leaves_nothing_to_attach_to(
    dremio: Any, state: Any, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1, refresh="RUNNING")])

    def time_out(*_: Any) -> None:
        raise SystemExit("execution_timeout")

    monkeypatch.setattr("dremio_provider.operators.reflections.look", time_out)
    with pytest.raises(SystemExit):
        operator(reflections=["totals"]).execute(context)
    assert context["task_state_store"] == {}


def test_metadata_comes_before_the_refresh(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    operator(reflections=["totals"], refresh_metadata=True).execute(context)
    [statement] = [sql for sql in dremio.sql if sql.startswith("ALTER")]
    assert statement.startswith('ALTER TABLE "lake"."table-1" REFRESH METADATA AUTO PROMOTION')
    assert dremio.refreshed == ["table-1"]


def test_only_named_partitions_are_read_anew(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    days = [{"dir0": "date=2026-11-01"}, {"dir0": "date=2026-11-02", "dir1": "shop=o'neil"}]
    operator(reflections=["totals"], refresh_metadata={"lake.table-1": days}).execute(context)
    assert [sql.partition("METADATA ")[2].partition(" AUTO")[0] for sql in dremio.sql if sql.startswith("ALTER")] == [
        "FOR PARTITIONS (\"dir0\" = 'date=2026-11-01')",
        "FOR PARTITIONS (\"dir0\" = 'date=2026-11-02', \"dir1\" = 'shop=o''neil')",
    ]


def test_an_enterprise_server_without_the_call_is_asked_by_statement(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    dremio.reflection("raw", "lake.t", [state(fetch=T1)], [state(fetch=T2)], kind="PHYSICAL_DATASET")
    original = dremio._submit

    def submit(request: Any) -> Any:
        if "REFRESH REFLECTIONS" in request.body["sql"]:
            dremio.refreshed.append(request.body["sql"])
        return original(request)

    dremio.guard("POST", "/api/v3/sql", submit)
    operator(reflections=["totals", "raw"], edition="enterprise").execute(context)
    assert dremio.refreshed == [
        'ALTER VIEW "gold"."orders" REFRESH REFLECTIONS',
        'ALTER TABLE "lake"."t" REFRESH REFLECTIONS',
    ]


def test_the_wrong_edition_is_named(dremio: Any, state: Any, context: Any, reply: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    original = dremio._submit

    def submit(request: Any) -> Any:
        if "REFRESH REFLECTIONS" not in request.body["sql"]:
            return original(request)
        failed = {"jobState": "FAILED", "errorMessage": "REFRESH REFLECTIONS command is not supported."}
        dremio.job("refused", [failed], [])
        return reply(200, {"id": "refused"})

    dremio.guard("POST", "/api/v3/sql", submit)
    with pytest.raises(DremioTerminalError, match=r"community edition.*edition of the operator and of the Airflow"):
        operator(reflections=["totals"], edition="enterprise").execute(context)


def test_near_names_are_told(dremio: Any, state: Any, context: Any, reply: Any) -> None:
    dremio.reflection("daily_totals", "gold.orders", [state()], [state()])
    with pytest.raises(DremioNotFoundError, match=r"no reflection daily_total\..*\(near: daily_totals\)"):
        operator(reflections=["daily_total"]).execute(context)
    children = [{"path": ["gold", "orders"]}, {"path": ["gold", "customers"]}]
    dremio.answer("GET", "/api/v3/catalog/by-path/gold", {"entityType": "space", "children": children})
    with pytest.raises(DremioNotFoundError, match=r"no dataset gold\.ordes\..*\(near: gold\.orders\)"):
        operator(datasets=["gold.ordes"]).execute(context)
    roots = {"data": [{"path": ["gold"]}, {"path": ["silver"]}]}
    dremio.answer("GET", "/api/v3/catalog", roots)
    with pytest.raises(DremioNotFoundError, match=r"no dataset golden\.orders\..*\(near: gold\)"):
        operator(datasets=["golden.orders"]).execute(context)
