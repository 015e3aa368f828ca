"""Loading to bronze: how fast, and in how much memory.

Lands a snapshot of orders in shuffled key order on an S3 server of its own, in parts of two million rows as Airbyte's
S3 destination cuts them, and loads it in a process of its own, whose peak memory the operating system tells. The same
rows as change data come second. Run it with ``python -m benchmarks.bronze [rows]``; 50 million rows are the default.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lakehouse.lake import Lake

from benchmarks import results
from tests.lakehouse.conftest import ACCESS_KEY, SECRET_KEY, lake_connection
from tests.lakehouse.landing_files import META
from tests.lakehouse.servers import free_port, running

ROWS = 50_000_000
PART_ROWS = 2_000_000
DAY = "2026-11-01"
NOON = 1_793_534_400_000
LIMIT_MB = 1_000
STATUS = pa.array(["completed", "pending", "cancelled", "returned"])


def part(first: int, count: int, total: int) -> pa.Table:
    """Return some of the orders: keys spread over all of them, so that every part touches every range."""
    at = np.arange(first, first + count, dtype=np.int64)
    keys = at * 7_368_787 % total
    digits = np.char.zfill(at.astype("U12"), 12)
    return pa.table(
        {
            "_airbyte_raw_id": pa.array(np.char.add("8f14e45f-ceea-467f-a0e6-", digits)),
            "_airbyte_extracted_at": pa.array(np.full(count, NOON), pa.timestamp("ms", "UTC")),
            "_airbyte_generation_id": pa.array(np.zeros(count, np.int64)),
            "_airbyte_meta": pa.array([{"sync_id": 7, "changes": []}], META).take(pa.array(np.zeros(count, np.int64))),
            "order_id": pa.array(keys),
            "customer_id": pa.array(keys % 1_000_003),
            "order_date": pa.array((20_000 + keys % 700).astype(np.int32), pa.date32()),
            "amount": pa.array((keys % 100_000) / 100),
            "status": STATUS.take(pa.array(keys % 4)),
            "updated_at": pa.array(NOON * 1000 + keys, pa.timestamp("us")),
        }
    )


def as_changes(table: pa.Table, first: int) -> pa.Table:
    """Return the same rows as a CDC sync lands them."""
    count = table.num_rows
    moment = pa.array(["2026-11-01T12:00:00.000000Z"]).take(pa.array(np.zeros(count, np.int64)))
    table = table.append_column("_ab_cdc_lsn", pa.array(np.arange(first, first + count, dtype=np.int64)))
    return table.append_column("_ab_cdc_updated_at", moment).append_column(
        "_ab_cdc_deleted_at", pa.nulls(count, pa.string())
    )


def land(lake: Lake, source: str, rows: int) -> int:
    """Land the parts; return their size in bytes."""
    size = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "part.parquet")
        for number, first in enumerate(range(0, rows, PART_ROWS)):
            table = part(first, min(PART_ROWS, rows - first), rows)
            pq.write_table(as_changes(table, first) if source == "postgres_cdc" else table, path)
            size += path.stat().st_size
            lake.upload(path, f"bronze/landing/source={source}/orders/7_{NOON}_{number}.parquet")
    return size


def load(source: str) -> None:
    """Load in this process, and print what it took."""
    from lakehouse.bronze import load_to_bronze
    from lakehouse.changes import load_changes

    def peak() -> float:
        # Not getrusage: its figure is inherited from the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    idle = peak()
    started, cpu = time.perf_counter(), time.process_time()
    if source == "postgres_cdc":
        rows = load_changes(source, 7).rows
    else:
        rows = load_to_bronze(source, 7, DAY, streams=["orders"])[0].rows
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"rows": rows, "seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak(), "idle_mb": idle}))


def measure(lake: Lake, environment: dict[str, str], source: str, rows: int) -> dict[str, Any]:
    """Land and load the rows of one source."""
    landed = land(lake, source, rows)
    command = [sys.executable, "-m", "benchmarks.bronze", "--load", source]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == rows, found
    objects = [item for item in lake.list("bronze/") if item.key.endswith(".parquet")]
    found |= {"landed_mb": landed / 1e6, "bronze_mb": sum(item.size for item in objects) / 1e6}
    lake.delete(item.key for item in lake.list("bronze/"))
    return found


def main(rows: int) -> None:
    """Measure both ways of loading and keep the figures."""
    box = results.machine()
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as data:
        port = free_port()
        rclone = shutil.which("rclone") or str(Path(sys.executable).with_name("rclone"))
        command = [rclone, "serve", "s3", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--addr", f"127.0.0.1:{port}"]
        with running([*command, "--config", os.devnull, "--log-level", "CRITICAL", data], port):
            os.environ["AIRFLOW_CONN_LAKE_S3"] = lake_connection(f"http://127.0.0.1:{port}", "lake")
            lake = Lake.from_connection()
            lake._client.create_bucket(Bucket="lake")
            for name, source in (("snapshot", "postgres"), ("changes", "postgres_cdc")):
                figures[name] = measure(lake, {**os.environ}, source, rows)
                print(name, figures[name])
    lines = [
        f"| {name} | {item['rows'] / item['seconds']:,.0f} | {item['seconds']:.0f} | {item['cpu_seconds']:.0f} "
        f"| {item['peak_mb']:.0f} | {item['idle_mb']:.0f} | {item['landed_mb']:.0f} | {item['bronze_mb']:.0f} |"
        for name, item in figures.items()
    ]
    page = "\n".join(
        [
            f"# Loading {rows:,} rows to bronze, {datetime.now(UTC).date().isoformat()}",
            "",
            f"From landing objects in S3 to the object of the partition in S3. {results.describe(box)}",
            "",
            "*snapshot*: one stream of a full refresh or increment, keys shuffled, sorted by key and freed of repeats.",
            "*changes*: one CDC sync of one stream, in the order of the log.",
            "",
            "| | rows/s | seconds | CPU seconds | peak memory MB | of it before the load | landed MB | bronze MB |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
            "",
            f"The bound is {LIMIT_MB} MB at 50 million rows. Local disk: about three times what landed.",
            "",
        ]
    )
    results.write("bronze", {"rows": rows, "machine": box, "figures": figures}, page)
    worst = max(item["peak_mb"] for item in figures.values())
    assert worst < LIMIT_MB, f"{worst:.0f} MB at the peak"


if __name__ == "__main__":
    if "--load" in sys.argv:
        load(sys.argv[-1])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
