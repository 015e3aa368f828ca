"""source-postgres: full refresh, cursor-based and xmin reads, as Arrow, over ADBC."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from psycopg import conninfo, sql

from sandbox.airbyte.connectors import postgres_session
from sandbox.airbyte.connectors.base import (
    CancelledSync,
    ConfiguredStream,
    ConnectorError,
    Log,
    Stream,
    StreamReader,
)
from sandbox.airbyte.connectors.postgres_process import ReadingProcess
from sandbox.airbyte.connectors.postgres_readers import CursorReader, TableReader, XminReader
from sandbox.airbyte.connectors.postgres_types import Column

CANCEL_SECONDS = 2
STATEMENT_MILLISECONDS = 90 * 60 * 1000
"""A query that runs longer is given up: Airbyte's own heartbeat limit for a silent source."""

_COLUMNS = """
select n.nspname, c.relname, a.attname, t.typname, a.atttypmod,
       coalesce(array_position(i.indkey::int2[], a.attnum), -1) as key_position, c.relkind = 'v' as is_view,
       c.relkind = 'r' and m.amname = 'heap' and current_setting('server_version_num')::int >= 140000 as has_pages
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
left join pg_am m on m.oid = c.relam
left join pg_index i on i.indrelid = c.oid and i.indisprimary
where c.relkind in ('r', 'v', 'm', 'p') and n.nspname = any(%s) and not c.relispartition
  and has_table_privilege(c.oid, 'select')
order by n.nspname, c.relname, a.attnum
"""


@dataclass
class _Table:
    """What the catalog says about a table: its columns in order, and its key's with their positions.

    ``has_pages`` says that rows are found by the numbers of their pages, and their order is that of the pages.
    """

    is_view: bool
    has_pages: bool
    columns: list[Column] = field(default_factory=list)
    keys: list[tuple[int, str]] = field(default_factory=list)


class PostgresSource:
    """A PostgreSQL database as an Airbyte source.

    Args:
        configuration: as in the connector's specification; valid, with its secrets.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.address = postgres_session.address(configuration)
        self.schemas: list[str] = configuration.get("schemas") or ["public"]
        options = f"-c statement_timeout={STATEMENT_MILLISECONDS} -c timezone=UTC"
        self._parameters = postgres_session.parameters(configuration, "airbyte-source-postgres", options)
        # Not a method of this object, which would keep itself alive, and a process that waits for its task.
        self._failed = partial(_failed, self.address)
        self.process = ReadingProcess(conninfo.make_conninfo(**self._parameters), self._failed)
        self._xmin = configuration.get("replication_method", {}).get("method") == "Xmin"
        self._asking: psycopg.Connection[Any] | None = None
        self._interrupted = False
        self._lock = threading.Lock()

    def check(self) -> None:
        """Connect and list the tables; at least one must be readable.

        Raises:
            ConnectorError: naming the address and what went wrong.
        """
        if not self.discover():
            schemas = ", ".join(self.schemas)
            message = f"PostgreSQL at {self.address}: no readable table in schemas {schemas}. Check schemas and grants."
            raise ConnectorError(message, "source", "config_error")

    def discover(self) -> list[Stream]:
        """Return one stream for every readable table and view of the configured schemas.

        Raises:
            ConnectorError: if the database cannot be reached.
        """
        streams = []
        for (schema, table), found in self._tables().items():
            incremental = not found.is_view if self._xmin else any(column.can_be_cursor for column in found.columns)
            streams.append(
                Stream(
                    name=table,
                    namespace=schema,
                    json_schema={
                        "type": "object",
                        "properties": {column.name: column.json_schema for column in found.columns},
                    },
                    primary_key=[[name] for _, name in sorted(found.keys)],
                    sync_modes=("full_refresh", "incremental") if incremental else ("full_refresh",),
                    source_defined_cursor=self._xmin and incremental,
                )
            )
        return streams

    def read(self, configured: ConfiguredStream, state: dict[str, Any] | None, log: Log) -> StreamReader:
        """Begin a pass over a table; see :mod:`sandbox.airbyte.connectors.postgres_readers`.

        Raises:
            ConnectorError: if the table or a selected column is gone, or the cursor cannot be one.
        """
        stream = configured.stream
        self.process.prepare()
        table = self._tables().get((stream.namespace or "public", stream.name))
        if table is None:
            message = f"PostgreSQL at {self.address}: table {stream.namespace}.{stream.name} does not exist any more."
            raise ConnectorError(message, "source", "config_error")
        columns = {column.name: column for column in table.columns}
        gone = [name for name in stream.columns if name not in columns]
        if gone:
            names = ", ".join(gone)
            message = f"PostgreSQL at {self.address}: {stream.namespace}.{stream.name} has no column {names} any more."
            raise ConnectorError(message, "source", "config_error")
        chosen = [columns[name] for name in stream.columns]
        if not configured.incremental:
            return TableReader(self, stream, chosen, log, has_pages=table.has_pages)
        if self._xmin:
            return XminReader(self, stream, chosen, log, state, has_pages=table.has_pages)
        cursor = columns[configured.cursor_field[0]]
        if not cursor.can_be_cursor:
            message = f"{stream.name}.{cursor.name} has type {cursor.type_name}, which cannot be a cursor."
            raise ConnectorError(message, "source", "config_error")
        return CursorReader(self, stream, chosen, log, cursor, state)

    def interrupt(self) -> None:
        """Ask PostgreSQL to cancel the running query; one that has not begun does not begin any more."""
        self.process.interrupt()
        with self._lock:
            self._interrupted = True
            if self._asking is not None:
                self._asking.cancel_safe(timeout=CANCEL_SECONDS)

    def row(self, statement: sql.SQL | sql.Composed) -> tuple[Any, ...]:
        """Return the single row that ``statement`` selects.

        Raises:
            ConnectorError: if the query fails.
        """
        with self._psycopg() as connection:
            row = connection.execute(statement).fetchone()
        assert row is not None
        return tuple(row)

    @contextmanager
    def _psycopg(self) -> Iterator[psycopg.Connection[Any]]:
        """A session that :meth:`interrupt` can interrupt."""
        try:
            with psycopg.connect(**self._parameters) as connection:
                with self._lock:
                    if self._interrupted:
                        raise CancelledSync
                    self._asking = connection
                try:
                    yield connection
                finally:
                    with self._lock:
                        self._asking = None
        except psycopg.Error as error:
            raise self._failed(str(error)) from error

    def _tables(self) -> dict[tuple[str, str], _Table]:
        tables: dict[tuple[str, str], _Table] = {}
        with self._psycopg() as connection:
            rows = connection.execute(_COLUMNS, (self.schemas,)).fetchall()
        for schema, table, column, type_name, modifier, key_position, is_view, has_pages in rows:
            found = tables.setdefault((schema, table), _Table(is_view, has_pages))
            found.columns.append(Column(column, type_name, modifier))
            if key_position >= 0:
                found.keys.append((key_position, column))
        return tables


def _failed(address: str, reason: str) -> ConnectorError:
    text = " ".join(reason.split())
    message = f"PostgreSQL at {address}: {text}. Check that it is running and that the credentials are right."
    return ConnectorError(message, "source", postgres_session.failure_type(text))
