"""Managed tables: CREATE TABLE, INSERT and row changes, as Parquet files in the lake that are copied on write."""

# ruff: noqa: S608 - names are quoted, and writing SQL is what this module is for

from __future__ import annotations

import dataclasses
import shutil
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path as FilePath

from sandbox.dremio.catalog import Catalog, quoted
from sandbox.dremio.engine import Running
from sandbox.dremio.entities import Column, DataFile, Entity, Path, Source, Table
from sandbox.dremio.errors import ValidationError
from sandbox.dremio.lake import Lakes
from sandbox.dremio.partitions import label_sql
from sandbox.dremio.planner import Planner
from sandbox.dremio.promotion import stored_type
from sandbox.dremio.publication import NewFile, Publisher
from sandbox.dremio.scan import identifier
from sandbox.dremio.types import arrow_schema, arrow_type
from sandbox.dremio.writer import TableWriter, Written, codec_of, labelled

LABEL = "__label"


class Tables:
    """Everything that writes rows.

    Args:
        catalog: the catalog.
        planner: finds the table's present rows.
        lakes: object stores by source.
        publisher: makes new files visible.
        staging: local folder for files that are being written.
    """

    def __init__(
        self, catalog: Catalog, planner: Planner, lakes: Lakes, publisher: Publisher, staging: FilePath
    ) -> None:
        self._catalog = catalog
        self._planner = planner
        self._lakes = lakes
        self._publisher = publisher
        self._staging = staging
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode")
        self._locks: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self._guard = threading.Lock()
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)

    def close(self) -> None:
        """End the encoding threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Keep other writers off a table for the duration of the block; readers are not hindered."""
        key = ".".join(path).lower()
        with self._guard:
            lock = self._locks[key]
        with lock:
            yield

    @contextmanager
    def _folder(self) -> Iterator[FilePath]:
        folder = self._staging / uuid.uuid4().hex
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def target(self, path: Path) -> tuple[Source, Path]:
        """Return source and full path for a table to be created.

        Raises:
            ValidationError: if the path does not lie in a source.
        """
        absolute = self._planner.absolute(path)
        source = self._catalog.source_of(absolute)
        if source is None or len(absolute) < 3:
            raise ValidationError(f"Unable to find the source of table [{'.'.join(path)}] or it is not writable.")
        return source, (source.name, *absolute[1:])

    def create(self, running: Running, source: Source, draft: Table, sql: str | None) -> list[DataFile]:
        """Create a table, with the rows of a query or empty.

        Args:
            running: the statement.
            source: the source it is created in.
            draft: the table, with its columns but without files.
            sql: DuckDB's query whose columns are the table's, by position; None for an empty table.

        Returns:
            list: the table's files.

        Raises:
            ValidationError: if something is there already.
        """
        lake = self._lakes.of(source)
        bucket, root = lake.locate(draft.path)
        draft = dataclasses.replace(draft, bucket=bucket, root=root, managed=True)
        self._free(draft.path)
        with self._folder() as folder:
            written = self._write(running, folder, draft, sql) if sql is not None else []
            self._clear(source, draft)
            created = self._publisher.publish(
                source, draft, _named(draft, written), (), stored_columns(draft.columns), self._create
            )
        return list(created.files)

    def _create(self, table: Table) -> Entity:
        self._free(table.path)
        return self._catalog.put(table)

    def _free(self, path: Path) -> None:
        if self._catalog.get(path) is not None:
            raise ValidationError(f"A table or view with given name [{quoted(path)}] already exists.")

    def _clear(self, source: Source, draft: Table) -> None:
        """Refuse to create a table over somebody's files."""
        lake = self._lakes.of(source)
        owned = {f.key for t in self._catalog.below(draft.path) if isinstance(t, Table) for f in t.files}
        foreign = [
            entry.key for entry in lake.objects(draft.bucket, draft.root) if entry.key not in owned and entry.size
        ]
        if foreign:
            raise ValidationError(
                f"Cannot create table [{quoted(draft.path)}]: s3://{draft.bucket}/{draft.root}/ is not empty, "
                f"it holds {foreign[0]}. Delete the objects or choose another name."
            )

    def _write(self, running: Running, folder: FilePath, table: Table, sql: str) -> list[Written]:
        """Run a query and write its rows as files of a table, partitioned and sorted as the table wants."""
        names = ", ".join(identifier(column.name) for column in table.columns)
        label = label_sql(table.partition, table.columns)
        order = [label] if label != "''" else []
        order += [identifier(name) for name in table.sort]
        ordered = f" ORDER BY {', '.join(order)}" if order else ""
        query = f"SELECT {names}, {label} AS {LABEL} FROM ({sql}) AS rows_({names}){ordered}"
        return self._stream(running, folder, table, query)

    def _stream(self, running: Running, folder: FilePath, table: Table, query: str) -> list[Written]:
        columns = [*table.columns, Column(LABEL, "VARCHAR")]
        schema = arrow_schema(table.columns)
        writer = TableWriter(folder, schema, codec_of(table.properties), self._pool)
        return writer.write(labelled(running.stream(query, columns)), running.check)

    def append(self, running: Running, table: Table, sql: str) -> int:
        """Add the rows of a query to a table.

        Args:
            running: the statement.
            table: the table.
            sql: DuckDB's query whose columns are the table's, by position.

        Returns:
            int: number of rows.
        """
        with self._folder() as folder:
            written = self._write(running, folder, table, sql)
            self._publish(table, _named(table, written), table.files)
        return sum(item.rows for item in written)

    def truncate(self, table: Table) -> int:
        """Delete all rows and return how many there were."""
        self._publish(table, (), ())
        return table.rows

    def alter(self, table: Table, columns: tuple[Column, ...]) -> None:
        """Give a table other columns: files stay, a column they lack is NULL."""
        self._catalog.replace(table, dataclasses.replace(table, columns=columns))

    def set_properties(self, table: Table, properties: dict[str, str]) -> None:
        """Give a table other TBLPROPERTIES; files that are there already stay as they are."""
        self._catalog.replace(table, dataclasses.replace(table, properties=properties))

    def rewrite(self, running: Running, table: Table, changed: str, added: str | None, gone: set[str]) -> None:
        """Replace the files that hold changed rows and append new ones.

        Args:
            running: the statement.
            table: the table.
            changed: DuckDB's query for the rows that the changed files hold from now on; its last column is the local
                path of the file a row belongs to.
            added: DuckDB's query for new rows, None for none.
            gone: local paths of the files that are replaced; one that gets no row disappears.
        """
        source = self._planner.source(table)
        paths = self._planner.cache.fetch(self._lakes.of(source), table, table.files)
        keys = {str(path): file.key for path, file in zip(paths, table.files, strict=True)}
        kept = [file for file in table.files if file.key not in {keys[path] for path in gone}]
        with self._folder() as folder:
            rewritten = self._stream(running, folder / "changed", table, changed) if gone else []
            new: list[NewFile] = []
            for item in rewritten:
                key = keys[item.label]
                if any(other.key == key for other in new):
                    # More rows than a file takes: the rest goes into another file of the same folder.
                    folder_label = key[len(table.root) :].strip("/").rpartition("/")[0]
                    rest = dataclasses.replace(item, label=folder_label)
                    new += _named(table, [rest], {other.key for other in new})
                else:
                    new.append(NewFile(key, item))
            if added is not None:
                appended = self._write(running, folder / "added", table, added)
                new += _named(table, appended, {item.key for item in new})
            self._publish(table, new, kept)

    def _publish(self, table: Table, new: Sequence[NewFile], kept: Sequence[DataFile]) -> None:
        source = self._planner.source(table)
        self._publisher.publish(
            source, table, new, kept, stored_columns(table.columns), lambda final: self._catalog.replace(table, final)
        )

    def drop(self, table: Table) -> None:
        """Drop a table with its objects."""
        self._publisher.withdraw(self._planner.source(table), table)


def stored_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return what a file with these columns looks like in a table's ``shapes``."""
    return tuple(Column(column.name, stored_type(arrow_type(column.type))) for column in columns)


def _named(table: Table, written: Sequence[Written], taken: set[str] | None = None) -> list[NewFile]:
    """Name new files 0_0_0.parquet, 0_0_1.parquet.. in their partition's folder, after those that are there."""
    used = {file.key for file in table.files} | (taken or set())
    named = []
    for item in written:
        folder = f"{table.root}/{item.label}" if item.label else table.root
        number = 0
        while f"{folder}/0_0_{number}.parquet" in used:
            number += 1
        key = f"{folder}/0_0_{number}.parquet"
        used.add(key)
        named.append(NewFile(key, item))
    return named
