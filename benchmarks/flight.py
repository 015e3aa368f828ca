"""Measures reading from Dremio: ``.venv/airflow/bin/python benchmarks/flight.py``.

Three readers of the same query on the same server: the provider's hook over Arrow Flight, bare pyarrow Flight, and the
hook over REST, page by page. The rounds take turns, so that a busy moment of the machine meets all of them; what counts
is the ratio of the medians. Dremio is the one of the running platform, or the one that ``DREMIO_URL``,
``DREMIO_FLIGHT``, ``DREMIO_USER`` and ``DREMIO_PASSWORD`` name.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import results
from dremio_provider.hooks.dremio import DremioHook
from platform_access import read_settings
from pyarrow import flight

AGAINST_BARE, AGAINST_REST = 0.95, 50
REST_ROWS = 25_000


def query(rows: int) -> str:
    """Return a query of so many rows with the kinds of columns an order has. It reads no storage: what is measured is
    the way from the server to the caller."""
    digits = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))"
    places = len(str(rows - 1))
    number = " + ".join(f"t{place}.d * {10**place}" for place in range(places))
    tables = ", ".join(f"{digits} AS t{place} (d)" for place in range(places))
    return (
        "SELECT CAST(n AS BIGINT) AS order_id, CAST(n AS DOUBLE) / 100 AS amount, "
        "CASE WHEN MOD(n, 3) = 0 THEN 'delivered' ELSE 'paid' END AS status, "
        "DATE_ADD(DATE '2026-01-01', CAST(MOD(n, 365) AS INTEGER)) AS ordered_on "
        f"FROM (SELECT {number} AS n FROM {tables}) AS numbers WHERE n < {rows}"
    )


class BareFlight:
    """pyarrow's client and nothing else, logged in once like the hook."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._client = flight.connect(settings["DREMIO_FLIGHT"])
        token = self._client.authenticate_basic_token(settings["DREMIO_USER"], settings["DREMIO_PASSWORD"])
        self._options = flight.FlightCallOptions(headers=[token])

    def _reader(self, sql: str) -> flight.FlightStreamReader:
        info = self._client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), self._options)
        return self._client.do_get(info.endpoints[0].ticket, self._options)

    def table(self, sql: str) -> pa.Table:
        """Read everything."""
        return self._reader(sql).read_all()

    def stream(self, sql: str) -> int:
        """Read batch by batch and return the number of rows."""
        return sum(chunk.data.num_rows for chunk in self._reader(sql))


def connection(settings: dict[str, str]) -> str:
    """Return the Airflow connection that leads to the same Dremio."""
    return json.dumps(
        {
            "conn_type": "dremio",
            "host": settings["DREMIO_URL"],
            "login": settings["DREMIO_USER"],
            "password": settings["DREMIO_PASSWORD"],
            "extra": {"flight_port": urlsplit(settings["DREMIO_FLIGHT"]).port},
        }
    )


def timed(read: Callable[[], int], rows: int) -> float:
    """Return rows a second.

    Raises:
        SystemExit: if a reader did not get all rows.
    """
    started = time.perf_counter()
    found = read()
    seconds = time.perf_counter() - started
    if found != rows:
        raise SystemExit(f"{found} rows were read instead of {rows}.")
    return rows / seconds


def measure(rows: int, rounds: int, settings: dict[str, str]) -> dict[str, Any]:
    """Let the readers take turns and return the medians of their rows a second."""
    box = results.machine()
    bare, sql, small = BareFlight(settings), query(rows), query(REST_ROWS)
    with DremioHook() as hook:
        job = hook.run_sql(small)
        readers: dict[str, tuple[Callable[[], int], int]] = {
            "pyarrow, table": (lambda: bare.table(sql).num_rows, rows),
            "hook, table": (lambda: hook.get_arrow_table(sql).num_rows, rows),
            "pyarrow, batches": (lambda: bare.stream(sql), rows),
            "hook, batches": (lambda: sum(batch.num_rows for batch in hook.get_arrow_batches(sql)), rows),
            # The job is done already: REST is not charged for running the query.
            "hook, REST pages": (lambda: sum(1 for _ in hook.iter_rows(job)), REST_ROWS),
        }
        found: dict[str, list[float]] = {name: [] for name in readers}
        # One round to warm up, which is not counted; then those who are compared take turns at being first.
        for turn in range(rounds + 1):
            order = list(readers) if turn % 2 else list(reversed(readers))
            for name in order:
                value = timed(*readers[name])
                if turn:
                    found[name].append(value)
            print(f"round {turn} of {rounds}", flush=True)
    medians = {name: round(statistics.median(values)) for name, values in found.items()}
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": box,
        "rows": rows,
        "rest_rows": REST_ROWS,
        "rounds": rounds,
        "rows_per_second": medians,
        "all_rounds": {name: [round(value) for value in values] for name, values in found.items()},
        "ratios": {
            "hook / pyarrow, table": round(medians["hook, table"] / medians["pyarrow, table"], 3),
            "hook / pyarrow, batches": round(medians["hook, batches"] / medians["pyarrow, batches"], 3),
            "Flight / REST": round(medians["hook, table"] / medians["hook, REST pages"], 1),
        },
    }


def markdown(result: dict[str, Any]) -> str:
    """Return the result as a page."""
    bounds = {
        "hook / pyarrow, table": AGAINST_BARE,
        "hook / pyarrow, batches": AGAINST_BARE,
        "Flight / REST": AGAINST_REST,
    }
    lines = [
        f"# Reading from Dremio, {result['measured_at']}",
        "",
        results.describe(result["machine"]),
        "",
        f"{result['rows']:,} rows of four columns over Arrow Flight, {result['rest_rows']:,} over REST; medians of "
        f"{result['rounds']} rounds that took turns.",
        "",
        "| reader | rows a second |",
        "|---|---|",
        *(f"| {name} | {value:,} |" for name, value in result["rows_per_second"].items()),
        "",
        "| ratio | | bound |",
        "|---|---|---|",
        *(f"| {name} | **{value}** | {bounds[name]} |" for name, value in result["ratios"].items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    settings = dict(os.environ) if "DREMIO_URL" in os.environ else read_settings()
    os.environ["AIRFLOW_CONN_DREMIO_DEFAULT"] = connection(settings)
    result = measure(arguments.rows, arguments.rounds, settings)
    results.write("flight", result, markdown(result))
    print(json.dumps(result["ratios"], indent=2))


if __name__ == "__main__":
    main()
