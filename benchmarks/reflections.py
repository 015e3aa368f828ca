"""Measures what reflections are worth: ``.venv/airflow/bin/python benchmarks/reflections.py``.

Starts an object store and a sandbox Dremio of its own, makes a shop in the lake and asks the same questions of the
same views with and without reflections, in turn, over Arrow Flight. Two sets of views with the same queries stand on
the same files; one set has reflections. The shop's sales come as they do from a till's export: dates and amounts as
text, codes in any case, which the gold views clean. The result goes to ``benchmarks/results/reflections-<date>.md`` and
``.json``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import results
from platform_access import REPOSITORY
from pyarrow import flight

sys.path.insert(0, str(REPOSITORY))

from tests.sandbox.dremio.services import Dremio, free_offset, read, s3_server, wait_until

FILES = 10
CUSTOMERS, PRODUCTS = 200_000, 20_000
LAKE = "lake.datalake.shop"

_ONE_OF = "CREATE OR REPLACE MACRO one_of(list, seed) AS list[(1 + hash(seed) % len(list))::BIGINT]"
_SALES = """
SELECT i AS sale_id, (hash(i) % {customers})::INTEGER AS customer_id, (hash(i + 1) % {products})::INTEGER AS product_id,
    strftime(DATE '2024-01-01' + (hash(i + 2) % 1000)::INTEGER, '%d.%m.%Y') AS sold_on,
    (1 + hash(i + 3) % 5)::INTEGER AS quantity, printf('%d.%02d', 5 + hash(i + 4) % 300, hash(i + 5) % 100) AS price,
    one_of(['web', 'WEB ', 'shop', 'Shop', 'app'], i + 6) AS channel,
    one_of(['complete', 'complete', 'complete', 'returned', 'open'], i + 7) AS status
FROM range({start}, {stop}) AS numbers(i)
"""
_CUSTOMERS = """
SELECT i::INTEGER AS customer_id, 'Customer ' || i AS name,
    one_of(['de', 'FR', 'at', 'CH', 'it', 'NL', 'be', 'es'], i) AS country,
    one_of(['retail', 'trade', 'online'], i + 1) AS segment FROM range({customers}) AS numbers(i)
"""
_PRODUCTS = """
SELECT i::INTEGER AS product_id, 'Product ' || i AS title, 'category ' || (hash(i) % 40) AS category,
    'Brand ' || (hash(i + 1) % 400) AS brand FROM range({products}) AS numbers(i)
"""
_SALES_VIEW = f"""
SELECT sale_id, customer_id, product_id, TO_DATE(sold_on, 'DD.MM.YYYY') AS sale_date, quantity,
    CAST(price AS DECIMAL(10, 2)) * quantity AS revenue, LOWER(TRIM(channel)) AS channel, status FROM {LAKE}.sales
"""
_JOINED_VIEW = """
SELECT s.sale_id, s.sale_date, s.quantity, s.revenue, s.channel, s.status, s.customer_id, c.name AS customer,
    UPPER(c.country) AS country, c.segment, p.title AS product, p.category, p.brand
FROM gold.{sales} AS s
JOIN lake.datalake.shop.customers AS c ON c.customer_id = s.customer_id
JOIN lake.datalake.shop.products AS p ON p.product_id = s.product_id
"""

AGGREGATION = {
    "name": "sales_by_day", "type": "AGGREGATION",
    "dimensionFields": [{"name": name} for name in ("sale_date", "channel", "status")],
    "measureFields": [
        {"name": "revenue", "measureTypeList": ["SUM", "COUNT", "MIN", "MAX"]},
        {"name": "quantity", "measureTypeList": ["SUM", "COUNT"]},
    ],
    "sortFields": [{"name": "sale_date"}],
}  # fmt: skip
RAW = {
    "name": "sales_in_full", "type": "RAW",
    "displayFields": [
        {"name": name}
        for name in ("sale_id", "sale_date", "quantity", "revenue", "channel", "status", "customer_id", "customer",
                     "country", "segment", "product", "category", "brand")
    ],
    "sortFields": [{"name": "sale_date"}],
}  # fmt: skip

QUESTIONS = {
    "aggregation": {
        "revenue by month and channel": """SELECT DATE_TRUNC('month', sale_date) AS sale_month, channel,
            SUM(revenue) AS revenue, COUNT(*) AS sales, AVG(revenue) AS average FROM gold.{sales}
            WHERE status = 'complete' GROUP BY 1, 2 ORDER BY 1, 2""",
        "the last 90 days": """SELECT sale_date, SUM(revenue) AS revenue, SUM(quantity) AS quantity FROM gold.{sales}
            WHERE sale_date >= DATE '2026-07-01' GROUP BY sale_date ORDER BY sale_date""",
        "key figures": """SELECT COUNT(*) AS sales, SUM(revenue) AS revenue, MAX(revenue) AS largest
            FROM gold.{sales}""",
        "share of returns by year": """SELECT EXTRACT(YEAR FROM sale_date) AS sale_year, status, COUNT(*) AS sales
            FROM gold.{sales} GROUP BY 1, 2 ORDER BY 1, 2""",
    },
    "raw": {
        "largest sales of a week": """SELECT sale_date, customer, product, revenue FROM gold.{joined}
            WHERE sale_date BETWEEN DATE '2026-03-02' AND DATE '2026-03-08' ORDER BY revenue DESC, sale_id LIMIT 100""",
        "categories in a week and country": """SELECT category, SUM(revenue) AS revenue, COUNT(*) AS sales
            FROM gold.{joined} WHERE sale_date BETWEEN DATE '2026-03-02' AND DATE '2026-03-08' AND country = 'DE'
            GROUP BY category ORDER BY revenue DESC""",
        "web sales of a day by brand": """SELECT brand, COUNT(*) AS sales, SUM(revenue) AS revenue FROM gold.{joined}
            WHERE sale_date = DATE '2026-03-04' AND channel = 'web'
            GROUP BY brand ORDER BY revenue DESC, brand LIMIT 20""",
        "a page of a day's sales": """SELECT sale_id, customer, product, brand, quantity, revenue FROM gold.{joined}
            WHERE sale_date = DATE '2026-03-04' AND channel = 'app' ORDER BY sale_id DESC LIMIT 50""",
    },
}
ACCELERATED_EACH = 5
"""Questions with a reflection to each one without: the first finds the processor's caches full of the other's data,
which no dashboard does whose questions are all answered from reflections. Alone it takes up to twice as long."""
BOUNDS = {"aggregation": 50, "raw": 60}


def make_lake(folder: Path, rows: int) -> None:
    """Write the shop's files where the object store keeps them."""
    sizes = {"customers": CUSTOMERS, "products": PRODUCTS}
    step = rows // FILES
    files = {f"sales/{number}": _SALES.format(start=number * step, stop=(number + 1) * step, **sizes)
             for number in range(FILES)}  # fmt: skip
    files |= {"customers/0": _CUSTOMERS.format(**sizes), "products/0": _PRODUCTS.format(**sizes)}
    duckdb.execute(_ONE_OF)
    for name, query in files.items():
        target = folder / f"{name}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        duckdb.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet)")


def set_up(dremio: Dremio, source: dict[str, Any]) -> dict[str, Any]:
    """Declare source, views and reflections; return how large the reflections are and how long they took."""
    for body in (source, {"entityType": "space", "name": "gold"}):
        dremio.http.post("/api/v3/catalog", json=body).raise_for_status()
    for table in ("sales", "customers", "products"):
        dremio.rows(f"ALTER TABLE {LAKE}.{table} REFRESH METADATA AUTO PROMOTION")
    for suffix in ("", "_plain"):
        dremio.rows(f"CREATE OR REPLACE VIEW gold.sales{suffix} AS {_SALES_VIEW}")
        dremio.rows(f"CREATE OR REPLACE VIEW gold.joined{suffix} AS {_JOINED_VIEW.format(sales=f'sales{suffix}')}")
    return {"aggregation": _reflect(dremio, "sales", AGGREGATION), "raw": _reflect(dremio, "joined", RAW)}


def _reflect(dremio: Dremio, view: str, body: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    asked = {"datasetId": dremio.entity("gold", view)["id"], "enabled": True, **body}
    identifier = dremio.http.post("/api/v3/reflection", json=asked).raise_for_status().json()["id"]

    def built() -> dict[str, Any] | None:
        shown: dict[str, Any] = dremio.http.get(f"/api/v3/reflection/{identifier}").json()
        if shown["status"]["failureCount"]:
            raise SystemExit(f"{body['name']} could not be built: {shown['status']['lastFailureMessage']}")
        return shown if shown["status"]["availability"] == "AVAILABLE" else None

    shown = wait_until(built, 900, f"the refresh of {body['name']}")
    return {"rows": shown["recordCount"], "bytes": shown["currentSizeBytes"],
            "seconds": round(time.perf_counter() - started, 1)}  # fmt: skip


def measure(dremio: Dremio, rounds: int) -> list[dict[str, Any]]:
    """Ask every question with and without its reflection, in turn; return the medians in milliseconds.

    Raises:
        SystemExit: if an answer differs, or did not come from a reflection.
    """
    client, options = dremio.flight()
    measured = []
    for kind, questions in QUESTIONS.items():
        for title, text in questions.items():
            fast, plain = (text.format(sales=f"sales{s}", joined=f"joined{s}") for s in ("", "_plain"))
            if "CHOSEN" not in dremio.rows(f"EXPLAIN PLAN FOR {fast}")[0]["json"]:
                raise SystemExit(f"no reflection answers: {title}")
            if read(client, options, fast) != read(client, options, plain):
                raise SystemExit(f"the answers differ: {title}")
            times: dict[str, list[float]] = {fast: [], plain: []}
            for _ in range(rounds):
                for query in (plain, *[fast] * ACCELERATED_EACH):
                    started = time.perf_counter()
                    _ask(client, options, query)
                    times[query].append((time.perf_counter() - started) * 1000)
            without, with_ = statistics.median(times[plain]), statistics.median(times[fast])
            figures = {"without_ms": round(without, 1), "with_ms": round(with_, 2), "ratio": round(without / with_, 1)}
            measured.append({"kind": kind, "question": title, **figures})
            print(f"  {kind}, {title}: {without:.1f} ms, {with_:.2f} ms, {without / with_:.0f} times", flush=True)
    return measured


def _ask(client: flight.FlightClient, options: flight.FlightCallOptions, query: str) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_command(query.encode()), options)
    client.do_get(info.endpoints[0].ticket, options).read_all()


def markdown(result: dict[str, Any]) -> str:
    """Return the result as a page."""
    lines = [
        f"# Reflections, {result['measured_at']}",
        "",
        f"{results.describe(result['machine'])} {result['rows']} sales, {CUSTOMERS} customers, {PRODUCTS} products; "
        f"medians of {result['rounds']} rounds over Arrow Flight, once without and {ACCELERATED_EACH} times with a "
        "reflection.",
    ]
    for kind, built in result["reflections"].items():
        size = f"{built['rows']} rows, {built['bytes'] / 1e6:.0f} MB, built in {built['seconds']} s"
        lines += ["", f"## {kind.capitalize()} reflection: {size}", ""]
        lines += ["| question | without, ms | with, ms | times faster |", "|---|---|---|---|"]
        lines += [f"| {m['question']} | {m['without_ms']} | {m['with_ms']} | {m['ratio']} |"
                  for m in result["measured"] if m["kind"] == kind]  # fmt: skip
        lines.append(f"| **geometric mean** | | | **{result['ratios'][kind]}** (bound: {BOUNDS[kind]}) |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="number of sales")
    parser.add_argument("--rounds", type=int, default=9, help="how often each question is asked")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": results.machine(),
        "rows": arguments.rows,
        "rounds": arguments.rounds,
    }
    with tempfile.TemporaryDirectory() as temporary, s3_server(Path(temporary) / "s3") as s3:
        dremio = Dremio(Path(temporary) / "dremio", free_offset())
        dremio.var.mkdir()
        dremio.start()
        try:
            make_lake(Path(temporary) / "s3" / "datalake" / "shop", arguments.rows)
            result["reflections"] = set_up(dremio, s3.source())
            result["measured"] = measure(dremio, arguments.rounds)
        finally:
            dremio.stop()
    result["ratios"] = {
        kind: round(statistics.geometric_mean([m["ratio"] for m in result["measured"] if m["kind"] == kind]), 1)
        for kind in QUESTIONS
    }
    results.write("reflections", result, markdown(result))


if __name__ == "__main__":
    main()
