"""Landing objects as Airbyte's destination-s3 writes them, for tests."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CHANGES = pa.list_(pa.struct([("field", pa.string()), ("change", pa.string()), ("reason", pa.string())]))
META = pa.struct([("sync_id", pa.int64()), ("changes", CHANGES)])


def airbyte_columns(
    job_id: int, extracted_ms: Sequence[int], raw_ids: Sequence[str] | None = None
) -> dict[str, pa.Array]:
    """The columns that Airbyte adds, for as many rows as there are extraction times."""
    count = len(extracted_ms)
    ids = raw_ids or [str(uuid.uuid4()) for _ in range(count)]
    return {
        "_airbyte_raw_id": pa.array(ids, pa.string()),
        "_airbyte_extracted_at": pa.array(extracted_ms, pa.timestamp("ms", "UTC")),
        "_airbyte_generation_id": pa.array([0] * count, pa.int64()),
        "_airbyte_meta": pa.array([{"sync_id": job_id, "changes": []}] * count, META),
    }


def parquet(
    job_id: int, columns: Mapping[str, pa.Array], extracted_ms: Sequence[int], raw_ids: Sequence[str] | None = None
) -> bytes:
    """A landing Parquet object."""
    table = pa.table({**airbyte_columns(job_id, extracted_ms, raw_ids), **columns})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="snappy")
    return sink.getvalue()


def jsonl(job_id: int, records: Sequence[Mapping[str, Any]], extracted_ms: int) -> bytes:
    """A landing JSON Lines object."""
    lines = [
        json.dumps(
            {
                "_airbyte_raw_id": str(uuid.uuid4()),
                "_airbyte_extracted_at": extracted_ms,
                "_airbyte_generation_id": 1,
                "_airbyte_meta": {"changes": [], "sync_id": job_id},
                "_airbyte_data": record,
            }
        )
        for record in records
    ]
    return ("\n".join(lines) + "\n").encode()
