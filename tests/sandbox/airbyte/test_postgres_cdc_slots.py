"""What a slot or a publication can be wrong in, and what a sync makes of it."""

from __future__ import annotations

import secrets
from contextlib import closing

import psycopg
import pytest

from tests.sandbox.airbyte.change_data import ChangeData
from tests.sandbox.airbyte.services import S3, Client, wait_until

ORDERS = "create table orders (order_id bigint primary key, status text)"


@pytest.fixture
def ready(cdc: ChangeData) -> ChangeData:
    """A table of two rows whose snapshot has landed."""
    cdc.create(ORDERS, "insert into orders values (1, 'a'), (2, 'b')")
    return cdc


def failure(cdc: ChangeData) -> str:
    """What a sync fails with."""
    job = cdc.sync("failed")
    attempts = cdc.client.configuration("jobs/get", {"id": job["jobId"]})["attempts"]
    return str(attempts[-1]["attempt"]["failureSummary"]["failures"][0]["externalMessage"])


def test_a_missing_slot_is_named_by_the_check_and_by_the_sync(ready: ChangeData) -> None:
    ready.connect("orders")
    ready.drop()
    checked = ready.client.configuration("sources/check_connection", {"sourceId": ready.source["sourceId"]})
    for message in (checked["message"], failure(ready)):
        assert f"replication slot '{ready.slot}' does not exist" in message
        assert f"pg_create_logical_replication_slot('{ready.slot}', 'pgoutput')" in message


def test_a_slot_of_another_kind_is_refused(ready: ChangeData) -> None:
    ready.connect("orders")
    ready.drop()
    ready.execute(f"select pg_create_physical_replication_slot('{ready.slot}')")
    assert "is a physical slot" in failure(ready)


def test_a_missing_publication_is_named(ready: ChangeData) -> None:
    ready.connect("orders")
    ready.execute(f"drop publication {ready.publication}")
    assert f"publication '{ready.publication}' does not exist" in failure(ready)


def test_a_table_that_leaves_the_publication_is_named(cdc: ChangeData) -> None:
    cdc.create(ORDERS, "create table other (id int primary key)", publish=f"for table {cdc.schema}.orders")
    cdc.connect("orders")
    cdc.sync()
    cdc.execute(f"alter publication {cdc.publication} set table {cdc.schema}.other")
    assert f"does not contain {cdc.schema}.orders" in failure(cdc)


def test_a_table_that_loses_its_key_is_refused(ready: ChangeData) -> None:
    ready.connect("orders")
    ready.sync()
    ready.execute("alter table orders drop constraint orders_pkey")
    assert "has neither a primary key nor REPLICA IDENTITY FULL" in failure(ready)


def test_a_user_without_the_right_to_replicate_is_told(ready: ChangeData) -> None:
    role, password = f"r{secrets.token_hex(4)}", secrets.token_hex(8)
    ready.execute(
        f"create role {role} login password '{password}'",
        f"grant usage on schema {ready.schema} to {role}",
        f"grant select on all tables in schema {ready.schema} to {role}",
    )
    configuration = ready.postgres.configuration(
        schemas=[ready.schema], username=role, password=password, replication_method=ready.method()
    )
    source = ready.client.actor("source", configuration)
    checked = ready.client.configuration("sources/check_connection", {"sourceId": source["sourceId"]})
    assert checked["status"] == "failed"
    assert "ALTER ROLE ... REPLICATION" in checked["message"]


def test_a_slot_that_somebody_else_reads_is_named_and_tried_again(ready: ChangeData) -> None:
    ready.connect("orders")
    ready.sync()
    ready.execute("insert into orders values (3, 'c')")
    session = psycopg.connect(ready.postgres.dsn, replication="database", autocommit=True, application_name="debezium")
    with closing(session) as other:
        other.pgconn.send_query(
            f"START_REPLICATION SLOT {ready.slot} LOGICAL 0/0 "
            f"(proto_version '1', publication_names '{ready.publication}')".encode()
        )
        other.pgconn.get_result()
        process = other.pgconn.backend_pid
        job = ready.client.post("jobs", {"connectionId": ready.connection, "jobType": "sync"})["jobId"]
        reason = f"replication slot '{ready.slot}' is read by process {process} (debezium)"
        wait_until(lambda: any(reason in line for line in ready.client.lines(job)), "the attempt fails")
    assert ready.client.wait(job)["rowsSynced"] == 1


def test_a_slot_that_was_moved_past_the_state_fails_the_sync(ready: ChangeData) -> None:
    ready.connect("orders")
    ready.sync()
    ready.execute(
        "insert into orders values (3, 'lost')",
        f"select pg_replication_slot_advance('{ready.slot}', pg_current_wal_flush_lsn())",
    )
    before = ready.position()
    assert "the saved position of orders is not in replication slot" in failure(ready)
    assert ready.position() == before
    assert len(ready.landed("orders")) == 2


def test_resync_data_loads_again_what_the_slot_does_not_hold_any_more(ready: ChangeData) -> None:
    ready.connect("orders", invalid_cdc_cursor_position_behavior="Re-sync data")
    ready.sync()
    ready.execute("insert into orders values (3, 'c')", "delete from orders where order_id = 1")
    ready.drop()
    ready.execute(f"select pg_create_logical_replication_slot('{ready.slot}', 'pgoutput')")
    ready.sync()
    ready.execute("update orders set status = 'd' where order_id = 3")
    ready.sync()
    rows = ready.current("orders", "order_id").values()
    assert sorted((row["order_id"], row["status"]) for row in rows) == ready.rows("select * from orders order by 1")


def test_a_lost_slot_fails_the_sync_or_is_made_anew(cdc: ChangeData, client: Client, lake: S3) -> None:
    careful = ChangeData(cdc.postgres, lake, client)
    for data, behavior in ((cdc, "Re-sync data"), (careful, "Fail sync")):
        data.create(ORDERS, "insert into orders values (1, 'a'), (2, 'b')")
        data.connect("orders", invalid_cdc_cursor_position_behavior=behavior)
        data.sync()
        data.execute("delete from orders where order_id = 1")
    try:
        cdc.execute("alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()")
        # A log segment is 16 MB, however little is in it.
        cdc.execute(*["select pg_switch_wal()", "create table junk (n int)", "drop table junk"] * 4, "checkpoint")
        checked = client.configuration("sources/check_connection", {"sourceId": careful.source["sourceId"]})
        for message in (checked["message"], failure(careful)):
            assert "is lost: it fell behind by more than max_slot_wal_keep_size" in message
        assert len(careful.landed("orders")) == 2
        cdc.sync()
        cdc.execute("insert into orders values (3, 'c')")
        cdc.sync()
        assert set(cdc.current("orders", "order_id")) == {(2,), (3,)}
    finally:
        cdc.execute("alter system reset max_slot_wal_keep_size", "select pg_reload_conf()")
        careful.drop()
