"""Hook, operators and trigger against a running Dremio: the one DREMIO_URL names, otherwise the sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import TaskDeferred
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioConflictError,
    DremioJobFailedError,
    DremioReflectionError,
    DremioTerminalError,
)
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.operators.reflections import DremioRefreshReflectionsOperator
from dremio_provider.operators.sql import DremioSqlOperator
from dremio_provider.paths import quote_path
from dremio_provider.reflection_sets import apply_reflections

REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS = 90
REST, FLIGHT = 9047, 32010


@dataclass(frozen=True)
class Dremio:
    """Where it is, and the object store that it may use."""

    connection: dict[str, Any]
    s3_address: str
    s3_key: str
    s3_secret: str
    bucket: str


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _connection(url: str, flight: str, user: str, password: str) -> dict[str, Any]:
    extra = {"flight_port": int(flight.rpartition(":")[2]), "edition": "auto"}
    return {"conn_type": "dremio", "host": url, "login": user, "password": password, "extra": extra}


@pytest.fixture(scope="module")
def dremio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dremio]:
    env = os.environ
    if "DREMIO_URL" in env:
        connection = _connection(env["DREMIO_URL"], env["DREMIO_FLIGHT"], env["DREMIO_USER"], env["DREMIO_PASSWORD"])
        yield Dremio(connection, env["S3_ENDPOINT"], env["S3_ACCESS_KEY"], env["S3_SECRET_KEY"], env["S3_BUCKET"])
        return
    var = tmp_path_factory.mktemp("dremio")
    (var / "s3" / "datalake").mkdir(parents=True)
    # Below the ephemeral ports, which any outgoing connection may hold.
    offset = next(o for o in range(510, 750, 10) if all(_free(p + o) for p in (REST, FLIGHT, 9000)))
    password, key, secret = (secrets.token_hex(12) for _ in range(3))
    s3 = f"127.0.0.1:{9000 + offset}"
    rclone = [str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--addr", s3, str(var / "s3")]
    server = [sys.executable, "-m", "sandbox.dremio"]
    settings = {
        "SANDBOX_VAR": str(var),
        "SANDBOX_PORT_OFFSET": str(offset),
        "DREMIO_USER": "admin",
        "DREMIO_PASSWORD": password,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_AUTH_KEY": f'"{key},{secret}"',
    }
    url = f"http://127.0.0.1:{REST + offset}"
    log = var / "log"
    with log.open("wb") as out:
        started = [
            subprocess.Popen(command, cwd=REPOSITORY, env={**env, **settings}, stdout=out, stderr=out)
            for command in (rclone, server)
        ]
        try:
            _await(started, [f"{url}/apiv2/server_status", f"http://{s3}/"], log)
            flight = f"grpc://127.0.0.1:{FLIGHT + offset}"
            yield Dremio(_connection(url, flight, "admin", password), s3, key, secret, "datalake")
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(20)


def _await(started: list[subprocess.Popen[bytes]], addresses: list[str], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while addresses and time.monotonic() < deadline and all(process.poll() is None for process in started):
        try:
            httpx.get(addresses[0], timeout=5)
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            addresses.pop(0)
    if addresses:
        pytest.fail(f"{addresses[0]} does not answer; the log ends with:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def hook(dremio: Dremio) -> Iterator[DremioHook]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps(dremio.connection))
        with DremioHook(poll_interval=0.1) as opened:
            yield opened


class Place:
    """A source and a space of this test run alone, with a table and a view over it."""

    def __init__(self, hook: DremioHook, dremio: Dremio) -> None:
        mark = secrets.token_hex(4)
        self.hook, self.source, self.space = hook, f"providers_lake_{mark}", f"providers_{mark}"
        self.table = [self.source, dremio.bucket, f"orders_{mark}", "version=v2"]
        self.view = f"{self.space}.orders"
        hook.create_catalog_entity({"entityType": "space", "name": self.space})
        hook.create_catalog_entity(
            {
                "entityType": "source",
                "name": self.source,
                "type": "S3",
                "config": {
                    "credentialType": "ACCESS_KEY",
                    "accessKey": dremio.s3_key,
                    "accessSecret": dremio.s3_secret,
                    "secure": False,
                    "rootPath": "/",
                    "compatibilityMode": True,
                    "externalBucketList": [dremio.bucket],
                    "defaultCtasFormat": "ICEBERG",
                    "propertyList": [
                        {"name": "fs.s3a.path.style.access", "value": "true"},
                        {"name": "fs.s3a.endpoint", "value": dremio.s3_address.rpartition("/")[2]},
                        {"name": "dremio.s3.compat", "value": "true"},
                    ],
                },
            }
        )
        hook.run_sql(
            f"CREATE TABLE {quote_path(self.table)} AS SELECT * FROM "
            "(VALUES (1, 'paid', 10), (2, 'paid', 20), (3, 'open', 40)) AS t (order_id, status, amount)"
        )
        hook.run_sql(f"CREATE VIEW {quote_path(self.view)} AS SELECT * FROM {quote_path(self.table)}")

    def declared(self, **changes: Any) -> list[dict[str, Any]]:
        totals = {
            "name": f"totals_{self.space}",
            "dataset": self.view,
            "type": "aggregation",
            "dimensions": ["status"],
            "measures": [{"name": "amount", "functions": ["SUM", "COUNT"]}],
        }
        detail = {
            "name": f"detail_{self.space}",
            "dataset": self.view,
            "type": "raw",
            "display": ["order_id", "status", "amount"],
            "sort_by": ["order_id"],
        }
        return [{**totals, **changes}, detail]

    def remove(self) -> None:
        self.hook.run_sql(f"DROP TABLE {quote_path(self.table)}")
        for name in (self.space, self.source):
            entity = self.hook.get_catalog_entity([name])
            assert entity is not None
            self.hook.delete_catalog_entity(entity["id"], entity.get("tag"))


@pytest.fixture(scope="module")
def place(hook: DremioHook, dremio: Dremio) -> Iterator[Place]:
    made = Place(hook, dremio)
    yield made
    made.remove()


def test_the_connection_test_proves_rest_and_flight(hook: DremioHook) -> None:
    worked, message = hook.test_connection()
    assert worked, message
    assert hook.address in message
    assert hook.flight_address in message


def test_wrong_credentials_are_refused_on_both_ways(
    hook: DremioHook, dremio: Dremio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DREMIO_WRONG", json.dumps({**dremio.connection, "password": "wrong-one"}))
    other = DremioHook("dremio_wrong")
    with other, pytest.raises(DremioAuthenticationError, match="dremio_wrong"):
        other.request("GET", "/api/v3/catalog")
    with pytest.raises(DremioAuthenticationError, match="dremio_wrong"):
        other.get_arrow_table("SELECT 1")


def test_rows_are_the_same_over_rest_and_flight(hook: DremioHook, place: Place) -> None:
    sql = f"SELECT order_id, status FROM {quote_path(place.view)} ORDER BY order_id"
    rows = [{key: str(value) for key, value in row.items()} for row in hook.execute_sql(sql).rows]
    table = hook.get_arrow_table(sql)
    assert [{key: str(value) for key, value in row.items()} for row in table.to_pylist()] == rows
    assert [row["status"] for row in rows] == ["paid", "paid", "open"]


def test_more_rows_than_a_page_holds(hook: DremioHook, place: Place) -> None:
    ten = f"SELECT order_id * 3 + n AS n FROM {quote_path(place.view)}, (VALUES (0), (1), (2), (3)) AS v (n)"
    sql = f"SELECT a.n FROM ({ten}) a, ({ten}) b, ({ten}) c"
    assert len(hook.execute_sql(sql).rows) == 12**3


def test_a_wrong_statement_says_so(hook: DremioHook) -> None:
    with pytest.raises(DremioJobFailedError, match="providers_nothing"):
        hook.run_sql("SELECT * FROM providers_nothing")
    with pytest.raises(DremioTerminalError, match="providers_nothing"):
        hook.get_arrow_table("SELECT * FROM providers_nothing")


def test_what_exists_already_is_a_refusal(hook: DremioHook, place: Place) -> None:
    with pytest.raises((DremioConflictError, DremioTerminalError), match=r"already exist|exists already"):
        hook.create_catalog_entity({"entityType": "space", "name": place.space})


def test_the_sql_operator_runs_statements(hook: DremioHook, place: Place, context: Any) -> None:
    first = f"INSERT INTO {quote_path(place.table)} VALUES (9, 'open', 1)"
    second = f"DELETE FROM {quote_path(place.table)} WHERE order_id = 9"
    jobs = DremioSqlOperator(task_id="sql", sql=[first, second]).execute(context)
    assert [hook.get_job(job)["jobState"] for job in jobs] == ["COMPLETED", "COMPLETED"]


def test_reflections_are_applied_once(hook: DremioHook, place: Place) -> None:
    assert [change.action for change in apply_reflections(hook, place.declared())] == ["created", "created"]
    again = apply_reflections(hook, place.declared())
    assert [(change.action, change.differences) for change in again] == [("unchanged", ()), ("unchanged", ())]
    changed = apply_reflections(hook, place.declared(measures=[{"name": "amount", "functions": ["SUM", "MAX"]}]))
    assert [change.action for change in changed] == ["updated", "unchanged"]
    assert len(hook.list_reflections(place.view)) == 2


def test_new_reflections_are_awaited(hook: DremioHook, place: Place, context: Any) -> None:
    names = [entry["name"] for entry in place.declared()]
    task = DremioRefreshReflectionsOperator(
        task_id="refresh", reflections=names, poll_interval=0.2, timeout=120, deferrable=False
    )
    result = task.execute(context)
    assert {entry["outcome"] for entry in result.values()} <= {"REFRESHED", "NO_CHANGE"}
    statuses = [reflection["status"] for reflection in hook.list_reflections(place.view)]
    assert {status["availability"] for status in statuses} == {"AVAILABLE"}


def test_a_refresh_after_a_change_ends_with_newer_data(hook: DremioHook, place: Place, context: Any) -> None:
    before = {
        r["id"]: hook.get_reflection(r["id"])["status"]["lastDataFetch"] for r in hook.list_reflections(place.view)
    }
    hook.run_sql(f"INSERT INTO {quote_path(place.table)} VALUES (4, 'paid', 80)")
    task = DremioRefreshReflectionsOperator(
        task_id="refresh", datasets=[place.view], poll_interval=0.2, timeout=120, deferrable=False
    )
    assert {entry["outcome"] for entry in task.execute(context).values()} == {"REFRESHED"}
    after = {rid: hook.get_reflection(rid)["status"]["lastDataFetch"] for rid in before}
    assert all(after[rid] > before[rid] for rid in before)
    sql = f"SELECT status, SUM(amount) AS total FROM {quote_path(place.view)} GROUP BY status"
    rows = hook.execute_sql(sql).rows
    assert {row["status"]: int(row["total"]) for row in rows} == {"paid": 110, "open": 40}


def test_the_trigger_waits_like_the_operator(hook: DremioHook, place: Place, context: Any) -> None:
    hook.run_sql(f"INSERT INTO {quote_path(place.table)} VALUES (5, 'paid', 1)")
    task = DremioRefreshReflectionsOperator(
        task_id="refresh", datasets=[place.view], poll_interval=0.2, timeout=120, deferrable=True
    )
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)

    async def wait() -> dict[str, Any]:
        (event,) = [found async for found in deferred.value.trigger.run()]
        return dict(event.payload)

    result = task.execute_complete(context, asyncio.run(wait()))
    assert {entry["outcome"] for entry in result.values()} == {"REFRESHED"}


def test_a_disabled_reflection_is_refused_at_once(hook: DremioHook, place: Place, context: Any) -> None:
    apply_reflections(hook, place.declared(enabled=False))
    name = place.declared()[0]["name"]
    task = DremioRefreshReflectionsOperator(task_id="refresh", reflections=[name], deferrable=False)
    with pytest.raises(DremioReflectionError, match=f"{name}: FAILED, it is disabled"):
        task.execute(context)
