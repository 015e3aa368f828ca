"""The memory that a load needs does not grow with what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lakehouse
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .landing_files import META

PART_ROWS = 50_000
# What is held in memory at a time is made smaller, so that a small load is larger than that.
BUILD = """
import sys
from pathlib import Path
import pyarrow
from lakehouse import change_files, ordering, partition
from lakehouse.config import load_streams
partition.ROW_GROUP_ROWS = partition._BLOCK_ROWS = 12_500
ordering.BUCKET_ROWS = ordering._PART_ROWS = 12_500
kind, folder, parts = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
paths = sorted(folder.glob("part-*.parquet"))[:parts]
work = folder / f"{kind}-{parts}"
(work / "work").mkdir(parents=True)
if kind == "postgres":
    stream = load_streams().source(kind).stream("orders")
    rows = partition.build(stream, paths, work / "data.parquet", work / "work").rows
else:
    stream = load_streams().source(kind).stream("orders")
    [(_, written)] = change_files.build(stream, {7: paths}, work).values()
    rows = written.rows
print(rows, pyarrow.default_memory_pool().max_memory())
"""


def part(number: int, parts: int) -> pa.Table:
    """Orders with their keys spread over all of them, as change data."""
    at = np.arange(number * PART_ROWS, (number + 1) * PART_ROWS, dtype=np.int64)
    keys = at * 7_368_787 % (parts * PART_ROWS)
    nothing = pa.array(np.zeros(PART_ROWS, np.int64))
    return pa.table(
        {
            "_airbyte_raw_id": pa.array(at.astype("U12")),
            "_airbyte_extracted_at": pa.array(at, pa.timestamp("ms", "UTC")),
            "_airbyte_generation_id": nothing,
            "_airbyte_meta": pa.array([{"sync_id": 7, "changes": []}], META).take(nothing),
            "_ab_cdc_lsn": pa.array(at),
            "_ab_cdc_updated_at": pa.array(["2026-11-01T12:00:00Z"]).take(nothing),
            "_ab_cdc_deleted_at": pa.nulls(PART_ROWS, pa.string()),
            "order_id": pa.array(keys),
            "customer_id": pa.array(keys),
            "order_date": nothing.cast(pa.int32()).cast(pa.date32()),
            "amount": pa.array((keys % 100_000) / 100),
            "status": pa.array(["completed"]).take(nothing),
            "updated_at": pa.array(keys, pa.timestamp("us")),
        }
    )


@pytest.mark.parametrize("kind", ["postgres", "postgres_cdc"])
def test_four_times_the_rows_need_no_more_memory(kind: str, tmp_path: Path) -> None:
    for number in range(8):
        pq.write_table(part(number, 8), tmp_path / f"part-{number}.parquet")
    environment = {**os.environ, "PYTHONPATH": str(Path(str(lakehouse.__file__)).parent.parent)}
    peaks = []
    for parts in (2, 8):
        command = [sys.executable, "-c", BUILD, kind, str(tmp_path), str(parts)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        rows, peak = map(int, done.stdout.split())
        assert rows == parts * PART_ROWS
        peaks.append(peak)
    assert peaks[1] < 1.3 * peaks[0], peaks
