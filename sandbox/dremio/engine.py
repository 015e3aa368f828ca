"""DuckDB as the execution engine: one in-memory database, a cursor per statement, no way out to files or network."""

# ruff: noqa: S608 - names are quoted, and writing SQL is what this module is for

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from sandbox.dremio import macros
from sandbox.dremio.entities import Column, DataFile, Table
from sandbox.dremio.errors import CancelledError
from sandbox.dremio.explain import explained, while_streaming
from sandbox.dremio.scan import identifier, scan_sql
from sandbox.dremio.types import arrow_schema, normalise

logger = logging.getLogger(__name__)

BATCH_ROWS = 16_384
INTERRUPT_SECONDS = 0.05
SCAN_SCHEMA = "scan"
META_SCHEMA = "meta"
KEPT_VERSIONS = 8
"""How many versions of a table's view are kept, for statements that were translated but have not started."""
KEPT_META = 64
"""The same for system tables, some of which change with every question."""


class Engine:
    """The query engine.

    Args:
        folders: the only folders whose files DuckDB may open.
        spill: folder for what does not fit into memory.
        memory_limit: DuckDB's limit, e.g. ``1GB``.
        threads: DuckDB's worker threads.
    """

    def __init__(self, folders: Sequence[Path], spill: Path, memory_limit: str, threads: int) -> None:
        spill.mkdir(parents=True, exist_ok=True)
        self._database = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": memory_limit,
                "threads": threads,
                "temp_directory": str(spill),
                "python_enable_replacements": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "preserve_insertion_order": True,
            },
        )
        run = self._database.execute
        run("SET TimeZone = 'UTC'")
        run("SET parquet_metadata_cache = true")
        # DuckDB 2.0.1 loses a LIMIT above a LEFT JOIN whose right side its statistics show to be empty.
        run("SET disabled_optimizers = 'projection_pullup'")
        allowed = ", ".join(f"'{str(folder).replace(chr(39), chr(39) * 2)}'" for folder in folders)
        run(f"SET allowed_directories = [{allowed}]")
        run("SET enable_external_access = false")
        run(f"CREATE SCHEMA {SCAN_SCHEMA}")
        run(f"CREATE SCHEMA {META_SCHEMA}")
        for statement in macros.STATEMENTS:
            run(statement)
        run("SET lock_configuration = true")
        self._lock = threading.Lock()
        self._views: dict[str, list[str]] = {}
        self._metas: dict[str, list[str]] = {}

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def attach(self, path: Path, name: str) -> None:
        """Open a database file in one of the engine's folders, or begin one.

        Args:
            path: the file.
            name: under which statements find it.
        """
        self._database.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS {identifier(name)}")

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own to the database, for one statement."""
        return self._database.cursor()

    def scan(self, table: Table, files: Sequence[tuple[DataFile, Path]]) -> tuple[str, str]:
        """Return schema and name of the DuckDB view that reads a table as it is now.

        Args:
            table: the table.
            files: its files with their local copies.
        """
        name = scan_name(table)
        with self._lock:
            versions = self._views.setdefault(table.id, [])
            if name not in versions:
                sql = scan_sql(table, files)
                self._database.execute(f"CREATE VIEW {SCAN_SCHEMA}.{identifier(name)} AS {sql}")
                versions.append(name)
                while len(versions) > KEPT_VERSIONS:
                    self._database.execute(f"DROP VIEW {SCAN_SCHEMA}.{identifier(versions.pop(0))}")
        return SCAN_SCHEMA, name

    def meta(self, name: str, generation: int, rows: pa.Table) -> tuple[str, str]:
        """Return schema and name of a DuckDB table that holds a system table as it is now.

        Args:
            name: the system table.
            generation: which state the rows describe.
            rows: the rows.
        """
        versioned = f"{name}_{generation}"
        with self._lock:
            versions = self._metas.setdefault(name, [])
            if versioned not in versions:
                self._database.register("incoming_rows", rows)
                target = f"{META_SCHEMA}.{identifier(versioned)}"
                self._database.execute(f"CREATE TABLE {target} AS SELECT * FROM incoming_rows")
                self._database.unregister("incoming_rows")
                versions.append(versioned)
                while len(versions) > KEPT_META:
                    self._database.execute(f"DROP TABLE {META_SCHEMA}.{identifier(versions.pop(0))}")
        return META_SCHEMA, versioned

    def has_meta(self, name: str, generation: int) -> bool:
        """Return whether :meth:`meta` has already been given this state of a system table."""
        return f"{name}_{generation}" in self._metas.get(name, [])

    def columns(self, sql: str) -> tuple[Column, ...]:
        """Return names and types of a query's result without running it.

        Args:
            sql: DuckDB SQL.

        Raises:
            StatementError: if the query does not bind.
        """
        with self.cursor() as cursor, explained():
            relation = cursor.sql(sql)
            return result_columns(relation)


def scan_name(table: Table) -> str:
    """Return the name of the DuckDB view that reads a table in its present state."""
    return f"{table.id}_{table.tag}"


def result_columns(relation: Any) -> tuple[Column, ...]:
    """Return the columns of a bound query as Dremio names and types them; equal names get a number."""
    taken: set[str] = set()
    columns = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        unique, number = name, 0
        while unique.lower() in taken:
            unique, number = f"{name}{number}", number + 1
        taken.add(unique.lower())
        columns.append(Column(unique, normalise(str(kind))))
    return tuple(columns)


class Running:
    """A statement under way: a cursor that can be interrupted from another thread.

    Args:
        engine: where it runs.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Stop the statement: what it does now ends with :class:`CancelledError`."""
        if self._cancelled.is_set():
            return
        self._cancelled.set()
        threading.Thread(target=self._interrupt, name="cancel", daemon=True).start()

    def _interrupt(self) -> None:
        # DuckDB forgets an interruption that arrives while it plans, so it is repeated until the cursor is closed.
        while (cursor := self._cursor) is not None:
            cursor.interrupt()
            time.sleep(INTERRUPT_SECONDS)

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise :class:`CancelledError` if the statement was cancelled."""
        if self._cancelled.is_set():
            raise CancelledError

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the statement's cursor for the duration of the block; DuckDB's errors come out as Dremio's.

        Blocks may nest: the inner ones get the cursor of the outermost, and with it its temporary tables.
        """
        self.check()
        if self._cursor is not None:
            yield self._cursor
            return
        with self._engine.cursor() as cursor:
            self._cursor = cursor
            try:
                self.check()
                with explained():
                    yield cursor
            except duckdb.InterruptException as error:
                raise CancelledError from error
            finally:
                self._cursor = None

    def stream(self, sql: str, columns: Sequence[Column] | None = None) -> Iterator[pa.RecordBatch]:
        """Run a query and yield its rows in Dremio's types, at least one batch, however empty.

        Args:
            sql: DuckDB SQL.
            columns: names and types the result shall have; default: what the query yields.
        """
        _, batches = self.open(sql, columns)
        yield from batches

    def open(
        self, sql: str, columns: Sequence[Column] | None = None
    ) -> tuple[tuple[Column, ...], Iterator[pa.RecordBatch]]:
        """Plan a query; it runs while the returned batches are read, of which there is at least one.

        Args:
            sql: DuckDB SQL.
            columns: names and types the result shall have; default: what the query yields.

        Returns:
            tuple: the result's columns and its rows.
        """
        stack = ExitStack()
        try:
            cursor = stack.enter_context(self.connection())
            relation = cursor.sql(sql)
            wanted = tuple(columns) if columns is not None else result_columns(relation)
        except BaseException:
            # The stack turns DuckDB's error into Dremio's on its way out.
            if not stack.__exit__(*sys.exc_info()):
                raise
            raise AssertionError("an error was swallowed") from None
        return wanted, self._read(stack, relation, wanted)

    def _read(self, stack: ExitStack, relation: Any, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        with stack:
            yield from self._batches(relation, columns)

    def stream_on(
        self, cursor: duckdb.DuckDBPyConnection, sql: str, columns: Sequence[Column] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Do what :meth:`stream` does on a cursor that is open already."""
        relation = cursor.sql(sql)
        yield from self._batches(relation, tuple(columns) if columns is not None else result_columns(relation))

    def _batches(self, relation: Any, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        schema = arrow_schema(columns)
        empty = True
        for batch in _stream(relation):
            self.check()
            if batch.num_rows:
                empty = False
                yield conform(batch, schema)
        if empty:
            yield pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _stream(relation: Any) -> Iterator[pa.RecordBatch]:
    reader = relation.to_arrow_reader(BATCH_ROWS)
    while True:
        try:
            yield reader.read_next_batch()
        except StopIteration:
            return
        except OSError as error:
            # What DuckDB raises while rows are being read reaches Arrow as text only.
            raise while_streaming(error) from error


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the columns of ``schema``: microseconds are cut to milliseconds, 128 bit integers shrink.

    Raises:
        pa.ArrowInvalid: if a value does not fit, e.g. a sum beyond 64 bits.
    """
    arrays = []
    for array, field in zip(batch.columns, schema, strict=True):
        arrays.append(array if array.type == field.type else _cast(array, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_interval(array.type):
        return pa.array([None if value is None else _interval(value) for value in array.to_pylist()], wanted)
    if pa.types.is_temporal(array.type):
        return array.cast(wanted, safe=False)
    if pa.types.is_struct(wanted) and pa.types.is_struct(array.type):
        members = [_cast(array.field(i), wanted.field(i).type) for i in range(wanted.num_fields)]
        return pa.StructArray.from_arrays(members, fields=list(wanted), mask=array.is_null())
    if pa.types.is_list(wanted) and pa.types.is_list(array.type):
        values = _cast(array.values, wanted.value_type)
        return pa.ListArray.from_arrays(array.offsets, values, mask=array.is_null() if array.null_count else None)
    return array.cast(wanted)


def _interval(value: Any) -> str:
    months, days, nanoseconds = value
    return f"{months} months {days} days {nanoseconds / 1e9:g} seconds"
