"""Airflow's stock SQL operators, checks and sensors, as they are, on a running Dremio."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from airflow.providers.common.sql.operators.sql import (
    BranchSQLOperator,
    SQLCheckOperator,
    SQLColumnCheckOperator,
    SQLExecuteQueryOperator,
    SQLInsertRowsOperator,
    SQLIntervalCheckOperator,
    SQLTableCheckOperator,
    SQLThresholdCheckOperator,
    SQLValueCheckOperator,
)
from airflow.providers.common.sql.sensors.sql import SqlSensor
from airflow.sdk.exceptions import AirflowException
from dremio_provider.exceptions import DremioConfigurationError, DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook

CONN = "dremio_default"


@pytest.fixture(scope="module")
def orders(real_hook: DremioHook, lake: str) -> Iterator[str]:
    """A table of this run alone, as SQL names it."""
    name = f"{lake}.checks"
    real_hook.run(
        f"CREATE TABLE {name} AS SELECT order_id, status, amount, CAST(day_text AS DATE) AS ds FROM "
        "(VALUES (1, 'paid', 10.5, '2026-11-24'), (2, 'paid', 20.0, '2026-11-25'), "
        "(3, 'open', NULL, '2026-11-25')) AS t (order_id, status, amount, day_text)"
    )
    yield name
    real_hook.run(f"DROP TABLE {name}")


def test_a_query_returns_its_rows(orders: str, context: Any) -> None:
    task = SQLExecuteQueryOperator(
        task_id="task",
        conn_id=CONN,
        sql=f"SELECT order_id, status, ds FROM {orders} WHERE status = %(status)s ORDER BY order_id",
        parameters={"status": "paid"},
    )
    assert task.execute(context) == [(1, "paid", date(2026, 11, 24)), (2, "paid", date(2026, 11, 25))]
    assert [column[0] for column in task.get_db_hook().descriptions[0]] == ["order_id", "status", "ds"]


def test_statements_in_one_text_run_one_after_the_other(real_hook: DremioHook, lake: str, context: Any) -> None:
    made = f"{lake}.made"
    task = SQLExecuteQueryOperator(
        task_id="task",
        conn_id=CONN,
        sql=f"CREATE TABLE {made} AS SELECT 1 AS a; INSERT INTO {made} VALUES (2);\n"
        f"SELECT SUM(a) FROM {made}; DROP TABLE {made}",
        return_last=False,
    )
    results = task.execute(context)
    assert [result[0][0] for result in results[1:3]] == [1, 3]
    assert len(results) == 4


def test_a_refused_statement_fails_with_dremios_words(connected: Any, context: Any) -> None:
    task = SQLExecuteQueryOperator(task_id="task", conn_id=CONN, sql="SELECT no_such_column FROM (VALUES (1)) AS t (a)")
    with pytest.raises(DremioTerminalError, match="no_such_column"):
        task.execute(context)


def test_column_checks(orders: str, context: Any) -> None:
    mapping = {
        "order_id": {"null_check": {"equal_to": 0}, "unique_check": {"equal_to": 0}, "min": {"geq_to": 1}},
        "amount": {"max": {"leq_to": 20}, "null_check": {"equal_to": 1}},
        "status": {"distinct_check": {"equal_to": 2}},
    }
    SQLColumnCheckOperator(task_id="task", conn_id=CONN, table=orders, column_mapping=mapping).execute(context)
    failing = {"order_id": {"max": {"less_than": 3}}}
    with pytest.raises(AirflowException, match="max"):
        SQLColumnCheckOperator(task_id="task", conn_id=CONN, table=orders, column_mapping=failing).execute(context)


def test_table_checks(orders: str, context: Any) -> None:
    good = {"row_count": {"check_statement": "COUNT(*) = 3"}, "ids": {"check_statement": "order_id > 0"}}
    SQLTableCheckOperator(task_id="task", conn_id=CONN, table=orders, checks=good).execute(context)
    bad = {"row_count": {"check_statement": "COUNT(*) = 4"}}
    with pytest.raises(AirflowException, match="row_count"):
        SQLTableCheckOperator(task_id="task", conn_id=CONN, table=orders, checks=bad).execute(context)


def test_simple_checks(orders: str, context: Any) -> None:
    SQLCheckOperator(task_id="task", conn_id=CONN, sql=f"SELECT COUNT(*) FROM {orders}").execute(context)
    with pytest.raises(AirflowException, match="Test failed"):
        SQLCheckOperator(
            task_id="task", conn_id=CONN, sql=f"SELECT COUNT(*) FROM {orders} WHERE status = %s", parameters=["lost"]
        ).execute(context)


@pytest.mark.parametrize(("expected", "passes"), [(30.5, True), (31, False)])
def test_value_checks(orders: str, context: Any, expected: float, passes: bool) -> None:
    task = SQLValueCheckOperator(
        task_id="task", conn_id=CONN, sql=f"SELECT SUM(amount) FROM {orders}", pass_value=expected
    )
    if passes:
        task.execute(context)
    else:
        with pytest.raises(AirflowException, match="Test failed"):
            task.execute(context)


@pytest.mark.parametrize(("upper", "passes"), [(5, True), ("SELECT 2", False)])
def test_threshold_checks(orders: str, context: Any, upper: Any, passes: bool) -> None:
    task = SQLThresholdCheckOperator(
        task_id="task", conn_id=CONN, sql=f"SELECT COUNT(*) FROM {orders}", min_threshold=1, max_threshold=upper
    )
    if passes:
        task.execute({**context, "ti": context["ti"]})
    else:
        with pytest.raises(AirflowException, match=r"[Tt]hreshold"):
            task.execute(context)


def test_interval_checks(orders: str, context: Any) -> None:
    task = SQLIntervalCheckOperator(
        task_id="task", conn_id=CONN, table=orders, metrics_thresholds={"COUNT(*)": 3}, days_back=1
    )
    task.sql1 = task.sql1.replace("'{{ ds }}'", "DATE '2026-11-25'")
    task.sql2 = task.sql2.replace("'{{ macros.ds_add(ds, -1) }}'", "DATE '2026-11-24'")
    task.execute(context)
    task.metrics_thresholds = {"COUNT(*)": 1.5}
    with pytest.raises(AirflowException, match="failed"):
        task.execute(context)


@pytest.mark.parametrize(("sql", "way"), [("SELECT COUNT(*) > 0 FROM {}", "yes"), ("SELECT 'f' FROM {}", "no")])
def test_branching(orders: str, context: Any, monkeypatch: pytest.MonkeyPatch, sql: str, way: str) -> None:
    task = BranchSQLOperator(
        task_id="task",
        conn_id=CONN,
        sql=sql.format(orders),
        follow_task_ids_if_true="yes",
        follow_task_ids_if_false="no",
    )
    taken: list[Any] = []
    # What comes after the query is Airflow's own: it marks tasks of a DAG run, which there is none of here.
    monkeypatch.setattr(task, "skip_all_except", lambda ti, branches: taken.append(branches))
    task.execute(context)
    assert taken in ([way], [[way]])


@pytest.mark.parametrize(("status", "found"), [("open", True), ("lost", False)])
def test_the_sensor(orders: str, context: Any, status: str, found: bool) -> None:
    task = SqlSensor(
        task_id="task",
        conn_id=CONN,
        sql=f"SELECT COUNT(*) FROM {orders} WHERE status = %(s)s",
        parameters={"s": status},
    )
    assert task.poke(context) is found


def test_rows_are_inserted_many_at_a_time(real_hook: DremioHook, lake: str, context: Any) -> None:
    made = f"{lake}.rows_inserted"
    with DremioHook() as hook:
        hook.run(f"CREATE TABLE {made} (id INTEGER, name VARCHAR)")
        rows = [(number, f"it's {number}") for number in range(2500)]
        task = SQLInsertRowsOperator(task_id="task", conn_id=CONN, table_name=made, rows=rows)
        task.execute(context)
        assert hook.get_first(f"SELECT COUNT(*), COUNT(DISTINCT name), MAX(name) FROM {made}") == (
            2500,
            2500,
            "it's 999",
        )
        jobs = "SELECT COUNT(*) FROM sys.jobs_recent WHERE query LIKE %s"
        assert hook.get_first(jobs, [f"INSERT INTO {made}%%"]) == (3,)
        with pytest.raises(DremioTerminalError, match="MERGE"):
            hook.insert_rows(made, rows[:1], replace=True)
        hook.run(f"DROP TABLE {made}")


def test_a_wrong_option_names_what_is_allowed(connected: Any, context: Any) -> None:
    task = SQLCheckOperator(task_id="task", conn_id=CONN, sql="SELECT 1", hook_params={"use_flight": True})
    with pytest.raises(DremioConfigurationError, match=r"use_flight.*flight_port"):
        task.execute(context)
