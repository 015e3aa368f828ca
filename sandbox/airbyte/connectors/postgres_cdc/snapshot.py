"""The initial snapshot: tables as they were at one position of the log, from which the slot's changes continue."""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import errors, sql

from sandbox.airbyte.connectors.base import CancelledSync
from sandbox.airbyte.connectors.postgres_cdc.slot import Slot

BLOCK_BYTES = 4 * 1024 * 1024


class Snapshot:
    """A consistent view of the database and the position at which it was taken.

    PostgreSQL exports a snapshot with every new slot: it shows exactly the transactions whose commit record lies before
    the slot's first position. A temporary slot is made for that alone; the changes are read from the lasting one, which
    is older and still holds everything from that position on. A snapshot taken in any other way has no exact position:
    a transaction is in the log before other sessions see it.

    Args:
        connect: opens a session, with keyword arguments of psycopg's own.
        slot: whose changes will be read; for messages.
        seconds: how long reading may take.
    """

    def __init__(self, connect: Callable[..., psycopg.Connection[Any]], slot: Slot, seconds: float) -> None:
        self._slot = slot
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._exporter = connect(replication="database", autocommit=True)
        self._reader: psycopg.Connection[Any] | None = None
        self._connect = connect
        self._interrupted = False
        self.position = 0
        self.taken_at = 0

    def take(self) -> None:
        """Take the snapshot; waits until the transactions that are running now have ended.

        Raises:
            ConnectorError: if the server has no slot or sender left.
        """
        name = f"airbyte_snapshot_{secrets.token_hex(8)}"
        try:
            row = self._exporter.execute(
                f"CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT".encode()
            ).fetchone()
        except (errors.ConfigurationLimitExceeded, errors.TooManyConnections) as error:
            text = f"the snapshot needs a temporary replication slot: {error}. Raise max_replication_slots."
            raise self._slot.wrong(text) from error
        assert row is not None
        high, low = str(row[1]).split("/")
        self.position = (int(high, 16) << 32) | int(low, 16)
        reader = self._connect()
        self._reader = reader
        reader.execute("set transaction isolation level repeatable read, read only")
        reader.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(row[2])))
        reader.execute(f"set local statement_timeout = {int(self._seconds * 1000)}".encode())
        moment = reader.execute("select (extract(epoch from clock_timestamp()) * 1000000)::int8").fetchone()
        assert moment is not None
        self.taken_at = int(moment[0])

    def rows(self, schema: str, table: str, columns: list[str]) -> Iterator[Any]:
        """Yield a table's rows as Arrow batches of text, written as the slot writes values.

        Raises:
            ConnectorError: if the initial load takes too long.
        """
        assert self._reader is not None
        query = sql.SQL("copy (select {} from {}) to stdout (format csv)").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(schema, table)
        )
        convert = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        parse = pa.csv.ParseOptions(newlines_in_values=True)
        read = pa.csv.ReadOptions(column_names=columns, block_size=BLOCK_BYTES, use_threads=False)
        with self._reader.cursor() as cursor, cursor.copy(query) as copy:
            source = _CopyFile(copy)
            if not source.has_rows:
                return
            with closing(pa.csv.open_csv(source, read, parse, convert)) as batches:
                for batch in batches:
                    if time.monotonic() > self._deadline:
                        raise self._slot.wrong(f"the initial load took longer than {self._seconds:.0f} s.")
                    if self._interrupted:
                        raise CancelledSync
                    if batch.num_rows:
                        yield batch

    def interrupt(self) -> None:
        """Stop what runs; called from another thread."""
        self._interrupted = True
        for connection in (self._exporter, self._reader):
            if connection is not None:
                connection.cancel_safe(timeout=2)

    def close(self) -> None:
        """Let go of the snapshot and its slot."""
        for connection in (self._reader, self._exporter):
            if connection is not None:
                connection.close()


class _CopyFile(io.RawIOBase):
    """What a COPY sends, as a file to read from."""

    def __init__(self, copy: psycopg.Copy) -> None:
        self._blocks = iter(copy)
        self._rest = memoryview(next(self._blocks, b""))
        self.has_rows = bool(self._rest)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        """Fill ``target`` as far as there is something to read."""
        filled = 0
        while filled < len(target) and self._rest:
            part = self._rest[: len(target) - filled]
            target[filled : filled + len(part)] = part
            filled += len(part)
            self._rest = self._rest[len(part) :] or memoryview(next(self._blocks, b""))
        return filled
