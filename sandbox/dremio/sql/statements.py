"""The statements of Dremio's SQL that the sandbox knows, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """Any statement."""


@dataclass(frozen=True)
class Query(Statement):
    """SELECT, WITH or VALUES, as written."""

    sql: str


@dataclass(frozen=True)
class Explain(Statement):
    """EXPLAIN PLAN FOR a query."""

    sql: str


@dataclass(frozen=True)
class CreateTable(Statement):
    """CREATE TABLE, with or without AS.

    Args:
        columns: names and type texts; a type text is empty where only names were given.
        partition: partition transforms as written.
        properties: TBLPROPERTIES.
        sql: the query after AS, None without.
    """

    path: Path
    columns: tuple[tuple[str, str], ...] = ()
    partition: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)
    if_not_exists: bool = False
    sql: str | None = None


@dataclass(frozen=True)
class CreateView(Statement):
    """CREATE [OR REPLACE] VIEW or VDS."""

    path: Path
    sql: str
    columns: tuple[str, ...] = ()
    replace: bool = False
    if_not_exists: bool = False


@dataclass(frozen=True)
class Drop(Statement):
    """DROP TABLE, VIEW, VDS or FOLDER."""

    kind: str
    path: Path
    if_exists: bool


@dataclass(frozen=True)
class Change(Statement):
    """INSERT, UPDATE, DELETE or MERGE, as written."""

    sql: str


@dataclass(frozen=True)
class Truncate(Statement):
    """TRUNCATE TABLE."""

    path: Path
    if_exists: bool


@dataclass(frozen=True)
class RefreshMetadata(Statement):
    """ALTER TABLE .. REFRESH METADATA.

    Args:
        partitions: values by partition column if FOR PARTITIONS names some.
        files: paths if FOR FILES names some.
    """

    path: Path
    auto_promotion: bool = True
    delete_when_missing: bool = True
    force: bool = False
    partitions: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForgetMetadata(Statement):
    """ALTER TABLE .. FORGET METADATA."""

    path: Path


@dataclass(frozen=True)
class AddColumns(Statement):
    """ALTER TABLE .. ADD COLUMNS."""

    path: Path
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DropColumn(Statement):
    """ALTER TABLE .. DROP COLUMN."""

    path: Path
    column: str


@dataclass(frozen=True)
class SetProperties(Statement):
    """ALTER TABLE .. SET TBLPROPERTIES, ALTER VDS .. SET name = value."""

    path: Path
    properties: dict[str, str]


@dataclass(frozen=True)
class CreateReflection(Statement):
    """ALTER TABLE .. CREATE RAW or AGGREGATE REFLECTION; the body is the one of the REST API."""

    path: Path
    name: str
    body: dict[str, Any]


@dataclass(frozen=True)
class DropReflection(Statement):
    """ALTER TABLE .. DROP REFLECTION."""

    path: Path
    name: str


@dataclass(frozen=True)
class RefreshReflections(Statement):
    """ALTER TABLE|VIEW .. REFRESH REFLECTIONS."""

    path: Path


@dataclass(frozen=True)
class SetAcceleration(Statement):
    """ALTER TABLE .. ENABLE or DISABLE RAW or AGGREGATE ACCELERATION."""

    path: Path
    kind: str
    enabled: bool


@dataclass(frozen=True)
class Show(Statement):
    """SHOW SCHEMAS, TABLES or VIEWS.

    Args:
        pattern: LIKE pattern, empty for all.
    """

    what: str
    path: Path = ()
    pattern: str = ""


@dataclass(frozen=True)
class Describe(Statement):
    """DESCRIBE a dataset."""

    path: Path


@dataclass(frozen=True)
class Use(Statement):
    """USE a schema: accepted, but a REST job has no session for it to last in."""

    path: Path


@dataclass(frozen=True)
class CreateFolder(Statement):
    """CREATE FOLDER in a space."""

    path: Path
    if_not_exists: bool
