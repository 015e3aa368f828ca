"""Compacting change files, against a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pyarrow as pa
import pytest
from lakehouse import compaction
from lakehouse.compaction import Compaction, compact_changes, compact_day
from lakehouse.exceptions import ContractViolation
from lakehouse.lake import Lake

from .kills import DyingLake, Killed, rerun_after_every_kill
from .test_bronze import keys, table
from .test_changes import BRONZE, DAY, NOON, contents, land_customers, land_orders, load, manifest_key, object_key, rows

NEXT = NOON + 24 * 3_600_000
OVER = date(2026, 11, 2)
COMPACTED = f"{BRONZE}/orders/date={DAY}/{7:012}-{9:012}.parquet"


def three_jobs(lake: Lake) -> Lake:
    """A day with three jobs, and one of the next day."""
    land_orders(lake, 7, (10, 1, "new"), (20, 2, "new"))
    land_customers(lake, 7, (15, 7, "Ada"))
    load(lake, 7)
    land_orders(lake, 8, (30, 1, "paid"))
    load(lake, 8)
    land_orders(lake, 9, (40, 2, None))
    load(lake, 9)
    land_orders(lake, 10, (50, 1, "sent"), at=NEXT)
    load(lake, 10)
    return lake


def compact(lake: Lake) -> list[Compaction]:
    return compact_changes("postgres_cdc", before=OVER, lake=lake)


def test_a_day_that_is_over_becomes_one_file_with_the_same_rows(lake: Lake) -> None:
    before = rows(three_jobs(lake))
    [done] = compact(lake)
    assert (done.stream, done.date, done.object_key, done.rows) == ("orders", DAY, COMPACTED, 4)
    assert len(done.superseded) == 3
    assert keys(lake, f"{BRONZE}/orders/") == [COMPACTED, object_key("orders", 10, "2026-11-02")]
    assert rows(lake) == before
    # One file is compact already, and its manifests are not needed any more; the newest says how far the log goes.
    assert keys(lake, f"{BRONZE}/customers/") == [object_key("customers", 7)]
    assert keys(lake, f"{BRONZE}/_manifests/") == [manifest_key(10)]
    assert compact(lake) == []


def test_what_lands_late_for_a_compacted_day_joins_it(lake: Lake) -> None:
    three_jobs(lake)
    compact(lake)
    land_orders(lake, 11, (60, 3, "new"), at=NOON + 1)
    load(lake, 11)
    [done] = compact(lake)
    assert done.object_key == f"{BRONZE}/orders/date={DAY}/{7:012}-{11:012}.parquet"
    assert done.superseded == (COMPACTED, object_key("orders", 11))
    assert [row[0] for row in rows(lake)] == [10, 20, 30, 40, 60, 50]
    assert len(keys(lake, f"{BRONZE}/orders/date={DAY}/")) == 1


def test_an_object_that_no_manifest_names_is_left_to_whoever_finishes_its_load(lake: Lake) -> None:
    three_jobs(lake)
    land_orders(lake, 11, (60, 3, "new"), at=NOON + 1)
    with pytest.raises(Killed):
        load(DyingLake(lake, 1), 11)
    compact(lake)
    assert keys(lake, f"{BRONZE}/orders/date={DAY}/") == [COMPACTED, object_key("orders", 11)]
    load(lake, 12)
    compact(lake)
    assert sorted(row[0] for row in rows(lake)) == [10, 20, 30, 40, 50, 60]


def test_columns_are_brought_together_and_kept_apart_when_they_cannot_be(lake: Lake) -> None:
    land_orders(lake, 7, (10, 1, "new"))
    load(lake, 7)
    land_orders(lake, 8, (20, 1, "new"), points=pa.array([1], pa.int32()))
    load(lake, 8)
    land_orders(lake, 9, (30, 1, "new"), points=pa.array([2**40], pa.int64()))
    load(lake, 9)
    compact(lake)
    assert table(lake, COMPACTED).column("points").to_pylist() == [None, 1, 2**40]
    lake.delete([f"{BRONZE}/_columns/orders.json"])  # or the load would not take this
    land_orders(lake, 10, (40, 1, "new"), points=pa.array([[1]]))
    load(lake, 10)
    assert compact(lake) == []
    assert len(keys(lake, f"{BRONZE}/orders/")) == 2


def test_a_manifest_stays_while_a_stream_waits_in_quarantine(lake: Lake) -> None:
    three_jobs(lake)
    land_orders(lake, 11, (60, 3, "new"), status=None)
    with pytest.raises(ContractViolation):
        load(lake, 11)
    land_customers(lake, 12, (70, 8, "Eva"), at=NEXT)
    with pytest.raises(ContractViolation):
        load(lake, 12)
    compact(lake)
    assert keys(lake, f"{BRONZE}/_manifests/") == [manifest_key(job) for job in (10, 11, 12)]


def test_a_compaction_that_is_killed_anywhere_is_finished_by_the_next(fresh_lake: Callable[[], Lake]) -> None:
    # The file, its record, three small files, three manifests.
    assert rerun_after_every_kill(lambda: three_jobs(fresh_lake()), compact, contents) == 8


def test_a_killed_compaction_and_a_late_job_do_not_double_a_row(fresh_lake: Callable[[], Lake]) -> None:
    for survive in range(8):
        lake = three_jobs(fresh_lake())
        with pytest.raises(Killed):
            compact(DyingLake(lake, survive))
        land_orders(lake, 11, (60, 3, "new"), at=NOON + 1)
        load(lake, 11)
        compact(lake)
        assert sorted(row[0] for row in rows(lake)) == [10, 20, 30, 40, 50, 60], f"killed at step {survive}"


def compact_today(lake: Lake) -> list[Compaction]:
    return compact_day("postgres_cdc", day=date.fromisoformat(DAY), lake=lake)


def test_a_day_that_goes_on_has_few_files_however_many_batches_there_are(lake: Lake) -> None:
    batch, rewritten = 2_000, 0
    expected = [batch * job + number for job in range(1, 25) for number in range(batch)]
    for job in range(1, 25):
        land_orders(lake, job, *((lsn, 7919 * lsn % 100_003, "new") for lsn in range(batch * job, batch * (job + 1))))
        load(lake, job)
        if job % 4 == 0:
            rewritten += sum(done.rows for done in compact_today(lake))
    # Six times four: 16 and 8 of them have come together, as the digits of a binary number do.
    assert [compaction.jobs_of(key) for key in keys(lake, f"{BRONZE}/orders/")] == [(1, 16), (17, 24)]
    assert rewritten <= 3 * len(expected)
    assert [row[0] for row in rows(lake)] == expected
    [done] = compact(lake)
    assert (done.rows, done.others) == (len(expected), ())
    assert [compaction.jobs_of(key) for key in keys(lake, f"{BRONZE}/orders/")] == [(1, 24)]
    assert [row[0] for row in rows(lake)] == expected


class ReadLake(Lake):
    """A lake that notes which objects are read."""

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake._client, lake.bucket)
        self.read: list[str] = []

    def get(self, key: str) -> bytes:
        self.read.append(key)
        return super().get(key)

    def manifests(self) -> list[str]:
        """The manifests that were read since this was last asked."""
        read, self.read = self.read, []
        return sorted(key for key in read if "/_manifests/" in key)


def test_the_manifests_of_a_day_do_not_make_its_compaction_slow(lake: Lake) -> None:
    """The one file of a stream that seldom changes lies there all day, and with it a manifest for every second."""
    reading = ReadLake(lake)
    land_customers(lake, 1, (5, 7, "Ada"))
    load(lake, 1)
    for job in range(2, 10):
        land_orders(lake, job, (10 * job, 1, "new"))
        load(lake, job)
        if job % 4 == 1:
            compact_today(reading)
            assert reading.manifests() == [manifest_key(each) for each in range(job - 3, job + 1)]
    assert compact_today(reading) == []
    assert reading.manifests() == []
    land_customers(lake, 10, (200, 8, "Eva"))
    load(lake, 10)
    [done] = compact_today(reading)
    assert reading.manifests() == [manifest_key(1), manifest_key(10)]
    assert done.superseded == (object_key("customers", 1), object_key("customers", 10))


def test_by_day_a_file_joins_that_a_later_load_has_committed(lake: Lake) -> None:
    land_orders(lake, 1, (10, 1, "new"))
    with pytest.raises(Killed):
        load(DyingLake(lake, 1), 1)
    land_customers(lake, 2, (20, 7, "Ada"))
    load(lake, 2)
    land_orders(lake, 3, (30, 1, "paid"))
    load(lake, 3)
    [done] = compact_today(lake)
    assert done.superseded == (object_key("orders", 1), object_key("orders", 3))
    assert [row[0] for row in rows(lake)] == [10, 30]


def test_a_large_file_is_left_until_the_day_is_over(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    three_jobs(lake)
    compact_today(lake)
    monkeypatch.setattr(compaction, "FULL_BYTES", lake.find(COMPACTED).size)  # type: ignore[union-attr]
    for job in (11, 12, 13, 14):
        land_orders(lake, job, (10 * job, 3, "new"), at=NOON + 1)
        load(lake, job)
    [done] = compact_today(lake)
    assert done.others == (COMPACTED,)
    assert [compaction.jobs_of(key) for key in keys(lake, f"{BRONZE}/orders/date={DAY}/")] == [(7, 9), (11, 14)]
    assert [row[0] for row in rows(lake)] == [10, 20, 30, 40, 110, 120, 130, 140, 50]


def test_a_file_of_a_load_that_is_not_over_is_left_alone_by_day(lake: Lake) -> None:
    three_jobs(lake)
    land_orders(lake, 11, (60, 3, "new"), at=NOON + 1)
    with pytest.raises(Killed):
        load(DyingLake(lake, 1), 11)
    compact_today(lake)
    assert keys(lake, f"{BRONZE}/orders/date={DAY}/") == [COMPACTED, object_key("orders", 11)]


def test_a_compaction_by_day_that_is_killed_anywhere_is_finished_by_the_next(
    fresh_lake: Callable[[], Lake],
) -> None:
    def half_a_day() -> Lake:
        lake = three_jobs(fresh_lake())
        compact_today(lake)
        for job in (11, 12, 13):
            land_orders(lake, job, (10 * job, 3, "new"), at=NOON + 1)
            load(lake, job)
        return lake

    # The file, its record, the large file before it and three small ones.
    assert rerun_after_every_kill(half_a_day, compact_today, contents) == 6


def test_the_night_finishes_what_a_kill_by_day_has_left(fresh_lake: Callable[[], Lake]) -> None:
    for survive in range(5):
        lake = three_jobs(fresh_lake())
        with pytest.raises(Killed):
            compact_today(DyingLake(lake, survive))
        land_orders(lake, 11, (60, 3, "new"), at=NOON + 1)
        load(lake, 11)
        compact(lake)
        assert sorted(row[0] for row in rows(lake)) == [10, 20, 30, 40, 50, 60], f"killed at step {survive}"
