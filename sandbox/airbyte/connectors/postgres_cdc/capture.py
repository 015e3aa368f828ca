"""One sync of change data: snapshot where there is no state, then the slot's changes up to where the log was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from sandbox.airbyte.connectors.base import ConfiguredStream, Log, PlannedStream
from sandbox.airbyte.connectors.postgres_cdc import offset
from sandbox.airbyte.connectors.postgres_cdc.messages import Decoder
from sandbox.airbyte.connectors.postgres_cdc.records import UnavailableValue
from sandbox.airbyte.connectors.postgres_cdc.slot import PublishedTable, Slot, SlotStatus, lsn_text
from sandbox.airbyte.connectors.postgres_cdc.snapshot import Snapshot
from sandbox.airbyte.connectors.postgres_cdc.spool import Budget, Spool
from sandbox.airbyte.connectors.postgres_cdc.stream import CapturedStream, Table, table_of
from sandbox.airbyte.connectors.read_ahead import read_ahead

MEMORY_BYTES = 4 * 1024 * 1024
"""Decoded changes beyond this wait on disk until the destination takes them."""
MOST_MESSAGES = 1_000_000
"""A sync ends with the transaction that reaches so many messages; the rest comes with the next."""
QUEUE_SIZE = 10_000
INITIAL_LOAD_HOURS = 8


class Capture:
    """Reads the change data of some tables once.

    The slot is read once for all tables, when the first of them is: its changes go straight on, those of the others
    wait in their spools.

    Args:
        connect: opens a session, with keyword arguments of psycopg's own.
        method: ``replication_method`` of the source's configuration.
        address: of the server, for messages.
        spool: directory for what does not fit into memory.
        log: where to say what is read.
    """

    def __init__(
        self,
        connect: Callable[..., psycopg.Connection[Any]],
        method: dict[str, Any],
        address: str,
        spool: Path,
        log: Log,
    ) -> None:
        self._connect = connect
        self._method = method
        self._spool = spool
        self._log = log
        self._connection = connect(autocommit=True)
        self.slot = Slot(self._connection, method, address)
        self._snapshot: Snapshot | None = None
        self._streams: dict[Table, CapturedStream] = {}
        self._end = 0
        self._unread = False
        self._reading: Generator[Any, None, None] | None = None

    def begin(self, plans: list[PlannedStream], shared: dict[str, Any] | None) -> None:
        """Fix where the sync ends, and take the snapshot that is needed.

        Args:
            plans: the streams to read.
            shared: what the last sync's :meth:`shared_state` was, None if there was none.

        Raises:
            ConnectorError: if slot, publication or state do not allow it.
        """
        status = self.slot.check()
        published = self.slot.tables()
        self._refuse_unpublished(plans, published)
        try:
            saved = offset.position(shared)
        except ValueError as error:
            raise self.slot.wrong(f"the connection's saved state is not of CDC: {error}. Clear it.") from error
        budget = Budget(MEMORY_BYTES)
        for number, plan in enumerate(plans):
            table = table_of(plan.configured)
            spool = Spool(self._spool / f"changes-{number}", budget)
            # A state without a position is one of another replication method.
            state = plan.state if saved is not None else None
            replaces = plan.generation > 0 or plan.state is not None
            stream = CapturedStream(plan.configured, published[table], spool, self._log, state is None, replaces)
            if state is not None:
                stream.snapshot_position = int(state.get("snapshot_lsn", 0))
                # A table that was loaded in a sync that ended before the end of the log is ahead of the others.
                stream.position = max(saved or 0, stream.snapshot_position)
            self._streams[table] = stream
        status = self._refuse_lost(status)
        if self._method.get("heartbeat_action_query"):
            self._connection.execute(self._method["heartbeat_action_query"].encode())
        self._take_snapshot()
        begin = min(stream.position for stream in self._streams.values())
        self._end = max(self.slot.now(), begin)
        self.slot.advance(begin)  # A sync that died after saving its state did not come to this.
        self._unread = self._end > max(begin, status.confirmed)

    def reader(self, configured: ConfiguredStream) -> Reader:
        """Return the pass over one of the streams that :meth:`begin` was given."""
        return Reader(self, self._streams[table_of(configured)])

    def shared_state(self) -> dict[str, Any]:
        """Return what all streams continue from next time, once they are read."""
        return offset.state(self._connection.info.dbname, self._end)

    def committed(self) -> None:
        """Let the server forget what the destination has, now that the state says so.

        Raises:
            ConnectorError: if the slot cannot be moved; the next sync does it.
        """
        self.slot.advance(self._end)

    def interrupt(self) -> None:
        """Stop what runs; called from another thread."""
        if self._snapshot is not None:
            self._snapshot.interrupt()
        self._connection.cancel_safe(timeout=2)

    def close(self) -> None:
        """Let go of connections and local files."""
        if self._reading is not None:
            # The destination failed: a thread still reads, which a server that is gone ends as well.
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=2)
            self._reading.close()
        for stream in self._streams.values():
            stream.spool.close()
        if self._snapshot is not None:
            self._snapshot.close()
        self._connection.close()

    def batches(self, stream: CapturedStream) -> Iterator[Any]:
        """Yield a stream's records: its load, if it has one, then its changes."""
        if stream.load:
            assert self._snapshot is not None
            yield from stream.loaded(self._snapshot)
        if self._unread:
            self._unread = False
            self._reading = read_ahead(self._changes(stream))
            yield from self._reading
            self._reading = None
        yield from stream.spool.batches()

    def _refuse_unpublished(self, plans: list[PlannedStream], published: dict[Table, PublishedTable]) -> None:
        tables = [table_of(plan.configured) for plan in plans]
        missing = [".".join(table) for table in tables if table not in published]
        if missing:
            names = ", ".join(missing)
            raise self.slot.wrong(
                f"publication {self.slot.publication!r} does not contain {names}: no change of it is in the slot. "
                f"ALTER PUBLICATION {self.slot.publication} ADD TABLE {names}; its first sync then takes a snapshot."
            )
        nameless = [".".join(table) for table in tables if not published[table].identifies_rows]
        if nameless:
            raise self.slot.wrong(
                f"{', '.join(nameless)} has neither a primary key nor REPLICA IDENTITY FULL: an update or delete could "
                "not say which row it is about. Give it one of them, or sync it by full refresh."
            )

    def _refuse_lost(self, status: SlotStatus) -> SlotStatus:
        """Compare the slot with the state; what cannot be continued fails or is loaded again, as configured."""
        behind = [stream for stream in self._streams.values() if not stream.load and stream.position < status.confirmed]
        ahead = [stream for stream in self._streams.values() if stream.position > self.slot.now()]
        if not (status.lost or behind or ahead):
            return status
        if status.lost:
            affected = list(self._streams.values())
            reason = self.slot.lost
        else:
            affected = behind + ahead
            names = ", ".join(stream.name for stream in affected)
            reason = (
                f"the saved position of {names} is not in replication slot {self.slot.name!r}, which begins at "
                f"{lsn_text(status.confirmed)}: changes are missing"
            )
        if not reads_again(self._method):
            raise self.slot.wrong(
                f"{reason}. Recreate the slot if it is lost, clear the connection's data so that everything is read "
                "again, then raise max_slot_wal_keep_size or sync more often. Or set "
                "invalid_cdc_cursor_position_behavior to 'Re-sync data'."
            )
        self._log("warn", f"{reason}. Reading {', '.join(stream.name for stream in affected)} again.")
        for stream in affected:
            stream.load = stream.replaces = True
        return self.slot.recreate() if status.lost else status

    def _take_snapshot(self) -> None:
        loading = [stream for stream in self._streams.values() if stream.load]
        if not loading:
            return
        hours = self._method.get("initial_load_timeout_hours", INITIAL_LOAD_HOURS)
        self._snapshot = Snapshot(self._connect, self.slot, hours * 3600)
        self._snapshot.take()
        for stream in loading:
            stream.position = stream.snapshot_position = self._snapshot.position
        names = ", ".join(stream.name for stream in loading)
        self._log("info", f"Initial load of {names} at {lsn_text(self._snapshot.position)}")

    def _changes(self, direct: CapturedStream) -> Generator[Any, None, None]:
        """Read the slot; yield the changes of one stream, keep those of the others."""
        decoder = Decoder({table: stream.key for table, stream in self._streams.items() if stream.key})
        messages = 0
        # While one half of the queue is written the other is read.
        most = max(self._method.get("queue_size", QUEUE_SIZE) // 2, 1)
        for chunk in self.slot.chunks(self._end, MOST_MESSAGES, most):
            messages += len(chunk.starts)
            try:
                for changes in decoder.decode(chunk.data, chunk.starts, chunk.lsn):
                    stream = self._streams.get((changes.relation.namespace, changes.relation.name))
                    batch = stream.changed(changes) if stream is not None else None
                    if batch is not None and stream is direct:
                        yield batch
                    elif batch is not None and stream is not None:
                        stream.spool.add(batch)
            except UnavailableValue as error:
                raise self.slot.wrong(f"{changes.relation.namespace}.{changes.relation.name}: {error}") from error
            except (ValueError, pa.ArrowException) as error:
                raise self.slot.wrong(f"a message of the slot cannot be read: {error}", "system_error") from error
        # A transaction that reaches the bound ends the sync where it ends; else everything up to the target was read.
        cut = messages >= MOST_MESSAGES
        self._end = decoder.end if cut else max(self._end, decoder.end)
        counted = f"{messages} messages up to {lsn_text(self._end)}"
        self._log("info", f"Replication slot {self.slot.name}: {counted}{', the rest comes next' if cut else ''}")
        if self._method.get("lsn_commit_behaviour") == "While reading Data":
            self.slot.advance(self._end)


def reads_again(method: dict[str, Any]) -> bool:
    """Return whether a sync whose position is gone loads its tables again; the default is to fail."""
    return bool(method.get("invalid_cdc_cursor_position_behavior") == "Re-sync data")


class Reader:
    """One pass over a table: its initial load, then its changes.

    Args:
        capture: the sync's.
        stream: the table.
    """

    def __init__(self, capture: Capture, stream: CapturedStream) -> None:
        self._capture = capture
        self._stream = stream

    def batches(self) -> Iterator[Any]:
        """Yield the records; one table's batches may differ in their columns."""
        yield from self._capture.batches(self._stream)

    def state(self) -> dict[str, Any]:
        """Return what the stream has of its own for the next sync."""
        return self._stream.state()
