"""Measures warming: ``.venv/airflow/bin/python benchmarks/superset_warming.py``.

Starts a PostgreSQL and a Superset of its own (two workers with four threads, the product's configuration), makes a
dashboard of charts that each take a second in PostgreSQL, and warms it: one query at a time, in parallel, and again
with nothing stale. Then it opens the dashboard in Chromium, cold and warm. Nothing else should run on the machine. The
result goes to ``benchmarks/results/superset_warming-<date>.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import results
from platform_access import REPOSITORY
from superset_provider.browser.query_context import build_query_context
from superset_provider.hooks.superset import SupersetHook
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

sys.path.insert(0, str(REPOSITORY))

from tests.browser import CHROMIUM, Visit, chromium, logged_in
from tests.lakehouse.servers import free_port, postgres, running

CHARTS, SECONDS = 20, 1.0
CONNECTIONS, REPEATS = 6, 10
"""So many a browser opens to one server; so often are the cached charts asked without a browser."""
WORKERS, THREADS, CONCURRENCY = 2, 4, 4
# The condition is evaluated once a query, whatever the query is. A view, as what the product's dashboards read is.
SALES = f"""
CREATE VIEW sales AS
SELECT region, amount FROM (VALUES ('EU', 10), ('US', 20), ('ASIA', 40)) AS sales (region, amount)
WHERE (SELECT TRUE FROM pg_sleep({SECONDS}))
"""
BOUNDS = {"of the limit": 1.15, "times one by one": 3.5, "of the first, nothing stale": 0.1, "median ms": 100.0}


@contextmanager
def superset(home: Path, database_port: int) -> Iterator[dict[str, str]]:
    """Run a Superset while the block runs; yields the Airflow connection to it."""
    port, password = free_port(), secrets.token_urlsafe(16)
    python = REPOSITORY / ".venv/superset/bin/python"
    environment = {
        "FLASK_APP": "superset.app:create_app",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "SUPERSET_CONFIG_PATH": str(REPOSITORY / "include/superset/superset_config.py"),
        "SUPERSET_HOME": str(home),
        "SUPERSET_PASSWORD": password,
        "SUPERSET_POSTGRES_DSN": f"postgresql://postgres@127.0.0.1:{database_port}/superset",
        "SUPERSET_SECRET_KEY": secrets.token_hex(32),
        "SUPERSET_USER": "admin",
    }
    prepare = [str(python), "-m", "sandbox.superset_metadata"]
    subprocess.run(prepare, env={**os.environ, **environment}, check=True, cwd=REPOSITORY, stdout=sys.stderr)
    command = [str(python.with_name("gunicorn")), "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
    command += ["--worker-class", "gthread", "--threads", str(THREADS), "--timeout", "120", "superset.app:create_app()"]
    with running(command, port, environment):
        address = f"http://127.0.0.1:{port}"
        yield {"conn_type": "superset", "host": address, "login": "admin", "password": password}


class Dashboard:
    """Charts with a query of their own each, on one dataset."""

    def __init__(self, hook: SupersetHook, database_uri: str) -> None:
        self._hook = hook
        database = self._make("database", {"database_name": "warehouse", "sqlalchemy_uri": database_uri})
        self.dataset = self._make("dataset", {"database": database, "table_name": "sales", "schema": "public"})
        charts = [self._chart(number) for number in range(CHARTS)]
        position: dict[str, Any] = {
            "DASHBOARD_VERSION_KEY": "v2",
            "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
            "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
        }
        for number, chart in enumerate(charts):
            row, key = f"ROW-{number // 4}", f"CHART-{chart}"
            if row not in position:
                meta = {"background": "BACKGROUND_TRANSPARENT"}
                position[row] = {
                    "type": "ROW",
                    "id": row,
                    "children": [],
                    "parents": ["ROOT_ID", "GRID_ID"],
                    "meta": meta,
                }
                position["GRID_ID"]["children"].append(row)
            position[row]["children"].append(key)
            position[key] = {"type": "CHART", "id": key, "children": [], "parents": ["ROOT_ID", "GRID_ID", row],
                             "meta": {"chartId": chart, "width": 3, "height": 30}}  # fmt: skip
        board = {"dashboard_title": "Slow sales", "slug": "slow-sales", "published": True}
        self.id = self._make("dashboard", {**board, "position_json": json.dumps(position), "json_metadata": "{}"})
        for chart in charts:
            hook.request("PUT", f"/api/v1/chart/{chart}", json={"dashboards": [self.id]})

    def _make(self, kind: str, body: dict[str, Any]) -> int:
        return int(self._hook.request("POST", f"/api/v1/{kind}/", json=body)["id"])

    def _chart(self, number: int) -> int:
        metric = {"expressionType": "SQL", "sqlExpression": f"SUM(amount) + {number}", "label": f"total {number}",
                  "hasCustomLabel": True, "optionName": f"metric_{number}"}  # fmt: skip
        form_data = {"viz_type": "pie", "datasource": f"{self.dataset}__table", "groupby": ["region"],
                     "metric": metric, "row_limit": 100, "adhoc_filters": [], "sort_by_metric": True}  # fmt: skip
        return self._make(
            "chart",
            {"slice_name": f"Sales {number}", "viz_type": "pie", "datasource_id": self.dataset,
             "datasource_type": "table", "params": json.dumps(form_data),
             "query_context": json.dumps(build_query_context(form_data, dataset_id=self.dataset))},
        )  # fmt: skip

    def cool(self) -> None:
        """Give every query another cache key, under which nothing is kept."""
        body = {"description": f"changed at {time.time_ns()}"}
        self._hook.request("PUT", f"/api/v1/dataset/{self.dataset}", json=body)


class _TaskInstance:
    """Stands where the operator leaves its link and looks for its last run."""

    def xcom_push(self, **_: Any) -> None:
        return None

    def xcom_pull(self, **_: Any) -> None:
        return None


def warm(dashboard: Dashboard, **arguments: Any) -> tuple[float, dict[str, Any]]:
    """Warm the dashboard; return the seconds and what the operator says."""
    operator = SupersetWarmDashboardOperator(task_id="warm", dashboards=[dashboard.id], deferrable=False, **arguments)
    started = time.perf_counter()
    result = operator.execute({"ti": _TaskInstance()})  # type: ignore[typeddict-item]  # all it asks of a context
    return time.perf_counter() - started, result


async def _bodies(hook: SupersetAsyncHook) -> list[dict[str, Any]]:
    """What a browser asks for the charts."""
    charts = await hook.get_dashboard_charts("slow-sales")
    dataset_id = int(charts[0]["form_data"]["datasource"].partition("__")[0])
    return [build_query_context(chart["form_data"], dataset_id=dataset_id) for chart in charts]


async def _bare() -> float:
    """Ask the charts' queries by force and no more: logged in before, no dashboard read, nothing proven."""
    async with SupersetAsyncHook(concurrency=CONCURRENCY) as hook:
        bodies = await _bodies(hook)
        started = time.perf_counter()
        await asyncio.gather(*(hook.chart_data({**body, "force": True}) for body in bodies))
        return time.perf_counter() - started


async def _cached() -> float:
    """Ask for the warmed charts as a browser does, six at a time, with nothing else to do; median milliseconds."""
    async with SupersetAsyncHook(concurrency=CONNECTIONS) as hook:
        waiting = await _bodies(hook) * REPEATS
        taken = []

        async def connection() -> None:
            while waiting:
                body = waiting.pop()
                started = time.perf_counter()
                (answer,) = await hook.chart_data(body)
                taken.append((time.perf_counter() - started) * 1000)
                if not answer["is_cached"]:
                    raise SystemExit("a chart that was warmed is not in the cache")

        await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return statistics.median(taken)


def measure(dashboard: Dashboard, rounds: int) -> dict[str, Any]:
    """Warm one by one, in parallel and with nothing stale."""
    limit = CHARTS * SECONDS / min(CONCURRENCY, WORKERS * THREADS)
    # Both workers have loaded what they need before anything counts.
    warm(dashboard, concurrency=WORKERS * THREADS)
    single, _ = warm(dashboard, concurrency=1)
    bare, parallel, again = [], [], []
    for _ in range(rounds):
        bare.append(asyncio.run(_bare()))
        parallel.append(warm(dashboard, concurrency=CONCURRENCY)[0])
        seconds, result = warm(dashboard, concurrency=CONCURRENCY, only_stale=True)
        if result["already_warm"] != CHARTS:
            raise SystemExit(f"{CHARTS - result['already_warm']} queries were asked although nothing was stale")
        again.append(seconds)
    middle = statistics.median(parallel)
    return {
        "limit_seconds": limit,
        "one_by_one_seconds": round(single, 2),
        "bare_seconds": [round(seconds, 2) for seconds in bare],
        "parallel_seconds": [round(seconds, 2) for seconds in parallel],
        "nothing_stale_seconds": [round(seconds, 2) for seconds in again],
        "of the limit": round(middle / limit, 3),
        "of the bare queries": round(middle / statistics.median(bare), 3),
        "times one by one": round(single / middle, 2),
        "of the first, nothing stale": round(statistics.median(again) / middle, 3),
    }


def open_in_browser(dashboard: Dashboard, connection: dict[str, str], rounds: int) -> dict[str, Any]:
    """Open the dashboard in Chromium, cold and warmed, each time as somebody who has never been there."""
    cold, warmed = [], []
    for _ in range(rounds):
        dashboard.cool()
        cold.append(_visit(connection))
        dashboard.cool()
        warm(dashboard, concurrency=CONCURRENCY)
        warmed.append(_visit(connection))
    if any(len(visit.requests) != CHARTS for visit in (*cold, *warmed)):
        raise SystemExit(f"the page asked {[len(visit.requests) for visit in (*cold, *warmed)]} times")
    hits = [sum(request.hit for request in visit.requests) / CHARTS for visit in warmed]
    if min(hits) < 1:
        raise SystemExit(f"the warmed page hit {hits}")
    return {
        "cold": _figures(cold),
        "warm": {**_figures(warmed), "hits": statistics.mean(hits)},
        "without_browser_ms": round(asyncio.run(_cached()), 1),
        "median ms": _figures(warmed)["query_ms"],
    }


def _visit(connection: dict[str, str]) -> Visit:
    # Playwright has an event loop of its own in this thread, beside which no warm-up can run: so one browser a visit.
    who = (connection["host"], connection["login"], connection["password"])
    with chromium() as browser, logged_in(browser, *who) as person:
        return person.open("/superset/dashboard/slow-sales/")


def _figures(visits: list[Visit]) -> dict[str, float]:
    milliseconds = [request.milliseconds for visit in visits for request in visit.requests]
    return {
        "page_seconds": round(statistics.median(visit.seconds for visit in visits), 2),
        "query_ms": round(statistics.median(milliseconds), 1),
        "slowest_query_ms": round(max(milliseconds), 1),
        "waited_ms": round(statistics.median(r.waited_milliseconds for visit in visits for r in visit.requests), 1),
    }


def markdown(result: dict[str, Any]) -> str:
    """Return the result as a page."""
    found, limit = result["warming"], result["warming"]["limit_seconds"]
    alone = round(statistics.median(found["bare_seconds"]), 2)
    lines = [
        f"# Warming dashboards, {result['measured_at']}",
        "",
        f"{results.describe(result['machine'])} {CHARTS} charts with a query of {SECONDS:g} s each in PostgreSQL; "
        f"Superset with {WORKERS} workers of {THREADS} threads; medians of {result['rounds']} rounds.",
        "",
        "| | seconds | ratio | bound |",
        "|---|---|---|---|",
        f"| the server's limit: {CHARTS} x {SECONDS:g} s / {CONCURRENCY} | {found['limit_seconds']} | 1 | |",
        f"| the queries alone, {CONCURRENCY} at a time, nothing read before and nothing proven | {alone} "
        f"| {alone / limit:.3f} of the limit | |",
        f"| {CONCURRENCY} at a time, each proven | {statistics.median(found['parallel_seconds'])} "
        f"| **{found['of the limit']}** of the limit | at most {BOUNDS['of the limit']} |",
        f"| one at a time | {found['one_by_one_seconds']} | **{found['times one by one']}** times as long "
        f"| at least {BOUNDS['times one by one']} |",
        f"| again with nothing stale | {statistics.median(found['nothing_stale_seconds'])} "
        f"| **{found['of the first, nothing stale']}** of the first | below {BOUNDS['of the first, nothing stale']} |",
    ]
    if browser := result["browser"]:
        lines += [
            "",
            "## First open in Chromium",
            "",
            "| | whole page, s | a query, ms (median) | slowest, ms | waits for a connection before, ms (median) |",
            "|---|---|---|---|---|",
        ]
        columns = ("page_seconds", "query_ms", "slowest_query_ms", "waited_ms")
        for name in ("cold", "warm"):
            lines.append(f"| {name} | " + " | ".join(str(browser[name][column]) for column in columns) + " |")
        lines += [
            "",
            f"All {CHARTS} queries of the warmed page came out of the cache. Bound of their median: "
            f"{BOUNDS['median ms']:g} ms. A query is from being sent to the end of its answer; what it waits before, "
            f"for one of Chromium's {CONNECTIONS} connections, is in the page's time. The same queries without a "
            f"browser, {CONNECTIONS} at a time: {browser['without_browser_ms']} ms.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    rounds = parser.parse_args().rounds
    result: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": results.machine(),
        "rounds": rounds,
    }
    with (
        tempfile.TemporaryDirectory() as temporary,
        postgres(["superset", "warehouse"]) as port,
        superset(Path(temporary), port) as connection,
    ):
        os.environ["AIRFLOW_CONN_SUPERSET_DEFAULT"] = json.dumps(connection)
        with psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/warehouse") as warehouse:
            warehouse.execute(SALES)
        with SupersetHook() as hook:
            dashboard = Dashboard(hook, f"postgresql+psycopg2://postgres@127.0.0.1:{port}/warehouse")
            result["warming"] = measure(dashboard, rounds)
            print(json.dumps(result["warming"], indent=2), flush=True)
            result["browser"] = open_in_browser(dashboard, connection, rounds) if CHROMIUM else None
    results.write("superset_warming", result, markdown(result))


if __name__ == "__main__":
    main()
