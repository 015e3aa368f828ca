"""What the catalog holds: sources, spaces, folders, views and tables, as plain data that turns to JSON and back."""

from __future__ import annotations

import dataclasses
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]
Json = dict[str, Any]

NEVER_MILLIS = 0
HOUR_MILLIS = 3_600_000


def now_millis() -> int:
    """Return the time in milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """Return a fresh identifier."""
    return str(uuid.uuid4())


def path_key(path: Path | list[str]) -> str:
    """Return the key under which a path is found: case does not matter, and neither does where the dots are quoted."""
    return ".".join(path).lower()


@dataclass(frozen=True)
class Column:
    """A column of a dataset.

    Args:
        name: as written when the column was made; comparisons ignore case.
        type: DuckDB's name of the type, one that Dremio knows as well (see ``types.normalise``).
    """

    name: str
    type: str


@dataclass(frozen=True)
class DataFile:
    """One object that belongs to a table.

    Args:
        key: object key within the bucket.
        etag: what the object store said when the file became part of the table.
        size: bytes.
        rows: number of rows.
        folders: names of the folders between the table's root and the object (dir0, dir1, ..).
        shape: which of the table's ``shapes`` describes the columns in the file.
    """

    key: str
    etag: str
    size: int
    rows: int
    folders: Path = ()
    shape: int = 0


@dataclass(frozen=True)
class Entity:
    """What every catalog object has.

    Args:
        path: the parts of the name.
        id: never changes while the object exists.
        tag: changes with every edit.
        created_at: milliseconds since 1970.
    """

    path: Path
    id: str = field(default_factory=new_id)
    tag: str = field(default_factory=new_id)
    created_at: int = field(default_factory=now_millis)

    @property
    def key(self) -> str:
        """The path as :func:`path_key` has it."""
        return path_key(self.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path[-1]


@dataclass(frozen=True)
class Source(Entity):
    """An external source.

    Args:
        source_type: only ``S3``.
        config: the source's configuration with its secrets, in the words of the REST API.
        settings: everything else of the REST entity that is kept (metadataPolicy, acceleration...).
    """

    source_type: str = "S3"
    config: Json = field(default_factory=dict, repr=False)
    settings: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Space(Entity):
    """A space, or a home (its name begins with ``@``)."""


@dataclass(frozen=True)
class Folder(Entity):
    """A folder in a space. Folders of a source are whatever the object store lists."""


@dataclass(frozen=True)
class View(Entity):
    """A virtual dataset.

    Args:
        sql: the query as written.
        context: the schema in which the query's short names are looked up.
        columns: names and types of the query's result when the view was made.
        renamed: whether the names are given by the view, not by its query.
    """

    sql: str = ""
    context: Path = ()
    columns: tuple[Column, ...] = ()
    renamed: bool = False


@dataclass(frozen=True)
class Table(Entity):
    """A physical dataset: a promoted folder or file, or a table that Dremio writes itself.

    Args:
        managed: whether CREATE TABLE made it.
        format: ``{"type": "Parquet"|"JSON"|"Text", ...}``.
        bucket: bucket that holds the data.
        root: key prefix of the data, without a slash at the end; the key itself when a single file is promoted.
        columns: columns as a query sees them.
        shapes: the distinct lists of columns (names and DuckDB types) that the files have.
        files: all data files.
        depth: number of dirN columns.
        partition: texts of the partition transforms, e.g. ``identity(year)``.
        sort: columns named in LOCALSORT BY.
        properties: TBLPROPERTIES.
        refreshed_at: when the file list was read, milliseconds since 1970.
        changed_at: when the content last changed, milliseconds since 1970.
        policy: accelerationRefreshPolicy, in the words of the REST API.
    """

    managed: bool = False
    format: Json = field(default_factory=lambda: {"type": "Parquet"})
    bucket: str = ""
    root: str = ""
    columns: tuple[Column, ...] = ()
    shapes: tuple[tuple[Column, ...], ...] = ()
    files: tuple[DataFile, ...] = ()
    depth: int = 0
    partition: Path = ()
    sort: Path = ()
    properties: dict[str, str] = field(default_factory=dict)
    refreshed_at: int = field(default_factory=now_millis)
    changed_at: int = field(default_factory=now_millis)
    policy: Json = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows in all files."""
        return sum(file.rows for file in self.files)


Dataset = View | Table

_KINDS: dict[str, type[Entity]] = {
    "source": Source,
    "space": Space,
    "folder": Folder,
    "view": View,
    "table": Table,
}


def kind_of(entity: Entity) -> str:
    """Return the name under which the entity's class is stored."""
    return next(name for name, cls in _KINDS.items() if type(entity) is cls)


def to_json(entity: Entity) -> Json:
    """Return the entity as JSON-ready data."""
    return dataclasses.asdict(entity)


def from_json(kind: str, body: Json) -> Entity:
    """Build the entity that :func:`to_json` wrote.

    Args:
        kind: what :func:`kind_of` returned.
        body: what :func:`to_json` returned, possibly after a trip through JSON.
    """
    data = dict(body)
    for name in ("path", "context", "partition", "sort"):
        if name in data:
            data[name] = tuple(data[name])
    if "columns" in data:
        data["columns"] = _columns(data["columns"])
    if "shapes" in data:
        data["shapes"] = tuple(_columns(shape) for shape in data["shapes"])
    if "files" in data:
        data["files"] = tuple(DataFile(**{**file, "folders": tuple(file["folders"])}) for file in data["files"])
    return _KINDS[kind](**data)


def _columns(items: list[Json]) -> tuple[Column, ...]:
    return tuple(Column(item["name"], item["type"]) for item in items)
