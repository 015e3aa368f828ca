"""The columns Airbyte adds to every record: raw id, extraction time, generation, meta."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

META_TYPE = pa.struct(
    [
        ("sync_id", pa.int64()),
        (
            "changes",
            pa.list_(pa.struct([("field", pa.string()), ("change", pa.string()), ("reason", pa.string())])),
        ),
    ]
)
FIELDS = [
    pa.field("_airbyte_raw_id", pa.string(), nullable=False),
    pa.field("_airbyte_extracted_at", pa.timestamp("ms", tz="UTC"), nullable=False),
    pa.field("_airbyte_generation_id", pa.int64(), nullable=False),
    pa.field("_airbyte_meta", META_TYPE, nullable=False),
]


def raw_ids(count: int) -> Any:
    """Return ``count`` random version 4 UUIDs as an Arrow string array.

    They are drawn and written together: a UUID object per row would cost more than reading the row.
    """
    numbers = np.frombuffer(bytearray(np.random.default_rng().bytes(16 * count)), np.uint8).reshape(count, 16)
    numbers[:, 6] = numbers[:, 6] & 0x0F | 0x40
    numbers[:, 8] = numbers[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(numbers.tobytes().hex().encode(), np.uint8).reshape(count, 32)
    text = np.full((count, 36), ord("-"), np.uint8)
    for dashes, (first, last) in enumerate(pairwise((0, 8, 12, 16, 20, 32))):
        text[:, first + dashes : last + dashes] = digits[:, first:last]
    offsets = np.arange(count + 1, dtype=np.int32) * 36
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


def columns(count: int, extracted_ms: int, generation_id: int, sync_id: int) -> list[Any]:
    """Return the added columns for ``count`` records, in the order of :data:`FIELDS`.

    Args:
        count: number of records.
        extracted_ms: when they were read, epoch milliseconds.
        generation_id: the stream's generation.
        sync_id: the job's id.
    """
    changes = pa.ListArray.from_arrays(
        _repeated(0, count + 1, np.int32, pa.int32()), pa.nulls(0, META_TYPE.field("changes").type.value_type)
    )
    sync_ids = _repeated(sync_id, count, np.int64, pa.int64())
    return [
        raw_ids(count),
        _repeated(extracted_ms, count, np.int64, FIELDS[1].type),
        _repeated(generation_id, count, np.int64, pa.int64()),
        pa.StructArray.from_arrays([sync_ids, changes], fields=list(META_TYPE)),
    ]


def _repeated(value: int, count: int, number: Any, kind: pa.DataType) -> Any:
    """Return an array of equal numbers. ``pa.scalar`` would do, but imports pandas, which takes as long as a sync."""
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(np.full(count, value, number))])


def json_lines(
    records: list[dict[str, Any]], extracted_ms: int, generation_id: int, sync_id: int
) -> Iterator[tuple[bytes, int]]:
    """Yield each record as one line of JSON without flattening, and the size of the record alone in bytes."""
    tail = json.dumps({"changes": [], "sync_id": sync_id}, separators=(",", ":"))
    for raw_id, record in zip(raw_ids(len(records)).to_pylist(), records, strict=True):
        data = json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=str)
        line = (
            f'{{"_airbyte_raw_id":"{raw_id}","_airbyte_extracted_at":{extracted_ms},'
            f'"_airbyte_generation_id":{generation_id},"_airbyte_meta":{tail},"_airbyte_data":{data}}}\n'
        )
        yield line.encode(), len(data.encode())
