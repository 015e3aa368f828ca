"""What the sandbox Dremio adds to a statement: REST (POST sql, GET job, GET results) against DuckDB in process.

Starts an S3 server and a Dremio of its own, so nothing has to run. Both sides answer the same small query over the same
rows in turn, in one process and one sitting; the median of each and their difference, the overhead, are printed and go
to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow as pa
import results

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.sandbox.dremio.services import FINAL, Dremio, free_offset, s3_server

ROWS = 10_000
STATEMENTS = {
    "select 1": "select 1 as one",
    "table": "select k, count(*) as c, sum(n) as s from {table} group by k order by k",
    "view": "select * from {view} where k = 3 order by n limit 100",
}


def statement(http: httpx.Client, sql: str) -> list[dict[str, object]]:
    """Run a statement over REST as a client does that does not wait between polls."""
    job = http.post("/api/v3/sql", json={"sql": sql}).json()["id"]
    while (state := http.get(f"/api/v3/job/{job}").json())["jobState"] not in FINAL:
        pass
    assert state["jobState"] == "COMPLETED", state["errorMessage"]
    return http.get(f"/api/v3/job/{job}/results", params={"limit": 500}).json()["rows"]


def milliseconds(run: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1000


def measure(dremio: Dremio, local: duckdb.DuckDBPyConnection, repetitions: int) -> dict[str, dict[str, float]]:
    """Return, for every statement, the medians of both sides and their difference in milliseconds."""
    found = {}
    for name, sql in STATEMENTS.items():
        remote = sql.format(table="lake.datalake.bench.t", view="bench.v")
        direct = sql.format(table="t", view="v")
        sides: dict[str, Callable[[], object]] = {
            "duckdb": lambda direct=direct: local.execute(direct).fetchall(),
            "rest": lambda remote=remote: statement(dremio.http, remote),
        }
        times: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(repetitions + 5):
            for side, run in sides.items():
                taken = milliseconds(run)
                if number >= 5:  # the first ones warm up
                    times[side].append(taken)
        medians = {side: statistics.median(taken) for side, taken in times.items()}
        medians["overhead"] = medians["rest"] - medians["duckdb"]
        found[name] = {side: round(value, 2) for side, value in medians.items()}
    return found


def markdown(result: dict[str, Any]) -> str:
    """Return the result as a page."""
    lines = [
        f"# Statements on the sandbox Dremio, {result['measured_at']}",
        "",
        f"{results.describe(result['machine'])} Milliseconds, medians of {result['repetitions']}; bound: 10 ms more.",
        "",
        "| statement | DuckDB in process | REST | overhead |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['duckdb']} | {row['rest']} | **{row['overhead']}** |"
        for name, row in result["measured"].items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Start the servers, measure, stop them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=200)
    repetitions = parser.parse_args().repetitions
    result: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": results.machine(),
        "repetitions": repetitions,
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "s3").mkdir()
        (Path(folder) / "dremio").mkdir()
        with s3_server(Path(folder) / "s3") as s3:
            dremio = Dremio(Path(folder) / "dremio", free_offset())
            dremio.start()
            try:
                rows = pa.table({"k": [n % 7 for n in range(ROWS)], "n": list(range(ROWS))})
                s3.put("bench/t/data.parquet", rows)
                dremio.http.post("/api/v3/catalog", json=s3.source()).raise_for_status()
                dremio.http.post("/api/v3/catalog", json={"entityType": "space", "name": "bench"}).raise_for_status()
                dremio.rows("alter table lake.datalake.bench.t refresh metadata")
                dremio.rows("create view bench.v as select k, n from lake.datalake.bench.t")
                local = duckdb.connect()
                local.register("rows_", rows)
                local.execute("create table t as select * from rows_")
                local.execute("create view v as select k, n from t")
                result["measured"] = measure(dremio, local, repetitions)
            finally:
                dremio.stop()
    page = markdown(result)
    print(page)
    results.write("dremio_statements", result, page)


if __name__ == "__main__":
    main()
