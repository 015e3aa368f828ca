from __future__ import annotations

import io
import uuid
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sandbox.airbyte.services import S3, Client, Postgres


def table_of(lake: S3, prefix: str) -> Any:
    return pa.concat_tables([pq.read_table(io.BytesIO(lake.body(key))) for key in lake.keys(prefix)])


def connect(
    client: Client, postgres: Postgres, lake: S3, schema: str, streams: list[dict[str, Any]], **destination: Any
) -> str:
    source = client.actor("source", postgres.configuration(schemas=[schema]))
    target = client.actor("destination", lake.destination(f"{schema}/${{STREAM_NAME}}/", **destination))
    return client.connection(source, target, streams)


def test_records_carry_airbytes_columns(client: Client, postgres: Postgres, lake: S3, schema: str) -> None:
    postgres.execute(
        f"""create table {schema}.t (i int, "quoted ""Name" text)""",
        f"insert into {schema}.t values (1, 'ü'), (2, null)",
    )
    job = client.sync(connect(client, postgres, lake, schema, [{"name": "t"}]))
    table = table_of(lake, f"bronze/landing/{schema}/t/")
    change = pa.struct([("field", pa.string()), ("change", pa.string()), ("reason", pa.string())])
    expected = {
        "_airbyte_raw_id": pa.string(),
        "_airbyte_extracted_at": pa.timestamp("ms", tz="UTC"),
        "_airbyte_generation_id": pa.int64(),
        "_airbyte_meta": pa.struct([("sync_id", pa.int64()), ("changes", pa.list_(change))]),
        "i": pa.int64(),
        'quoted "Name': pa.string(),
    }
    assert table.schema.names == list(expected)
    for name, kind in expected.items():
        assert table.schema.field(name).type.equals(kind), name
    rows = table.to_pylist()
    assert [row['quoted "Name'] for row in rows] == ["ü", None]
    assert {row["_airbyte_meta"]["sync_id"] for row in rows} == {job["jobId"]}
    assert [row["_airbyte_meta"]["changes"] for row in rows] == [[], []]
    ids = {uuid.UUID(row["_airbyte_raw_id"]) for row in rows}
    assert len(ids) == 2
    assert {item.version for item in ids} == {4}


def test_the_codec_is_the_configured_one_and_uncompressed_by_default(
    client: Client, postgres: Postgres, lake: S3, schema: str
) -> None:
    postgres.execute(f"create table {schema}.t as select i, i::text as note from generate_series(1, 1000) i")
    forms: list[tuple[str, dict[str, Any]]] = [("UNCOMPRESSED", {})]
    forms += [(codec, {"compression_codec": codec}) for codec in ("SNAPPY", "ZSTD")]
    for codec, form in forms:
        connection = connect(client, postgres, lake, schema, [{"name": "t"}], form={"format_type": "Parquet", **form})
        client.sync(connection)
        (key,) = lake.keys(f"bronze/landing/{schema}/t/")
        file = pq.ParquetFile(io.BytesIO(lake.body(key)))
        assert file.metadata.row_group(0).column(0).compression == codec
        assert file.metadata.num_rows == 1000


def test_columns_are_encoded_as_it_pays(client: Client, postgres: Postgres, lake: S3, schema: str) -> None:
    far = f"case when i % 2 = 0 then {2**63 - 1} else {-(2**63)} end"
    postgres.execute(
        f"""create table {schema}.t as select i, {far} as far, nullif(i % 3, 0) as sparse,
            date '2026-01-01' + i as day, timestamptz '2026-01-01' - i * interval '1 s' as at, i::text as note,
            (i * -999999999999.25)::numeric(18, 2) as price, (i / 7.0)::numeric(19, 2) as wide,
            'status ' || i % 5 as status, i::float8 as real from generate_series(1, 3000) i"""
    )
    expected = {
        **dict.fromkeys(("i", "far", "sparse", "day", "at", "price"), "DELTA_BINARY_PACKED"),
        **{"wide": "PLAIN", "note": "PLAIN", "status": "RLE_DICTIONARY", "real": "PLAIN"},
    }
    for dictionary in (True, False):
        form = {"format_type": "Parquet", "dictionary_encoding": dictionary}
        client.sync(connect(client, postgres, lake, schema, [{"name": "t"}], form=form))
        (key,) = lake.keys(f"bronze/landing/{schema}/t/")
        file = pq.ParquetFile(io.BytesIO(lake.body(key)))
        group = file.metadata.row_group(0)
        found = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        for name, encoding in expected.items():
            used = found[name].encodings
            wanted = encoding if dictionary else encoding.replace("RLE_DICTIONARY", "PLAIN")
            assert wanted in used, name
            assert ("RLE_DICTIONARY" in used) == (wanted == "RLE_DICTIONARY"), name
            assert found[name].statistics.has_min_max, name
        assert found["price"].physical_type == "INT64"
        with psycopg.connect(postgres.dsn, options="-c timezone=UTC") as session:
            query = f"select {', '.join(expected)} from {schema}.t order by i"
            original = session.execute(query.encode()).fetchall()
        landed = file.read(columns=list(expected)).sort_by("i")
        assert list(zip(*(column.to_pylist() for column in landed.columns), strict=True)) == original


def test_keys_follow_the_layout_and_overwrite_replaces_the_previous_generation(
    client: Client, postgres: Postgres, lake: S3, schema: str
) -> None:
    postgres.execute(f"create table {schema}.small as select i from generate_series(1, 5) i")
    stranger = f"bronze/landing/{schema}/small/notes.txt"
    lake.put(stranger, b"not ours", "datalake")
    connection = connect(client, postgres, lake, schema, [{"name": "small", "syncMode": "full_refresh_overwrite"}])
    first = client.sync(connection)
    before = lake.keys(f"bronze/landing/{schema}/small/")
    second = client.sync(connection)
    after = lake.keys(f"bronze/landing/{schema}/small/")
    assert len(before) == len(after) == 2
    assert set(before) & set(after) == {stranger}
    (key,) = set(after) - {stranger}
    job_id, epoch, part = key.rsplit("/", 1)[1].removesuffix(".parquet").split("_")
    assert (int(job_id), int(part)) == (second["jobId"], 0)
    assert len(epoch) == 13
    assert first["jobId"] < second["jobId"]
    rows = pq.read_table(io.BytesIO(lake.body(key))).to_pylist()
    assert {row["_airbyte_generation_id"] for row in rows} == {2}
    assert second["rowsSynced"] == 5


def test_full_refresh_append_keeps_everything(client: Client, postgres: Postgres, lake: S3, schema: str) -> None:
    postgres.execute(f"create table {schema}.log as select i from generate_series(1, 3) i")
    connection = connect(client, postgres, lake, schema, [{"name": "log", "syncMode": "full_refresh_append"}])
    client.sync(connection)
    client.sync(connection)
    assert table_of(lake, f"bronze/landing/{schema}/log/").num_rows == 6


def test_an_overwritten_stream_that_became_empty_leaves_no_object(
    client: Client, postgres: Postgres, lake: S3, schema: str
) -> None:
    postgres.execute(f"create table {schema}.shrinking as select 1 as i")
    connection = connect(client, postgres, lake, schema, [{"name": "shrinking"}])
    client.sync(connection)
    assert lake.keys(f"bronze/landing/{schema}/shrinking/")
    postgres.execute(f"delete from {schema}.shrinking")
    client.sync(connection)
    assert lake.keys(f"bronze/landing/{schema}/shrinking/") == []


def incremental(name: str, cursor: str) -> list[dict[str, Any]]:
    return [{"name": name, "syncMode": "incremental_append", "cursorField": [cursor]}]


def test_incremental_reads_what_is_newer_and_sends_ties_again_only_when_they_changed(
    client: Client, postgres: Postgres, lake: S3, schema: str
) -> None:
    postgres.execute(
        f"create table {schema}.orders (id int, updated_at timestamp)",
        f"insert into {schema}.orders values (1, '2026-01-01'), (2, '2026-01-02'), (3, '2026-01-02'), (4, null)",
    )
    connection = connect(client, postgres, lake, schema, incremental("orders", "updated_at"))
    assert client.sync(connection)["rowsSynced"] == 4, "the first load takes rows without a cursor value, too"
    state = client.configuration("state/get", {"connectionId": connection})
    assert state["stateType"] == "stream"
    (saved,) = state["streamState"]
    assert saved["streamDescriptor"] == {"name": "orders", "namespace": schema}
    assert saved["streamState"]["cursor"] == "2026-01-02T00:00:00.000000"
    assert saved["streamState"]["cursor_record_count"] == 2
    assert client.sync(connection)["rowsSynced"] == 0
    assert client.configuration("state/get", {"connectionId": connection}) == state
    postgres.execute(f"insert into {schema}.orders values (5, '2026-01-03 00:00:00.000001')")
    assert client.sync(connection)["rowsSynced"] == 1
    postgres.execute(f"insert into {schema}.orders values (6, '2026-01-03 00:00:00.000001')")
    assert client.sync(connection)["rowsSynced"] == 2, "a new row with the saved cursor value: both are sent"
    ids = sorted(row["id"] for row in table_of(lake, f"bronze/landing/{schema}/orders/").to_pylist())
    assert ids == [1, 2, 3, 4, 5, 5, 6]


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        pytest.param("bigint", "1", "9007199254740993", id="bigint"),
        pytest.param("date", "'2026-01-01'", "'2026-03-01'", id="date"),
        pytest.param("timestamptz", "'2026-01-01 00:00+05'", "'2026-01-01 00:00:00.5+00'", id="timestamptz"),
        pytest.param("text", "'a''b'", "'b''\"%s'", id="text"),
        pytest.param("numeric(12,2)", "0.10", "1234.56", id="numeric"),
    ],
)
def test_cursors_of_all_orders(
    client: Client, postgres: Postgres, lake: S3, schema: str, kind: str, low: str, high: str
) -> None:
    postgres.execute(
        f"create table {schema}.c (id int, mark {kind})", f"insert into {schema}.c values (1, {low}), (2, {high})"
    )
    connection = connect(client, postgres, lake, schema, incremental("c", "mark"))
    assert client.sync(connection)["rowsSynced"] == 2
    assert client.sync(connection)["rowsSynced"] == 0
    postgres.execute(f"insert into {schema}.c values (3, {high})")
    assert client.sync(connection)["rowsSynced"] == 2


def test_a_cleared_connection_reads_everything_again(client: Client, postgres: Postgres, lake: S3, schema: str) -> None:
    postgres.execute(f"create table {schema}.c as select i, i as mark from generate_series(1, 4) i")
    connection = connect(client, postgres, lake, schema, incremental("c", "mark"))
    client.sync(connection)
    cleared = client.post("jobs", {"connectionId": connection, "jobType": "clear"})
    assert (cleared["jobType"], cleared["status"]) == ("clear", "succeeded")
    assert client.configuration("state/get", {"connectionId": connection})["stateType"] == "not_set"
    assert client.sync(connection)["rowsSynced"] == 4


def test_a_state_that_was_read_can_be_written_back(client: Client, postgres: Postgres, lake: S3, schema: str) -> None:
    postgres.execute(f"create table {schema}.c as select i, i as mark from generate_series(1, 4) i")
    connection = connect(client, postgres, lake, schema, incremental("c", "mark"))
    client.sync(connection)
    state = client.configuration("state/get", {"connectionId": connection})
    state["streamState"][0]["streamState"] |= {"cursor": "2", "cursor_record_count": 1}
    written = client.configuration("state/create_or_update", {"connectionId": connection, "connectionState": state})
    assert written == state
    assert client.sync(connection)["rowsSynced"] == 2


def test_only_selected_fields_land_under_the_prefix(client: Client, postgres: Postgres, lake: S3, schema: str) -> None:
    postgres.execute(f"create table {schema}.wide as select 1 as a, 2 as b, 3 as c")
    source = client.actor("source", postgres.configuration(schemas=[schema]))
    target = client.actor("destination", lake.destination("${NAMESPACE}/${STREAM_NAME}/"))
    fields = [{"fieldPath": ["c"]}, {"fieldPath": ["a"]}]
    connection = client.connection(
        source, target, [{"name": "wide", "selectedFields": fields}], prefix="raw_", namespaceDefinition="source"
    )
    client.sync(connection)
    table = table_of(lake, f"bronze/landing/{schema}/raw_wide/")
    assert table.schema.names[4:] == ["a", "c"]


def test_a_table_that_vanished_fails_the_sync_and_keeps_what_was_there(
    client: Client, postgres: Postgres, lake: S3, schema: str
) -> None:
    postgres.execute(f"create table {schema}.a as select 1 as i", f"create table {schema}.b as select 1 as i")
    connection = connect(client, postgres, lake, schema, [{"name": "a"}, {"name": "b"}])
    client.sync(connection)
    before = lake.keys(f"bronze/landing/{schema}/")
    postgres.execute(f"drop table {schema}.b")
    job = client.sync(connection, "failed")
    assert lake.keys(f"bronze/landing/{schema}/") == before
    assert f"{schema}.b" in client.lines(job["jobId"])[-1]
    assert job["rowsSynced"] == 0


def test_streams_are_discovered_with_their_keys_and_modes(
    client: Client, postgres: Postgres, lake: S3, schema: str
) -> None:
    postgres.execute(
        f"create table {schema}.keyed (b int, a int, doc jsonb, primary key (a, b))",
        f"create table {schema}.docs (doc jsonb)",
    )
    source = client.actor("source", postgres.configuration(schemas=[schema]))
    target = client.actor("destination", lake.destination("x/${STREAM_NAME}/"))
    found = client.get("streams", sourceId=source["sourceId"])
    docs, keyed = sorted(found, key=lambda stream: stream["streamName"])
    assert keyed["sourceDefinedPrimaryKey"] == [["a"], ["b"]]
    assert keyed["propertyFields"] == [["b"], ["a"], ["doc"]]
    assert keyed["streamnamespace"] == schema
    assert keyed["syncModes"] is None, "Airbyte names modes only for a given destination"
    found = client.get("streams", sourceId=source["sourceId"], destinationId=target["destinationId"])
    modes = {stream["streamName"]: set(stream["syncModes"]) for stream in found}
    assert modes["docs"] == {"full_refresh_append", "full_refresh_overwrite"}
    assert modes["keyed"] == modes["docs"] | {"incremental_append"}
    assert docs["sourceDefinedPrimaryKey"] == []
