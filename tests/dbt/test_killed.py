"""A dbt task that is killed while Dremio executes its statement, as Cosmos and Airflow kill it."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from lakehouse import dag_parts
from lakehouse.dbt_statements import NothingLeft, StatementsLeft, end_statements

from tests.sandbox.airbyte.services import wait_until

from .conftest import DBT, REPOSITORY, Lakehouse

FORTY = ", ".join(f"({n})" for n in range(40))
ENDLESS = "SELECT COUNT(*) AS c FROM " + ", ".join(f"(VALUES {FORTY}) AS t{i} (n)" for i in range(9))


def running(lakehouse: Lakehouse) -> set[str]:
    """The endless statements that go on."""
    rows = lakehouse.sql("select job_id, query from sys.jobs where status = 'RUNNING'")
    return {row["job_id"] for row in rows if "AS t8 (n)" in row["query"]}


def a_try(number: int, **task: str) -> dict[str, Any]:
    """The context of a task's try."""
    ids = {"dag_id": "cdc_micro_batch", "run_id": "manual__1", "task_id": "merge_change_data", **task}
    ti = SimpleNamespace(**ids, try_number=number)
    return {"ti": ti, "task_instance": ti, "dag_run": SimpleNamespace(run_id=ids["run_id"]), "run_id": ids["run_id"]}


@pytest.fixture
def connected(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lakehouse]:
    """Dremio, as the Airflow connection has it; no statement outlives the test."""
    environment = lakehouse.environment
    host, _, port = environment["DREMIO_URL"].removeprefix("http://").partition(":")
    connection = {"conn_type": "dremio", "host": host, "port": int(port)}
    login = {"login": environment["DREMIO_USER"], "password": environment["DREMIO_PASSWORD"]}
    monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps({**connection, **login}))
    yield lakehouse
    for job in running(lakehouse):
        lakehouse.call("POST", f"/api/v3/job/{job}/cancel")


@pytest.fixture
def left(connected: Lakehouse) -> Callable[..., str]:
    """Starts an endless statement as the dbt of a task does, and returns its job."""

    def start(comment: str | None = None, **task: str) -> str:
        ids = {"dag_id": "cdc_micro_batch", "run_id": "manual__1", "task_id": "merge_change_data", **task}
        comment = comment or json.dumps({"app": "dbt", "dbt_version": "1.11.16", "airflow": ids})
        answer = connected.call("POST", "/api/v3/sql", json={"sql": f"/* {comment} */ {ENDLESS}"})
        job = str(answer.json()["id"])
        wait_until(lambda: job in running(connected), "the statement runs", 60)
        return job

    return start


@pytest.fixture
def task(connected: Lakehouse, tmp_path: Path) -> Any:
    """The task that merges change data, of a project whose one such model never ends."""
    from cosmos.operators.local import DbtRunLocalOperator

    project = tmp_path / "dbt"
    shutil.copytree(REPOSITORY / "dbt/macros", project / "macros")
    shutil.copy(REPOSITORY / "dbt/dbt_project.yml", project)
    (project / "models/marts").mkdir(parents=True)
    shutil.copy(REPOSITORY / "dbt/models/groups.yml", project / "models")
    (project / "models/marts/endless.sql").write_text(ENDLESS)
    own = {"project_dir": str(project), "cache_dir": None, "dbt_executable_path": str(DBT), "callback": None}
    own |= {"emit_datasets": False, "should_store_compiled_sql": False}  # they need all of Airflow
    return DbtRunLocalOperator(
        task_id="merge_change_data", select="endless", **{**dag_parts.dbt_task("2026-11-01"), **own}
    )


def test_what_a_killed_dbt_has_left_is_ended_and_no_traceback_hides_why(
    connected: Lakehouse, task: Any, left: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    failed: list[BaseException] = []

    def execute() -> None:
        try:
            task.execute(a_try(1))
        except AirflowException as error:
            failed.append(error)

    with caplog.at_level(logging.INFO):
        working = threading.Thread(target=execute)
        working.start()
        (job,) = wait_until(lambda: not working.is_alive() or running(connected), "dbt's statement runs", 60)
        others = {left(task_id="transform.dbt_producer_watcher"), left(run_id="manual__2"), left(dag_id="daily_batch")}
        task.on_kill()
        working.join(30)
    assert [str(error).rpartition("The command ")[2] for error in failed] == ["returned a non-zero exit code -15."]
    assert "Traceback" not in caplog.text
    assert running(connected) == {job, *others}, "Dremio knows nothing of dbt's end"
    for callback in (task.on_retry_callback, task.on_failure_callback):
        callback = callback[0] if isinstance(callback, list) else callback
        callback(a_try(1))
        assert running(connected) == others


def test_the_next_try_ends_what_a_lost_one_has_left(connected: Lakehouse, left: Callable[..., str]) -> None:
    asked: list[Any] = []
    hook = NothingLeft(asked.append)
    mine, other = left(), left(run_id="manual__2")
    hook(a_try(1))
    assert running(connected) == {mine, other}
    hook(a_try(2))
    assert running(connected) == {other}
    assert len(asked) == 2


def test_of_a_task_that_runs_once_at_a_time_nothing_is_left_of_any_run(
    connected: Lakehouse, left: Callable[..., str]
) -> None:
    foreign = '{"app": "dbt", of another project', '{"app": "dbt", "airflow": "3.3"}'
    others = {left(task_id="dbt_tests.test"), *map(left, foreign)}
    left(), left(dag_id="daily_batch", run_id="scheduled__1")
    NothingLeft(lambda _: None, one_at_a_time=True)(a_try(1))
    assert running(connected) == others


def test_a_statement_that_does_not_end_in_time_fails_the_try(connected: Lakehouse, left: Callable[..., str]) -> None:
    with pytest.raises(StatementsLeft, match=f"Dremio has not ended {left()} within 0 s"):
        end_statements({"task_id": "merge_change_data"}, wait_seconds=0)
