"""Measures the nightly batch on a running platform: ``.venv/airflow/bin/python benchmarks/nightly_batch.py``.

Four things, in one sitting on one machine: the stages of the last ``make demo``; a run of the DAG against the same
engine work started by hand, as a ratio; the memory of all processes; the seconds a DAG file takes to parse. The result
goes to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import results
from platform_access import REPOSITORY, VAR, Airbyte, Airflow, connection_variables, platform_memory, read_settings

DBT = REPOSITORY / ".venv" / "dbt" / "bin" / "dbt"
_PARSE = """
import runpy, sys, time
import airflow.sdk
for _ in range(2):
    started = time.perf_counter()
    runpy.run_path(sys.argv[1])
    print("parsed in", time.perf_counter() - started)
"""

Seconds = dict[str, float]


@contextmanager
def timed(into: Seconds, name: str) -> Iterator[None]:
    """Add the seconds that the block takes to ``into[name]``."""
    started = time.perf_counter()
    yield
    into[name] = round(time.perf_counter() - started, 2)
    print(f"  {name}: {into[name]} s", flush=True)


class _TaskInstance:
    """Stands where an operator leaves its link and looks for its last run: by hand there is no Airflow to have them."""

    def xcom_push(self, **_: Any) -> None:
        return None

    def xcom_pull(self, **_: Any) -> None:
        return None


def by_hand(settings: dict[str, str]) -> Seconds:
    """Do the engine work of a run without the DAG and return the seconds of its parts."""
    from lakehouse import config
    from lakehouse.bronze import load_to_bronze
    from lakehouse.setup import dremio

    seconds: Seconds = {}
    streams = config.load_streams()
    airbyte, day = Airbyte(settings), datetime.now(UTC).date()
    with timed(seconds, "syncs"):
        ids = airbyte.connection_ids()
        jobs = {source.name: airbyte.start(ids[source.connection]) for source in streams.nightly}
        for job in jobs.values():
            airbyte.wait(job)
    with timed(seconds, "bronze"):
        for name, job in jobs.items():
            load_to_bronze(name, job, day)
        dremio.refresh_bronze_metadata()
        dremio.apply_views("bronze")
    with timed(seconds, "dbt build"):
        environment = {**os.environ, **settings, "LAKEHOUSE_SNAPSHOT_DATE": day.isoformat()}
        subprocess.run([str(DBT), "build"], cwd=REPOSITORY / "dbt", env=environment, check=True, stdout=sys.stderr)
    with timed(seconds, "publish"):
        dremio.apply_views("silver")
        dremio.apply_views("gold")
        dremio.apply_reflections()
    for name, work in _operators(config).items():
        with timed(seconds, name):
            work({"ti": _TaskInstance(), "task_instance": _TaskInstance()})
    return seconds


def _operators(config: Any) -> dict[str, Callable[[Any], Any]]:
    from dremio_provider.operators.reflections import DremioRefreshReflectionsOperator
    from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

    names = [reflection.name for reflection in config.load_reflections() if reflection.enabled]
    slugs = [dashboard.slug for dashboard in config.load_dashboards()]
    return {
        "reflections": DremioRefreshReflectionsOperator(task_id="refresh", reflections=names, deferrable=False).execute,
        "warm": SupersetWarmDashboardOperator(task_id="warm", dashboards=slugs).execute,
    }


def dag_run(settings: dict[str, str]) -> dict[str, Any]:
    """Run ``daily_batch`` and return its state and its seconds, from start to end as Airflow has them."""
    run = Airflow(settings).run("daily_batch")
    started, ended = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
    return {"run_id": run["dag_run_id"], "state": run["state"], "seconds": round((ended - started).total_seconds(), 1)}


def parse_seconds() -> dict[str, dict[str, float]]:
    """Return what each DAG file takes to parse: first in a fresh process (imports included), then again."""
    found = {}
    for path in sorted((REPOSITORY / "dags").glob("*.py")):
        answer = subprocess.run([sys.executable, "-c", _PARSE, str(path)], capture_output=True, text=True, check=True)
        lines = [line for line in answer.stdout.splitlines() if line.startswith("parsed in ")]
        first, again = (float(line.split()[-1]) for line in lines)
        found[path.name] = {"with imports": round(first, 2), "again": round(again, 2)}
    return found


def markdown(result: dict[str, Any]) -> str:
    """Return the result as a page."""
    lines = [f"# Nightly batch, {result['measured_at']}", "", f"{results.describe(result['machine'])} One run each."]
    demo = result["demo"]
    if demo:
        lines += ["", f"## `make demo`: run {demo['run_id']}, {demo['state']}, {demo['seconds']} s", ""]
        lines += ["| stage | planned | seconds | state |", "|---|---|---|---|"]
        for stage in demo["stages"]:
            planned = f"{stage['planned_start']}, {stage['planned_minutes']} min"
            lines.append(f"| {stage['name']} | {planned} | {stage['seconds']} | {stage['state']} |")
    if result["by_hand"]:
        lines += ["", "## The DAG against the same work by hand", "", "| | seconds |", "|---|---|"]
        lines += [f"| by hand: {name} | {seconds} |" for name, seconds in result["by_hand"].items()]
        lines += [
            f"| **by hand, together** | **{result['by_hand_seconds']}** |",
            f"| **DAG run** ({result['dag_run']['state']}) | **{result['dag_run']['seconds']}** |",
            f"| **ratio** | **{result['ratio']}** (bound: 2.5) |",
        ]
    total = sum(result["memory"].values())
    lines += [
        "",
        f"## Memory: {total / 1e9:.2f} GB in all processes together (bound: 4 GB)",
        "",
        "| | MB |",
        "|---|---|",
    ]
    largest = sorted(result["memory"].items(), key=lambda entry: -entry[1])[:20]
    lines += [f"| `{name}` | {size / 1e6:.0f} |" for name, size in largest]
    lines += ["", "## Seconds to parse a DAG file (bound: 1 s)", "", "| | with imports | again |", "|---|---|---|"]
    lines += [
        f"| {name} | {value['with imports']} | {value['again']} |" for name, value in result["parse_seconds"].items()
    ]
    return "\n".join(lines) + "\n"


def measure(with_runs: bool) -> dict[str, Any]:
    """Measure everything; the DAG run and the work by hand only ``with_runs``."""
    settings = read_settings()
    os.environ.update(connection_variables(settings))
    report = VAR / "demo" / "report.json"
    result: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": results.machine(),
        "demo": json.loads(report.read_text()) if report.exists() else None,
        "memory": platform_memory(),
        "parse_seconds": parse_seconds(),
        "dag_run": None,
        "by_hand": None,
    }
    if with_runs:
        print("the DAG:", flush=True)
        result["dag_run"] = dag_run(settings)
        print(f"  {result['dag_run']}\nby hand:", flush=True)
        result["by_hand"] = by_hand(settings)
        result["by_hand_seconds"] = round(sum(result["by_hand"].values()), 1)
        result["ratio"] = round(result["dag_run"]["seconds"] / result["by_hand_seconds"], 2)
    return result


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-runs", action="store_true", help="neither run the DAG nor do its work by hand")
    result = measure(with_runs=not parser.parse_args().no_runs)
    results.write("nightly_batch", result, markdown(result))


if __name__ == "__main__":
    main()
