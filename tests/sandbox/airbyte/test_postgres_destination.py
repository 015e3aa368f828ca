"""destination-postgres: typed tables, overwritten, appended to and deduplicated, once whatever dies in between."""

from __future__ import annotations

import signal
import sqlite3
from typing import Any

import psycopg
import pytest

from tests.sandbox.airbyte.change_data import ChangeData
from tests.sandbox.airbyte.services import Airbyte, Client, Postgres, wait_until

DEDUP = {"name": "t", "syncMode": "incremental_deduped_history", "cursorField": ["at"]}
APPEND = {"name": "t", "syncMode": "incremental_append", "cursorField": ["at"]}


def destination(postgres: Postgres, schema: str, **changes: Any) -> dict[str, Any]:
    return {
        "destinationType": "postgres",
        "host": "127.0.0.1",
        "port": postgres.port,
        "database": "shop",
        "schema": schema,
        "username": "shop",
        "password": postgres.password,
        "ssl_mode": {"mode": "disable"},
        **changes,
    }


def connect(
    client: Client, postgres: Postgres, schema: str, streams: list[dict[str, Any]] | None, **changes: Any
) -> str:
    source = client.actor("source", postgres.configuration(schemas=[schema]))
    target = client.actor("destination", destination(postgres, f"{schema}_loaded", **changes))
    return client.connection(source, target, streams)


def rows(postgres: Postgres, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(postgres.dsn) as session:
        return session.execute(query.encode()).fetchall()


def test_an_overwrite_replaces_the_table_with_airbytes_columns_and_types(
    client: Client, postgres: Postgres, schema: str
) -> None:
    postgres.execute(f"create table {schema}.t (i int primary key, note text, tags text[], amount numeric(12,2))")
    postgres.execute(
        f"insert into {schema}.t select i, 'ü' || i, array['a', null], i / 3.0 from generate_series(1, 5) i"
    )
    connection = connect(client, postgres, schema, [{"name": "t", "syncMode": "full_refresh_overwrite"}])
    job = client.sync(connection)
    assert job["rowsSynced"] == 5
    described = rows(
        postgres,
        "select attname::text, format_type(atttypid, atttypmod) from pg_attribute "
        f"where attrelid = '{schema}_loaded.t'::regclass and attnum > 0 order by attnum",
    )
    assert described == [
        ("_airbyte_raw_id", "character varying"),
        ("_airbyte_extracted_at", "timestamp with time zone"),
        ("_airbyte_meta", "jsonb"),
        ("_airbyte_generation_id", "bigint"),
        ("i", "bigint"),
        ("note", "character varying"),
        ("tags", "jsonb"),
        ("amount", "numeric(38,9)"),
    ]
    loaded = rows(postgres, f"select i, note, tags, _airbyte_meta from {schema}_loaded.t order by i")
    assert loaded[0] == (1, "ü1", ["a", None], {"sync_id": job["jobId"], "changes": []})
    postgres.execute(f"delete from {schema}.t where i > 2")
    client.sync(connection)
    assert rows(postgres, f"select i, _airbyte_generation_id from {schema}_loaded.t order by i") == [(1, 2), (2, 2)]


def test_a_table_that_something_depends_on_stays_as_it_is(client: Client, postgres: Postgres, schema: str) -> None:
    postgres.execute(f"create table {schema}.t as select 1 as i")
    overwrite = [{"name": "t", "syncMode": "full_refresh_overwrite"}]
    connection = connect(client, postgres, schema, overwrite)
    client.sync(connection)
    postgres.execute(
        f"create view {schema}_loaded.v as select i from {schema}_loaded.t", f"update {schema}.t set i = 2"
    )
    job = client.sync(connection, "failed")
    assert len(client.configuration("jobs/get", {"id": job["jobId"]})["attempts"]) == 1
    assert "depend" in " ".join(client.lines(job["jobId"]))
    assert rows(postgres, f"select i from {schema}_loaded.v") == [(1,)]
    client.sync(connect(client, postgres, schema, overwrite, drop_cascade=True))
    assert rows(postgres, f"select i from {schema}_loaded.t") == [(2,)]


def test_the_latest_version_of_a_key_wins_and_older_ones_never_come_back(
    client: Client, postgres: Postgres, schema: str
) -> None:
    postgres.execute(f"create table {schema}.t (a int, b text, value int, at timestamp, primary key (a, b))")
    postgres.execute(f"insert into {schema}.t select i, 'x', i, '2026-01-01' from generate_series(1, 3) i")
    connection = connect(client, postgres, schema, [DEDUP])
    client.sync(connection)
    postgres.execute(
        f"update {schema}.t set value = 20, at = '2026-01-02' where a = 2",
        f"insert into {schema}.t values (4, 'x', 4, '2026-01-03')",
        # Somebody else wrote a later version into the destination.
        f"update {schema}_loaded.t set value = 99, at = '2027-01-01' where a = 3",
        f"update {schema}.t set value = 30, at = '2026-01-04' where a = 3",
    )
    # Three changes, and the row that still carries the saved cursor, whose company has changed.
    assert client.sync(connection)["rowsSynced"] == 4
    expected = [(1, 1), (2, 20), (3, 99), (4, 4)]
    assert rows(postgres, f"select a, value from {schema}_loaded.t order by a") == expected
    client.configuration(
        "state/create_or_update",
        {"connectionId": connection, "connectionState": {"stateType": "not_set", "connectionId": connection}},
    )
    assert client.sync(connection)["rowsSynced"] == 4
    assert rows(postgres, f"select a, value from {schema}_loaded.t order by a") == expected
    mode = {"name": "t", "syncMode": "full_refresh_overwrite_deduped"}
    client.sync(connect(client, postgres, schema, [mode]))
    assert rows(postgres, f"select a, value from {schema}_loaded.t order by a") == [(1, 1), (2, 20), (3, 30), (4, 4)]


def test_new_columns_are_added_and_a_changed_type_is_changed(client: Client, postgres: Postgres, schema: str) -> None:
    postgres.execute(f"create table {schema}.t (i int primary key, at timestamp, n int)")
    postgres.execute(f"insert into {schema}.t values (1, '2026-01-01', 7)")
    connection = connect(client, postgres, schema, [APPEND])
    client.sync(connection)
    postgres.execute(
        f"alter table {schema}.t add column extra date, alter column n type text",
        f"insert into {schema}.t values (2, '2026-01-02', 'seven', '2026-02-03')",
    )
    source = client.get(f"connections/{connection}")
    client.call("PATCH", f"connections/{connection}", json={"configurations": {"streams": [APPEND]}})
    assert client.get(f"connections/{connection}")["sourceId"] == source["sourceId"]
    client.sync(connection)
    assert rows(postgres, f"select i, n, extra::text from {schema}_loaded.t order by i") == [
        (1, "7", None),
        (2, "seven", "2026-02-03"),
    ]


@pytest.mark.parametrize("stream", [APPEND, DEDUP], ids=["append", "dedup"])
def test_a_server_that_dies_after_the_destination_has_committed_doubles_nothing(
    own_airbyte: Airbyte, postgres: Postgres, schema: str, stream: dict[str, Any]
) -> None:
    client = own_airbyte.client()
    postgres.execute(f"create table {schema}.t (i int primary key, at timestamp)")
    postgres.execute(f"insert into {schema}.t select i, '2026-01-01' from generate_series(1, 10) i")
    connection = connect(client, postgres, schema, [stream])
    client.sync(connection)
    postgres.execute(f"insert into {schema}.t select i, '2026-01-02' from generate_series(11, 15) i")
    with psycopg.connect(postgres.dsn) as lock:
        lock.execute(f"lock table {schema}_loaded.t".encode())
        job_id = client.post("jobs", {"connectionId": connection, "jobType": "sync"})["jobId"]
        waiting = f"select 1 from pg_locks where relation = '{schema}_loaded.t'::regclass and not granted"
        wait_until(lambda: rows(postgres, waiting), "the destination waits for the table")
        memory = sqlite3.connect(own_airbyte.var / "airbyte" / "airbyte.db", isolation_level=None)
        memory.execute("begin immediate")
    wait_until(lambda: rows(postgres, f"select 1 from {schema}_loaded.t where i = 15"), "the destination commits")
    own_airbyte.stop(signal.SIGKILL)
    memory.close()
    own_airbyte.start()
    assert client.wait(job_id)["rowsSynced"] == 5
    assert rows(postgres, f"select i from {schema}_loaded.t order by i") == [(i,) for i in range(1, 16)]


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        pytest.param({"schema": None}, 422, "schema", id="missing"),
        pytest.param({"disable_type_dedupe": True}, 501, "disable_type_dedupe", id="raw tables not here"),
        pytest.param({"tunnel_method": {"tunnel_method": "NO_TUNNEL"}}, 200, "", id="no tunnel"),
    ],
)
def test_configurations_are_refused_by_field(
    client: Client, postgres: Postgres, change: dict[str, Any], status: int, named: str
) -> None:
    configuration = {key: value for key, value in {**destination(postgres, "x"), **change}.items() if value is not None}
    answer = client.actor("destination", configuration, status)
    assert named in str(answer)
    assert postgres.password not in str(answer)
    if status == 200:
        checked = client.configuration("destinations/check_connection", {"destinationId": answer["destinationId"]})
        assert checked["status"] == "succeeded", checked


@pytest.mark.parametrize("mode", ["Hard delete", "Soft delete"])
def test_changes_leave_the_table_as_the_source_is(
    client: Client, postgres: Postgres, cdc: ChangeData, mode: str
) -> None:
    cdc.create("create table t (a int primary key, value numeric(12,2), note text)")
    cdc.execute("insert into t select i, i, 'x' from generate_series(1, 5) i")
    source = client.actor("source", postgres.configuration(schemas=[cdc.schema], replication_method=cdc.method()))
    target = f"{cdc.schema}_loaded"
    configuration = destination(postgres, target, unconstrained_number=True, cdc_deletion_mode=mode)
    stream = {"name": "t", "syncMode": "incremental_deduped_history"}
    connection = client.connection(source, client.actor("destination", configuration), [stream])
    for changes in (
        ["update t set value = 9.25 where a = 1"],
        ["delete from t where a = 2", "insert into t values (2, 22, 'again')", "delete from t where a = 3"],
        ["update t set a = 50 where a = 5", "insert into t values (6, 6, 'y')", "delete from t where a = 6"],
        ["alter table t add column extra date", "update t set extra = '2026-02-03' where a = 1"],
        ["truncate t", "insert into t (a, value) values (1, 1), (8, 8)"],
        [],
    ):
        cdc.execute(*changes)
        client.sync(connection)
        living = "_ab_cdc_deleted_at is null" if mode == "Soft delete" else "true"
        loaded = rows(postgres, f"select a, value, note from {target}.t where {living} order by a")
        assert loaded == cdc.rows("select a, value, note from t order by a"), changes
