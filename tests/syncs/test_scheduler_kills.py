"""A real Airflow whose scheduler, with or without its workers, or triggerer is killed while tasks wait for syncs.

``SCHEDULER_KILLS`` is how often; each time the syncs of all shops are on their way.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.airbyte import services
from tests.sandbox.airbyte.services import wait_until

from .conftest import ROWS, Shop
from .real_airflow import RealAirflow, real_airflow

KILLS = int(os.environ.get("SCHEDULER_KILLS", "2"))
VICTIMS = (("scheduler", True), ("triggerer", True), ("scheduler", False))
DAGS = ("sync_waiting", "sync_deferred", "sync_waiting", "sync_deferred")
SPAN, KILL_AT, THE_KILL = 5.0, 4.0, -1
"""Seconds in which the runs of a round are triggered, and when the kill comes; a run takes about as long."""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, airbyte: services.Airbyte) -> Iterator[RealAirflow]:
    with real_airflow(tmp_path_factory.mktemp("airflow"), Path(__file__).parent / "dags") as running:
        running.connect(airbyte)
        yield running


@pytest.fixture
def shops(airbyte: services.Airbyte, lake: services.S3, request: pytest.FixtureRequest) -> Iterator[list[Shop]]:
    """One for each of DAGS."""
    made = [Shop(airbyte, lake, f"{request.node.name}-{number}") for number in range(len(DAGS))]
    yield made
    for shop in made:
        shop.close()


def start(airflow: RealAirflow, shops: list[Shop], number: int) -> tuple[str, str]:
    return DAGS[number], airflow.trigger(DAGS[number], {"connection_id": shops[number].connection})


def test_one_sync_of_data_whatever_part_of_airflow_is_killed(airflow: RealAirflow, shops: list[Shop]) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for shop in shops:
        shop.pause = 0.6
    disturbed = 0
    for kill in range(KILLS):
        component, family = VICTIMS[kill % len(VICTIMS)]
        runs: dict[int, tuple[str, str]] = {}
        begun = time.monotonic()
        triggers = [(moments.uniform(0, SPAN), number) for number in range(len(shops))]
        for moment, number in sorted([*triggers, (KILL_AT, THE_KILL)]):
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            if number == THE_KILL:
                airflow.kill(component, family=family)
                disturbed += sum(airflow.state(*run) != "success" for run in runs.values())
            else:
                runs[number] = start(airflow, shops, number)
        for number, run in runs.items():
            airflow.succeed(*run)
            what = (seed, kill, component, family, run)
            assert [status for _, status in shops[number].jobs()] == ["succeeded"] * (kill + 1), what
            assert shops[number].rows() == (kill + 1) * ROWS, what
            assert airflow.xcom(*run, "return_value") == shops[number].jobs()[-1][0], what
            assert airflow.xcom(*run, "rows") == ROWS, what
    assert disturbed > KILLS, "the kills came when nothing ran"


def test_a_task_that_outlives_its_scheduler_leaves_the_sync_to_the_one_that_replaces_it(
    airflow: RealAirflow, shops: list[Shop]
) -> None:
    shop = shops[0]
    shop.open.clear()
    run = start(airflow, shops, 0)
    wait_until(shop.jobs, "the sync starts", 60)
    wait_until(lambda: airflow.task(*run)["state"] == "running", "its task runs")
    first = airflow.task(*run)["pid"]
    airflow.kill("scheduler", family=False)
    wait_until(lambda: airflow.task(*run)["try_number"] > 1, "another try is made", 90)
    wait_until(lambda: airflow.task(*run)["state"] == "running", "it runs", 60)
    wait_until(lambda: not Path(f"/proc/{first}").exists(), "Airflow ends the first", 30)
    shop.open.set()
    airflow.succeed(*run)
    assert [status for _, status in shop.jobs()] == ["succeeded"]
    assert shop.rows() == ROWS
