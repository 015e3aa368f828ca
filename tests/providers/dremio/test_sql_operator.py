"""DremioSqlOperator over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from dremio_provider.exceptions import DremioConfigurationError, DremioJobFailedError
from dremio_provider.operators.sql import DremioSqlOperator


def test_statements_run_one_after_the_other(dremio: Any, context: Any, server: Any) -> None:
    jobs = DremioSqlOperator(task_id="sql", sql=["DROP TABLE a", "CREATE TABLE a AS SELECT 1"]).execute(context)
    assert dremio.sql == ["DROP TABLE a", "CREATE TABLE a AS SELECT 1"]
    assert context["ti"].pushed["_link_DremioJobLink"] == f"{server.address}/job/{jobs[-1]}"


def test_the_first_failure_ends_it(dremio: Any, context: Any) -> None:
    def failing(request: Any) -> Any:
        dremio.sql.append(request.body["sql"])
        dremio.job("bad", [{"jobState": "FAILED", "errorMessage": "no such table"}], [])
        return dremio.reply(200, {"id": "bad"})

    dremio.guard("POST", "/api/v3/sql", failing)
    with pytest.raises(DremioJobFailedError, match="no such table"):
        DremioSqlOperator(task_id="sql", sql=["DROP TABLE a", "DROP TABLE b"]).execute(context)
    assert dremio.sql == ["DROP TABLE a"]


def test_the_context_goes_along(dremio: Any, context: Any, server: Any) -> None:
    DremioSqlOperator(task_id="sql", sql="SELECT 1", sql_context=["gold"]).execute(context)
    sent = [request for request in server.requests if request.path == "/api/v3/sql"]
    assert [request.body for request in sent] == [{"sql": "SELECT 1", "context": ["gold"]}]


def test_a_kill_cancels_the_running_job_once(dremio: Any, context: Any) -> None:
    task = DremioSqlOperator(task_id="sql", sql="SELECT 1")

    def submit(_: Any) -> Any:
        def running(_: Any) -> Any:
            task.on_kill()
            return dremio.reply(200, {"jobState": "CANCELED"})

        dremio.job("long", [], [])
        dremio.guard("GET", "/api/v3/job/long", running)
        return dremio.reply(200, {"id": "long"})

    dremio.guard("POST", "/api/v3/sql", submit)
    with pytest.raises(DremioJobFailedError, match="CANCELED"):
        task.execute(context)
    task.on_kill()
    assert dremio.cancelled == ["long"]


@pytest.mark.parametrize("sql", ["", "  ", [], ["SELECT 1", ""]])
def test_an_empty_statement_is_refused(sql: Any, dremio: Any, context: Any, server: Any) -> None:
    with pytest.raises(DremioConfigurationError):
        DremioSqlOperator(task_id="sql", sql=sql).execute(context)
    assert server.requests == []


def test_sql_files_and_templates_are_taken() -> None:
    assert ".sql" in DremioSqlOperator.template_ext
    assert "sql" in DremioSqlOperator.template_fields
