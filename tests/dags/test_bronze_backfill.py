"""The backfill DAG: what starts it, which days and streams it means, and that nothing of it reads a source."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from .conftest import REPOSITORY


@pytest.fixture(scope="module")
def backfill(dags: dict[str, Any]) -> Any:
    return dags["bronze_backfill"]


def run(run_type: str, logical_date: datetime | None = None) -> Any:
    return SimpleNamespace(run_type=run_type, logical_date=logical_date)


NOVEMBER = datetime(2026, 11, 3, 1, tzinfo=UTC)


def test_airflow_backfill_makes_one_run_for_each_day_of_the_range(backfill: Any) -> None:
    from airflow.models.backfill import _get_info_list
    from airflow.serialization.serialized_objects import DagSerialization

    serialized = DagSerialization.from_dict(DagSerialization.to_dict(backfill))
    assert serialized.timetable.periodic  # or `airflow backfill create` refuses it
    infos = _get_info_list(
        dag=serialized,
        from_date=datetime(2026, 11, 1, tzinfo=UTC),
        to_date=datetime(2026, 11, 3, 23, tzinfo=UTC),
        reverse=False,
    )
    assert [info.logical_date.date().isoformat() for info in infos] == ["2026-11-01", "2026-11-02", "2026-11-03"]


def test_the_build_of_a_backfill_runs_alone_with_the_tables(dags: dict[str, Any]) -> None:
    """It takes every slot of the pool, in which whatever reads or writes dbt's tables has one."""
    declared = json.loads((REPOSITORY / "include" / "airflow" / "pools.json").read_text())["dbt_tables"]
    assert declared["include_deferred"], "a refresh that is deferred reads the tables nevertheless"
    for dag_id, others in {
        "daily_batch": ("extract_", "load_bronze."),
        "bronze_backfill": ("days", "reload_", "show_to_dremio"),
    }.items():
        tasks = [task for task in dags[dag_id].tasks if not task.task_id.startswith(others)]
        alone = {"build"} if dag_id == "bronze_backfill" else set()
        # Nothing, PostgreSQL, and change data, which no backfill builds.
        apart = {"transform.dbt_producer_watcher_done", "warm_dashboards.record_warming", "merge_change_data"}
        assert {task.task_id for task in tasks if task.pool != "dbt_tables"} == apart & {t.task_id for t in tasks}
        assert {task.task_id for task in tasks if task.pool_slots != 1} == alone
        # All at a time, or sensors that wait for dbt could keep it from starting.
        assert len(tasks) < declared["slots"]
    assert dags["bronze_backfill"].get_task("build").pool_slots == declared["slots"]


@pytest.mark.parametrize(
    ("started", "params", "span"),
    [
        (run("backfill", NOVEMBER), {}, ("2026-11-03", "2026-11-03")),
        (run("manual", NOVEMBER), {}, ("2026-11-03", "2026-11-03")),
        (run("manual"), {"first_date": "2026-11-01", "last_date": "2026-11-02"}, ("2026-11-01", "2026-11-02")),
        (run("manual"), {"first_date": "2026-11-01"}, ("2026-11-01", "2026-11-01")),
    ],
)
def test_the_days_are_those_asked_for(
    backfill: Any, started: Any, params: dict[str, str], span: tuple[str, str]
) -> None:
    found = backfill.get_task("days").python_callable(dag_run=started, params=params)
    assert (found["first"], found["last"]) == span


def test_without_a_day_it_asks_which(backfill: Any) -> None:
    with pytest.raises(ValueError, match="first_date and last_date"):
        backfill.get_task("days").python_callable(dag_run=run("manual"), params={})


def test_a_scheduled_run_does_nothing(backfill: Any) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException):
        backfill.get_task("days").python_callable(dag_run=run("scheduled", NOVEMBER), params={})
    assert backfill.is_paused_upon_creation


def test_a_stream_that_does_not_exist_is_refused_at_the_trigger(backfill: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    param = backfill.params.get_param("streams")
    assert param.resolve(["postgres.orders"]) == ["postgres.orders"]
    for wrong in (["postgres.oders"], ["postgres_cdc.orders"], []):
        with pytest.raises(ParamValidationError):
            param.resolve(wrong)


def test_no_task_of_it_reads_a_source(backfill: Any) -> None:
    from lakehouse.services import Requirement

    hooks = [getattr(task._pre_execute_hook, "ready", task._pre_execute_hook) for task in backfill.tasks]
    asked = {conn_id for hook in hooks for conn_id in getattr(hook, "conn_ids", ())}
    assert asked == {"lake_s3", "dremio_default", "superset_default"}
    assert all(isinstance(hook, Requirement | None) for hook in hooks)


def test_the_nightly_batch_refuses_to_read_a_source_in_a_backfill(dags: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    syncs = [task for task in dags["daily_batch"].tasks if ".sync_" in task.task_id]
    assert len(syncs) == 3
    for task in syncs:
        with pytest.raises(AirflowFailException, match="bronze_backfill"):
            task._pre_execute_hook({"dag_run": run("backfill", NOVEMBER)})


def test_only_what_reads_a_stream_is_rebuilt() -> None:
    dbt = [str(REPOSITORY / ".venv/dbt/bin/dbt"), "--quiet", "ls", "--resource-type", "model", "--output", "name"]
    command = [*dbt, "--select", "source:bronze.raw_returns+"]
    done = subprocess.run(command, cwd=REPOSITORY / "dbt", check=True, capture_output=True, text=True, timeout=120)
    found = set(done.stdout.split())
    assert {"stg_partner_files__returns", "fct_daily_revenue"} <= found
    assert not {"stg_orders", "dim_customers", "fct_orders"} & found
