"""Types: from what DuckDB knows to what Dremio knows, and how Dremio names them on each of its interfaces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from sandbox.dremio.entities import Column

Json = dict[str, Any]

MAX_PRECISION = 38

_PLAIN = {
    "BOOLEAN": "BOOLEAN",
    "TINYINT": "INTEGER",
    "SMALLINT": "INTEGER",
    "INTEGER": "INTEGER",
    "UTINYINT": "INTEGER",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "BIGINT": "BIGINT",
    "UBIGINT": "BIGINT",
    "HUGEINT": "BIGINT",
    "UHUGEINT": "BIGINT",
    "FLOAT": "FLOAT",
    "DOUBLE": "DOUBLE",
    "VARCHAR": "VARCHAR",
    "UUID": "VARCHAR",
    "BIT": "VARCHAR",
    "JSON": "VARCHAR",
    "INTERVAL": "VARCHAR",
    '"NULL"': "VARCHAR",
    "NULL": "VARCHAR",
    "DATE": "DATE",
    "TIME": "TIME",
    "TIME WITH TIME ZONE": "TIME",
    "TIMESTAMP": "TIMESTAMP",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "BLOB": "BLOB",
}

_NAMES = {"BLOB": "VARBINARY"}
_INFORMATION_SCHEMA_NAMES = {"VARCHAR": "CHARACTER VARYING", "BLOB": "BINARY VARYING"}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)\Z")


def normalise(duckdb_type: str) -> str:
    """Return the DuckDB type that stands for the Dremio type of a value, e.g. ``HUGEINT`` -> ``BIGINT``.

    Dremio has no small, unsigned or 128 bit integers, no time zones and no enumerations. Nested types keep their
    structure with normalised members.

    Args:
        duckdb_type: DuckDB's name of a type.
    """
    if duckdb_type in _PLAIN:
        return _PLAIN[duckdb_type]
    if duckdb_type.startswith("DECIMAL"):
        return duckdb_type.replace(" ", "")
    if duckdb_type.startswith("ENUM"):
        return "VARCHAR"
    if duckdb_type.endswith("[]"):
        return normalise(duckdb_type[:-2]) + "[]"
    if duckdb_type.startswith("STRUCT("):
        members = ", ".join(f'"{name}" {normalise(member)}' for name, member in struct_members(duckdb_type))
        return f"STRUCT({members})"
    if duckdb_type.startswith("MAP("):
        key, value = _split(duckdb_type[4:-1])
        return f"MAP({normalise(key)}, {normalise(value)})"
    if re.search(r"\[\d+\]\Z", duckdb_type):
        return normalise(duckdb_type[: duckdb_type.rindex("[")]) + "[]"
    return "VARCHAR"


def _split(text: str) -> list[str]:
    """Split ``a, b(c, d), "e, f" g`` at the commas of the outermost level."""
    parts, depth, quoted, start = [], 0, False, 0
    for position, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    parts.append(text[start:].strip())
    return parts


def struct_members(duckdb_type: str) -> list[tuple[str, str]]:
    """Return names and types of the members of ``STRUCT(a INTEGER, ..)``."""
    members = []
    for part in _split(duckdb_type[len("STRUCT(") : -1]):
        if part.startswith('"'):
            end = re.match(r'"((?:[^"]|"")*)"', part)
            assert end is not None
            members.append((end.group(1).replace('""', '"'), part[end.end() :].strip()))
        else:
            name, _, member = part.partition(" ")
            members.append((name, member.strip()))
    return members


def decimal_of(duckdb_type: str) -> tuple[int, int] | None:
    """Return precision and scale of a DECIMAL, None for any other type."""
    match = _DECIMAL.match(duckdb_type)
    return (int(match.group(1)), int(match.group(2))) if match else None


def rest_type(duckdb_type: str) -> Json:
    """Return the type as the REST API describes it, e.g. ``{"name": "DECIMAL", "precision": 12, "scale": 2}``."""
    decimal = decimal_of(duckdb_type)
    if decimal:
        return {"name": "DECIMAL", "precision": decimal[0], "scale": decimal[1]}
    if duckdb_type.endswith("[]"):
        return {"name": "LIST", "subSchema": [{"type": rest_type(duckdb_type[:-2])}]}
    if duckdb_type.startswith("STRUCT("):
        members = [{"name": name, "type": rest_type(member)} for name, member in struct_members(duckdb_type)]
        return {"name": "STRUCT", "subSchema": members}
    if duckdb_type.startswith("MAP("):
        return {"name": "MAP"}
    return {"name": _NAMES.get(duckdb_type, duckdb_type)}


def sql_name(duckdb_type: str) -> str:
    """Return the type's name as INFORMATION_SCHEMA and DESCRIBE write it, e.g. ``CHARACTER VARYING``."""
    if duckdb_type.startswith("DECIMAL"):
        return "DECIMAL"
    if duckdb_type.endswith("[]"):
        return "ARRAY"
    if duckdb_type.startswith("STRUCT("):
        return "ROW"
    if duckdb_type.startswith("MAP("):
        return "MAP"
    return _INFORMATION_SCHEMA_NAMES.get(duckdb_type, duckdb_type)


def arrow_type(duckdb_type: str) -> pa.DataType:
    """Return the Arrow type in which Dremio sends a column.

    Args:
        duckdb_type: a normalised type.
    """
    plain = {
        "BOOLEAN": pa.bool_(),
        "INTEGER": pa.int32(),
        "BIGINT": pa.int64(),
        "FLOAT": pa.float32(),
        "DOUBLE": pa.float64(),
        "VARCHAR": pa.string(),
        "DATE": pa.date32(),
        "TIME": pa.time32("ms"),
        "TIMESTAMP": pa.timestamp("ms"),
        "BLOB": pa.binary(),
    }
    if duckdb_type in plain:
        return plain[duckdb_type]
    decimal = decimal_of(duckdb_type)
    if decimal:
        return pa.decimal128(*decimal)
    if duckdb_type.endswith("[]"):
        return pa.list_(arrow_type(duckdb_type[:-2]))
    if duckdb_type.startswith("STRUCT("):
        return pa.struct([(name, arrow_type(member)) for name, member in struct_members(duckdb_type)])
    if duckdb_type.startswith("MAP("):
        key, value = _split(duckdb_type[4:-1])
        return pa.map_(arrow_type(key), arrow_type(value))
    raise ValueError(f"no Arrow type for {duckdb_type}")


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Return the Arrow schema in which Dremio sends these columns."""
    return pa.schema([(column.name, arrow_type(column.type)) for column in columns])


def from_arrow(kind: pa.DataType) -> str:
    """Return the normalised type of an Arrow or Parquet column; small and unsigned integers grow, zones disappear."""
    if pa.types.is_dictionary(kind):
        return from_arrow(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return from_arrow(kind.value_type) + "[]"
    if pa.types.is_struct(kind):
        members = ", ".join(f'"{member.name}" {from_arrow(member.type)}' for member in kind)
        return f"STRUCT({members})"
    if pa.types.is_map(kind):
        return f"MAP({from_arrow(kind.key_type)}, {from_arrow(kind.item_type)})"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return next((name for test, name in _ARROW_TESTS if test(kind)), "VARCHAR")


_ARROW_TESTS = (
    (pa.types.is_boolean, "BOOLEAN"),
    (lambda kind: kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16()), "INTEGER"),
    (pa.types.is_integer, "BIGINT"),
    (lambda kind: kind in (pa.float16(), pa.float32()), "FLOAT"),
    (pa.types.is_float64, "DOUBLE"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
    (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_binary, "BLOB"),
    (pa.types.is_large_binary, "BLOB"),
    (pa.types.is_fixed_size_binary, "BLOB"),
)


def ordered_numeric(duckdb_type: str) -> tuple[int | None, int | None]:
    """Return NUMERIC_PRECISION and NUMERIC_SCALE as INFORMATION_SCHEMA.COLUMNS has them."""
    decimal = decimal_of(duckdb_type)
    if decimal:
        return decimal
    precisions = {"INTEGER": (32, 0), "BIGINT": (64, 0), "FLOAT": (24, None), "DOUBLE": (53, None)}
    return precisions.get(duckdb_type, (None, None))
