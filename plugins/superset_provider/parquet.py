"""A chart's rows as a Parquet file. Imported only when one is written."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import ObjectStoragePath

from superset_provider.charts import time_value

# superset/utils/core.py: GenericDataType
_TEMPORAL = 2


def write_parquet(path: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], types: Sequence[int]) -> None:
    """Write rows; the file is there with all of them or not at all.

    :param path: On this machine, or on any object storage that Airflow knows.
    :param rows: As Superset answers.
    :param columns: Their names, in order.
    :param types: Superset's generic type of each column, as far as it says.
    """
    known = dict(zip(columns, types, strict=False))
    table = pa.table({name: _column([row.get(name) for row in rows], known.get(name)) for name in columns})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    target = ObjectStoragePath(path)
    if target.protocol not in ("", "file"):
        # An object appears when its upload is complete.
        target.write_bytes(buffer.getvalue())
        return
    place = Path(target.path)
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        aside.write_bytes(buffer.getvalue())
        os.replace(aside, place)
    finally:
        aside.unlink(missing_ok=True)


def file_name(path: str) -> tuple[str, str]:
    """A file's namespace and name, as OpenLineage has them."""
    split = urlsplit(path)
    if split.scheme in ("", "file"):
        return "file", split.path
    bucket = split.netloc.rpartition("@")[2]
    return f"{split.scheme}://{bucket}", split.path.lstrip("/")


def _column(values: Sequence[Any], kind: int | None) -> pa.Array:
    """A column of one type; a mixed one becomes text."""
    if kind == _TEMPORAL:
        try:
            return pa.array(
                [None if value is None else time_value(value) for value in values], pa.timestamp("ms", tz="UTC")
            )
        except (ValueError, TypeError):
            # Not every database has a type for times, and people mark texts as such.
            return _texts(values)
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return _texts(values)


def _texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in values], pa.string())
