"""Runs that go wrong, run twice, or are killed: the lake and the marts end the same."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psycopg
import pytest

DAG = "daily_batch"


def lake(platform) -> dict[str, Any]:
    """What a rerun must leave alone: every object's key, bronze byte for byte, and the rows of every view."""
    other = ("logs/", "bronze/landing/", "bronze/manifests/")  # a manifest names the jobs, which are new ones
    data = [key for key in platform.objects() if not key.startswith(other)]
    return {
        "keys": sorted(data),
        "bronze": {key: tag for key, tag in platform.objects("bronze/").items() if key in data},
        "counts": platform.counts(),
    }


def gold(platform) -> list[dict[str, Any]]:
    """What the marts say: a source that did not change gives the same figures whatever happened on the way."""
    return platform.dremio(
        "SELECT 'orders' AS mart, COUNT(*) AS n, SUM(amount) AS total FROM gold.fct_orders UNION ALL "
        "SELECT 'daily_revenue', COUNT(*), SUM(amount) FROM gold.fct_daily_revenue UNION ALL "
        "SELECT 'lifetime_value', COUNT(*), SUM(lifetime_value) FROM gold.fct_customer_lifetime_value ORDER BY mart"
    )


@pytest.fixture(scope="module")
def first(platform, airflow) -> tuple[str, dict[str, Any]]:
    run_id = airflow.trigger(DAG, "2026-07-01T01:00:00Z")
    assert airflow.wait(DAG, run_id) == "success", airflow.unfinished(DAG, run_id)
    return run_id, lake(platform)


def test_the_same_logical_date_twice_leaves_the_same_lake(platform, airflow, first):
    run_id, before = first
    airflow.clear(DAG, run_id, only_failed=False)
    assert airflow.wait(DAG, run_id) == "success", airflow.unfinished(DAG, run_id)
    assert lake(platform) == before


def wait_for_task(airflow, run_id: str, task_id: str, states: set[str], timeout: float = 200) -> str:
    deadline = time.monotonic() + timeout
    while (state := airflow.tasks(DAG, run_id)[task_id]["state"]) not in states:
        assert time.monotonic() < deadline, f"{task_id} is {state}"
        time.sleep(0.1)
    return state


def test_killed_at_every_stage_and_run_to_its_end_leaves_the_same_lake(platform, airflow, first):
    """One run, in which one task after the other is killed in its first attempt; the stages between run as ever."""
    run_id, before = first
    killed = [
        "extract_postgres.sync_shop_postgres",
        "load_bronze.write_postgres",
        "transform.models.marts.fct_orders_run",
        "dbt_tests.test",
        "refresh_reflections.refresh",
        "warm_dashboards.warm",
    ]
    airflow.clear(DAG, run_id, only_failed=False, task_ids=[killed[0]], include_downstream=True)
    attempts = {}
    for task_id in killed:
        wait_for_task(airflow, run_id, task_id, {"running"})
        task = airflow.tasks(DAG, run_id)[task_id]
        os.kill(task["pid"], signal.SIGKILL)
        attempts[task_id] = task["try_number"]
        if wait_for_task(airflow, run_id, task_id, {"success", "failed"}) == "failed":
            airflow.clear(DAG, run_id)
    assert airflow.wait(DAG, run_id) == "success", airflow.unfinished(DAG, run_id)
    tasks = airflow.tasks(DAG, run_id)
    assert {name: tasks[name]["try_number"] > attempt for name, attempt in attempts.items()} == dict.fromkeys(
        killed, True
    ), "a task that has ended before the kill was not killed"
    assert lake(platform) == before


def test_a_failed_dbt_test_stops_before_reflections_and_dashboards(platform, airflow, first):
    run_id, before = first
    platform.dremio(
        "INSERT INTO lake.datalake.gold.orders SELECT order_id + 900000000 AS order_id, customer_id, order_date, "
        "-1 * amount AS amount, status, updated_at FROM lake.datalake.gold.orders LIMIT 1"
    )
    try:
        airflow.clear(DAG, run_id, only_failed=False, task_ids=["dbt_tests.test"], include_downstream=True)
        assert airflow.wait(DAG, run_id) == "failed"
        tasks = airflow.tasks(DAG, run_id)
        assert tasks["dbt_tests.test"]["state"] == "failed"
        for task_id in ("refresh_reflections.publish", "refresh_reflections.refresh", "warm_dashboards.warm"):
            assert tasks[task_id]["state"] == "upstream_failed"
        assert "assert_positive_amounts" in airflow.log(DAG, run_id, "dbt_tests.test")
        failed = platform.metadata("SELECT count(*) FROM dbt_run_history WHERE status <> 'success'")
        assert failed[0][0] > 0, "the failed invocation is in the history too"
    finally:
        platform.dremio("DELETE FROM lake.datalake.gold.orders WHERE order_id > 900000000")
    airflow.clear(DAG, run_id)
    assert airflow.wait(DAG, run_id) == "success", airflow.unfinished(DAG, run_id)
    assert platform.counts() == before["counts"]


@pytest.mark.parametrize(
    ("service", "name", "address", "task_id", "downstream"),
    [
        ("airbyte", "Airbyte", "AIRBYTE_URL", "extract_postgres.sync_shop_postgres", True),
        # What follows is the same as behind the sync above; only this task is run again.
        ("s3", "S3 object store", "S3_ENDPOINT", "load_bronze.write_postgres", False),
        ("dremio", "Dremio", "DREMIO_URL", "dbt_tests.test", True),
        ("superset", "Superset", "SUPERSET_URL", "warm_dashboards.warm", True),
    ],
)
def test_a_service_that_is_down_fails_its_own_stage(
    platform, airflow, first, service, name, address, task_id, downstream
):
    run_id, before = first
    platform.kill(service)
    try:
        # Only this stage and what follows: the others have nothing to do with the service.
        airflow.clear(DAG, run_id, only_failed=False, task_ids=[task_id], include_downstream=downstream)
        assert airflow.wait(DAG, run_id) == ("failed" if downstream else "success")
        assert airflow.tasks(DAG, run_id)[task_id]["state"] == "failed"
        log = airflow.log(DAG, run_id, task_id)
        assert platform[address] in log
        assert name in log
    finally:
        up = platform.make("up")
        assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
    airflow.clear(DAG, run_id)
    assert airflow.wait(DAG, run_id) == "success", airflow.unfinished(DAG, run_id)
    assert lake(platform) == before


def test_the_shop_is_not_touched_by_runs(platform, first):
    with psycopg.connect(platform["SOURCE_POSTGRES_DSN"]) as connection:
        row = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert row is not None
    assert row[0] == platform.counts()["bronze.raw_orders"]


def test_dbt_killed_in_its_first_attempt(platform, airflow, first):
    """The one dbt that builds all models is killed: the models' tasks build what is left, to the same end.

    The run is one that was triggered by hand, without a logical date: its day is the day it was triggered on.
    """
    before = gold(platform)
    run_id = airflow.trigger(DAG)
    task_id = "transform.dbt_producer_watcher"
    wait_for_task(airflow, run_id, task_id, {"running"})
    wait_for_task(airflow, run_id, "transform.models.staging.stg_customers_run", {"success"})
    os.kill(airflow.tasks(DAG, run_id)[task_id]["pid"], signal.SIGKILL)
    if airflow.wait(DAG, run_id) == "failed":
        airflow.clear(DAG, run_id)
        assert airflow.wait(DAG, run_id) == "success", airflow.unfinished(DAG, run_id)
    assert airflow.tasks(DAG, run_id)[task_id]["try_number"] > 1, "dbt was not killed"
    today = airflow.run(DAG, run_id)["run_after"][:10]
    assert f"bronze/postgres/customers/date={today}/data.parquet" in platform.objects("bronze/postgres/customers/")
    assert gold(platform) == before
