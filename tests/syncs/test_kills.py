"""Whatever is killed, and whenever: the lake holds one sync's worth of data for each run of the task."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.airbyte.services import REPOSITORY

from .conftest import ROWS, Shop

RUNS, KILLS, KILLED_SERVERS = 10, 3, 2


class Worker:
    """The process in which Airflow executes tasks; its children are the tries."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.syncs.worker"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, **order: Any) -> int:
        """Start a try and return the number of its process."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> int:
        """Return the next number the worker says: after that of the process, its exit code."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture
def worker(fragile: Shop) -> Iterator[Worker]:
    made = Worker()
    yield made
    made.process.kill()
    made.process.wait()


def test_one_sync_of_data_whatever_is_killed(fragile: Shop, worker: Worker, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    servers = set(moments.sample(range(1, RUNS), KILLED_SERVERS))
    fragile.pause = 0.03
    kills, seconds = 0, 0.0
    for run in range(RUNS):
        state = tmp_path / f"run-{run}"
        state.mkdir()
        order = {"connection": fragile.connection, "state": str(state), "deferrable": bool(moments.getrandbits(1))}
        for attempt in range(100):
            child = worker.start(**order)
            began = time.monotonic()
            if run == 0:
                pass  # undisturbed: how long a try takes
            elif run in servers and attempt == 0:
                time.sleep(moments.uniform(0, seconds))
                fragile.airbyte.stop(signal.SIGKILL)
                fragile.airbyte.start()
                fragile.client.login()
            elif attempt < KILLS:
                time.sleep(moments.uniform(0, seconds))
                os.kill(child, signal.SIGKILL)
            code = worker.answer()
            kills += code == -signal.SIGKILL
            if code == 0:
                # As long as a try takes now; half of it when this one was over before it was to be killed.
                disturbed = run > 0 and attempt < KILLS
                seconds = seconds / 2 if disturbed else time.monotonic() - began
                break
        rows, jobs = fragile.rows(), fragile.jobs()
        assert rows == (run + 1) * ROWS, (seed, run, jobs[-5:])
        job = json.loads((state / "xcom-return_value").read_text())
        assert jobs[-1] == (job, "succeeded"), (seed, run)
        assert json.loads((state / "xcom-rows").read_text()) == ROWS
    assert kills > RUNS / 2, kills
