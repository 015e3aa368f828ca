"""Landing objects as Airbyte's destination-s3 writes them, for tests."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lakehouse.files import include_dir

CHANGES = pa.list_(pa.struct([("field", pa.string()), ("change", pa.string()), ("reason", pa.string())]))
META = pa.struct([("sync_id", pa.int64()), ("changes", CHANGES)])


def airbyte_columns(
    job_id: int, extracted_ms: Sequence[int], raw_ids: Sequence[str] | None = None
) -> dict[str, pa.Array]:
    """The columns that Airbyte adds, for as many rows as there are extraction times."""
    count = len(extracted_ms)
    # The same in every run, so that what is made of two landings of one content can be compared byte by byte.
    ids = raw_ids or [str(uuid.UUID(int=(job_id << 96) + (at << 32) + row)) for row, at in enumerate(extracted_ms)]
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


def changes(
    job_id: int,
    columns: Mapping[str, pa.Array],
    lsns: Sequence[int],
    deleted: Sequence[bool],
    extracted_ms: int,
    **replaced: pa.Array,
) -> bytes:
    """A landing Parquet object as a CDC sync writes it; commits are as many microseconds after noon as the LSN says."""
    moments = [f"2026-11-01T12:00:00.{lsn:06d}Z" for lsn in lsns]
    log = {
        "_ab_cdc_lsn": pa.array(lsns, pa.int64()),
        "_ab_cdc_updated_at": pa.array(moments, pa.string()),
        "_ab_cdc_deleted_at": pa.array(
            [moment if gone else None for moment, gone in zip(moments, deleted, strict=True)], pa.string()
        ),
    }
    raw_ids = [f"{job_id}-{extracted_ms}-{number}" for number in range(len(lsns))]
    return parquet(job_id, {**columns, **log, **replaced}, [extracted_ms] * len(lsns), raw_ids)


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


def edit_streams(folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Have streams.yml say something else from now on; everything else below ``include`` is as it is."""
    declared = include_dir() / "config"
    (folder / "config").mkdir(exist_ok=True)
    for path in declared.glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        if path.name == "streams.yml":
            assert old in text
            text = text.replace(old, new)
        (folder / "config" / path.name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(folder))
