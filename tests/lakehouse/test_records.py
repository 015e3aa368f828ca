"""What is kept of a run: log lines, sync state, dbt invocations; and the way of the data from a real sync to bronze."""

from __future__ import annotations

import gzip
import json
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from lakehouse import setup
from lakehouse.airbyte import public_api
from lakehouse.bronze import load_sync
from lakehouse.changes import ChangeBatch
from lakehouse.config import load_streams
from lakehouse.exceptions import RowCountMismatch
from lakehouse.history import (
    MICRO_BATCH_DAYS,
    load_dbt_invocation,
    record_dbt_invocation,
    record_micro_batch,
    record_warming,
)
from lakehouse.live import MicroBatch
from lakehouse.logs import LogShippingError, documents, ship_sync_logs
from lakehouse.setup import airbyte
from lakehouse.sync_watch import run_sync
from lakehouse.syncs import record_latest_sync

from .conftest import Platform
from .servers import free_port
from .test_bronze import keys


@pytest.fixture
def ready(platform: Platform) -> Platform:
    """The platform with everything applied to it."""
    for system in ("postgres", "elasticsearch", "airbyte"):
        setup.apply(system)
    return platform


@pytest.fixture
def tables(platform: Platform) -> Platform:
    """The platform with the tables of the run history."""
    setup.apply("postgres")
    return platform


def query(platform: Platform, sql: str) -> list[tuple[Any, ...]]:
    with psycopg2.connect(platform.dsn("platform")) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def sync(connection: str) -> int:
    return run_sync(public_api(), airbyte.connection_ids()[connection], poll_seconds=0.1).job_id


def logs(platform: Platform, *jobs: int) -> list[dict[str, Any]]:
    body = {"size": 1000, "sort": [{"timestamp": "asc"}], "query": {"terms": {"job_id": [str(job) for job in jobs]}}}
    reply = httpx.post(f"http://127.0.0.1:{9200 + platform.offset}/airbyte-logs-*/_search", json=body)
    return [hit["_source"] for hit in reply.raise_for_status().json()["hits"]["hits"]]


def test_every_sync_reaches_bronze_and_is_kept(ready: Platform) -> None:
    expected = {"customers": 20, "products": 10, "orders": 200, "order_items": 600, "payments": 20, "returns": 2}
    jobs = {source.name: sync(source.connection) for source in load_streams().nightly}
    rows = {load.stream: load.rows for name, job in jobs.items() for load in load_sync(name, job, "2026-11-01")}
    assert rows == expected
    assert keys(ready.lake) == [
        "bronze/api/payments/timestamp=20261101_010000/response.json",
        "bronze/files/csv_import/batch_001.csv",
        "bronze/files/csv_import/batch_002.csv",
        *(f"bronze/postgres/{name}/date=2026-11-01/data.parquet" for name in ("customers", "order_items", "orders")),
        "bronze/postgres/products/date=2026-11-01/data.parquet",
    ]
    kept = [record_latest_sync(source.connection) for source in load_streams().nightly]
    assert [record["job_id"] for record in kept] == list(jobs.values())
    lines = logs(ready, *jobs.values())
    assert len(lines) == sum(record["lines"] for record in kept) > 0
    ids = airbyte.connection_ids()
    assert {line["connection_id"] for line in lines} == {ids[source.connection] for source in load_streams().nightly}
    postgres = [line for line in lines if line["job_id"] == str(jobs["postgres"])]
    assert {line["records_synced"] for line in postgres} == {830}
    assert set(postgres[0]) == {
        "timestamp", "level", "service", "message", "job_id", "connection_id", "records_synced", "bytes_synced",
    }  # fmt: skip
    archived = [json.loads(line) for line in gzip.decompress(ready.lake.get(kept[0]["object_key"])).splitlines()]
    assert archived == sorted(postgres, key=lambda line: archived.index(line))
    states = dict(query(ready, "SELECT connection_id::text, state FROM airbyte_state"))
    state = states[airbyte.connection_ids()["shop_postgres"]]
    assert {item["streamDescriptor"]["name"] for item in state["streamState"]} >= {"orders", "order_items"}


def test_a_landing_object_that_is_gone_is_missed(ready: Platform) -> None:
    job = sync("shop_postgres")
    [landed] = [item.key for item in ready.lake.list("bronze/landing/source=postgres/products/")]
    body = ready.lake.get(landed)
    ready.lake.delete([landed])
    with pytest.raises(RowCountMismatch, match=rf"Stream products: .* job {job} committed 10 rows, but 0 rows"):
        load_sync("postgres", job, "2026-11-01")
    assert keys(ready.lake, "bronze/postgres/") == ["bronze/postgres/customers/date=2026-11-01/data.parquet"]
    ready.lake.put(landed, body)
    assert [load.action for load in load_sync("postgres", job, "2026-11-01")].count("written") == 1
    # Loaded once, it is not missed again, though nothing of it lands any more.
    assert "written" not in [load.action for load in load_sync("postgres", job, "2026-11-01")]


def test_keeping_a_sync_twice_changes_nothing(ready: Platform) -> None:
    sync("partner_files")
    first = record_latest_sync("partner_files")
    body = ready.lake.get(first["object_key"])
    changed_at = query(ready, "SELECT updated_at FROM airbyte_state ORDER BY 1")
    again = record_latest_sync("partner_files")
    assert again == {**first, "state_changed": False}
    assert len(logs(ready, first["job_id"])) == first["lines"]
    assert ready.lake.get(first["object_key"]) == body
    assert query(ready, "SELECT updated_at FROM airbyte_state ORDER BY 1") == changed_at


def test_a_dead_elasticsearch_is_named(ready: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    job = sync("partner_files")
    port = free_port()
    dead = ready.connections["elasticsearch_default"].replace(str(9200 + ready.offset), str(port))
    monkeypatch.setenv("AIRFLOW_CONN_ELASTICSEARCH_DEFAULT", dead)
    with pytest.raises(LogShippingError, match=f"Elasticsearch at http://127.0.0.1:{port} did not take"):
        ship_sync_logs(job)


def job_with(logs: dict[str, Any]) -> dict[str, Any]:
    attempt = {"id": 0, "createdAt": 1_793_494_800, "recordsSynced": 7, "bytesSynced": 70}
    head = {"id": 12, "configId": "c0ffee", "createdAt": 1_793_494_800}
    return {"job": head, "attempts": [{"attempt": attempt, "logs": logs}]}


def test_formatted_lines_are_taken_apart() -> None:
    lines = [
        "2026-11-01 01:00:05 source > INFO i.a.Reader(read):42 - reading orders",
        "2026-11-01 01:00:06 \x1b[31mdestination\x1b[0m > ERROR could not write",
        "\tat io.airbyte.Writer.write(Writer.java:7)",
        "2026-11-01T01:00:07.250Z WARN slow",
    ]
    found = dict(documents(job_with({"logLines": lines})))
    assert list(found) == [f"12-0-{number:06d}" for number in range(4)]
    taken = [(line["timestamp"], line["level"], line["service"], line["message"]) for line in found.values()]
    assert taken == [
        ("2026-11-01T01:00:05.000Z", "INFO", "source", "i.a.Reader(read):42 - reading orders"),
        ("2026-11-01T01:00:06.000Z", "ERROR", "destination", "could not write"),
        ("2026-11-01T01:00:06.000Z", "ERROR", "destination", "\tat io.airbyte.Writer.write(Writer.java:7)"),
        ("2026-11-01T01:00:07.250Z", "WARN", "platform", "slow"),
    ]
    assert {(line["job_id"], line["records_synced"], line["bytes_synced"]) for line in found.values()} == {
        ("12", 7, 70)
    }


def test_structured_events_are_taken_as_they_are() -> None:
    event = {
        "timestamp": 1_793_494_805_123,
        "level": "error",
        "logSource": "source",
        "message": "no",
        "stackTrace": "at x",
    }
    [(_, line)] = documents(job_with({"events": [event], "version": "1"}))
    assert line == {
        "timestamp": "2026-11-01T01:00:05.123Z",
        "level": "ERROR",
        "service": "source",
        "message": "no\nat x",
        "job_id": "12",
        "connection_id": "c0ffee",
        "records_synced": 7,
        "bytes_synced": 70,
    }


def dbt_folder(folder: Path, *results: tuple[str, str], command: str = "build") -> str:
    """What a dbt command leaves behind; returns its invocation id."""
    identifier = str(uuid.uuid4())
    (folder / "target").mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "dbt_project.yml").write_text("name: lakehouse\n")
    found = {
        "metadata": {
            "invocation_id": identifier,
            "generated_at": "2026-11-01T02:31:00.500000Z",
            "invocation_started_at": "2026-11-01T02:30:00.250000Z",
            "dbt_version": "1.11.16",
        },
        "elapsed_time": 59.5,
        "args": {"which": command, "invocation_command": f"dbt {command}", "select": ["path:models/staging"]},
        "results": [
            {
                "unique_id": unique_id,
                "status": status,
                "execution_time": 1.5,
                "timing": [],
                "message": "",
                "failures": None,
            }
            for unique_id, status in results
        ],
    }
    (folder / "target" / "run_results.json").write_text(json.dumps(found))
    with (folder / "logs" / "dbt.log").open("a") as log:
        log.write(f"\n============================== 02:30:00.250000 | {identifier} ==============================\n")
        log.write(f"\x1b[0m02:30:00.300000 [info ] [MainThread]: Running with dbt, id {identifier}\n")
        log.write("\x1b[0m02:30:01.300000 [debug] [Thread-1  ]: logging in with hunter2-secret\nselect 1\n")
    return identifier


class Task:
    """What the Airflow context says of a task."""

    dag_id, run_id, task_id, try_number, map_index = "daily_batch", "manual__1", "transform.producer", 1, -1


ROW = "SELECT project_name, status, models_run, tests_run, started_at::text, completed_at::text FROM dbt_run_history"


def test_a_dbt_invocation_is_kept_once(tables: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dremio = {"conn_type": "dremio", "host": "127.0.0.1", "password": "hunter2-secret"}
    monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps(dremio))
    dbt_folder(tmp_path, ("model.lakehouse.other", "success"))
    identifier = dbt_folder(
        tmp_path,
        ("model.lakehouse.stg_orders", "success"),
        ("model.lakehouse.stg_customers", "skipped"),
        ("test.lakehouse.not_null", "pass"),
        ("unit_test.lakehouse.rule", "warn"),
    )
    for _ in range(2):
        record_dbt_invocation(str(tmp_path), context={"task_instance": Task()}, extra="ignored")
    assert query(tables, f"{ROW} WHERE run_id = '{identifier}'") == [
        ("lakehouse", "success", 1, 2, "2026-11-01 02:30:00.25", "2026-11-01 02:31:00.5")
    ]
    [(metadata,)] = query(tables, f"SELECT metadata FROM dbt_run_history WHERE run_id = '{identifier}'")
    assert metadata["command"] == "dbt build"
    assert metadata["airflow"]["task_id"] == "transform.producer"
    seconds = {node["unique_id"]: node["seconds"] for node in metadata["nodes"]}
    assert seconds["model.lakehouse.stg_orders"] == 1.5
    body = gzip.decompress(tables.lake.get(f"logs/dbt/date=2026-11-01/{identifier}.json.gz")).decode()
    lines = [json.loads(line) for line in body.splitlines()]
    assert [(line["timestamp"][:19], line["level"]) for line in lines] == [
        ("2026-11-01T02:30:00", "info"),
        ("2026-11-01T02:30:01", "debug"),
        ("2026-11-01T02:30:01", "debug"),
    ]
    assert lines[0]["message"].endswith(identifier)
    assert lines[1]["message"] == "logging in with ***"


@pytest.mark.parametrize(
    ("command", "results", "row"),
    [
        ("build", [("model.l.a", "success"), ("test.l.t", "fail")], ("failed", 1, 1)),
        ("build", [("model.l.a", "error"), ("model.l.b", "skipped")], ("failed", 1, 0)),
        ("build", [("model.l.a", "skipped")], ("skipped", 0, 0)),
        ("test", [], ("success", 0, 0)),
        ("generate", [("model.l.a", "success")], ("success", 0, 0)),
    ],
)
def test_a_dbt_invocation_says_how_it_ended(
    tables: Platform, tmp_path: Path, command: str, results: list[tuple[str, str]], row: tuple[Any, ...]
) -> None:
    identifier = dbt_folder(tmp_path, *results, command=command)
    shutil.rmtree(tmp_path / "logs")
    load_dbt_invocation(tmp_path)
    found = query(tables, f"SELECT status, models_run, tests_run FROM dbt_run_history WHERE run_id = '{identifier}'")
    assert found == [row]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [(["pass", "warn"], "success"), (["pass", "error"], "failed"), (["runtime error"], "failed")],
)
def test_source_freshness_is_an_invocation_too(
    tables: Platform, tmp_path: Path, statuses: list[str], status: str
) -> None:
    """It writes sources.json and leaves an older command's run_results.json where it is."""
    dbt_folder(tmp_path, ("model.l.a", "success"))
    identifier = str(uuid.uuid4())
    document = {
        "metadata": {
            "dbt_version": "1.11.16",
            "generated_at": "2026-11-01T04:00:09Z",
            "invocation_id": identifier,
            "invocation_started_at": "2026-11-01T04:00:01Z",
        },
        "results": [
            {"unique_id": f"source.l.{number}", "status": each, "execution_time": 0.2}
            for number, each in enumerate(statuses)
        ],
        "elapsed_time": 8.0,
    }
    (tmp_path / "target" / "sources.json").write_text(json.dumps(document))
    load_dbt_invocation(tmp_path)
    [row] = query(
        tables,
        "SELECT status, models_run, tests_run, metadata->>'command', started_at::text FROM dbt_run_history "
        f"WHERE run_id = '{identifier}'",
    )
    assert row == (status, 0, 0, "source freshness", "2026-11-01 04:00:01")


def warmed(chart: str, **changes: Any) -> dict[str, Any]:
    """One query, as SupersetWarmDashboardOperator leaves it in XCom."""
    found = {
        "dashboard": "Daily revenue",
        "chart": chart,
        "chart_id": 7,
        "kind": "chart",
        "dataset": "gold.orders",
        "user": "superset_default",
        "cold_ms": 812.5,
        "warm_ms": 20.5,
        "rows": 3,
        "shared": False,
        "hit": True,
        "reason": None,
        "message": None,
    }
    return {**found, **changes}


def test_what_became_of_each_chart_is_kept_of_the_last_try(tables: Platform) -> None:
    failed = warmed(
        "Revenue", cold_ms=None, warm_ms=None, rows=None, hit=False, reason="query failed", message="no such column"
    )
    first = {"charts": [failed, warmed("options of filter Status", chart_id=None), warmed("Orders")]}
    assert record_warming(first, "daily_batch", "manual__1") == 3
    assert record_warming({"charts": [warmed("Revenue")]}, "daily_batch", "manual__2") == 1
    sql = """
        SELECT run_id, chart, chart_id, superset_user, cold_ms, warm_ms, row_count, hit, reason, message
        FROM chart_warming_history ORDER BY run_id, position
    """
    assert query(tables, sql) == [
        ("manual__1", "Revenue", 7, "superset_default", None, None, None, False, "query failed", "no such column"),
        ("manual__1", "options of filter Status", None, "superset_default", 812.5, 20.5, 3, True, None, None),
        ("manual__1", "Orders", 7, "superset_default", 812.5, 20.5, 3, True, None, None),
        ("manual__2", "Revenue", 7, "superset_default", 812.5, 20.5, 3, True, None, None),
    ]
    # The next try counts; one that did not get as far as that leaves nothing that would be taken for its own.
    assert record_warming({"charts": [warmed("Revenue")]}, "daily_batch", "manual__1") == 1
    assert record_warming(None, "daily_batch", "manual__2") == 0
    assert [row[:2] for row in query(tables, sql)] == [("manual__1", "Revenue")]


def test_micro_batches_are_kept_for_a_while_with_the_time_they_were_shown_last(tables: Platform) -> None:
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    steps = dict.fromkeys(("sync", "load", "metadata", "warm"), 0.5)

    def record(job_id: int, shown_at: datetime) -> None:
        batch = MicroBatch("shop", ChangeBatch(job_id, {"orders": 3}), shown_at, shown_at, steps, 2.0)
        record_micro_batch(batch, "cdc_micro_batch", "manual__1", 0)

    kept = "SELECT job_id, shown_at FROM micro_batch_history ORDER BY job_id"
    days = timedelta(days=MICRO_BATCH_DAYS)
    record(1, now - days - timedelta(seconds=1))
    record(2, now - days)
    assert [job_id for job_id, _ in query(tables, kept)] == [1, 2]
    record(3, now - timedelta(seconds=1))
    record(3, now)
    assert query(tables, kept) == [(job_id, at.replace(tzinfo=None)) for job_id, at in ((2, now - days), (3, now))]


def test_history_does_not_stop_the_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_dbt_invocation(str(tmp_path))
    assert "has no results of a dbt command" in caplog.text
    dbt_folder(tmp_path, ("model.l.a", "success"))
    dead = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": free_port(),
        "schema": "platform",
        "password": "hunter2",
    }
    monkeypatch.setenv("AIRFLOW_CONN_METADATA_POSTGRES", json.dumps(dead))
    record_dbt_invocation(str(tmp_path))
    assert "could not be recorded" in caplog.text
    assert "hunter2" not in caplog.text
