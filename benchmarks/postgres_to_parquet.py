"""Measures PostgreSQL to Parquet against its peers: ``.venv/airflow/bin/python benchmarks/postgres_to_parquet.py``.

Starts a PostgreSQL of its own, fills one table of twelve columns, and lets the sandbox's source-postgres and its peers
copy it to snappy Parquet on local disk, in turn, each in a fresh process. The peers live in an environment of their own
below ``var/benchmarks``, installed from PyPI with pinned versions. Every file is read back: the same rows, the same
sums, and which types they kept. The result goes to ``benchmarks/results/postgres_to_parquet-<date>.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset
import results
from platform_access import REPOSITORY, VAR

sys.path.insert(0, str(REPOSITORY))

from tests.sandbox.airbyte.services import Postgres, postgres

PEERS = (
    "duckdb==1.5.5",
    "duckdb-extension-postgres-scanner==1.5.5",
    "connectorx==0.4.6",
    "dlt[parquet,filesystem,sql-database]==1.31.0",
    "sqlalchemy==2.0.58",
    "psycopg2-binary==2.9.13",
    "pyarrow==26.0.1",
    "psutil==7.2.2",
)
SAMPLE_SECONDS = 0.1
"""How often the memory of a contender is looked at."""
OURS = ("source_postgres", "whole_sync")
CONTENDERS = (*OURS, "duckdb_scanner", "copy_csv", "connectorx_stream", "dlt_connectorx", "dlt_pyarrow")
IN_PEERS = {"duckdb_scanner", "connectorx_stream", "dlt_connectorx", "dlt_pyarrow"}
_TABLE = """
create table sales as select i::bigint as id, (i * 7919 % 1000000)::int as customer_id, (i % 5000)::int as product_id,
    (1 + i % 7)::smallint as quantity, (i * 37 % 1000000 / 100.0)::numeric(12,2) as amount,
    (i % 25 / 100.0)::numeric(12,2) as discount, date '2020-01-01' + (i % 2000)::int as day,
    timestamp '2020-01-01' + i * interval '13 second' as sold_at,
    timestamptz '2020-01-01 00:00+00' + i * interval '13.7 second' as updated_at, i % 3 = 0 as paid,
    (array['new', 'paid', 'shipped', 'returned'])[1 + i % 4] as status, 'note number ' || i as note
from generate_series(1::bigint, {rows}) as numbers(i)
"""


def peers() -> Path:
    """Return the Python of the peers' environment, installed if its list of packages has changed."""
    home = VAR / "benchmarks" / "peers"
    stamp, python = home / "packages", home / "bin" / "python"
    wanted = "\n".join(PEERS)
    if not stamp.exists() or stamp.read_text() != wanted:
        uv = subprocess.run([REPOSITORY / "scripts/bootstrap", "--uv"], capture_output=True, text=True, check=True)
        tool = uv.stdout.strip()
        subprocess.run([tool, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        subprocess.run([tool, "pip", "install", "--quiet", "--python", python, *PEERS], check=True)
        stamp.write_text(wanted)
    return python


def measure(name: str, python: Path, database: Postgres) -> dict[str, Any]:
    """Let one contender copy the table; returns what it took and what its file holds."""
    with tempfile.TemporaryDirectory() as directory:
        before = server_seconds()
        running = psutil.Popen(
            [python, Path(__file__).with_name("parquet_contenders.py"), name, database.dsn, directory],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peak_mb = 0.0
        while True:
            try:
                out, errors = running.communicate(timeout=SAMPLE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                peak_mb = max(peak_mb, memory_mb(running))
        if running.returncode:
            raise SystemExit(f"{name}: {errors[-3000:]}")
        server = server_seconds() - before
        taken = {**json.loads(out.splitlines()[-1]), "peak_mb": peak_mb, "server_seconds": server}
        return {**taken, **content(Path(directory))}


def memory_mb(process: psutil.Process) -> float:
    """Return the memory of a process and those below it; what several of them map counts once."""
    size = 0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            info = each.memory_full_info()
            size += getattr(info, "pss", info.uss)  # macOS knows only what a process has for itself
    return size / 2**20


def server_seconds() -> float:
    """Return the processor time that PostgreSQL has taken, with all its sessions, those that have ended as well."""
    (server,) = [child for child in psutil.Process().children() if child.name() == "postgres"]
    ended, living = server.cpu_times(), [child.cpu_times() for child in server.children()]
    return sum(times.user + times.system for times in (ended, *living)) + ended.children_user + ended.children_system


def content(directory: Path) -> dict[str, Any]:
    """Return size, rows, a sum and the types of the Parquet files below a directory."""
    files = [path for path in directory.rglob("*.parquet") if "_dlt" not in str(path) and "state" not in path.parts]
    data = pa_dataset.dataset([str(path) for path in files])
    amounts = data.to_table(columns=["amount", "id"])
    schema = data.schema
    exact = {"amount": pa.decimal128(12, 2), "sold_at": pa.timestamp("us"), "updated_at": pa.timestamp("us", tz="UTC")}
    lost = [f"{name} {schema.field(name).type}" for name, kind in exact.items() if schema.field(name).type != kind]
    total = pc.sum(amounts["amount"].cast(pa.decimal128(38, 10))).as_py()
    return {
        "megabytes": sum(path.stat().st_size for path in files) / 2**20,
        "rows": amounts.num_rows,
        "sum": str(total.quantize(1).normalize()),
        "types": "exact" if not lost else ", ".join(lost),
    }


def compare(database: Postgres, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Let all contenders take turns, after a run that warms the server's memory and does not count."""
    python = peers()
    measure(OURS[0], Path(sys.executable), database)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):
        for name in CONTENDERS:
            run = measure(name, python if name in IN_PEERS else Path(sys.executable), database)
            print(f"{number}: {name:18} {run['seconds']:6.2f} s  {run['peak_mb']:5.0f} MB  {run['types']}", flush=True)
            found[name].append(run)
    outcomes = {(run["rows"], run["sum"]) for runs in found.values() for run in runs}
    if len(outcomes) != 1:
        raise SystemExit(f"the files differ: {outcomes}")
    return found


def summary(found: dict[str, list[dict[str, Any]]], rows: int) -> dict[str, Any]:
    """Return the medians, and how source-postgres stands against the fastest peer and against dlt."""
    rates = {name: rows / statistics.median(run["seconds"] for run in runs) for name, runs in found.items()}
    rivals = {name: rate for name, rate in rates.items() if name not in OURS}
    fastest = max(rivals, key=lambda name: rivals[name])
    return {
        "rows": rows,
        "rows_per_second": rates,
        "cpu_seconds": {name: statistics.median(run["cpu_seconds"] for run in runs) for name, runs in found.items()},
        "server_seconds": {
            name: statistics.median(run["server_seconds"] for run in runs) for name, runs in found.items()
        },
        "peak_mb": {name: max(run["peak_mb"] for run in runs) for name, runs in found.items()},
        "megabytes": {name: runs[0]["megabytes"] for name, runs in found.items()},
        "types": {name: runs[0]["types"] for name, runs in found.items()},
        "fastest_peer": fastest,
        "against_fastest_peer": rates["source_postgres"] / rates[fastest],
        "against_dlt": rates["source_postgres"] / max(rates["dlt_connectorx"], rates["dlt_pyarrow"]),
    }


def page(result: dict[str, Any], box: dict[str, Any]) -> str:
    """Return the result in Markdown."""
    lines = [
        f"# PostgreSQL to Parquet, {datetime.now(UTC).date().isoformat()}\n",
        f"{results.describe(box)}\n",
        f"{result['rows']:_} rows of twelve columns, snappy, local disk, medians of runs in turn.\n".replace("_", " "),
        "| way | rows/s | client CPU s | server CPU s | peak MB | MB written | types |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in sorted(result["rows_per_second"], key=lambda name: -result["rows_per_second"][name]):
        lines.append(
            f"| {name} | {result['rows_per_second'][name] / 1000:.0f}k | {result['cpu_seconds'][name]:.1f} "
            f"| {result['server_seconds'][name]:.1f} | {result['peak_mb'][name]:.0f} "
            f"| {result['megabytes'][name]:.0f} | {result['types'][name]} |"
        )
    lines += [
        "",
        f"source_postgres against the fastest peer ({result['fastest_peer']}): {result['against_fastest_peer']:.2f} "
        f"(aim 0.9); against dlt's best: {result['against_dlt']:.2f} (aim 2); "
        f"peak {result['peak_mb']['source_postgres']:.0f} MB (aim below 300).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="how often each takes its turn")
    chosen = parser.parse_args()
    box = results.machine()
    with postgres() as database:
        database.execute(_TABLE.format(rows=chosen.rows), "vacuum analyze sales")
        result = summary(compare(database, chosen.rounds), chosen.rows)
    text = page(result, box)
    print(text)
    results.write("postgres_to_parquet", {"machine": box, **result}, text)


if __name__ == "__main__":
    main()
