"""The source by itself: bounds of a sync, what goes to disk, when the slot moves, how a read is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sandbox.airbyte.connectors.base import CancelledSync, ConfiguredStream, ConnectorError, PlannedStream
from sandbox.airbyte.connectors.postgres_cdc import capture, slot
from sandbox.airbyte.connectors.postgres_cdc.source import PostgresCdcSource
from tests.sandbox.airbyte.change_data import ChangeData
from tests.sandbox.airbyte.services import wait_until


class Reads:
    """Syncs of tables without a server around them."""

    def __init__(self, cdc: ChangeData, spool: Path, **method: Any) -> None:
        self.cdc = cdc
        self.spool = spool
        self.configuration = cdc.postgres.configuration(schemas=[cdc.schema], replication_method=cdc.method(**method))
        self.tables = ["t"]
        self.states: dict[str, dict[str, Any]] = {}
        self.shared: dict[str, Any] | None = None
        self.landed: dict[str, list[dict[str, Any]]] = {}
        self.log: list[str] = []
        self.source = self.new()

    def new(self) -> PostgresCdcSource:
        return PostgresCdcSource(self.configuration)

    def sync(
        self, before_commit: Callable[[], None] = lambda: None, between: Callable[[], None] = lambda: None
    ) -> list[dict[str, Any]]:
        """Run one sync; returns the records of the first table.

        Args:
            before_commit: called when everything is read.
            between: called after each table but the last.
        """
        self.source = self.new()
        streams = [stream for stream in self.source.discover() if stream.name in self.tables]
        plans = [
            PlannedStream(ConfiguredStream(stream, True, False, stream.default_cursor), self.states.get(stream.name), 0)
            for stream in streams
        ]
        try:
            self.source.begin(plans, self.shared, self.spool, lambda level, text: self.log.append(text))
            for plan in plans:
                if plan is not plans[0]:
                    between()
                reader = self.source.read(plan.configured, plan.state, lambda level, text: None)
                records = [record for batch in reader.batches() for record in batch.to_pylist()]
                self.landed[plan.configured.stream.name] = records
                state = reader.state()
                assert state is not None
                self.states[plan.configured.stream.name] = state
            before_commit()
            self.shared = self.source.shared_state()
            self.source.committed()
        finally:
            self.source.close()
        return self.landed["t"]

    def begun(self) -> tuple[PostgresCdcSource, Iterator[Any]]:
        """Begin a sync of the first table; returns its source and its batches."""
        source = self.new()
        stream = next(stream for stream in source.discover() if stream.name == "t")
        configured = ConfiguredStream(stream, True, False, stream.default_cursor)
        source.begin([PlannedStream(configured, self.states["t"], 0)], self.shared, self.spool, lambda *_: None)
        return source, iter(source.read(configured, self.states["t"], lambda *_: None).batches())


@pytest.fixture
def reads(cdc: ChangeData, tmp_path: Path) -> Reads:
    cdc.create("create table t (id int primary key, body text)")
    found = Reads(cdc, tmp_path)
    assert found.sync() == []
    return found


def test_a_sync_is_bounded_and_ends_with_a_transaction(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MOST_MESSAGES", 20)
    for first in range(0, 60, 12):
        reads.cdc.execute(f"insert into t select n from generate_series({first}, {first + 11}) n")
    batches = [[record["id"] for record in reads.sync()] for _ in range(4)]
    assert [len(batch) for batch in batches] == [24, 24, 12, 0]
    assert [record for batch in batches for record in batch] == list(range(60))
    assert sum("the rest comes next" in line for line in reads.log) == 2


def test_a_table_that_joins_while_others_are_behind_is_not_read_twice(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "MOST_MESSAGES", 20)
    reads.cdc.execute("create table u (id int primary key)")
    reads.tables = ["t", "u"]
    for first in range(0, 60, 12):
        reads.cdc.execute(f"insert into t select n from generate_series({first}, {first + 11}) n")
        reads.cdc.execute(f"insert into u values ({first})")
    seen: list[int] = []
    for _ in range(6):
        reads.sync()
        seen += [record["id"] for record in reads.landed["u"]]
    reads.cdc.execute("insert into u values (60)")
    reads.sync()
    seen += [record["id"] for record in reads.landed["u"]]
    assert seen == [0, 12, 24, 36, 48, 60]


def test_what_does_not_fit_into_memory_waits_on_disk_while_another_table_is_read(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "MEMORY_BYTES", 20_000)
    monkeypatch.setattr(slot, "CHUNK_BYTES", 2_000)
    reads.configuration["replication_method"]["queue_size"] = 100
    reads.cdc.execute("create table u (id int primary key, body text)")
    reads.tables = ["t", "u"]
    reads.sync()
    for table in ("t", "u"):
        reads.cdc.execute(f"insert into {table} select n, md5(n::text) from generate_series(1, 2000) n")
        reads.cdc.execute(f"alter table {table} add column more int", f"insert into {table} values (2001, 'x', 1)")
    files: list[Path] = []
    reads.sync(between=lambda: files.extend(reads.spool.iterdir()))
    assert [file.name for file in sorted(files)] == ["changes-1-0.arrows", "changes-1-1.arrows"]
    for records in reads.landed.values():
        assert [record["id"] for record in records] == list(range(1, 2002))
        assert "more" not in records[0]
        assert records[-1]["more"] == 1
    assert list(reads.spool.iterdir()) == []


def reading() -> bool:
    """Whether a thread reads ahead."""
    return any(thread.name.startswith("read-ahead") for thread in threading.enumerate())


def test_a_destination_that_fails_ends_the_reading(reads: Reads) -> None:
    reads.configuration["replication_method"]["queue_size"] = 100
    reads.cdc.execute("insert into t select n from generate_series(1, 2000) n")
    source, batches = reads.begun()
    assert 0 < len(next(batches)) < 2000
    assert reading()
    source.close()
    assert not reading()
    assert len(reads.sync()) == 2000


def test_a_reading_that_is_interrupted_ends_at_once(reads: Reads) -> None:
    # More than the buffers between server and client hold: the query still runs when it is cancelled.
    reads.cdc.execute("insert into t select n, repeat('x', 1000) from generate_series(1, 60000) n")
    source, batches = reads.begun()
    seen = len(next(batches))
    source.interrupt()
    with pytest.raises(ConnectorError, match="canceling statement"):
        seen += sum(len(batch) for batch in batches)
    assert 0 < seen < 60000
    assert not reading()
    source.close()
    assert len(reads.sync()) == 60000


def test_the_slot_moves_when_the_records_are_safe_or_earlier_if_so_configured(cdc: ChangeData, tmp_path: Path) -> None:
    cdc.create("create table t (id int primary key)")
    for behaviour, moves_early in (("After loading Data in the destination", False), ("While reading Data", True)):
        reads = Reads(cdc, tmp_path, lsn_commit_behaviour=behaviour)
        reads.sync()
        cdc.execute("delete from t", "insert into t values (1)")
        before = cdc.position()
        seen: list[int] = []
        reads.sync(lambda seen=seen: seen.append(cdc.position()))  # type: ignore[misc]  # bound now, not later
        assert (seen[0] > before) == moves_early
        assert cdc.position() > before


def test_a_sync_that_dies_before_its_commit_is_read_again(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    reads.cdc.execute("insert into t values (1)")

    def die() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(capture, "MEMORY_BYTES", 0)
    with pytest.raises(KeyboardInterrupt):
        reads.sync(die)
    assert list(reads.spool.iterdir()) == []
    reads.cdc.execute("insert into t values (2)")
    assert [record["id"] for record in reads.sync()] == [1, 2]


def test_a_load_that_waits_for_a_transaction_can_be_stopped(cdc: ChangeData, tmp_path: Path) -> None:
    cdc.create("create table t (id int primary key)")
    reads = Reads(cdc, tmp_path)
    with psycopg.connect(cdc.postgres.dsn) as other:
        other.execute(f"insert into {cdc.schema}.t values (1)")
        waiting = "select exists (select from pg_locks where locktype = 'transactionid' and not granted)"

        def stop() -> None:
            wait_until(lambda: cdc.rows(waiting)[0][0], "the load waits")
            reads.source.interrupt()

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises((ConnectorError, CancelledSync)):
            reads.sync()
        thread.join()


def test_a_load_that_takes_too_long_is_given_up(cdc: ChangeData, tmp_path: Path) -> None:
    cdc.create("create table t (id int primary key)", "insert into t select generate_series(1, 100)")
    reads = Reads(cdc, tmp_path, initial_load_timeout_hours=0)
    with pytest.raises(ConnectorError, match="the initial load took longer than 0 s"):
        reads.sync()
