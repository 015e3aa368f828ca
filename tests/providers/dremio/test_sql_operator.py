"""DremioRunSqlOperator over HTTP: order, links, kills, retries that attach, and waiting in the triggerer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from dremio_provider.exceptions import (
    DremioConfigurationError,
    DremioJobFailedError,
    DremioTerminalError,
    DremioTimeoutError,
    DremioTransientError,
)
from dremio_provider.operators.sql import STATE_KEY, DremioRunSqlOperator
from dremio_provider.triggers.jobs import DremioJobTrigger


class StateStore(dict[str, Any]):
    """What Airflow keeps of a task between its tries; only JSON goes in."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)


@pytest.fixture
def context(context: Any) -> Any:
    return {**context, "task_state_store": StateStore()}


def make(**arguments: Any) -> DremioRunSqlOperator:
    return DremioRunSqlOperator(task_id="sql", **{"deferrable": False, "poll_interval": 0.01, **arguments})


def jobs(dremio: Any, *lines: list[dict[str, Any]]) -> list[str]:
    """The next statements become jobs that pass through these states."""
    names = [f"job{number}" for number in range(len(lines))]
    for name, line in zip(names, lines, strict=True):
        dremio.job(name, line, [{"n": 1}, {"n": 2}])
    waiting = iter(names)

    def submit(request: Any) -> Any:
        dremio.sql.append(request.body["sql"])
        return dremio.reply(200, {"id": next(waiting)})

    dremio.guard("POST", "/api/v3/sql", submit)
    return names


RUNNING, COMPLETED = {"jobState": "RUNNING"}, {"jobState": "COMPLETED", "rowCount": 2}
FAILED = {"jobState": "FAILED", "errorMessage": "no such table"}
CANCELED = {"jobState": "CANCELED", "cancellationReason": "by admin"}


def fire(trigger: DremioJobTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        (event,) = [found async for found in trigger.run()]
        return dict(event.payload)

    return asyncio.run(first())


def run_deferred(task: DremioRunSqlOperator, context: Any) -> tuple[Any, int]:
    """Run a task as Airflow does: each resumption is a new object of the same task."""
    arguments = {"sql": task.sql, "deferrable": True, "fetch_rows": task.fetch_rows, "timeout": task.timeout}
    deferrals = 0
    step: Any = lambda: task.execute(context)  # noqa: E731
    while True:
        try:
            return step(), deferrals
        except TaskDeferred as deferred:
            deferrals += 1
            event, method = fire(deferred.trigger), deferred.method_name
            resumed = make(**arguments)
            step = lambda: getattr(resumed, method)(context, event)  # noqa: E731, B023


def test_statements_run_one_after_the_other(dremio: Any, context: Any, server: Any) -> None:
    result = make(sql=["DROP TABLE a", "CREATE TABLE a AS SELECT 1"]).execute(context)
    assert dremio.sql == ["DROP TABLE a", "CREATE TABLE a AS SELECT 1"]
    assert len(result["job_ids"]) == 2
    assert context["ti"].pushed["_link_DremioJobLink"] == f"{server.address}/job/{result['job_ids'][-1]}"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("DROP TABLE a; -- it's gone\nSELECT ';' AS b;\n", ["DROP TABLE a", "SELECT ';' AS b"]),
        ("/* kept */ SELECT 1", ["/* kept */ SELECT 1"]),
    ],
)
def test_a_text_is_split_at_its_semicolons(dremio: Any, context: Any, text: str, sent: list[str]) -> None:
    assert len(make(sql=text).execute(context)["job_ids"]) == len(sent)
    assert dremio.sql == sent


def test_the_first_failure_ends_it(dremio: Any, context: Any) -> None:
    jobs(dremio, [FAILED])
    with pytest.raises(DremioJobFailedError, match="no such table"):
        make(sql=["DROP TABLE a", "DROP TABLE b"]).execute(context)
    assert dremio.sql == ["DROP TABLE a"]


def test_the_context_and_the_parameters_go_along(dremio: Any, context: Any, server: Any) -> None:
    make(sql="SELECT * FROM t WHERE a = %(a)s", parameters={"a": "it's"}, sql_context=["gold"]).execute(context)
    sent = [request for request in server.requests if request.path == "/api/v3/sql"]
    assert [request.body for request in sent] == [
        {"sql": "SELECT * FROM t WHERE a = 'it''s'", "context": ["gold"]},
    ]


def test_rows_are_returned_if_asked_for_and_bounded(dremio: Any, context: Any) -> None:
    jobs(dremio, [COMPLETED])
    assert make(sql="SELECT n FROM t", fetch_rows=1).execute(context) == {
        "job_ids": ["job0"],
        "columns": ["n"],
        "rows": [[1]],
        "row_count": 2,
    }
    with pytest.raises(DremioConfigurationError, match="500"):
        make(sql="SELECT 1", fetch_rows=501).execute(context)


@pytest.mark.parametrize("end", [CANCELED, {"jobState": "CANCELED"}])
def test_a_cancelled_job_ends_the_task(dremio: Any, context: Any, end: Any) -> None:
    jobs(dremio, [RUNNING, {"jobState": "SOMETHING_NEW"}, end])
    with pytest.raises(DremioJobFailedError, match="CANCELED"):
        make(sql="SELECT 1").execute(context)


def test_the_link_is_there_while_the_job_runs(dremio: Any, context: Any) -> None:
    links: list[Any] = []

    def running(_: Any) -> Any:
        links.append(context["ti"].pushed.get("_link_DremioJobLink"))
        return dremio.reply(200, COMPLETED)

    jobs(dremio, [COMPLETED])
    dremio.guard("GET", "/api/v3/job/job0", running)
    make(sql="SELECT 1").execute(context)
    assert links == [f"{dremio.server.address}/job/job0"]


def test_a_kill_cancels_the_running_job_once(dremio: Any, context: Any) -> None:
    task = make(sql="SELECT 1")

    def running(_: Any) -> Any:
        task.on_kill()
        return dremio.reply(200, {"jobState": "CANCELED"})

    jobs(dremio, [])
    dremio.guard("GET", "/api/v3/job/job0", running)
    with pytest.raises(DremioJobFailedError, match="CANCELED"):
        task.execute(context)
    task.on_kill()
    assert dremio.cancelled == ["job0"]


def test_a_kill_cancels_the_job_that_the_triggerer_waits_for(dremio: Any, context: Any) -> None:
    jobs(dremio, [RUNNING])
    with pytest.raises(TaskDeferred) as deferred:
        make(sql="SELECT 1", deferrable=True).execute(context)
    asyncio.run(deferred.value.trigger.on_kill())
    assert dremio.cancelled == ["job0"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_job_that_takes_too_long_is_cancelled(dremio: Any, context: Any, deferrable: bool) -> None:
    jobs(dremio, [RUNNING])
    task = make(sql="SELECT 1", timeout=0.05, deferrable=deferrable)
    with pytest.raises(DremioTimeoutError, match="job0"):
        run_deferred(task, context)
    assert dremio.cancelled == ["job0"]


@pytest.mark.parametrize("sql", ["", "  ", [], ["SELECT 1", ""]])
def test_an_empty_statement_is_refused(sql: Any, dremio: Any, context: Any, server: Any) -> None:
    with pytest.raises(DremioConfigurationError):
        make(sql=sql).execute(context)
    assert server.requests == []


def test_it_waits_in_the_triggerer(dremio: Any, context: Any) -> None:
    jobs(dremio, [RUNNING, RUNNING, COMPLETED], [COMPLETED], [RUNNING, COMPLETED])
    result, deferrals = run_deferred(make(sql=["A", "B", "C"], deferrable=True, fetch_rows=5), context)
    assert dremio.sql == ["A", "B", "C"]
    assert result["job_ids"] == ["job0", "job1", "job2"]
    assert result["rows"] == [[1], [2]]
    # B was over when it was first looked at.
    assert deferrals == 2
    assert STATE_KEY not in context["task_state_store"]


def test_a_failure_in_the_triggerer_has_dremios_words(dremio: Any, context: Any) -> None:
    jobs(dremio, [RUNNING, FAILED])
    with pytest.raises(DremioJobFailedError, match="no such table"):
        run_deferred(make(sql=["A", "B"], deferrable=True), context)
    assert dremio.sql == ["A"]
    assert STATE_KEY not in context["task_state_store"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_retry_attaches_to_the_job_that_still_runs(dremio: Any, context: Any, deferrable: bool) -> None:
    jobs(dremio, [COMPLETED], [RUNNING])
    dremio.answer("GET", "/api/v3/job/job1", dremio.reply(200, {"jobState": "RUNNING"}), dremio.reply(503, {}))
    statements = ["CREATE TABLE a AS SELECT 1", "INSERT INTO a SELECT 2", "SELECT 3"]
    with pytest.raises(DremioTransientError):
        run_deferred(make(sql=statements, deferrable=deferrable), context)
    assert dremio.cancelled == []
    jobs_again = jobs(dremio, [COMPLETED], [RUNNING, COMPLETED])
    dremio.job("job1", [RUNNING, RUNNING, COMPLETED], [])
    dremio.guard("POST", "/api/v3/sql", lambda request: dremio.sql.append(request.body["sql"]) or third(dremio))
    result, _ = run_deferred(make(sql=statements, deferrable=deferrable), context)
    assert jobs_again
    assert dremio.sql == statements
    assert result["job_ids"] == ["job0", "job1", "job2"]


def third(dremio: Any) -> Any:
    dremio.job("job2", [COMPLETED], [])
    return dremio.reply(200, {"id": "job2"})


@pytest.mark.parametrize("before", [FAILED, CANCELED, None])
def test_a_retry_after_a_failed_job_begins_anew(dremio: Any, context: Any, before: Any) -> None:
    jobs(dremio, [COMPLETED], [COMPLETED])
    store = {"statements": "", "job_ids": ["done", "old"]}
    task = make(sql=["A", "B"])
    from dremio_provider.operators.sql import _fingerprint

    context["task_state_store"].set(STATE_KEY, {**store, "statements": _fingerprint(["A", "B"])})
    if before is not None:
        dremio.job("old", [before], [])
    assert task.execute(context)["job_ids"] == ["job0", "job1"]


def test_a_changed_statement_is_not_taken_for_the_old_one(dremio: Any, context: Any) -> None:
    context["task_state_store"].set(STATE_KEY, {"statements": "of another text", "job_ids": ["old"]})
    dremio.job("old", [COMPLETED], [])
    jobs(dremio, [COMPLETED])
    assert make(sql="A").execute(context)["job_ids"] == ["job0"]


class RunningTask:
    """What the operator reads of a task that Airflow runs."""

    dag_id, task_id, run_id, map_index = "shop", "load", "manual__*/ DROP TABLE a /*", -1

    def __init__(self, try_number: int) -> None:
        self.try_number = try_number

    def xcom_push(self, key: str, value: Any) -> None:
        """Links are looked at elsewhere."""


class LostStore(StateStore):
    """Airflow is gone in the moment in which the job's id is to be stored."""

    def set(self, key: str, value: Any) -> None:
        raise SystemExit(137)


def test_a_job_that_was_never_stored_is_found_by_its_mark(connected: Any, real_hook: Any) -> None:
    endless = "SELECT COUNT(*) AS marked FROM " + ", ".join(f"sys.jobs_recent AS j{n}" for n in range(14))
    for _ in range(20):
        real_hook.run_sql("SELECT 1")
    with pytest.raises(SystemExit):
        make(sql=endless).execute({"ti": RunningTask(1), "task_state_store": LostStore()})
    with pytest.raises(TaskDeferred) as deferred:
        make(sql=endless, deferrable=True).execute({"ti": RunningTask(2), "task_state_store": StateStore()})
    found = real_hook.execute_sql(
        "SELECT job_id, query FROM sys.jobs_recent WHERE query LIKE %s", parameters=[f"/* airflow %% */ {endless}"]
    ).rows
    real_hook.cancel_job(deferred.value.trigger.job_id)
    assert [row["job_id"] for row in found] == [deferred.value.trigger.job_id]
    assert found[0]["query"].startswith(
        '/* airflow {"dag_id": "shop", "task_id": "load", "run_id": "manual__/ DROP TABLE a /", "map_index": -1, '
        '"statement": 0} */ SELECT'
    )


def test_a_retry_whose_jobs_are_all_over_runs_its_statements(connected: Any, real_hook: Any) -> None:
    ids = [
        make(sql="SELECT 1 AS retried").execute({"ti": RunningTask(number), "task_state_store": StateStore()})
        for number in (1, 2)
    ]
    assert ids[0] != ids[1]


def test_a_cleared_task_runs_again(dremio: Any, context: Any) -> None:
    for _ in range(2):
        jobs(dremio, [COMPLETED])
        make(sql="A").execute(context)
    assert dremio.sql == ["A", "A"]


def test_refused_credentials_are_terminal_in_the_triggerer(dremio: Any, context: Any, connect: Any) -> None:
    jobs(dremio, [RUNNING])
    task = make(sql="A", deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    connect(dremio.server.port, password="wrong-one")
    event = fire(deferred.value.trigger)
    with pytest.raises(DremioTerminalError, match="refused the credentials") as caught:
        task.execute_complete(context, event)
    assert not isinstance(caught.value, DremioTransientError)
    assert "wrong-one" not in str(caught.value)


def test_sql_files_and_templates_are_taken() -> None:
    assert ".sql" in DremioRunSqlOperator.template_ext
    assert {"sql", "parameters"} <= set(DremioRunSqlOperator.template_fields)
