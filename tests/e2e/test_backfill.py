"""Days of the past loaded again: from what lies in the lake, no source asked, and never beside another build."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.lakehouse.landing_files import parquet
from tests.sandbox.airbyte.services import wait_until

DAG, NIGHTLY = "bronze_backfill", "daily_batch"
LATE = datetime.combine(datetime.now(UTC).date() - timedelta(days=3), time(12), UTC)
"""When an order was corrected in a sync whose rows were never loaded."""
PARTITION = f"bronze/postgres/orders/date={LATE.date()}/"

READ_NO_ORDERS = {f"silver/{name}" for name in ("customers", "order_items", "payments", "products", "returns")}
READ_NO_ORDERS |= {f"gold/{name}_cold" for name in ("customers", "order_items", "orders")}
"""Of these tables the late row says nothing; those of change data read another source."""


def jobs(platform: Any) -> list[int]:
    """The numbers of all jobs that Airbyte has ever had."""
    public = f"{platform['AIRBYTE_URL']}/api/public/v1"
    login = {"client_id": platform["AIRBYTE_CLIENT_ID"], "client_secret": platform["AIRBYTE_CLIENT_SECRET"]}
    token = httpx.post(f"{public}/applications/token", json=login, timeout=10).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{public}/jobs", params={"limit": 100}, headers=headers, timeout=10).raise_for_status()
    return sorted(job["jobId"] for job in answer.json()["data"])


def orders(platform: Any) -> tuple[int, float]:
    [row] = platform.dremio("SELECT COUNT(*) AS n, SUM(amount) AS total FROM gold.fct_orders")
    return int(row["n"]), float(row["total"])


def written(platform: Any) -> dict[str, datetime]:
    """When each of the tables that dbt builds was written, by layer and name."""
    found: dict[str, datetime] = {}
    for layer in ("silver", "gold"):
        pages = (
            platform.s3().get_paginator("list_objects_v2").paginate(Bucket=platform["S3_BUCKET"], Prefix=f"{layer}/")
        )
        for item in (item for page in pages for item in page.get("Contents", [])):
            table = "/".join(item["Key"].split("/")[:2])
            found[table] = max(item["LastModified"], found.get(table, item["LastModified"]))
    return found


@pytest.fixture(scope="module")
def unpaused(airflow: Any) -> Iterator[None]:
    def pause(value: bool) -> None:
        airflow.client.patch(f"/api/v2/dags/{DAG}", json={"is_paused": value}).raise_for_status()

    pause(False)
    yield
    pause(True)


@pytest.fixture(scope="module")
def before(platform: Any) -> tuple[int, float]:
    return orders(platform)


def test_a_range_of_days_takes_up_what_was_left_and_rebuilds_what_reads_it(
    platform: Any, airflow: Any, unpaused: None, before: tuple[int, float]
) -> None:
    [order] = platform.dremio("SELECT * FROM gold.fct_orders ORDER BY order_id LIMIT 1")
    columns = {
        "order_id": pa.array([int(order["order_id"])], pa.int64()),
        "customer_id": pa.array([int(order["customer_id"])], pa.int64()),
        "order_date": pa.array([datetime.fromisoformat(order["order_date"][:10]).date()], pa.date32()),
        "amount": pa.array([float(order["amount"]) + 100], pa.float64()),
        "status": pa.array([order["status"]], pa.string()),
        "updated_at": pa.array([LATE.replace(tzinfo=None)], pa.timestamp("us")),
    }
    at = int(LATE.timestamp() * 1000)
    key = f"bronze/landing/source=postgres/orders/1_{at}_0.parquet"
    platform.s3().put_object(Bucket=platform["S3_BUCKET"], Key=key, Body=parquet(1, columns, [at]))
    asked, built = jobs(platform), written(platform)
    span = {"first_date": str(LATE.date() - timedelta(days=1)), "last_date": str(LATE.date() + timedelta(days=1))}
    body = {"logical_date": None, "conf": {**span, "streams": ["postgres.orders"]}}
    run_id = airflow.client.post(f"/api/v2/dags/{DAG}/dagRuns", json=body).raise_for_status().json()["dag_run_id"]
    assert airflow.wait(DAG, run_id) == "success", airflow.unfinished(DAG, run_id)
    assert jobs(platform) == asked, "a source was asked"
    assert list(platform.objects(PARTITION)) == [f"{PARTITION}data.parquet"]
    assert key not in platform.objects("bronze/landing/")
    assert orders(platform) == (before[0], pytest.approx(before[1] + 100))
    rebuilt = {table for table, moment in written(platform).items() if moment != built[table]}
    assert set(built) - rebuilt == READ_NO_ORDERS


def test_a_backfill_and_the_nightly_batch_take_turns_at_the_tables(
    platform: Any, airflow: Any, unpaused: None, before: tuple[int, float]
) -> None:
    """The night's models and tests once more, beside a backfill of two days, which finds the late row gone."""
    night = json.loads((platform.var / "demo" / "report.json").read_text())["run_id"]
    left = [f"{PARTITION}data.parquet", f"bronze/manifests/postgres/orders/date={LATE.date()}.json"]
    for key in left:
        platform.s3().delete_object(Bucket=platform["S3_BUCKET"], Key=key)
    # One behind the other, up to what the tests wait for: those between them that are done keep none of them back.
    models = [f"transform.models.{name}_run" for name in ("staging.stg_orders", "marts.fct_orders")]
    models += ["transform.models.marts.fct_daily_revenue_run", "dbt_tests.test"]
    started = datetime.now(UTC)
    body = {
        "dag_id": DAG,
        "from_date": f"{LATE.date()}T00:00:00Z",
        "to_date": f"{LATE.date() + timedelta(days=1)}T12:00:00Z",
        "run_backwards": False,
        "dag_run_conf": {"streams": ["postgres.orders"]},
    }
    airflow.client.post("/api/v2/backfills", json=body).raise_for_status()
    found = airflow.client.get(f"/api/v2/dags/{DAG}/dagRuns", params={"run_type": ["backfill"]}).raise_for_status()
    runs = [run["dag_run_id"] for run in found.json()["dag_runs"]]
    assert len(runs) == 2
    # Once Dremio has been told that the row is gone: the night would do that before its models.
    wait_until(
        lambda: any(airflow.tasks(DAG, run)["show_to_dremio"]["state"] == "success" for run in runs), "shown", 120
    )
    airflow.clear(NIGHTLY, night, only_failed=False, task_ids=models)
    for dag_id, run_id in [(NIGHTLY, night), *((DAG, run) for run in runs)]:
        assert airflow.wait(dag_id, run_id) == "success", airflow.unfinished(dag_id, run_id)

    def span(task: dict[str, Any]) -> tuple[datetime, datetime]:
        return datetime.fromisoformat(task["start_date"]), datetime.fromisoformat(task["end_date"])

    builds = [span(airflow.tasks(DAG, run)["build"]) for run in runs]
    again = [task for name, task in airflow.tasks(NIGHTLY, night).items() if name in models]
    # A run is a success when its last tasks are, and these were.
    assert [task["state"] for task in again] == ["success"] * len(models)
    others = [span(task) for task in again]
    assert min(begun for begun, _ in [*builds, *others]) > started
    for build in builds:
        for other in [*others, *(each for each in builds if each != build)]:
            assert build[1] <= other[0] or other[1] <= build[0], "two tasks were at the tables at once"
    assert orders(platform) == (before[0], pytest.approx(before[1]))
