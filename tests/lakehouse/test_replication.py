"""Publications, slots and their lag on a real PostgreSQL; starting over through a real Airbyte API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from lakehouse import files, replication, setup
from lakehouse.airbyte import every, public_api
from lakehouse.replication import Feed, ReplicationError, SlotAlarm
from lakehouse.replication.__main__ import main

from .conftest import Platform


@pytest.fixture
def feed(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """The declared change data, applied nowhere yet."""
    for name in ("airbyte", "config", "postgres"):
        shutil.copytree(files.include_dir() / name, tmp_path / name)
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path))
    (found,) = replication.declared()
    _forget(platform, found)
    yield found
    _forget(platform, found)


def _forget(platform: Platform, feed: Feed) -> None:
    shop(
        platform,
        f"drop publication if exists {feed.publication}",
        f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{feed.slot}'",
        *(f"alter table {table} replica identity default" for table in feed.tables),
        "drop table if exists keyed",
        "delete from orders where order_id = 9999",
    )


def shop(platform: Platform, *statements: str) -> list[Any]:
    """Run statements in the shop, each on its own; returns the rows of the last."""
    connection = psycopg2.connect(platform.dsn("shop"))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def made(changes: list[setup.Change]) -> dict[str, str]:
    return {change.name: change.action for change in changes}


def write(platform: Platform) -> None:
    shop(platform, "insert into orders values (9999, 1, '2026-01-01', 1, 'new', now())")


def test_publication_and_slot_are_made_once(platform: Platform, feed: Feed) -> None:
    first = made(replication.set_up(feed))
    assert first == {
        **dict.fromkeys(feed.tables, "updated"),
        "airbyte_publication": "created",
        "airbyte_slot": "created",
    }
    assert set(made(replication.set_up(feed)).values()) == {"unchanged"}
    # Without that the shop itself could not change its rows any more.
    shop(platform, "update orders set status = status where order_id = 1", "delete from orders where order_id = 9999")
    published = shop(platform, "select tablename from pg_publication_tables where pubname = 'airbyte_publication'")
    assert {name for (name,) in published} == set(feed.tables)


def test_a_table_with_a_key_keeps_its_identity(platform: Platform, feed: Feed) -> None:
    shop(platform, "create table keyed (id int primary key)")
    keyed = Feed(feed.connection, feed.slot, feed.publication, feed.schema, ("keyed",), feed.address)
    assert made(replication.set_up(keyed))["keyed"] == "unchanged"
    assert made(replication.set_up(feed))["airbyte_publication"] == "updated"
    assert made(replication.set_up(feed))["airbyte_publication"] == "unchanged"


def test_a_table_that_is_not_there_is_named(platform: Platform, feed: Feed) -> None:
    wrong = Feed(feed.connection, feed.slot, feed.publication, feed.schema, ("orders", "nothing"), feed.address)
    with pytest.raises(ReplicationError, match=r"has no table public\.nothing"):
        replication.set_up(wrong)


def test_setup_makes_them_and_airbyte_finds_them(platform: Platform, feed: Feed) -> None:
    assert {"airbyte_publication", "airbyte_slot"} <= made(setup.apply("postgres")).keys()
    setup.apply("airbyte")
    found = {item["name"]: item for item in every(public_api().connections.list_connections)}
    streams = {stream["name"]: stream for stream in found["shop_cdc"]["configurations"]["streams"]}
    assert {stream["syncMode"] for stream in streams.values()} == {"incremental_append"}
    assert streams["order_items"]["primaryKey"] == [["order_id"], ["line_number"]]


def test_lag_is_measured_in_bytes_and_seconds_and_said_in_time(platform: Platform, feed: Feed) -> None:
    setup.apply("postgres")
    shop(platform, f"select pg_replication_slot_advance('{feed.slot}', pg_current_wal_flush_lsn())")
    assert replication.measure(feed).state == "ok"
    write(platform)
    first = replication.measure(feed)
    assert first.state == "ok"
    assert first.bytes > 0
    second = replication.measure(feed, seconds=0)
    assert second.seconds > first.seconds
    assert second.state == "behind"
    assert "has not been confirmed for" in second.message
    large = replication.measure(feed, share=1e-6)
    assert large.state == "behind"
    assert "of 67 MB after which the slot is lost" in large.message
    shop(platform, f"select pg_replication_slot_advance('{feed.slot}', pg_current_wal_flush_lsn())")
    assert replication.measure(feed, seconds=0).seconds == 0


def test_a_lost_slot_is_told_and_made_anew(platform: Platform, feed: Feed) -> None:
    setup.apply("postgres")
    setup.apply("airbyte")
    # A log segment is 16 MB, however little is in it.
    shop(platform, *["select pg_switch_wal()", "create table junk (n int)", "drop table junk"] * 6, "checkpoint")
    lag = replication.measure(feed)
    assert lag.state == "lost"
    assert "python -m lakehouse.replication resnapshot shop_cdc" in lag.message
    assert made(replication.set_up(feed))["airbyte_slot"] == "skipped"
    with pytest.raises(SlotAlarm, match="slot airbyte_slot is lost"):
        replication.watch()
    assert [found.state for found in replication.watch(start_over=True)] == ["lost"]
    assert [found.state for found in replication.watch()] == ["ok"]


def test_the_command_shows_what_is_wrong_and_repairs_it(
    platform: Platform, feed: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.apply("postgres")
    setup.apply("airbyte")
    shop(platform, f"select pg_drop_replication_slot('{feed.slot}')")
    assert main(["status"]) == 1
    assert "shop_cdc: missing: slot airbyte_slot does not exist" in capsys.readouterr().out
    assert main(["resnapshot", "shop_cdc"]) == 0
    assert main(["status"]) == 0
    assert main(["resnapshot", "another"]) == 2
    usage = "usage: python -m lakehouse.replication status | apply | resnapshot <shop_cdc>"
    assert capsys.readouterr().out.splitlines()[-1] == usage
