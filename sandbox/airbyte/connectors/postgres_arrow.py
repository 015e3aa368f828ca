"""PostgreSQL into Arrow over ADBC: one query, or a whole table by sessions that share a snapshot."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa
from psycopg import sql

from sandbox.airbyte.connectors.base import CancelledSync
from sandbox.airbyte.connectors.postgres_types import Column, landed
from sandbox.airbyte.connectors.read_ahead import read_ahead

ERRORS = (adbc_driver_manager.Error, OSError, pa.ArrowException)
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's code of the error of ``nowait``."""
BATCH_BYTES = 4 * 1024 * 1024
BATCHES_AHEAD = 3
"""For each session, so that none waits while the destination writes a row group."""
SESSIONS = 2
"""Each has a process of its own in the server, which takes longer to send a row than it takes to read and write it."""
RANGE_PAGES = 2048
"""Pages of 8 kB that one query of a session reads; short, so that all sessions end at the same time."""


class ArrowReader:
    """Reads a database in Arrow batches, in bounded memory.

    What fails, fails with :data:`ERRORS`; but the driver aborts the process if it waits for the answer to a statement
    when the connection is lost. That is why it belongs into a process of its own.

    Args:
        uri: libpq's connection string.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._running: set[Any] = set()
        self._interrupted = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[ExitStack, adbc_driver_manager.AdbcConnection]] = []

    def connect(self) -> None:
        """Connect a session for what is read first."""
        with ExitStack() as session:
            connection = self._connected(session)
            self._waiting.append((session.pop_all(), connection))

    def query(self, statement: sql.Composable, columns: list[Column]) -> Iterator[pa.RecordBatch]:
        """Yield the result of ``statement`` in its order, in batches of about 4 MB; the next one is read ahead.

        Args:
            statement: selects ``columns``.
            columns: say what lands.
        """
        with ExitStack() as sessions:
            yield from read_ahead(self._landed(self._connected(sessions), [statement], columns))

    def table(
        self, select: sql.Composable, table: sql.Identifier, condition: sql.Composable | None, columns: list[Column]
    ) -> Iterator[pa.RecordBatch]:
        """Yield a table's rows as they are at one moment, in no order, in batches of at most about 4 MB.

        Of a large table each of :data:`SESSIONS` sessions reads one range of pages after the other. The others import
        the snapshot of the first one; all hold the lock that a query holds, so that no ``TRUNCATE`` comes in between.
        Where one waits for the first session's lock already, the first session reads alone: another one would queue
        behind it, and both would wait for the end of this reading.

        Args:
            select: ``select ... from`` the table.
            table: the table, which has pages of its own: it is neither a view nor partitioned.
            condition: what the rows must fulfil.
            columns: what ``select`` selects; they say what lands.
        """
        begin = sql.SQL("begin isolation level repeatable read, read only")
        lock = sql.SQL("lock table {} in access share mode").format(table)
        size = sql.SQL(
            "select pg_export_snapshot(), pg_relation_size({}::regclass) / current_setting('block_size')::int8"
        ).format(sql.Literal(table.as_string()))
        with ExitStack() as sessions:
            first = self._connected(sessions)
            self._execute(first, begin, lock)
            (batch,) = self._batches(first, size)
            snapshot, size_in_pages = batch.to_pylist()[0].values()
            imported = sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot))
            starts = range(0, max(size_in_pages, 1), RANGE_PAGES)
            taken = iter(starts)  # by whichever session is free

            def statement(start: int) -> sql.Composable:
                pages = _pages(start, None if start == starts[-1] else start + RANGE_PAGES)
                where = pages if condition is None else sql.SQL("{} and ({})").format(pages, condition)
                return sql.SQL("{} where {}").format(select, where)

            def another() -> Generator[pa.RecordBatch, None, None]:
                with ExitStack() as session:
                    connection = self._connected(session)
                    self._execute(connection, begin, imported)
                    try:
                        self._execute(connection, sql.SQL("{} nowait").format(lock))
                    except adbc_driver_manager.Error as error:
                        if error.sqlstate != LOCK_NOT_AVAILABLE:
                            raise
                    else:
                        yield from self._landed(connection, map(statement, taken), columns)

            others = [another() for _ in range(min(SESSIONS, len(starts)) - 1)]
            yield from read_ahead(self._landed(first, map(statement, taken), columns), *others, ahead=BATCHES_AHEAD)

    def interrupt(self) -> None:
        """Ask PostgreSQL to cancel what runs; what has not begun does not begin any more."""
        with self._lock:
            self._interrupted = True
            for statement in self._running:
                with suppress(adbc_driver_manager.Error):  # its connection is lost, and ends it
                    statement.cancel()

    def _connected(self, sessions: ExitStack) -> adbc_driver_manager.AdbcConnection:
        if self._waiting:
            session, ready = self._waiting.pop()
            sessions.enter_context(session)
            return ready
        database = sessions.enter_context(adbc_driver_manager.AdbcDatabase(driver=_driver(), uri=self._uri))
        connection: adbc_driver_manager.AdbcConnection = sessions.enter_context(
            adbc_driver_manager.AdbcConnection(database)
        )
        return connection

    def _execute(self, connection: adbc_driver_manager.AdbcConnection, *statements: sql.Composable) -> None:
        for statement in statements:
            with self._prepared(connection, statement) as prepared:
                prepared.execute_update()

    def _landed(
        self,
        connection: adbc_driver_manager.AdbcConnection,
        statements: Iterable[sql.Composable],
        columns: list[Column],
    ) -> Generator[pa.RecordBatch, None, None]:
        for statement in statements:
            with closing(self._batches(connection, statement)) as batches:
                for batch in batches:
                    yield landed(batch, columns)

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


def _driver() -> str:
    """Return the driver's library: the one of the environment ``adbc``, or that of this one, which is slower."""
    home = Path(sys.prefix).with_name("adbc")
    optimised = home.glob("lib/python*/site-packages/adbc_driver_postgresql/libadbc_driver_postgresql.so")
    return next(map(str, optimised), None) or adbc_driver_postgresql._driver_path()
