"""source-postgres with Xmin: what transactions wrote since the last sync, without a cursor column."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.sandbox.airbyte.services import S3, Client, Postgres

XMIN = {"replication_method": {"method": "Xmin"}}
STREAM = {"name": "t", "syncMode": "incremental_append"}


@pytest.fixture
def connection(client: Client, postgres: Postgres, lake: S3, schema: str) -> str:
    postgres.execute(
        f"create table {schema}.t (i int primary key, note text)",
        f"insert into {schema}.t select i, 'first' from generate_series(1, 10) i",
        f"create view {schema}.v as select i from {schema}.t",
    )
    source = client.actor("source", postgres.configuration(schemas=[schema], **XMIN))
    target = client.actor("destination", lake.destination(f"{schema}/${{STREAM_NAME}}/"))
    return client.connection(source, target, [STREAM])


def state(client: Client, connection: str) -> dict[str, Any]:
    (stream,) = client.configuration("state/get", {"connectionId": connection})["streamState"]
    return dict(stream["streamState"])


def set_state(client: Client, connection: str, schema: str, value: dict[str, Any]) -> None:
    stream = {"streamDescriptor": {"name": "t", "namespace": schema}, "streamState": value}
    body = {"stateType": "stream", "connectionId": connection, "streamState": [stream]}
    client.configuration("state/create_or_update", {"connectionId": connection, "connectionState": body})


def test_inserts_and_updates_come_once_and_what_did_not_change_does_not(
    client: Client, postgres: Postgres, schema: str, connection: str
) -> None:
    assert client.sync(connection)["rowsSynced"] == 10
    saved = state(client, connection)
    assert saved.keys() == {"version", "state_type", "num_wraparound", "xmin_xid_value", "xmin_raw_value"}
    assert (saved["version"], saved["state_type"], saved["num_wraparound"]) == (2, "xmin", 0)
    assert saved["xmin_xid_value"] == saved["xmin_raw_value"] > 0
    assert client.sync(connection)["rowsSynced"] == 0
    postgres.execute(
        f"update {schema}.t set note = 'second' where i <= 3",
        f"insert into {schema}.t values (11, 'new')",
        f"delete from {schema}.t where i = 9",
    )
    assert client.sync(connection)["rowsSynced"] == 4
    assert client.sync(connection)["rowsSynced"] == 0


def test_a_transaction_that_was_open_during_a_sync_is_in_the_next_one(
    client: Client, postgres: Postgres, schema: str, connection: str
) -> None:
    client.sync(connection)
    with psycopg.connect(postgres.dsn) as early:
        early.execute(f"insert into {schema}.t values (12, 'early transaction, late commit')".encode())
        postgres.execute(f"insert into {schema}.t values (13, 'late transaction, early commit')")
        assert client.sync(connection)["rowsSynced"] == 1
    # Row 13 comes again: its transaction is younger than the oldest that was open. At least once, never not at all.
    assert client.sync(connection)["rowsSynced"] == 2
    assert client.sync(connection)["rowsSynced"] == 0


def test_wraparounds_of_transaction_ids(client: Client, schema: str, connection: str) -> None:
    client.sync(connection)
    now = state(client, connection)
    # One turn ago, near its end: what is below the present number has been written since then.
    set_state(client, connection, schema, {**now, "num_wraparound": -1, "xmin_xid_value": 2**32 - 5})
    job = client.sync(connection)
    assert job["rowsSynced"] == 10
    assert any("xmin >= 4294967291 or <" in line for line in client.lines(job["jobId"]))
    set_state(client, connection, schema, {**now, "num_wraparound": -2})
    job = client.sync(connection)
    assert job["rowsSynced"] == 10
    assert any("full read" in line for line in client.lines(job["jobId"]))
    assert client.sync(connection)["rowsSynced"] == 0


def test_the_cursor_is_the_sources_own_and_views_have_none(client: Client, connection: str) -> None:
    known = client.get(f"connections/{connection}")
    listed = client.get("streams", sourceId=known["sourceId"], destinationId=known["destinationId"])
    table, view = sorted(listed, key=lambda stream: str(stream["streamName"]))
    assert (table["sourceDefinedCursorField"], table["defaultCursorField"]) == (True, [])
    assert "incremental_append" in table["syncModes"]
    assert view["syncModes"] == ["full_refresh_append", "full_refresh_overwrite"]
    streams = {"streams": [{**STREAM, "cursorField": ["i"]}]}
    problem = client.call("PATCH", f"connections/{connection}", 400, json={"configurations": streams})
    assert "already defined by source" in problem["data"]["message"]
