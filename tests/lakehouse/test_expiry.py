"""What is older than its retention leaves the lake, against a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from lakehouse.bronze import load_to_bronze, reload_bronze
from lakehouse.compaction import compact_changes
from lakehouse.expiry import Expired, expire
from lakehouse.lake import Lake, LakeError

from .kills import rerun_after_every_kill
from .landing_files import edit_streams
from .test_bronze import land_orders as land_nightly_orders
from .test_bronze import land_products
from .test_changes import BRONZE, NOON, load, rows
from .test_changes import land_orders as land_changes

FIRST = date(2026, 11, 1)
A_DAY = 86_400_000
CHANGES = f"{BRONZE}/orders/date="


def expired(lake: Lake, source: str, age: int, merged: int | None = None, *, dry_run: bool = False) -> list[Expired]:
    """Let go what may go so many days after the first."""
    today = FIRST + timedelta(days=age)
    return expire(source, lambda _: merged, today=today, dry_run=dry_run, lake=lake)


def areas(done: list[Expired]) -> list[tuple[str, str, int]]:
    return [(item.stream, item.area, item.objects) for item in done]


def everything(lake: Lake) -> dict[str, bytes]:
    return {item.key: lake.get(item.key) for item in lake.list("")}


def three_nights(lake: Lake) -> Lake:
    """Snapshots and orders of three days, and of each stream an object that no load has taken."""
    for number in range(3):
        land_products(lake, 7 + number, (number, "a"))
        land_nightly_orders(lake, 7 + number, (number, 1.0, 1), at=NOON + number * A_DAY)
        load_to_bronze(
            "postgres", 7 + number, FIRST + timedelta(days=number), streams=["products", "orders"], lake=lake
        )
    lake.put(f"bronze/landing/source=postgres/products/99_{NOON}_0.parquet", b"left by a sync that failed")
    lake.put(f"bronze/quarantine/postgres/products/date={FIRST}/98_{NOON}_0.parquet", b"evidence")
    land_nightly_orders(lake, 99, (9, 1.0, 1), at=NOON)
    lake.put(f"bronze/quarantine/postgres/orders/date={FIRST}/98_{NOON}_0.parquet", b"rows that are nowhere else")
    return lake


def test_nothing_goes_before_its_time(lake: Lake) -> None:
    before = everything(three_nights(lake))
    assert expired(lake, "postgres", 30) == []
    assert everything(lake) == before


def test_what_is_old_goes_with_its_manifest_and_what_it_is_says_the_report(lake: Lake) -> None:
    before = everything(three_nights(lake))
    assert areas(expired(lake, "postgres", 31)) == [("products", "landing", 1)]
    done = expired(lake, "postgres", 92)
    assert areas(done) == [("products", "quarantine", 1), ("products", "bronze", 2)]
    gone = before.keys() - everything(lake).keys()
    kept = (FIRST + timedelta(days=2)).isoformat()
    for place in ("bronze/postgres", "bronze/manifests/postgres"):
        assert {key for key in before if key.startswith(f"{place}/products/") and kept not in key} < gone
    assert sum(item.bytes for item in done) == sum(
        len(before[key]) for key in gone if "manifests" not in key and "landing" not in key
    )
    assert [item.before for item in done] == [(FIRST + timedelta(days=2)).isoformat()] * 2
    assert not {key for key in gone if "/orders/" in key}


def test_the_newest_partition_stays_whatever_its_age(lake: Lake) -> None:
    three_nights(lake)
    expired(lake, "postgres", 5_000)
    newest = f"bronze/postgres/products/date={FIRST + timedelta(days=2)}/data.parquet"
    assert [item.key for item in lake.list("bronze/postgres/products/")] == [newest]


def test_an_incremental_stream_loses_nothing(lake: Lake) -> None:
    before = {key for key in everything(three_nights(lake)) if "/orders/" in key}
    expired(lake, "postgres", 5_000)
    assert {key for key in everything(lake) if "/orders/" in key} == before


def test_a_dry_run_says_the_same_and_deletes_nothing(lake: Lake) -> None:
    before = everything(three_nights(lake))
    would = expired(lake, "postgres", 100, dry_run=True)
    assert everything(lake) == before
    assert len(would) == 3
    assert expired(lake, "postgres", 100) == would
    assert expired(lake, "postgres", 100) == []


def test_killed_anywhere_the_next_run_ends_in_the_same_place(fresh_lake: Callable[[], Lake]) -> None:
    # What waits in the landing area and in quarantine, two partitions, two manifests.
    steps = rerun_after_every_kill(
        lambda: three_nights(fresh_lake()),
        lambda lake: expired(lake, "postgres", 100),
        lambda lake: list(everything(lake)),
    )
    assert steps == 6


def week_of_changes(lake: Lake) -> Lake:
    """A job a day for three days, each day over and compacted with a second job of its own."""
    for number in range(3):
        for half in range(2):
            job = 10 + 2 * number + half
            land_changes(lake, job, (100 * job, 1, "new"), at=NOON + number * A_DAY + half)
            load(lake, job)
    compact_changes("postgres_cdc", before=FIRST + timedelta(days=3), lake=lake)
    return lake


def test_change_files_go_when_they_are_not_hot_and_cold_has_them(lake: Lake) -> None:
    week_of_changes(lake)
    assert expired(lake, "postgres_cdc", 8, None) == [], "there is no cold table"
    assert expired(lake, "postgres_cdc", 7, 15) == [], "hot shows seven days"
    assert expired(lake, "postgres_cdc", 9, 11) == [], "cold may not have all of its last sync"
    assert areas(expired(lake, "postgres_cdc", 9, 12)) == [("orders", "bronze", 1)]
    assert [row[0] for row in rows(lake)] == [1_200, 1_300, 1_400, 1_500]
    records = [item.name for item in lake.list(f"{BRONZE}/_compacted/orders/")]
    assert records == [f"date={FIRST + timedelta(days=number)}.json" for number in (1, 2)]
    assert areas(expired(lake, "postgres_cdc", 5_000, 99)) == [("orders", "bronze", 1)]
    assert [row[0] for row in rows(lake)] == [1_400, 1_500], "from the newest Dremio knows the columns"


def test_an_expiry_of_changes_that_is_killed_is_finished_by_the_next(fresh_lake: Callable[[], Lake]) -> None:
    # Two files and the records of their compaction.
    steps = rerun_after_every_kill(
        lambda: week_of_changes(fresh_lake()),
        lambda lake: expired(lake, "postgres_cdc", 100, 99),
        lambda lake: list(everything(lake)),
    )
    assert steps == 4


def test_what_is_not_a_syncs_is_named_and_stays(lake: Lake) -> None:
    lake.put("bronze/quarantine/postgres/products/notes.txt", b"mine")
    with pytest.raises(LakeError, match=r"products/notes\.txt is not named as a sync names its objects"):
        expired(lake, "postgres", 5_000)


def test_a_backfill_says_which_days_are_gone(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_streams(tmp_path, monkeypatch, "retention: {bronze: 90}", "retention: {bronze: 5}")
    today = datetime.now(UTC).date()
    last = today - timedelta(days=4)
    land_products(lake, 7, (1, "a"))
    load_to_bronze("postgres", 7, last, streams=["products"], lake=lake)
    expected = (
        rf"postgres\.products: nothing is left of 3 days, .* bronze keeps 5 days .* {today - timedelta(days=5)} is"
    )
    with pytest.raises(ValueError, match=expected):
        reload_bronze("postgres", today - timedelta(days=8), last, streams=["products"], lake=lake)
    done = reload_bronze("postgres", today - timedelta(days=5), last, streams=["products"], lake=lake)
    assert [load.action for load in done] == ["empty", "unchanged"]
