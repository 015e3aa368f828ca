"""Jobs while they run: one at a time, cancelled, failed, cut off by the death of the server."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from typing import Any

import pytest

from tests.sandbox.airbyte.services import S3, Airbyte, Api, Client, Postgres, free_port, wait_until
from tests.sandbox.airbyte.test_declarative import connect, cursor_pages


class Gate:
    """Lets an API answer its first page and then waits until the test opens it."""

    def __init__(self, api: Api) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        pages = cursor_pages(25)

        def handle(path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            if "starting_after" in query:
                self.reached.set()
                self.open.wait(20)
            return pages(path, query, headers)

        api.handle = handle

    def hold(self) -> None:
        self.reached.clear()
        self.open.clear()


@pytest.fixture
def gate(api: Api) -> Any:
    gate = Gate(api)
    gate.open.set()
    yield gate
    gate.open.set()


def start(client: Client, connection: str, gate: Gate) -> int:
    """Start a sync and wait until it is in the middle of reading."""
    gate.hold()
    job = client.post("jobs", {"connectionId": connection, "jobType": "sync"})
    assert job["status"] in ("pending", "running")
    assert gate.reached.wait(20)
    return int(job["jobId"])


def test_a_second_sync_is_refused_while_one_runs(client: Client, lake: S3, api: Api, gate: Gate) -> None:
    connection = connect(client, lake, api, "second")
    job_id = start(client, connection, gate)
    problem = client.post("jobs", {"connectionId": connection, "jobType": "sync"}, 409)
    assert problem["title"] == "try-again-later"
    assert problem["data"]["message"] == f"A sync is already running for: {connection}"
    answer = client.configuration("connections/sync", {"connectionId": connection}, 409)
    assert answer["message"] == f"A sync is already running for: {connection}"
    running = client.get(f"jobs/{job_id}")
    assert (running["status"], running["lastUpdatedAt"]) == ("running", None)
    (listed,) = client.call("GET", "jobs", params={"connectionId": connection, "status": "running"})["data"]
    assert listed["jobId"] == job_id
    gate.open.set()
    client.wait(job_id)
    assert client.sync(connection)["jobId"] > job_id


def test_a_cancelled_sync_leaves_the_bucket_as_it_was(client: Client, lake: S3, api: Api, gate: Gate) -> None:
    connection = connect(client, lake, api, "cancelled")
    client.sync(connection)
    before = lake.keys("bronze/landing/cancelled/")
    job_id = start(client, connection, gate)
    threading.Timer(0.3, gate.open.set).start()
    answer = client.call("DELETE", f"jobs/{job_id}")
    assert answer["status"] == "cancelled"
    assert client.get(f"jobs/{job_id}")["status"] == "cancelled"
    assert lake.keys("bronze/landing/cancelled/") == before
    problem = client.call("DELETE", f"jobs/{job_id}", 409)
    assert problem["data"]["message"] == "Job is not currently running"
    assert client.sync(connection)["rowsSynced"] == 25


def test_cancelling_does_not_wait_for_a_retry(client: Client, lake: S3, api: Api) -> None:
    api.handle = lambda *_: (429, {"Retry-After": "300"}, b"")
    connection = connect(client, lake, api, "patient")
    job_id = client.post("jobs", {"connectionId": connection, "jobType": "sync"})["jobId"]
    wait_until(lambda: api.requests, "the API is asked")
    client.configuration("jobs/cancel", {"id": job_id})
    assert client.wait(job_id, "cancelled")["rowsSynced"] == 0


def test_cancelling_interrupts_a_query(client: Client, postgres: Postgres, lake: S3) -> None:
    postgres.execute(
        "create schema slow",
        "create view slow.endless as select i, pg_sleep(1)::text as nap from generate_series(1, 60) i",
    )
    source = client.actor("source", postgres.configuration(schemas=["slow"]))
    target = client.actor("destination", lake.destination("slow/${STREAM_NAME}/"))
    connection = client.connection(source, target)
    job_id = client.post("jobs", {"connectionId": connection, "jobType": "sync"})["jobId"]
    wait_until(lambda: any("reads" in line for line in client.lines(job_id)), "reading begins")
    time.sleep(0.3)
    client.call("DELETE", f"jobs/{job_id}")
    client.wait(job_id, "cancelled", 10)


def test_two_connections_run_at_the_same_time(client: Client, lake: S3, api: Api, gate: Gate) -> None:
    first, second = connect(client, lake, api, "one"), connect(client, lake, api, "two")
    job_id = start(client, first, gate)
    other = start(client, second, gate)
    assert {job["jobId"] for job in client.call("GET", "jobs", params={"status": "running"})["data"]} >= {job_id, other}
    gate.open.set()
    client.wait(job_id)
    client.wait(other)


def test_an_unreachable_database_fails_the_sync_naming_its_address(
    client: Client, postgres: Postgres, lake: S3
) -> None:
    postgres.execute("create schema gone", "create table gone.t as select 1 as i")
    source = client.actor("source", postgres.configuration(schemas=["gone"]))
    connection = client.connection(source, client.actor("destination", lake.destination("gone/${STREAM_NAME}/")))
    port = free_port()
    client.call("PATCH", f"sources/{source['sourceId']}", json={"configuration": {"port": port}})
    job = client.sync(connection, "failed")
    info = client.configuration("jobs/get", {"id": str(job["jobId"])})
    assert info["job"]["status"] == "failed"
    assert [item["attempt"]["id"] for item in info["attempts"]] == [0, 1, 2]
    assert {item["attempt"]["status"] for item in info["attempts"]} == {"failed"}
    attempt = info["attempts"][1]
    (failure,) = attempt["attempt"]["failureSummary"]["failures"]
    assert failure["failureOrigin"] == "source"
    assert failure["retryable"] is True
    assert "PostgreSQL" in failure["externalMessage"]
    assert f"127.0.0.1:{port}" in failure["externalMessage"]
    assert attempt["logType"] == "structured"
    *_, last, after = attempt["logs"]["events"]
    assert (last["level"], last["logSource"]) == ("error", "source")
    assert "next attempt in 0.15 s" in after["message"]
    assert abs(last["timestamp"] / 1000 - time.time()) < 3600
    checked = client.configuration("sources/check_connection", {"sourceId": source["sourceId"]})
    assert checked["status"] == "failed"
    assert f"127.0.0.1:{port}" in checked["message"]
    problem = client.get("streams", 500, sourceId=source["sourceId"])
    assert f"127.0.0.1:{port}" in problem["data"]["message"]


def test_an_unreachable_bucket_fails_the_sync_before_reading(client: Client, lake: S3, api: Api) -> None:
    api.handle = cursor_pages(5)
    connection = connect(client, lake, api, "nobucket")
    target = client.get(f"connections/{connection}")["destinationId"]
    endpoint = f"http://127.0.0.1:{free_port()}"
    client.call("PATCH", f"destinations/{target}", json={"configuration": {"s3_endpoint": endpoint}})
    job = client.sync(connection, "failed")
    assert endpoint in client.lines(job["jobId"])[-2]
    assert api.requests == []
    client.call("PATCH", f"destinations/{target}", json={"configuration": {"s3_endpoint": lake.endpoint}})
    assert client.sync(connection)["rowsSynced"] == 5
    client.call("PATCH", f"destinations/{target}", json={"configuration": {"secret_access_key": "wrong-secret-1"}})
    checked = client.configuration("destinations/check_connection", {"destinationId": target})
    assert checked["status"] == "failed"
    assert lake.endpoint in checked["message"]
    assert "wrong-secret-1" not in json.dumps(checked)


def test_a_transient_fault_is_followed_by_a_second_attempt_of_the_same_job(
    client: Client, postgres: Postgres, lake: S3
) -> None:
    postgres.execute("create schema flaky", "create table flaky.t as select generate_series(1, 7) as i")
    postgres.execute(
        "create sequence flaky.calls",
        # The first read dies in the middle, after some rows have been sent.
        "create function flaky.trip(i int) returns int language plpgsql as $$ begin if i = 5 and "
        "nextval('flaky.calls') = 1 then perform pg_terminate_backend(pg_backend_pid()); end if; return i; end $$",
        "create view flaky.v as select flaky.trip(i) as i from flaky.t",
    )
    source = client.actor("source", postgres.configuration(schemas=["flaky"]))
    target = client.actor("destination", lake.destination("flaky/${STREAM_NAME}/"))
    streams = [{"name": "v", "syncMode": "full_refresh_append"}]
    job = client.sync(client.connection(source, target, streams))
    assert job["rowsSynced"] == 7
    assert len(lake.keys("bronze/landing/flaky/")) == 1
    first, second = client.configuration("jobs/get", {"id": job["jobId"]})["attempts"]
    assert (first["attempt"]["status"], second["attempt"]["status"]) == ("failed", "succeeded")
    assert first["attempt"]["recordsSynced"] == 0
    assert second["attempt"]["streamStats"][0]["stats"]["recordsCommitted"] == 7
    assert "terminating connection" in json.dumps(first["logs"])
    assert "terminating connection" not in json.dumps(second["logs"])


def test_a_job_between_two_attempts_is_incomplete_and_can_be_cancelled(
    own_airbyte: Airbyte, lake: S3, api: Api, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = own_airbyte.client()
    connection = connect(client, lake, api, "between")
    job_id = start(client, connection, gate)
    own_airbyte.stop(signal.SIGKILL)
    monkeypatch.setattr(own_airbyte, "retry_seconds", 60)
    own_airbyte.start()
    assert client.get(f"jobs/{job_id}")["status"] == "incomplete"
    client.post("jobs", {"connectionId": connection, "jobType": "sync"}, 409)
    assert client.call("DELETE", f"jobs/{job_id}")["status"] == "cancelled"
    assert client.get(f"jobs/{job_id}")["status"] == "cancelled"
    own_airbyte.stop()


def test_killed_in_the_middle_the_job_has_its_next_attempt_after_the_restart(
    own_airbyte: Airbyte, lake: S3, api: Api, gate: Gate
) -> None:
    client = own_airbyte.client()
    connection = connect(client, lake, api, "killed")
    client.sync(connection)
    before = lake.keys("bronze/landing/killed/")
    job_id = start(client, connection, gate)
    token = client.http.headers["Authorization"]
    own_airbyte.stop(signal.SIGKILL)
    gate.open.set()
    own_airbyte.start()
    assert client.http.headers["Authorization"] == token
    job = client.wait(job_id)
    assert (job["connectionId"], job["rowsSynced"]) == (connection, 25)
    first, second = client.configuration("jobs/get", {"id": job_id})["attempts"]
    assert (first["attempt"]["status"], second["attempt"]["status"]) == ("failed", "succeeded")
    assert "when the server died" in json.dumps(first["logs"])
    (after,) = lake.keys("bronze/landing/killed/")
    assert [after] != before


def test_stopped_in_the_middle_the_server_is_gone_in_time_and_the_job_goes_on_at_the_next_start(
    own_airbyte: Airbyte, lake: S3, api: Api, gate: Gate
) -> None:
    client = own_airbyte.client()
    connection = connect(client, lake, api, "stopped")
    job_id = start(client, connection, gate)
    assert own_airbyte.stop() == 0
    gate.open.set()
    assert lake.keys("bronze/landing/stopped/") == []
    own_airbyte.start()
    assert client.wait(job_id)["rowsSynced"] == 25
    assert len(lake.keys("bronze/landing/stopped/")) == 1


def test_objects_of_a_sync_that_died_while_publishing_are_removed_at_the_restart(
    own_airbyte: Airbyte, lake: S3, api: Api
) -> None:
    api.handle = cursor_pages(5)
    client = own_airbyte.client()
    connection = connect(client, lake, api, "publishing")
    client.sync(connection)
    (kept,) = lake.keys("bronze/landing/publishing/")
    target = client.get(f"connections/{connection}")["destinationId"]
    own_airbyte.stop(signal.SIGKILL)
    half = "bronze/landing/publishing/payments/99_1795000000000_0.jsonl"
    lake.put(half, b"{}\n", "datalake")
    with sqlite3.connect(own_airbyte.var / "airbyte" / "airbyte.db") as database:
        database.execute("insert into staged_object values (99, ?, ?)", (target, half))
    own_airbyte.start()
    assert lake.keys("bronze/landing/publishing/") == [kept]


def test_a_second_server_on_the_same_state_is_refused(own_airbyte: Airbyte) -> None:
    import subprocess
    import sys

    from tests.sandbox.airbyte.services import REPOSITORY, free_offset

    environment = {**own_airbyte.environment(), "SANDBOX_PORT_OFFSET": str(free_offset())}
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.airbyte"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "another Airbyte server" in done.stderr
