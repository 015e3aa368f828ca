"""Change records as Airbyte lands them: the table's columns and ``_ab_cdc_lsn``, ``_updated_at``, ``_deleted_at``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.adapt import Transformer

from sandbox.airbyte.connectors.postgres_cdc.messages import Changes
from sandbox.airbyte.connectors.postgres_cdc.text_types import arrow_type, convert
from sandbox.airbyte.connectors.postgres_cdc.tuples import Positions
from sandbox.airbyte.connectors.postgres_types import Column

LSN, UPDATED_AT, DELETED_AT = "_ab_cdc_lsn", "_ab_cdc_updated_at", "_ab_cdc_deleted_at"
COLUMNS: dict[str, dict[str, Any]] = {
    LSN: {"type": "number", "airbyte_type": "integer"},
    UPDATED_AT: {"type": "string"},
    DELETED_AT: {"type": "string"},
}
_ADDED = [pa.field(LSN, pa.int64()), pa.field(UPDATED_AT, pa.string()), pa.field(DELETED_AT, pa.string())]
UNAVAILABLE = "__debezium_unavailable_value"
"""What Debezium sends, and so Airbyte, for an out-of-line value that an update left out."""

Lossy = Callable[[str, int], None]
"""Called with a column and how many of its values its type cannot hold."""


class UnavailableValue(Exception):
    """A column that is not text has a value that the log does not hold."""


def type_name(oid: int) -> str:
    """Return PostgreSQL's name of a built-in type; ``text`` for others, which land as text."""
    info = Transformer().adapters.types.get(oid)
    if info is None:
        return "text"
    return f"_{info.name}" if oid == info.array_oid else info.name


def changes(
    of: Changes, rows: Positions, fields: list[Column], wanted: list[int], snapshot_position: int, lossy: Lossy
) -> Any:
    """Return changes as records.

    Args:
        of: the changes.
        rows: which of them.
        fields: all columns of their table.
        wanted: indexes of the columns to land.
        snapshot_position: where the table's initial load was taken, 0 if there was none. A transaction that was running
            then may have written before it: its records are lifted behind the load, whose rows they replace.
        lossy: told about values that are lost.

    Raises:
        UnavailableValue: if an update left out a value that is not text.
    """
    everything = len(rows) == len(of)
    arrays, names = [], []
    for number in wanted:
        field = fields[number]
        texts, unchanged = of.columns[number], of.unchanged[number]
        if not everything:
            texts = texts.take(pa.array(rows))
        values = _converted(texts, field, lossy)
        if unchanged is not None and unchanged[rows].any():
            if not pa.types.is_string(values.type):
                raise UnavailableValue(
                    f"an update left out column {field.name} of type {field.type_name}, which is stored out of line. "
                    "ALTER TABLE ... REPLICA IDENTITY FULL makes the log hold it."
                )
            values = pc.if_else(pa.array(unchanged[rows]), UNAVAILABLE, values)
        arrays.append(values)
        names.append(field)
    lsn = np.maximum(of.lsn[rows], snapshot_position + 1) if snapshot_position else of.lsn[rows]
    moments = _moments(of.committed_at[rows])
    deleted_at = pc.if_else(pa.array(of.deleted[rows]), moments, pa.scalar(None, pa.string()))
    return _batch(names, arrays, [pa.array(lsn), moments, deleted_at])


def snapshot(batch: Any, fields: list[Column], position: int, taken_at: int, lossy: Lossy) -> Any:
    """Return rows of an initial load as records.

    Args:
        batch: one column of text for each field.
        fields: the columns.
        position: where the snapshot was taken.
        taken_at: when, epoch microseconds.
        lossy: told about values that are lost.
    """
    arrays = [_converted(column, field, lossy) for column, field in zip(batch.columns, fields, strict=True)]
    return _batch(fields, arrays, _constant(batch.num_rows, position, taken_at, deleted=False))


def truncation(fields: list[Column], position: int, taken_at: int) -> Any:
    """Return the record that ends every version of every row before ``position``: a delete without key."""
    arrays = [pa.nulls(1, arrow_type(field)) for field in fields]
    return _batch(fields, arrays, _constant(1, position, taken_at, deleted=True))


def _constant(rows: int, position: int, taken_at: int, *, deleted: bool) -> list[Any]:
    moments = pa.repeat(_moments(np.array([taken_at]))[0], rows)
    return [
        pa.repeat(pa.scalar(position, pa.int64()), rows),
        moments,
        moments if deleted else pa.nulls(rows, pa.string()),
    ]


def _batch(fields: list[Column], arrays: list[Any], added: list[Any]) -> Any:
    schema = [pa.field(field.name, arrow_type(field)) for field in fields]
    return pa.RecordBatch.from_arrays([*arrays, *added], schema=pa.schema([*schema, *_ADDED]))


def _converted(texts: Any, field: Column, lossy: Lossy) -> Any:
    values, lost = convert(texts, field)
    if lost:
        lossy(field.name, lost)
    return values


def _moments(microseconds: Positions) -> Any:
    """Return times as ISO-8601 in UTC; the changes of a transaction have the same, which is written once."""
    begins = np.ones(len(microseconds), dtype=bool)
    np.not_equal(microseconds[1:], microseconds[:-1], out=begins[1:])
    texts = pa.array(microseconds[begins], pa.timestamp("us")).cast(pa.string())
    texts = pc.binary_join_element_wise(pc.replace_substring(texts, " ", "T"), "Z", "")
    return texts.take(pa.array(np.cumsum(begins) - 1))
