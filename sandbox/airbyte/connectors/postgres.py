"""source-postgres: full refresh and cursor-based incremental reads, as Arrow, over ADBC."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import adbc_driver_postgresql
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_postgresql import dbapi
from psycopg import conninfo, sql

from sandbox.airbyte.connectors.base import (
    Batch,
    CancelledSync,
    ConfiguredStream,
    ConnectorError,
    Log,
    Stream,
    StreamReader,
)
from sandbox.airbyte.connectors.postgres_types import Column, cursor_text

CONNECT_SECONDS = 10
STATEMENT_MILLISECONDS = 90 * 60 * 1000
"""A query that runs longer is given up: Airbyte's own heartbeat limit for a silent source."""
BATCH_BYTES = 16 * 1024 * 1024

_COLUMNS = """
select n.nspname, c.relname, a.attname, t.typname,
       coalesce(array_position(i.indkey::int2[], a.attnum), -1) as key_position
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
left join pg_index i on i.indrelid = c.oid and i.indisprimary
where c.relkind in ('r', 'v', 'm', 'p') and n.nspname = any(%s) and not c.relispartition
  and has_table_privilege(c.oid, 'select')
order by n.nspname, c.relname, a.attnum
"""


def unsupported(configuration: dict[str, Any]) -> list[str]:
    """Return what a valid configuration asks for that this server cannot do, each as a sentence naming the field."""
    missing = []
    method = configuration.get("replication_method", {}).get("method", "Standard")
    if method not in ("Standard", "CDC"):
        missing.append(f"replication_method.method {method} is not supported; only Standard and CDC are.")
    tunnel = configuration.get("tunnel_method", {}).get("tunnel_method", "NO_TUNNEL")
    if tunnel != "NO_TUNNEL":
        missing.append(f"tunnel_method.tunnel_method {tunnel} is not supported; only NO_TUNNEL is.")
    mode = configuration.get("ssl_mode", {}).get("mode", "prefer")
    if mode.startswith("verify"):
        missing.append(f"ssl_mode.mode {mode} is not supported; only disable, allow, prefer and require are.")
    missing.extend(
        f"{name} is not supported."
        for name in ("jdbc_url_params", "entra_service_principal_auth")
        if configuration.get(name)
    )
    return missing


class PostgresSource:
    """A PostgreSQL database as an Airbyte source.

    Args:
        configuration: as in the connector's specification; valid, with its secrets.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.address = "{host}:{port}/{database}".format(**{"port": 5432, **configuration})
        self.schemas: list[str] = configuration.get("schemas") or ["public"]
        self._parameters = {
            "host": configuration["host"],
            "port": str(configuration.get("port", 5432)),
            "dbname": configuration["database"],
            "user": configuration["username"],
            "password": configuration.get("password", ""),
            "sslmode": configuration.get("ssl_mode", {}).get("mode", "prefer"),
            "connect_timeout": str(CONNECT_SECONDS),
            "application_name": "airbyte-source-postgres",
            "keepalives_idle": "15",
            "tcp_user_timeout": "60000",
            "options": f"-c statement_timeout={STATEMENT_MILLISECONDS} -c timezone=UTC",
        }
        self._cursor: Any = None
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
        for (schema, table), (columns, keys) in self._tables().items():
            cursor = any(column.can_be_cursor for column in columns)
            streams.append(
                Stream(
                    name=table,
                    namespace=schema,
                    json_schema={
                        "type": "object",
                        "properties": {column.name: column.json_schema for column in columns},
                    },
                    primary_key=[[name] for _, name in sorted(keys)],
                    sync_modes=("full_refresh", "incremental") if cursor else ("full_refresh",),
                )
            )
        return streams

    def read(self, configured: ConfiguredStream, state: dict[str, Any] | None, log: Log) -> StreamReader:
        """Begin a pass over a table; see :class:`PostgresReader`.

        Raises:
            ConnectorError: if the table or a selected column is gone, or the cursor cannot be one.
        """
        stream = configured.stream
        table = self._tables().get((stream.namespace or "public", stream.name))
        if table is None:
            message = f"PostgreSQL at {self.address}: table {stream.namespace}.{stream.name} does not exist any more."
            raise ConnectorError(message, "source", "config_error")
        columns = {column.name: column for column in table[0]}
        gone = [name for name in stream.columns if name not in columns]
        if gone:
            names = ", ".join(gone)
            message = f"PostgreSQL at {self.address}: {stream.namespace}.{stream.name} has no column {names} any more."
            raise ConnectorError(message, "source", "config_error")
        cursor = columns[configured.cursor_field[0]] if configured.incremental else None
        if cursor is not None and not cursor.can_be_cursor:
            message = f"{stream.name}.{cursor.name} has type {cursor.type_name}, which cannot be a cursor."
            raise ConnectorError(message, "source", "config_error")
        return PostgresReader(self, stream, [columns[name] for name in stream.columns], cursor, state, log)

    def interrupt(self) -> None:
        """Ask PostgreSQL to cancel the running query; one that has not begun does not begin any more."""
        with self._lock:
            self._interrupted = True
            if self._cursor is not None:
                self._cursor.adbc_cancel()

    def query(self, statement: str) -> Iterator[pa.RecordBatch]:
        """Yield the result of ``statement`` in Arrow batches of about 16 MB.

        Raises:
            ConnectorError: if the connection or the query fails.
        """
        uri = conninfo.make_conninfo(**self._parameters)
        try:
            with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
                option = adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value
                cursor.adbc_statement.set_options(**{option: str(BATCH_BYTES)})
                with self._lock:
                    if self._interrupted:
                        raise CancelledSync
                    self._cursor = cursor
                try:
                    cursor.execute(statement)
                    yield from (batch for batch in cursor.fetch_record_batch() if batch.num_rows)
                finally:
                    with self._lock:
                        self._cursor = None
        except (dbapi.Error, OSError, pa.ArrowException) as error:
            raise self._failed(str(error)) from error

    def count(self, statement: sql.Composed) -> int:
        """Return the single number that ``statement`` selects.

        Raises:
            ConnectorError: if the query fails.
        """
        try:
            with psycopg.connect(**self._parameters) as connection:
                row = connection.execute(statement).fetchone()
        except psycopg.Error as error:
            raise self._failed(str(error)) from error
        return int(row[0]) if row else 0

    def _tables(self) -> dict[tuple[str, str], tuple[list[Column], list[tuple[int, str]]]]:
        tables: dict[tuple[str, str], tuple[list[Column], list[tuple[int, str]]]] = {}
        try:
            with psycopg.connect(**self._parameters) as connection:
                rows = connection.execute(_COLUMNS, (self.schemas,)).fetchall()
        except psycopg.Error as error:
            raise self._failed(str(error)) from error
        for schema, table, column, type_name, key_position in rows:
            columns, keys = tables.setdefault((schema, table), ([], []))
            columns.append(Column(column, type_name))
            if key_position >= 0:
                keys.append((key_position, column))
        return tables

    def _failed(self, reason: str) -> ConnectorError:
        text = " ".join(reason.split())
        wrong = any(part in text for part in ("authentication failed", "does not exist", "permission denied"))
        message = f"PostgreSQL at {self.address}: {text}. Check that it is running and that the credentials are right."
        return ConnectorError(message, "source", "config_error" if wrong else "transient_error")


class PostgresReader:
    """One pass over one table.

    The first incremental pass reads the whole table, rows without a cursor value included, as Airbyte's initial load
    does. A later pass reads ``cursor > saved``; if the number of rows that carry exactly the saved value has changed
    since, it reads ``cursor >= saved`` and sends those rows again (at-least-once, as Airbyte's ``cursor_record_count``
    does). Rows come in the order of the cursor.

    Args:
        source: the source it belongs to.
        stream: the stream, narrowed to the selected fields.
        columns: the columns to read, in order.
        cursor: the cursor column, or None for a full refresh.
        state: the saved state, or None.
        log: where to say what is read.
    """

    def __init__(
        self,
        source: PostgresSource,
        stream: Stream,
        columns: list[Column],
        cursor: Column | None,
        state: dict[str, Any] | None,
        log: Log,
    ) -> None:
        self._source = source
        self._stream = stream
        self._columns = columns
        self._cursor = cursor
        usable = cursor is not None and state is not None and state.get("cursor_field") == [cursor.name]
        self._saved: dict[str, Any] | None = state if usable else None
        self._log = log
        self._highest: Any = None
        self._highest_count = 0

    def batches(self) -> Iterator[Batch]:
        """Yield the table's rows; see the class for which."""
        statement = self._statement()
        for batch in self._source.query(statement):
            if self._cursor is not None:
                self._follow(batch.column(self._cursor.name))
            yield batch

    def state(self) -> dict[str, Any] | None:
        """Return the highest cursor value seen and how many rows carry it, in Airbyte's cursor-based form."""
        if self._cursor is None:
            return None
        if self._highest is None:
            return self._saved
        value = cursor_text(self._highest)
        count = self._highest_count
        return {
            "version": 2,
            "state_type": "cursor_based",
            "stream_name": self._stream.name,
            "stream_namespace": self._stream.namespace,
            "cursor_field": [self._cursor.name],
            "cursor": value,
            "cursor_record_count": count,
        }

    def _statement(self) -> str:
        table = sql.Identifier(self._stream.namespace or "public", self._stream.name)
        columns = sql.SQL(", ").join(column.expression for column in self._columns)
        query = sql.SQL("select {} from {}").format(columns, table)
        if self._cursor is None:
            return query.as_string()
        name = sql.Identifier(self._stream.name, self._cursor.name)
        if self._saved is not None and self._saved.get("cursor") is not None:
            literal = self._cursor.cursor_literal(str(self._saved["cursor"]))
            same = sql.SQL("select count(*) from {} where {} = {}").format(table, name, literal)
            unchanged = self._source.count(same) == self._saved.get("cursor_record_count")
            operator = ">" if unchanged else ">="
            query = sql.SQL("{} where {} {} {}").format(query, name, sql.SQL(operator), literal)
            saved = self._saved["cursor"]
            self._log("info", f"{self._stream.name}: reading rows with {self._cursor.name} {operator} {saved}")
        return sql.SQL("{} order by {}").format(query, name).as_string()

    def _follow(self, values: Any) -> None:
        highest = pc.max(values)
        if not highest.is_valid:
            return
        count = pc.sum(pc.equal(values, highest)).as_py()
        value = highest.as_py()
        if self._highest is None or value > self._highest:
            self._highest, self._highest_count = value, count
        elif value == self._highest:
            self._highest_count += count
