"""The final tables of destination-postgres: their types, and the SQL that brings a sync's rows into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from psycopg import sql

from sandbox.airbyte.connectors.base import ConfiguredStream

NUMBER, UNCONSTRAINED_NUMBER = "numeric(38,9)", "numeric"
"""``number`` without and with ``unconstrained_number``."""
ROW = "_airbyte_row"
"""Position of a record in its sync, in the temporary tables."""
DELETED_AT = "_ab_cdc_deleted_at"
_OWN = {
    "_airbyte_raw_id": "character varying",
    "_airbyte_extracted_at": "timestamp with time zone",
    "_airbyte_meta": "jsonb",
    "_airbyte_generation_id": "bigint",
}
_TEXTS = {
    "date": "date",
    "date-time": "timestamp with time zone",
    "time": "time without time zone",
}


@dataclass(frozen=True)
class Target:
    """A final table.

    Attributes:
        schema: its schema.
        table: its name.
        stream: the stream that goes into it.
        number: type of numbers.
        cascade: whether dropping it drops what depends on it.
        hard_delete: whether a row deleted in the source is deleted here, not marked.
    """

    schema: str
    table: str
    stream: ConfiguredStream
    number: str
    cascade: bool
    hard_delete: bool

    @property
    def name(self) -> sql.Identifier:
        """Schema and table in SQL."""
        return sql.Identifier(self.schema, self.table)

    @property
    def appends(self) -> bool:
        """Whether running the same sync twice would double its rows."""
        return not self.stream.overwrite and not self.stream.deduplicate

    @property
    def columns(self) -> dict[str, str]:
        """Name and type of every column."""
        properties: dict[str, dict[str, Any]] = self.stream.stream.json_schema.get("properties", {})
        return {**_OWN, **{name: self._type(schema) for name, schema in properties.items()}}

    def prepared(self, existing: dict[str, str]) -> list[str]:
        """Return the statements that make the table ready for the stream's records.

        Args:
            existing: its columns and their types as they are, empty if there is no table yet.
        """
        statements = [sql.SQL("create schema if not exists {}").format(sql.Identifier(self.schema))]
        if existing and self.stream.overwrite:
            statements.append(sql.SQL("drop table {}{}").format(self.name, sql.SQL(" cascade" if self.cascade else "")))
            existing = {}
        columns = self.columns
        if not existing:
            declared = [
                sql.SQL("{} {}{}").format(
                    sql.Identifier(name), sql.SQL(kind), sql.SQL(" not null" if name in _OWN else "")
                )
                for name, kind in columns.items()
            ]
            statements.append(sql.SQL("create table {} ({})").format(self.name, sql.SQL(", ").join(declared)))
            if self.stream.deduplicate:
                statements.append(sql.SQL("create index on {} ({})").format(self.name, self._list(self._key)))
        for name, kind in columns.items():
            if not existing or existing.get(name) == kind:
                continue
            column, change = sql.Identifier(name), sql.SQL("alter table {} add column {} {}")
            if name in existing:
                change = sql.SQL("alter table {} alter column {} type {} using {}::text::{}")
            statements.append(change.format(self.name, column, sql.SQL(kind), column, sql.SQL(kind)))
        return [statement.as_string() for statement in statements]

    def loaded(self, stage: str, schema: pa.Schema) -> list[str]:
        """Return the statements that bring a temporary table's rows into the table.

        Args:
            stage: name of the temporary table.
            schema: of what was copied into it.
        """
        columns = {name: kind for name, kind in self.columns.items() if name in schema.names}
        names = self._list(list(columns))
        values = sql.SQL(", ").join(_cast(name, kind, schema.field(name).type) for name, kind in columns.items())
        source = sql.Identifier(stage)
        if not self.stream.deduplicate:
            insert = sql.SQL("insert into {} ({}) select {} from {}").format(self.name, names, values, source)
            return [insert.as_string(), self._dropped(stage)]
        latest = sql.Identifier(f"{stage}_latest")
        key = self._list(self._key)
        newest_first = sql.SQL("{} desc nulls last, ").format(self._cursor) if self._cursor is not None else sql.SQL("")
        typed = sql.SQL(
            "create temporary table {} on commit drop as select distinct on ({}) {} from (select {}, {} from {}) s "
            "order by {}, {}{} desc"
        ).format(latest, key, names, values, sql.Identifier(ROW), source, key, newest_first, sql.Identifier(ROW))
        matches = sql.SQL(" and ").join(
            sql.SQL("t.{} = l.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in self._key
        )
        older = sql.SQL("delete from {} t using {} l where {} and {}").format(
            self.name, latest, matches, self._not_newer()
        )
        leaves_out = self.hard_delete and DELETED_AT in columns
        living = sql.SQL("l.{} is null and ").format(sql.Identifier(DELETED_AT)) if leaves_out else sql.SQL("")
        insert = sql.SQL(
            "insert into {} ({}) select {} from {} l where {}not exists (select from {} t where {})"
        ).format(self.name, names, names, latest, living, self.name, matches)
        statements = [*self._truncated(stage, columns), *map(_text, (typed, older, insert))]
        return [*statements, self._dropped(stage)]

    def _truncated(self, stage: str, columns: dict[str, str]) -> list[str]:
        """A delete without key stands for TRUNCATE: what came before it is gone."""
        if DELETED_AT not in columns or self._cursor is None:
            return []
        source, row = sql.Identifier(stage), sql.Identifier(ROW)
        no_key = sql.SQL(" and ").join(sql.SQL("{} is null").format(sql.Identifier(name)) for name in self._key)
        last = sql.SQL("(select max({}) from {} where {})").format(row, source, no_key)
        position = sql.SQL("(select max({}) from {} where {})").format(self._cursor, source, no_key)
        return [
            _text(sql.SQL("delete from {} where {} < {}").format(self.name, self._cursor, position)),
            _text(sql.SQL("delete from {} where {} <= {}").format(source, row, last)),
        ]

    def _not_newer(self) -> sql.Composable:
        own = sql.SQL("t._airbyte_extracted_at <= l._airbyte_extracted_at")
        if self._cursor is None:
            return own
        cursor = self._cursor
        return sql.SQL(
            "(t.{c} < l.{c} or (t.{c} is not distinct from l.{c} and {own}) or (t.{c} is null and l.{c} is not null))"
        ).format(c=cursor, own=own)

    @property
    def _key(self) -> list[str]:
        return [path[0] for path in self.stream.primary_key]

    @property
    def _cursor(self) -> sql.Identifier | None:
        return sql.Identifier(self.stream.cursor_field[0]) if self.stream.cursor_field else None

    @staticmethod
    def _dropped(stage: str) -> str:
        return _text(sql.SQL("drop table {}").format(sql.Identifier(stage)))

    @staticmethod
    def _list(names: list[str]) -> sql.Composed:
        return sql.SQL(", ").join(map(sql.Identifier, names))

    def _type(self, schema: dict[str, Any]) -> str:
        """Return the type of a field, as destination-postgres maps Airbyte's types."""
        kinds = schema.get("type", "string")
        names = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
        kind, airbyte_type = (names[0] if len(names) == 1 else ""), schema.get("airbyte_type")
        if kind == "integer" or airbyte_type == "integer":
            return "bigint"
        if kind == "string":
            if airbyte_type == "timestamp_without_timezone":
                return "timestamp without time zone"
            return _TEXTS.get(schema.get("format", ""), "character varying")
        return {"number": self.number, "boolean": "boolean"}.get(kind, "jsonb")


def _cast(name: str, kind: str, copied: pa.DataType) -> sql.Composed:
    """Return a temporary column in its final type; doubles become numbers by their digits, not by 15 of them."""
    column = sql.Identifier(name)
    form = "{c}::{k} as {c}"
    if kind.startswith("numeric"):
        form = "{c}::text::{k} as {c}"
    elif kind == "jsonb" and pa.types.is_list(copied):
        form = "to_jsonb({c}) as {c}"
    return sql.SQL(form).format(c=column, k=sql.SQL(kind))


def _text(statement: sql.Composable) -> str:
    return statement.as_string()
