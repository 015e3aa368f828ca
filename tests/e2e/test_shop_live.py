"""The shop changes while the live charts follow: after the tests that count on a shop at rest."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

DAG, TASK = "cdc_micro_batch", "micro_batches"
LOOPING = "select run_id from micro_batch_history order by shown_at desc limit 1"


def kill_the_loop(platform: Any, airflow: Any, running: Future[Any]) -> bool:
    """Kill -9 the task as soon as it has shown micro-batches of the writer; tell whether it was there."""
    before = platform.metadata("select count(*) from micro_batch_history")[0][0]
    while not running.done():
        if platform.metadata("select count(*) from micro_batch_history")[0][0] >= before + 3:
            [(run_id,)] = platform.metadata(LOOPING)
            os.kill(airflow.tasks(DAG, run_id)[TASK]["pid"], signal.SIGKILL)
            return True
        time.sleep(0.2)
    return False


def test_no_change_is_lost_or_doubled_although_the_loop_is_killed(platform, airflow):
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(platform.make, "demo-live", "RATE=60", "SECONDS=10")
        killed = kill_the_loop(platform, airflow, running)
        done = running.result()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert killed
    assert max(tries_of_the_loop(airflow)) > 1, "the loop went on as if nothing had been"
    report = json.loads((platform.var / "demo-live" / "report.json").read_text())
    assert report["changes"] == 600
    assert (report["lost"], report["doubled"]) == (0, 0)
    assert 0 < report["p50_s"] <= report["p95_s"] <= report["max_s"]
    assert set(report["by_step"]) == {"waiting", "sync", "load", "metadata", "warm"}
    # What the chart showed came out of the cache that the micro-batches fill.
    assert report["cached"] > 0.5


def tries_of_the_loop(airflow: Any) -> list[int]:
    runs = airflow.client.get(f"/api/v2/dags/{DAG}/dagRuns").raise_for_status().json()["dag_runs"]
    return [airflow.tasks(DAG, run["dag_run_id"])[TASK]["try_number"] for run in runs]
