"""Change data capture of the sandbox's Airbyte: changes a second, memory of a large transaction, age of what lands.

Starts its own PostgreSQL, S3 server and Airbyte, and counts every landed change: a figure counts only if it is whole.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
import results
from platform_access import REPOSITORY

sys.path.insert(0, str(REPOSITORY))

from tests.sandbox.airbyte import services  # the repository has to be on the path first
from tests.sandbox.airbyte.change_data import ChangeData

ORDERS = """create table orders (order_id bigint primary key, customer_id bigint, order_date date,
    amount numeric(12,2), status text, updated_at timestamp)"""
ROW = "n, n % 9000, date '2026-01-01' + n % 300, n + 0.01, 'completed', timestamp '2026-01-01' + n * interval '1 s'"
AIM_CHANGES_PER_SECOND = 60_000
AIM_PEAK_MB = 300
POLL_SECONDS = 0.02
"""Between two questions for a job's state at first; they become rarer, because the server that answers them works."""


class Platform:
    """The servers, and one table whose changes are read."""

    def __init__(self, data: ChangeData, process: psutil.Process) -> None:
        self.data = data
        self.process = process
        self.http = data.client.http

    def sync(self) -> tuple[int, float]:
        """Run a sync; returns its records and seconds, from the request to the end of the job."""
        started = time.perf_counter()
        job = self.http.post("jobs", json={"connectionId": self.data.connection, "jobType": "sync"}).json()["jobId"]
        while (state := self.http.get(f"jobs/{job}").json())["status"] not in ("succeeded", "failed", "cancelled"):
            time.sleep(max(POLL_SECONDS, 0.05 * (time.perf_counter() - started)))
        seconds = time.perf_counter() - started
        if state["status"] != "succeeded":
            raise SystemExit("\n".join(self.data.client.lines(job)))
        return int(state["rowsSynced"]), seconds

    def decode_seconds(self) -> float:
        """Return how long PostgreSQL alone takes to decode what is in the slot."""
        started = time.perf_counter()
        self.data.rows(
            f"select count(*) from pg_logical_slot_peek_binary_changes('{self.data.slot}', null, null, "
            f"'proto_version', '1', 'publication_names', '{self.data.publication}')"
        )
        return time.perf_counter() - started

    def cpu_seconds(self) -> float:
        """Return the processor time that Airbyte has used."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def reset_peak(self) -> None:
        """Let the kernel begin a new maximum of the server's resident memory."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        """Return that maximum."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextmanager
def platform() -> Iterator[Platform]:
    """Run the servers while the block runs."""
    with services.postgres() as postgres, services.s3() as lake, tempfile.TemporaryDirectory() as var:
        # Development brings pandas and polars, which ADBC imports where they are: 65 MB that a platform does not have.
        for library in ("pandas", "polars"):
            (Path(var) / f"{library}.py").write_text(f"raise ImportError('{library}')\n")
        os.environ["PYTHONPATH"] = var
        airbyte = services.Airbyte(Path(var), services.free_offset())
        airbyte.start()
        assert airbyte.process is not None
        try:
            data = ChangeData(postgres, lake, airbyte.client())
            data.create(ORDERS)
            data.connect("orders")
            found = Platform(data, psutil.Process(airbyte.process.pid))
            found.sync()
            yield found
        finally:
            airbyte.stop()


def write_mixed(platform: Platform, changes: int, transactions: int) -> None:
    """Write inserts, updates and deletes, 6 to 3 to 1, in transactions of equal size."""
    inserts = changes * 6 // 10 // transactions
    with psycopg.connect(platform.data.postgres.dsn, options=f"-c search_path={platform.data.schema}") as session:
        session.execute("truncate orders")
        for number in range(transactions):
            first, last = number * inserts + 1, (number + 1) * inserts
            session.execute(f"insert into orders select {ROW} from generate_series({first}, {last}) n")
            updated, deleted = first + inserts // 2 - 1, first + inserts // 6 - 1
            session.execute(
                "update orders set status = 'shipped', amount = amount + 1 "
                f"where order_id between {first} and {updated}"
            )
            session.execute(f"delete from orders where order_id between {first} and {deleted}")
            session.commit()


def throughput(platform: Platform, changes: int, rounds: int) -> list[dict[str, Any]]:
    """Return what syncs of the same changes in many small and in few large transactions take."""
    measured = []
    for name, size in (("transactions of 10 changes", 10), ("transactions of 1000 changes", 1000)):
        rates, ceilings, costs = [], [], []
        for _ in range(rounds):
            write_mixed(platform, changes, changes // size)
            alone = platform.decode_seconds()
            used = platform.cpu_seconds()
            rows, seconds = platform.sync()
            while (more := platform.sync())[0]:  # a sync that reached its bound
                rows, seconds = rows + more[0], seconds + more[1]
            if rows < changes * 0.99:
                raise SystemExit(f"{rows} of {changes} changes landed")
            rates.append(rows / seconds)
            ceilings.append(rows / alone)
            costs.append(rows / (platform.cpu_seconds() - used))
        measured.append(
            {"what": name, "changes": changes, "per_second": statistics.median(rates), "worst": min(rates),
             "per_cpu_second": statistics.median(costs), "decoding_alone_per_second": statistics.median(ceilings)}
        )  # fmt: skip
        print(measured[-1])
    return measured


def memory(platform: Platform, rows: int) -> dict[str, Any]:
    """Return what one transaction of ``rows`` changes takes."""
    platform.data.execute("truncate orders", f"insert into orders select {ROW} from generate_series(1, {rows}) n")
    while platform.sync()[0]:
        pass
    platform.data.execute("update orders set amount = amount + 1, status = 'shipped'")
    platform.reset_peak()
    before = platform.peak_mb()
    landed, seconds = platform.sync()
    if landed != rows:
        raise SystemExit(f"{landed} of {rows} changes landed")
    found = {"changes": rows, "seconds": seconds, "per_second": rows / seconds, "before_mb": before,
             "peak_mb": platform.peak_mb()}  # fmt: skip
    print(found)
    return found


def freshness(platform: Platform, rate: int, seconds: float, cadence: float) -> dict[str, Any]:
    """Return the age of changes, from their commit to the end of the sync that landed them."""
    stop = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        batch = max(rate // 100, 1)
        with psycopg.connect(platform.data.postgres.dsn, options=f"-c search_path={platform.data.schema}") as session:
            began = time.monotonic()
            while not stop.is_set():
                first = 10_000_000 + written
                session.execute(f"insert into orders select {ROW} from generate_series({first}, {first + batch - 1}) n")
                session.commit()
                written += batch
                time.sleep(max(0.0, began + written / rate - time.monotonic()))

    platform.data.execute("truncate orders")
    platform.sync()
    already = len(platform.data.lake.keys(f"bronze/landing/{platform.data.schema}/"))
    writer = threading.Thread(target=write)
    writer.start()
    ends: list[tuple[int, float]] = []
    durations = []
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        next_one = time.monotonic() + cadence
        rows, took = platform.sync()
        ends.append((rows, time.time()))
        durations.append(took)
        time.sleep(max(0.0, next_one - time.monotonic()))
    stop.set()
    writer.join()
    rows, took = platform.sync()
    ends.append((rows, time.time()))
    tables = platform.data.tables("orders")[
        -(len(platform.data.lake.keys(f"bronze/landing/{platform.data.schema}/")) - already) :
    ]
    ages: list[float] = []
    landed = iter(tables)
    for rows, at in ends:
        if rows:
            committed = next(landed)["_ab_cdc_updated_at"].to_pylist()
            ages += [at - datetime.fromisoformat(text).astimezone(UTC).timestamp() for text in committed]
    if len(ages) != written:
        raise SystemExit(f"{len(ages)} of {written} changes landed")
    cut = statistics.quantiles(ages, n=100)
    found = {"rate": rate, "cadence": cadence, "changes": written, "syncs": len(ends),
             "sync_p50": statistics.median(durations), "p50": cut[49], "p95": cut[94], "p99": cut[98],
             "max": max(ages)}  # fmt: skip
    print(found)
    return found


def idle(platform: Platform, rounds: int) -> dict[str, Any]:
    """Return what a sync takes when there is nothing to read."""
    taken = sorted(platform.sync()[1] for _ in range(rounds))
    found = {"p50": statistics.median(taken), "max": taken[-1]}
    print(found)
    return found


def page(result: dict[str, Any]) -> str:
    """Return the result in Markdown."""
    large, fresh, quiet = result["memory"], result["freshness"], result["idle"]
    rows = "".join(
        f"| {item['what']} | {item['changes']:,} | {item['per_second']:,.0f} | {item['worst']:,.0f} "
        f"| {item['per_cpu_second']:,.0f} | {item['decoding_alone_per_second']:,.0f} |\n"
        for item in result["throughput"]
    )
    ages = "".join(
        f"| {item['rate']:,} | {item['cadence']:g} s | {item['p50']:.2f} | {item['p95']:.2f} | {item['p99']:.2f} "
        f"| {item['max']:.2f} | {item['sync_p50']:.2f} |\n"
        for item in fresh
    )
    return f"""# Change data from the slot to Parquet in S3

{results.describe(result["machine"])}

From `POST jobs` to the job's end: Parquet (snappy) uploaded, state saved, slot moved. Inserts, updates and deletes, 6
to 3 to 1, of a table of six columns. Decoding alone: PostgreSQL counts the slot's messages and sends none.

| | changes | changes/s, median | worst | a CPU second of Airbyte | decoding alone, changes/s |
|---|---|---|---|---|---|
{rows}
Aim: {AIM_CHANGES_PER_SECOND:,} changes/s.

One transaction of {large["changes"]:,} updates: {large["seconds"]:.1f} s, {large["per_second"]:,.0f} changes/s.
Memory of the server: at most {large["peak_mb"]:.0f} MB resident, {large["before_mb"]:.0f} before. Aim: {AIM_PEAK_MB}.

Age of a change when its sync has ended, seconds, syncs one after the other:

| changes/s | a sync every | p50 | p95 | p99 | max | a sync takes, p50 |
|---|---|---|---|---|---|---|
{ages}
A sync of nothing: {quiet["p50"]:.2f} s at the median, {quiet["max"]:.2f} s at most.
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=300_000, help="changes of a throughput run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transaction", type=int, default=1_000_000, help="changes of the large transaction")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a freshness run")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": results.machine(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    with platform() as running:
        result["memory"] = memory(running, arguments.transaction)
        result["idle"] = idle(running, 20)
        result["freshness"] = [freshness(running, rate, arguments.seconds, 1.0) for rate in (1000, 5000)]
        result["throughput"] = throughput(running, arguments.changes, arguments.rounds)
    results.write("cdc", result, page(result))


if __name__ == "__main__":
    main()
