"""Killed between any two steps, a load ends in the same place when it is run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import lakehouse
import pytest
from lakehouse.bronze import load_to_bronze
from lakehouse.exceptions import ContractViolation
from lakehouse.lake import Lake

from .kills import rerun_after_every_kill
from .test_bronze import DAY, ORDERS_KEY, keys, land_orders, land_products, land_returns


def land_everything(lake: Lake) -> None:
    """Two nights' landings, with a partition that the first night already wrote."""
    land_orders(lake, 5, (1, 1.0, 1), (2, 2.0, 1))
    land_products(lake, 5, (1, "old"))
    load_to_bronze("postgres", 5, DAY, streams=["orders", "products"], lake=lake)
    land_orders(lake, 6, (2, 2.0, 1), (3, 3.0, 2), at=2_000)
    land_orders(lake, 7, (2, 2.5, 4), at=3_000)
    land_products(lake, 6, (1, "superseded"))
    land_products(lake, 7, (1, "new"), (2, "more"))
    land_returns(lake, 7, 0, ("returns/batch_001.csv", "R1", None), ("returns/batch_002.csv", "R2", "late"))


def state(lake: Lake) -> dict[str, bytes]:
    """Every object, byte by byte."""
    return {item.key: lake.get(item.key) for item in lake.list("")}


def run(lake: Lake) -> None:
    load_to_bronze("postgres", 7, DAY, streams=["orders"], lake=lake)
    load_to_bronze("postgres", 7, DAY, streams=["products"], lake=lake)
    load_to_bronze("files", 7, DAY, lake=lake)


def landed(fresh_lake: Callable[[], Lake]) -> Lake:
    lake = fresh_lake()
    land_everything(lake)
    return lake


def test_a_load_that_is_killed_anywhere_is_finished_by_the_next(fresh_lake: Callable[[], Lake]) -> None:
    # Three objects written, two and two and one landing objects taken, one superseded: more steps than that is fine.
    assert rerun_after_every_kill(lambda: landed(fresh_lake), run, state) >= 8


def test_quarantining_that_is_killed_anywhere_is_finished_by_the_next(fresh_lake: Callable[[], Lake]) -> None:
    def make() -> Lake:
        lake = landed(fresh_lake)
        land_orders(lake, 7, (4, 4.0, 4), part=1, status=None)
        return lake

    def work(lake: Lake) -> None:
        with pytest.raises(ContractViolation):
            load_to_bronze("postgres", 7, DAY, streams=["orders"], lake=lake)

    assert rerun_after_every_kill(make, work, state) >= 6


KILLED_PROCESS = """
import os, signal, sys
from lakehouse.lake import Lake
from lakehouse.bronze import load_to_bronze
upload = Lake.upload
def upload_and_die(self, *arguments):
    upload(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
Lake.upload = upload_and_die
load_to_bronze("postgres", 7, sys.argv[1], streams=["orders"])
"""


def test_a_process_killed_after_its_upload_leaves_nothing_to_repair(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.0, 1), (2, 2.0, 1))
    environment = {**os.environ, "PYTHONPATH": str(Path(str(lakehouse.__file__)).parent.parent)}
    died = subprocess.run([sys.executable, "-c", KILLED_PROCESS, DAY], env=environment, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(keys(lake, "bronze/landing/")) == 1
    before = lake.get(ORDERS_KEY)
    [done] = load_to_bronze("postgres", 7, date.fromisoformat(DAY), streams=["orders"])
    assert done.action == "unchanged"
    assert lake.get(ORDERS_KEY) == before
    assert keys(lake) == [ORDERS_KEY]
