from __future__ import annotations

import io
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from tests.sandbox.airbyte.change_data import ChangeData

ORDERS = "create table orders (order_id bigint primary key, amount numeric(12,2), status text, at timestamptz)"


def values(records: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(record[name] for name in names) for record in records]


def test_a_snapshot_then_every_change_once_and_in_order(cdc: ChangeData) -> None:
    cdc.create(ORDERS, "insert into orders select n, n + 0.5, 'new', now() from generate_series(1, 3) n")
    cdc.connect("orders")
    first = cdc.sync()
    assert first["rowsSynced"] == 3
    snapshot = cdc.landed("orders")
    assert values(snapshot, "order_id", "amount", "status") == [
        (n, Decimal(n) + Decimal("0.50"), "new") for n in (1, 2, 3)
    ]
    assert len({record["_ab_cdc_lsn"] for record in snapshot}) == 1
    assert {record["_ab_cdc_deleted_at"] for record in snapshot} == {None}

    cdc.execute(
        "insert into orders values (4, 4.5, null, '2026-02-03 04:05:06.789+02')",
        "update orders set status = 'paid' where order_id = 1",
        "delete from orders where order_id = 2",
        "update orders set order_id = 30 where order_id = 3",
    )
    second = cdc.sync()
    assert second["rowsSynced"] == 5
    changes = cdc.landed("orders")[3:]
    kinds = [(record["order_id"], record["status"], record["_ab_cdc_deleted_at"] is not None) for record in changes]
    assert kinds == [(4, None, False), (1, "paid", False), (2, None, True), (3, None, True), (30, "new", False)]
    positions = [record["_ab_cdc_lsn"] for record in changes]
    assert positions == sorted(positions)
    assert positions[0] > snapshot[0]["_ab_cdc_lsn"]
    assert changes[0]["at"].isoformat() == "2026-02-03T02:05:06.789000+00:00"
    assert changes[2]["_ab_cdc_deleted_at"] == changes[2]["_ab_cdc_updated_at"]
    assert cdc.sync()["rowsSynced"] == 0
    assert len(cdc.tables("orders")) == 2


def test_streams_offer_airbytes_columns_and_the_position_as_cursor(cdc: ChangeData) -> None:
    cdc.create(ORDERS, "create table notes (text text)")
    cdc.connect("orders")
    streams = {
        item["streamName"]: item
        for item in cdc.client.get(
            "streams",
            sourceId=cdc.source["sourceId"],
            destinationId=cdc.client.get(f"connections/{cdc.connection}")["destinationId"],
        )
    }
    assert streams["orders"]["defaultCursorField"] == ["_ab_cdc_lsn"]
    assert streams["orders"]["sourceDefinedCursorField"] is True
    assert streams["orders"]["propertyFields"][-3:] == [
        ["_ab_cdc_lsn"], ["_ab_cdc_updated_at"], ["_ab_cdc_deleted_at"]
    ]  # fmt: skip
    # Without a key nobody could say what an update replaces.
    assert [mode.split("_")[0] for mode in streams["notes"]["syncModes"]] == ["full", "full"]


def test_types_of_the_snapshot_and_of_the_changes_are_the_same(cdc: ChangeData) -> None:
    columns = {
        "id": "int", "big": "bigint", "amount": "numeric(12,2)", "free": "numeric", "ratio": "real", "flag": "boolean",
        "day": "date", "at": "timestamp", "zoned": "timestamptz", "clock": "time", '"quoted ""N"': "text",
        "note": "char(5)", "doc": "jsonb", "u": "uuid", "tags": "text[]", "fees": "numeric(6,2)[]", "counts": "int[]",
        "raw": "bytea", "span": "interval",
    }  # fmt: skip
    declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    value = (
        "9007199254740993, 1234.56, 1.123456789012345678901234567890, 0.5, true, '2026-02-03', "
        "'2026-02-03 04:05:06.789012', '2026-02-03 04:05:06+02', '23:59:59.5', E'a,\"b\"\\n\\tü\\\\', 'x', "
        "'{\"a\": 1}', "
        "'11111111-2222-3333-4444-555555555555', '{a,NULL,\"b,c\"}', '{1.50}', '{1,NULL}', '\\x00ff', '1 day 2 hours'"
    )
    cdc.create(
        f"create table kinds ({declared}, primary key (id))",
        f"insert into kinds values (1, {value})",
        'insert into kinds (id, "quoted ""N") values (2, \'\')',
    )
    cdc.connect("kinds")
    cdc.sync()
    cdc.execute(f"insert into kinds values (1001, {value})", 'insert into kinds (id, "quoted ""N") values (1002, \'\')')
    cdc.sync()
    loaded, changed = cdc.tables("kinds")
    assert loaded.schema == changed.schema
    source = cdc.client.actor("source", cdc.postgres.configuration(schemas=[cdc.schema]))
    target = cdc.client.actor("destination", cdc.lake.destination(f"{cdc.schema}/full/${{STREAM_NAME}}/"))
    cdc.client.sync(cdc.client.connection(source, target, [{"name": "kinds"}]))
    refreshed = pq.read_table(io.BytesIO(cdc.lake.body(cdc.lake.keys(f"bronze/landing/{cdc.schema}/full/")[0])))
    assert refreshed.schema == pa.schema(field for field in loaded.schema if not field.name.startswith("_ab_cdc"))
    own = [name for name in refreshed.schema.names if not name.startswith("_airbyte")]
    assert refreshed.select(own).sort_by("id").slice(2).to_pylist() == changed.select(own).to_pylist()
    first, second = cdc.landed("kinds")[:2], cdc.landed("kinds")[2:]
    for before, after in zip(first, second, strict=True):
        same = {name for name in before if not name.startswith("_ab_cdc") and name != "id"}
        assert {name: before[name] for name in same} == {name: after[name] for name in same}
    schema = loaded.schema
    assert schema.field("amount").type == pa.decimal128(12, 2)
    assert schema.field("at").type == pa.timestamp("us")
    assert schema.field("zoned").type == pa.timestamp("us", tz="UTC")
    assert schema.field("tags").type == pa.list_(pa.string())
    assert first[0]['quoted "N'] == 'a,"b"\n\tü\\'
    assert first[0]["note"] == "x    "
    assert first[1]['quoted "N'] == ""
    assert first[1]["doc"] is None
    assert first[0]["tags"] == ["a", None, "b,c"]


def test_values_left_out_of_line_keep_airbytes_placeholder_or_the_old_value(cdc: ChangeData) -> None:
    large = "(select string_agg(md5(n::text), '') from generate_series(1, 400) n)"
    cdc.create(
        "create table notes (id int primary key, body text, n int)",
        "create table full_notes (id int primary key, body text, n int)",
        "alter table full_notes replica identity full",
        f"insert into notes values (1, {large}, 1)",
        f"insert into full_notes values (1, {large}, 1)",
    )
    cdc.connect("notes", "full_notes")
    cdc.sync()
    cdc.execute("update notes set n = 2", "update full_notes set n = 2", "delete from full_notes")
    cdc.sync()
    body = cdc.landed("notes")[0]["body"]
    assert len(body) == 12_800
    assert values(cdc.landed("notes")[1:], "n", "body") == [(2, "__debezium_unavailable_value")]
    assert values(cdc.landed("full_notes")[1:], "n", "body") == [(2, body), (2, body)]


def test_truncation_is_a_delete_without_key(cdc: ChangeData) -> None:
    cdc.create(ORDERS, "insert into orders select n from generate_series(1, 3) n")
    cdc.connect("orders")
    cdc.sync()
    cdc.execute("insert into orders values (8)", "truncate orders", "insert into orders values (9)")
    assert cdc.sync()["rowsSynced"] == 3
    assert values(cdc.landed("orders")[3:], "order_id") == [(8,), (None,), (9,)]
    assert set(cdc.current("orders", "order_id")) == {(9,)}


def test_a_schema_change_in_a_batch_begins_a_part(cdc: ChangeData) -> None:
    cdc.create("create table t (id int primary key, a int, b text, twice int generated always as (a * 2) stored)")
    cdc.connect("t")
    cdc.sync()
    cdc.execute(
        "insert into t values (1, 1, 'x')",
        "alter table t add column c date",
        "insert into t values (2, 2, 'y', default, '2026-01-02')",
        "alter table t drop column b",
        "insert into t values (3, 3, default, '2026-01-03')",
        "insert into t values (4, 4, default, '2026-01-04')",
    )
    assert cdc.sync()["rowsSynced"] == 4
    names = [[name for name in table.schema.names if not name.startswith("_a")] for table in cdc.tables("t")]
    assert names == [["id", "a", "b"], ["id", "a", "b", "c"], ["id", "a", "c"]]
    assert [table.num_rows for table in cdc.tables("t")] == [1, 1, 2]


def test_several_tables_of_one_transaction_land_together(cdc: ChangeData) -> None:
    cdc.create("create table a (id int primary key)", "create table b (id int primary key)", "create table c (id int)")
    cdc.connect("a", "b")
    cdc.sync()
    with psycopg.connect(cdc.postgres.dsn, options=f"-c search_path={cdc.schema}") as session:
        session.execute("insert into a values (1); insert into b values (1); insert into c values (1)")
        session.execute("savepoint s; insert into a values (2); rollback to s; insert into b values (2)")
    assert cdc.sync()["rowsSynced"] == 3
    assert values(cdc.landed("a"), "id") == [(1,)]
    assert values(cdc.landed("b"), "id") == [(1,), (2,)]


def test_a_table_without_key_lands_whole_rows_if_its_identity_is_full(cdc: ChangeData) -> None:
    cdc.create("create table t (a int, b text)", "alter table t replica identity full")
    cdc.connect("t")
    cdc.sync()
    cdc.execute("insert into t values (1, 'x')", "update t set b = 'y'", "delete from t")
    cdc.sync()
    gone = [record["_ab_cdc_deleted_at"] is not None for record in cdc.landed("t")]
    assert list(zip(values(cdc.landed("t"), "a", "b"), gone, strict=True)) == [
        ((1, "x"), False), ((1, "x"), True), ((1, "y"), False), ((1, "y"), True)
    ]  # fmt: skip


def test_equal_rows_without_a_key_are_appended_and_taken_away_one_by_one(cdc: ChangeData) -> None:
    cdc.create("create table t (a int, b text)", "alter table t replica identity full")
    cdc.execute("insert into t values (1, 'x'), (1, 'x'), (2, null)")
    cdc.connect("t")
    cdc.sync()
    one = "(select ctid from t where a = 1 limit 1)"
    cdc.execute(
        "insert into t values (1, 'x')", f"delete from t where ctid = {one}", "update t set b = 'y' where a = 2"
    )
    cdc.execute(f"update t set a = 3 where ctid = {one}")
    cdc.sync()
    rows: Counter[tuple[Any, ...]] = Counter()
    for record in cdc.landed("t"):
        rows[record["a"], record["b"]] += -1 if record["_ab_cdc_deleted_at"] is not None else 1
    assert min(rows.values()) == 0
    assert +rows == Counter(cdc.rows("select * from t"))


def test_changes_of_a_table_that_cannot_name_its_rows_are_not_offered(cdc: ChangeData) -> None:
    cdc.create("create table t (a int, b text)")
    configuration = cdc.postgres.configuration(schemas=[cdc.schema], replication_method=cdc.method())
    source = cdc.client.actor("source", configuration)
    target = cdc.client.actor("destination", cdc.lake.destination("${STREAM_NAME}/"))
    body = {
        "sourceId": source["sourceId"],
        "destinationId": target["destinationId"],
        "configurations": {"streams": [{"name": "t", "syncMode": "incremental_append"}]},
    }
    answer = cdc.client.http.post("connections", json=body)
    assert answer.status_code == 400
    assert "Cannot set sync mode to incremental_append for stream t" in answer.text
    cdc.execute("alter table t replica identity full")
    assert cdc.client.http.post("connections", json=body).status_code == 200


def test_a_table_whose_key_the_connection_names_keeps_updates_as_updates(cdc: ChangeData) -> None:
    cdc.create("create table t (a int, b text)", "alter table t replica identity full")
    cdc.connect({"name": "t", "primaryKey": [["a"]]})
    cdc.sync()
    cdc.execute("insert into t values (1, 'x')", "update t set b = 'y'", "update t set a = 2", "update t set a = null")
    cdc.sync()
    gone = [record["_ab_cdc_deleted_at"] is not None for record in cdc.landed("t")]
    assert list(zip(values(cdc.landed("t"), "a", "b"), gone, strict=True)) == [
        ((1, "x"), False), ((1, "y"), False),
        ((1, "y"), True), ((2, "y"), False),
        ((2, "y"), True), ((None, "y"), False),
    ]  # fmt: skip


def test_only_selected_fields_land(cdc: ChangeData) -> None:
    cdc.create(ORDERS, "insert into orders values (1, 1, 'a')")
    fields = [{"fieldPath": [name]} for name in ("order_id", "status", "_ab_cdc_lsn")]
    cdc.connect({"name": "orders", "selectedFields": fields})
    cdc.sync()
    cdc.execute(
        "update orders set status = 'b'", "alter table orders add column more int", "insert into orders values (2)"
    )
    cdc.sync()
    assert {name for record in cdc.landed("orders") for name in record if not name.startswith("_ab")} == {
        "order_id",
        "status",
    }


def test_an_idle_sync_moves_the_slot(cdc: ChangeData) -> None:
    cdc.create(ORDERS, "create table elsewhere (id int)", publish=f"for table {cdc.schema}.orders")
    cdc.connect("orders")
    cdc.sync()
    before = cdc.position()
    cdc.execute("insert into elsewhere select generate_series(1, 1000)")
    assert cdc.sync()["rowsSynced"] == 0
    assert cdc.position() > before


def test_the_heartbeat_query_runs_with_every_sync(cdc: ChangeData) -> None:
    cdc.create(ORDERS, "create table beat (at timestamptz)")
    cdc.connect("orders", heartbeat_action_query=f"insert into {cdc.schema}.beat values (now())")
    cdc.sync()
    cdc.sync()
    assert cdc.rows("select count(*) from beat") == [(2,)]


def test_a_stream_that_joins_later_is_loaded_while_the_others_go_on(cdc: ChangeData) -> None:
    cdc.create("create table a (id int primary key)", "create table b (id int primary key)")
    cdc.execute("insert into a values (1)", "insert into b values (1)")
    cdc.connect("a")
    cdc.sync()
    cdc.execute("insert into a values (2)", "insert into b values (2)")
    both = [{"name": name, "syncMode": "incremental_append"} for name in ("a", "b")]
    cdc.client.call("PATCH", f"connections/{cdc.connection}", json={"configurations": {"streams": both}})
    cdc.sync()
    cdc.execute("insert into a values (3)", "insert into b values (3)")
    cdc.sync()
    assert values(cdc.landed("a"), "id") == [(1,), (2,), (3,)]
    assert values(cdc.landed("b"), "id") == [(1,), (2,), (3,)]


def test_the_state_is_global_as_airbytes_is_and_can_be_written_back(cdc: ChangeData) -> None:
    cdc.create("create table a (id int primary key)", "create table b (id int primary key)")
    cdc.connect("a", "b")
    cdc.sync()
    cdc.execute("insert into a values (1)")
    cdc.sync()
    state = cdc.client.configuration("state/get", {"connectionId": cdc.connection})
    assert state.keys() == {"stateType", "connectionId", "globalState"}
    assert state["stateType"] == "global"
    common = state["globalState"]
    ((server, offset),) = common["shared_state"]["state"].items()
    database = cdc.rows("select current_database()")[0][0]
    assert json.loads(server) == [database, {"server": database}]
    assert json.loads(offset)["lsn"] == cdc.position()
    assert [stream["streamDescriptor"] for stream in common["streamStates"]] == [
        {"name": name, "namespace": cdc.schema} for name in ("a", "b")
    ]
    assert {json.dumps(stream["streamState"]["cursor_field"]) for stream in common["streamStates"]} == {"[]"}
    cdc.execute("insert into a values (2)")
    body = {"connectionId": cdc.connection, "connectionState": state}
    assert cdc.client.configuration("state/create_or_update", body) == state
    assert cdc.sync()["rowsSynced"] == 1
    # The position of all streams is the one in the shared part: the slot has gone on since.
    cdc.client.configuration("state/create_or_update", body)
    job = cdc.sync("failed")["jobId"]
    assert any("the saved position of a, b is not in replication slot" in line for line in cdc.client.lines(job))


def test_a_stream_that_leaves_and_joins_again_is_loaded_again(cdc: ChangeData) -> None:
    cdc.create("create table a (id int primary key)", "create table b (id int primary key)")
    cdc.execute("insert into b values (1), (2)")
    streams = {name: {"name": name, "syncMode": "incremental_append"} for name in ("a", "b")}
    cdc.connect(*streams.values())
    cdc.sync()
    for names in (["a"], ["a", "b"]):
        body = {"configurations": {"streams": [streams[name] for name in names]}}
        cdc.client.call("PATCH", f"connections/{cdc.connection}", json=body)
        cdc.execute("delete from b where id = (select min(id) from b)", "insert into b select max(id) + 1 from b")
        cdc.sync()
    assert [key[0] for key in cdc.current("b", "id")] == [3, 4]


def test_after_a_clear_the_load_ends_what_was_landed_before(cdc: ChangeData) -> None:
    cdc.create(ORDERS, "insert into orders values (1), (2)")
    cdc.connect("orders")
    cdc.sync()
    cdc.execute("delete from orders where order_id = 1")
    cdc.client.post("jobs", {"connectionId": cdc.connection, "jobType": "reset"})
    assert cdc.sync()["rowsSynced"] == 2
    assert set(cdc.current("orders", "order_id")) == {(2,)}
