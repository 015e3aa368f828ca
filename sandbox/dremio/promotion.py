"""Promoted datasets: which files a folder of the lake holds, and what columns they have together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sandbox.dremio import formats
from sandbox.dremio.entities import Column, DataFile, Path, Source, Table, now_millis
from sandbox.dremio.errors import ValidationError, not_found
from sandbox.dremio.lake import Lake, StoredObject
from sandbox.dremio.object_cache import ObjectCache
from sandbox.dremio.types import decimal_of, from_arrow

Json = dict[str, Any]

_EXACT = ("BOOLEAN", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR", "DATE", "BLOB")
_STORED_AS = (
    pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.large_string(), pa.date32(),
    pa.binary(), pa.large_binary(),
)  # fmt: skip


def stored_type(kind: pa.DataType) -> str:
    """Return how a column of a file is described in a table's shapes.

    Args:
        kind: Arrow type of the column.

    Returns:
        str: the normalised type where DuckDB reads just that, else Arrow's name of the type.
    """
    return from_arrow(kind) if kind in _STORED_AS or pa.types.is_decimal(kind) else str(kind)


@dataclass(frozen=True)
class Part:
    """A part of a promoted folder whose metadata is read again.

    Args:
        partitions: folder names by partition column, e.g. ``{"dir0": "date=2026-01-01"}``.
        files: paths below the folder; empty for all that lie in the partitions.
    """

    partitions: dict[str, str]
    files: Path = ()

    def check(self, table: Table) -> None:
        """Raise ValidationError unless the partition columns are those of a table."""
        known = {column.name.lower() for column in table.columns[len(table.columns) - table.depth :]}
        for name in self.partitions:
            if name.lower() not in known:
                raise ValidationError(f"Partition column [{name}] is not found in table [{'.'.join(table.path)}].")

    def holds(self, table: Table, key: str) -> bool:
        """Return whether an object of a table lies in this part."""
        folders = _folders(key, table.root)
        if self.files and key[len(table.root) :].strip("/") not in {file.strip("/") for file in self.files}:
            return False
        levels = {int(name[3:]): value for name, value in self.partitions.items()}
        return all(level < len(folders) and folders[level] == value for level, value in levels.items())


def promote(lake: Lake, cache: ObjectCache, source: Source, path: Path, options: Json | None) -> Table:
    """Return the table that a folder or file of a source is.

    Args:
        lake: the source's object store.
        cache: where the files are kept locally.
        source: the source.
        path: the folder's or file's catalog path.
        options: format options; None: what the files' extensions say.

    Raises:
        ValidationError: if there is nothing at that path, or nothing whose format is known.
    """
    bucket, root = lake.locate(path)
    found = _objects(lake, bucket, root) if bucket else []
    if not found:
        raise not_found(path)
    chosen = formats.complete(options) if options else formats.by_extension([entry.key for entry in found])
    if chosen is None:
        raise ValidationError(f"Unable to determine the format of [{'.'.join(path)}]: promote it with a format.")
    table = Table(path=path, format=chosen, bucket=bucket, root=root)
    return refresh(lake, cache, table) or table


def _objects(lake: Lake, bucket: str, root: str) -> list[StoredObject]:
    listed = [entry for entry in lake.objects(bucket, root) if _visible(entry.key, root) and entry.size]
    if listed or not root:
        return listed
    single = lake.head(bucket, root)
    return [single] if single else []


def _visible(key: str, root: str) -> bool:
    inner = key[len(root) :].strip("/") if root else key
    return formats.is_data(key) and not any(part.startswith((".", "_")) for part in inner.split("/"))


def refresh(lake: Lake, cache: ObjectCache, table: Table, part: Part | None = None) -> Table | None:
    """Return the table with the files and columns that its folder has now, None if nothing changed.

    Args:
        lake: the object store.
        cache: where the files are kept locally.
        table: the table as it was.
        part: what is looked at; the rest of the folder stays as the metadata has it. Default: everything.
    """
    known = {(file.key, file.etag): file for file in table.files}
    objects = _objects(lake, table.bucket, table.root)
    if part is not None:
        part.check(table)
        seen = [entry for entry in objects if part.holds(table, entry.key)]
        kept = [file for file in table.files if not part.holds(table, file.key)]
        objects = [*seen, *(StoredObject(file.key, file.size, file.etag, 0) for file in kept)]
        objects.sort(key=lambda entry: entry.key)
    current = {(entry.key, entry.etag) for entry in objects}
    if current == set(known) and table.columns:
        return None
    files = [DataFile(o.key, o.etag, o.size, 0, _folders(o.key, table.root)) for o in objects]
    paths = cache.fetch(lake, table, files)
    shapes: list[tuple[Column, ...]] = []
    schemas: list[pa.Schema] = []
    complete = []
    for file, path in zip(files, paths, strict=True):
        schema, rows = formats.shape_of(path)
        shape = tuple(Column(field.name, stored_type(field.type)) for field in schema)
        if shape not in shapes:
            shapes.append(shape)
            schemas.append(schema)
        complete.append(dataclasses.replace(file, rows=rows, shape=shapes.index(shape)))
    depth = max((len(file.folders) for file in files), default=0)
    moment = now_millis()
    return dataclasses.replace(
        table,
        columns=_columns(schemas, depth),
        shapes=tuple(shapes),
        files=tuple(complete),
        depth=depth,
        refreshed_at=moment if part is None else table.refreshed_at,
        changed_at=moment,
    )


def _folders(key: str, root: str) -> Path:
    if key == root:
        return ()
    inner = key[len(root) + 1 :] if root else key
    return tuple(inner.split("/")[:-1])


def _columns(schemas: Sequence[pa.Schema], depth: int) -> tuple[Column, ...]:
    """Return the columns of all files together: in the order of their first appearance, types widened to fit all."""
    merged: dict[str, Column] = {}
    for schema in schemas:
        for field in schema:
            kind = from_arrow(field.type)
            known = merged.get(field.name.lower())
            name = known.name if known else field.name
            merged[field.name.lower()] = Column(name, widen(known.type, kind) if known else kind)
    folders = [Column(f"dir{level}", "VARCHAR") for level in range(depth) if f"dir{level}" not in merged]
    return (*merged.values(), *folders)


def widen(left: str, right: str) -> str:
    """Return the type that holds the values of both types; VARCHAR where Dremio has no common type.

    Args:
        left: a normalised type.
        right: another one.
    """
    if left == right:
        return left
    first, second = decimal_of(left), decimal_of(right)
    if first and second:
        (p1, s1), (p2, s2) = first, second
        scale = max(s1, s2)
        return f"DECIMAL({min(38, max(p1 - s1, p2 - s2) + scale)},{scale})"
    ladder = ("INTEGER", "BIGINT", "FLOAT", "DOUBLE")
    if left in ladder and right in ladder:
        if {left, right} == {"BIGINT", "FLOAT"}:
            return "DOUBLE"
        return max(left, right, key=ladder.index)
    if (first or second) and (left in ladder or right in ladder):
        return "DOUBLE"
    if {left, right} == {"DATE", "TIMESTAMP"}:
        return "TIMESTAMP"
    return "VARCHAR"
