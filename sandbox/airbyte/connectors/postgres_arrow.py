"""PostgreSQL into Arrow over ADBC: one query, or a whole table by sessions that share a snapshot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa
from psycopg import sql

from sandbox.airbyte.connectors.base import CancelledSync, ConnectorError
from sandbox.airbyte.connectors.read_ahead import read_ahead

BATCH_BYTES = 2 * 1024 * 1024
BATCHES_AHEAD = 3
"""For each session, so that none waits while the destination writes a row group."""
SESSIONS = 2
"""Each has a process of its own in the server, which takes longer to send a row than it takes to read and write it."""
RANGE_PAGES = 2048
"""Pages of 8 kB that one query of a session reads; short, so that all sessions end at the same time."""

Land = Callable[[pa.RecordBatch], pa.RecordBatch]
"""Turns a batch as the driver read it into what lands; called by the thread that reads."""


class ArrowReader:
    """Reads a database in Arrow batches, in bounded memory.

    Args:
        uri: libpq's connection string.
        failed: makes an error of what the driver says.
    """

    def __init__(self, uri: str, failed: Callable[[str], ConnectorError]) -> None:
        self._uri = uri
        self._failed = failed
        self._running: set[Any] = set()
        self._interrupted = False
        self._lock = threading.Lock()

    def query(self, statement: sql.Composable, land: Land) -> Iterator[pa.RecordBatch]:
        """Yield the result of ``statement`` in its order, in batches of about 2 MB; the next one is read ahead.

        Raises:
            ConnectorError: if the connection or the query fails.
        """
        with self._sessions() as sessions:
            yield from read_ahead(self._landed(self._connected(sessions), [statement], land))

    def table(
        self, select: sql.Composable, table: sql.Identifier, condition: sql.Composable | None, land: Land
    ) -> Iterator[pa.RecordBatch]:
        """Yield a table's rows as they are at one moment, in no order, in batches of at most about 2 MB.

        Of a large table each of :data:`SESSIONS` sessions reads one range of pages after the other. The others import
        the snapshot of the first one; all hold the lock that a query holds, so that no ``TRUNCATE`` comes in between.

        Args:
            select: ``select ... from`` the table.
            table: the table, which has pages of its own: it is neither a view nor partitioned.
            condition: what the rows must fulfil.
            land: makes of a batch what lands.

        Raises:
            ConnectorError: if a connection or a query fails.
        """
        begin = sql.SQL("begin isolation level repeatable read, read only")
        lock = sql.SQL("lock table {} in access share mode").format(table)
        size = sql.SQL(
            "select pg_export_snapshot(), pg_relation_size({}::regclass) / current_setting('block_size')::int8"
        ).format(sql.Literal(table.as_string()))
        with self._sessions() as sessions:
            first = self._connected(sessions)
            self._execute(first, begin, lock)
            (batch,) = self._batches(first, size)
            snapshot, size_in_pages = batch.to_pylist()[0].values()
            imported = sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot))
            starts = range(0, max(size_in_pages, 1), RANGE_PAGES)
            connections = [first]
            while len(connections) < min(SESSIONS, len(starts)):
                connections.append(self._connected(sessions))
                self._execute(connections[-1], begin, imported, lock)
            taken = iter(starts)  # by whichever session is free

            def statement(start: int) -> sql.Composable:
                pages = _pages(start, None if start == starts[-1] else start + RANGE_PAGES)
                where = pages if condition is None else sql.SQL("{} and ({})").format(pages, condition)
                return sql.SQL("{} where {}").format(select, where)

            parts = [self._landed(each, map(statement, taken), land) for each in connections]
            yield from read_ahead(*parts, ahead=BATCHES_AHEAD)

    def interrupt(self) -> None:
        """Ask PostgreSQL to cancel what runs; what has not begun does not begin any more."""
        with self._lock:
            self._interrupted = True
            for statement in self._running:
                statement.cancel()

    @contextmanager
    def _sessions(self) -> Iterator[ExitStack]:
        """What is opened here is closed at the end."""
        try:
            with ExitStack() as opened:
                yield opened
        except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
            raise self._failed(str(error)) from error

    def _connected(self, sessions: ExitStack) -> adbc_driver_manager.AdbcConnection:
        database = sessions.enter_context(adbc_driver_postgresql.connect(self._uri))
        connection: adbc_driver_manager.AdbcConnection = sessions.enter_context(
            adbc_driver_manager.AdbcConnection(database)
        )
        return connection

    def _execute(self, connection: adbc_driver_manager.AdbcConnection, *statements: sql.Composable) -> None:
        for statement in statements:
            with self._prepared(connection, statement) as prepared:
                prepared.execute_update()

    def _landed(
        self, connection: adbc_driver_manager.AdbcConnection, statements: Iterable[sql.Composable], land: Land
    ) -> Generator[pa.RecordBatch, None, None]:
        for statement in statements:
            with closing(self._batches(connection, statement)) as batches:
                for batch in batches:
                    yield land(batch)

    def _batches(
        self, connection: adbc_driver_manager.AdbcConnection, statement: sql.Composable
    ) -> Generator[pa.RecordBatch, None, None]:
        with self._prepared(connection, statement) as prepared:
            stream, _ = prepared.execute_query()
            with pa.RecordBatchReader._import_from_c(stream.address) as reader:
                yield from (batch for batch in reader if batch.num_rows)

    @contextmanager
    def _prepared(
        self, connection: adbc_driver_manager.AdbcConnection, statement: sql.Composable
    ) -> Iterator[adbc_driver_manager.AdbcStatement]:
        """A statement that :meth:`interrupt` can interrupt."""
        with adbc_driver_manager.AdbcStatement(connection) as prepared:
            option = adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value
            prepared.set_options(**{option: str(BATCH_BYTES)})
            prepared.set_sql_query(statement.as_string())
            with self._lock:
                if self._interrupted:
                    raise CancelledSync
                self._running.add(prepared)
            try:
                yield prepared
            finally:
                with self._lock:
                    self._running.discard(prepared)


def _pages(start: int, end: int | None) -> sql.Composable:
    """Return the condition for rows of some pages: ``end`` and what follows excluded, None for all that follow."""
    condition = sql.SQL("ctid >= {}").format(sql.Literal(f"({start},0)"))
    return condition if end is None else sql.SQL("{} and ctid < {}").format(condition, sql.Literal(f"({end},0)"))
