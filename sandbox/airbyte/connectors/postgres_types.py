"""How source-postgres sees PostgreSQL's types: JSON schema, the SQL that reads them, what lands, cursor literals."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sandbox.airbyte.connectors.postgres_numeric import INT64_DIGITS, decimals

_INTEGER = {"type": "number", "airbyte_type": "integer"}
_NUMBER = {"type": "number"}
_STRING = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_DATE = {"type": "string", "format": "date"}
_TIMESTAMP = {"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"}
_TIMESTAMP_TZ = {"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"}
_TIME = {"type": "string", "format": "time", "airbyte_type": "time_without_timezone"}

# Base type -> (JSON schema, SQL type read). Every type that is not here is read as the text PostgreSQL writes.
_SCALARS: dict[str, tuple[dict[str, Any], str]] = {
    "int2": (_INTEGER, "int8"),
    "int4": (_INTEGER, "int8"),
    "int8": (_INTEGER, "int8"),
    "oid": (_INTEGER, "int8"),
    "float4": (_NUMBER, "float8"),
    "float8": (_NUMBER, "float8"),
    "numeric": (_NUMBER, "text"),
    "bool": (_BOOLEAN, "bool"),
    "date": (_DATE, "date"),
    "timestamp": (_TIMESTAMP, "timestamp"),
    "timestamptz": (_TIMESTAMP_TZ, "timestamptz"),
    "time": (_TIME, "time"),
    # A cast to text would cut the blanks off.
    "bpchar": (_STRING, "bpchar"),
    "varchar": (_STRING, "varchar"),
}
_ARRAY_ELEMENTS = {"int2", "int4", "int8", "float4", "float8", "numeric", "bool"}
_CURSORS = set(_SCALARS) - {"bool"} | {"text", "uuid"}
_SHORT = {"int2": pa.int64(), "int4": pa.int64(), "float4": pa.float64()}
"""Types that are widened here: it is cheaper than in the server, and less to send."""
_FIRST = {"date": -2_440_589, "timestamp": -211_000_000_000_000_000, "timestamptz": -211_000_000_000_000_000}
"""Before 4713 BC, where PostgreSQL's calendar begins: the driver lets infinity and what it cannot hold end up there."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: the column's name.
        type_name: PostgreSQL's name of the type (``int8``, ``numeric``, ``_text`` for an array of text).
        modifier: the type's modifier, which holds a numeric's precision and scale; -1 if it has none.
    """

    name: str
    type_name: str
    modifier: int = -1

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON schema Airbyte publishes for the column."""
        if self.type_name.startswith("_"):
            element = self.type_name[1:]
            items = _SCALARS[element][0] if element in _ARRAY_ELEMENTS else _STRING
            return {"type": "array", "items": items}
        return dict(_SCALARS.get(self.type_name, (_STRING, "text"))[0])

    @property
    def decimal(self) -> Any:
        """The Arrow type of a numeric with a declared precision; None for every other column.

        A numeric without one, or with more than the 38 digits of Arrow's and Parquet's decimals, lands as text: a
        double would lose digits.
        """
        if self.type_name != "numeric" or self.modifier < 4:
            return None
        precision, scale = ((self.modifier - 4) >> 16) & 0xFFFF, (self.modifier - 4) & 0x7FF
        # Scales from 1024 are negative ones, in eleven bits' two's complement.
        return pa.decimal128(precision, scale) if precision <= 38 and scale <= precision else None

    @property
    def expression(self) -> sql.Composable:
        """The SQL expression that reads the column in a type the driver reads fast and without loss."""
        name = sql.Identifier(self.name)
        if self._as_digits:
            # The driver would write numerics as text. The cast does nothing, unless the type has just been changed.
            precision, scale = map(sql.Literal, (self.decimal.precision, self.decimal.scale))
            return sql.SQL("numeric_send({}::numeric({}, {})) as {}").format(name, precision, scale, name)
        if self.type_name.startswith("_"):
            element = self.type_name[1:]
            read_as = f"{_SCALARS[element][1]}[]" if element in _ARRAY_ELEMENTS else "text[]"
        else:
            read_as = "numeric" if self.decimal is not None else _SCALARS.get(self.type_name, (_STRING, "text"))[1]
        if read_as == self.type_name or self.type_name in _SHORT:
            return name
        return sql.SQL("{}::{} as {}").format(name, sql.SQL(read_as), name)

    @property
    def can_be_cursor(self) -> bool:
        """Whether the type has an order that a cursor can follow."""
        return self.type_name in _CURSORS

    @property
    def _as_digits(self) -> bool:
        return self.decimal is not None and self.decimal.precision <= INT64_DIGITS

    def landed(self, values: Any) -> Any:
        """Return what the driver read as the values that land; what their type cannot hold is null, as in Airbyte.

        That is ``NaN`` in a numeric with a precision, and infinity in dates and timestamps.
        """
        if self._as_digits:
            return decimals(values, self.decimal)
        if self.decimal is not None:
            texts = values.storage
            return pc.if_else(pc.equal(texts, "nan"), pa.scalar(None, pa.string()), texts).cast(self.decimal)
        if self.type_name in _SHORT:
            return values.cast(_SHORT[self.type_name])
        first = _FIRST.get(self.type_name)
        if first is None:
            return values
        numbers = values.view(pa.int32() if self.type_name == "date" else pa.int64())
        lowest = pc.min(numbers).as_py()
        if lowest is None or lowest > first:
            return values
        return pc.if_else(pc.greater(numbers, first), values, pa.scalar(None, values.type))

    def cursor_literal(self, saved: str) -> sql.Composable:
        """Return a saved cursor value as SQL of the column's own type."""
        return sql.SQL("{}::{}").format(sql.Literal(saved), sql.SQL(self.type_name))


def landed(batch: Any, columns: list[Column]) -> Any:
    """Return a batch as it lands, without the driver's notes on the fields.

    Args:
        batch: as the driver read it.
        columns: its columns, in order.
    """
    arrays = [column.landed(values) for column, values in zip(columns, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def cursor_text(value: Any) -> str:
    """Return a cursor value as the text that the state keeps."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")
        return value.isoformat(timespec="microseconds")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else str(value)
