"""PostgreSQL's text form of values as Arrow: what a slot sends and what COPY writes land in the same types."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg.adapt import Transformer
from psycopg.pq import Format

from sandbox.airbyte.connectors.postgres_types import Column

_TYPES: dict[str, Any] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), pa.int64()),
    **dict.fromkeys(("float4", "float8"), pa.float64()),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "time": pa.time64("us"),
}
_LIST_ITEMS: dict[str, tuple[Any, int]] = {
    **dict.fromkeys(("_int2", "_int4", "_int8"), (pa.int64(), 1016)),
    **dict.fromkeys(("_float4", "_float8"), (pa.float64(), 1022)),
    "_bool": (pa.bool_(), 1000),
}
"""Array type -> (type of the items that land, oid of the array type whose text psycopg reads)."""
_TEXT_ARRAY = (pa.string(), 1009)
SESSION = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
}
"""Settings that decide how PostgreSQL writes values; every session that reads some has to have them."""


def arrow_type(column: Column) -> Any:
    """Return the Arrow type in which a column lands: the one that a full refresh of it has."""
    if column.type_name.startswith("_"):
        return pa.list_(_LIST_ITEMS.get(column.type_name, _TEXT_ARRAY)[0])
    return column.decimal or _TYPES.get(column.type_name, pa.string())


def convert(texts: Any, column: Column) -> tuple[Any, int]:
    """Return values in their column's type.

    Args:
        texts: Arrow array of PostgreSQL's texts.
        column: the column.

    Returns:
        The values, and how many of them are null because the type cannot hold them (``infinity``, years beyond 9999).
    """
    kind = arrow_type(column)
    if pa.types.is_string(kind):
        return texts, 0
    if pa.types.is_list(kind):
        return _lists(texts, column.type_name, kind), 0
    try:
        return _cast(texts, kind), 0
    except pa.ArrowInvalid:
        values = [_one(text, kind) for text in texts]
        array = pa.concat_arrays(values)
        return array, array.null_count - texts.null_count


def _cast(texts: Any, kind: Any) -> Any:
    if pa.types.is_boolean(kind):
        return pc.equal(texts, "t")
    if pa.types.is_time(kind):
        moments = pc.binary_join_element_wise("1970-01-01", texts, " ")
        return moments.cast(pa.timestamp("us")).cast(kind)
    return texts.cast(kind)


def _one(text: Any, kind: Any) -> Any:
    try:
        return _cast(pa.array([text.as_py()], pa.string()), kind)
    except pa.ArrowInvalid:
        return pa.nulls(1, kind)


def _lists(texts: Any, type_name: str, kind: Any) -> Any:
    load = _array_loader(_LIST_ITEMS.get(type_name, _TEXT_ARRAY)[1])
    values = [None if text is None else _plain(load(text.encode())) for text in texts.to_pylist()]
    return pa.array(values, kind)


def _plain(items: Any) -> Any:
    """Flatten nested arrays: PostgreSQL's array types have no dimensions."""
    flat = []
    for item in items:
        if isinstance(item, list):
            flat.extend(_plain(item))
        else:
            flat.append(item)
    return flat


@lru_cache(maxsize=8)
def _array_loader(oid: int) -> Any:
    return Transformer().get_loader(oid, Format.TEXT).load
