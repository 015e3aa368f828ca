"""How source-postgres sees PostgreSQL's types: JSON schema, the SQL that reads them, the literals of a cursor."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from psycopg import sql

_INTEGER = {"type": "number", "airbyte_type": "integer"}
_NUMBER = {"type": "number"}
_STRING = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_DATE = {"type": "string", "format": "date"}
_TIMESTAMP = {"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"}
_TIMESTAMP_TZ = {"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"}
_TIME = {"type": "string", "format": "time", "airbyte_type": "time_without_timezone"}

# Base type -> (JSON schema, SQL type read). Numbers are read as doubles because that is what destination-s3 lands.
_SCALARS: dict[str, tuple[dict[str, Any], str]] = {
    "int2": (_INTEGER, "int8"),
    "int4": (_INTEGER, "int8"),
    "int8": (_INTEGER, "int8"),
    "oid": (_INTEGER, "int8"),
    "float4": (_NUMBER, "float8"),
    "float8": (_NUMBER, "float8"),
    "numeric": (_NUMBER, "float8"),
    "bool": (_BOOLEAN, "bool"),
    "date": (_DATE, "date"),
    "timestamp": (_TIMESTAMP, "timestamp"),
    "timestamptz": (_TIMESTAMP_TZ, "timestamptz"),
    "time": (_TIME, "time"),
}
_ARRAY_ELEMENTS = {"int2", "int4", "int8", "float4", "float8", "numeric", "bool"}
_CURSORS = set(_SCALARS) - {"bool"} | {"text", "varchar", "bpchar", "uuid"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: the column's name.
        type_name: PostgreSQL's name of the type (``int8``, ``numeric``, ``_text`` for an array of text).
    """

    name: str
    type_name: str

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON schema Airbyte publishes for the column."""
        if self.type_name.startswith("_"):
            element = self.type_name[1:]
            items = _SCALARS[element][0] if element in _ARRAY_ELEMENTS else _STRING
            return {"type": "array", "items": items}
        return dict(_SCALARS.get(self.type_name, (_STRING, "text"))[0])

    @property
    def expression(self) -> sql.Composable:
        """The SQL expression that reads the column in the type it lands in."""
        if self.type_name.startswith("_"):
            element = self.type_name[1:]
            read_as = f"{_SCALARS[element][1]}[]" if element in _ARRAY_ELEMENTS else "text[]"
        else:
            read_as = _SCALARS.get(self.type_name, (_STRING, "text"))[1]
        name = sql.Identifier(self.name)
        if read_as == self.type_name:
            return name
        return sql.SQL("{}::{} as {}").format(name, sql.SQL(read_as), name)

    @property
    def can_be_cursor(self) -> bool:
        """Whether the type has an order that a cursor can follow."""
        return self.type_name in _CURSORS

    def cursor_literal(self, saved: str) -> sql.Composable:
        """Return a saved cursor value as SQL of the column's own type."""
        return sql.SQL("{}::{}").format(sql.Literal(saved), sql.SQL(self.type_name))


def cursor_text(value: Any) -> str:
    """Return a cursor value as the text that the state keeps."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")
        return value.isoformat(timespec="microseconds")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else str(value)
