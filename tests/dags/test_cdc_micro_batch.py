"""The live DAG never stops, never runs twice, and looks at charts that exist."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Any:

    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(REPOSITORY / "dags/cdc_micro_batch.py")
    assert bag.import_errors == {}
    return bag.dags["cdc_micro_batch"]


def test_it_waits_to_be_unpaused_and_runs_once_at_a_time(live):
    assert live.is_paused_upon_creation
    assert live.max_active_runs == 1
    assert live.timetable.can_be_scheduled
    assert set(live.task_ids) == {"micro_batches", "merge_change_data"}
    assert live.get_task("micro_batches").retries >= 2


def test_a_merge_that_hangs_is_over_before_the_loop_is(live):
    from lakehouse.dag_parts import MERGE_WAIT_SECONDS
    from lakehouse.dbt_statements import WAIT_SECONDS

    merge = live.get_task("merge_change_data")
    waits = MERGE_WAIT_SECONDS + WAIT_SECONDS + merge.retry_delay.total_seconds()
    one_try = merge.execution_timeout.total_seconds() + waits
    assert (merge.retries + 1) * one_try < 60 * live.params["minutes"]
    assert merge.pool == "default_pool", "a backfill takes every slot of the other one for as long as it builds"


def test_the_run_after_the_first_is_another_one(live):
    """Airflow 3.3 gives a continuous DAG without start_date a first interval of no length, and stops after one run."""
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.simple import ContinuousTimetable

    earliest = live.start_date
    restriction = TimeRestriction(earliest=earliest, latest=None, catchup=False)
    first = ContinuousTimetable().next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    second = ContinuousTimetable().next_dagrun_info(
        last_automated_data_interval=first.data_interval, restriction=restriction
    )
    assert first.logical_date < second.logical_date


def test_its_charts_are_on_the_dashboard(live):
    from lakehouse.config import load_streams

    module = __import__("sys").modules[live.get_task("micro_batches").python_callable.__module__]
    assets = REPOSITORY / "include/superset/assets"
    datasets = {
        document["uuid"]: f"{document['schema']}.{document['table_name']}"
        for document in (yaml.safe_load(path.read_text()) for path in (assets / "datasets").rglob("*.yaml"))
    }
    dashboard = next(
        document
        for document in (yaml.safe_load(path.read_text()) for path in (assets / "dashboards").glob("*.yaml"))
        if document["slug"] == module.DASHBOARD
    )
    on_it = {
        tile["meta"].get("uuid") for tile in dashboard["position"].values() if isinstance(tile, dict) and "meta" in tile
    }
    shown = [
        chart
        for chart in (yaml.safe_load(path.read_text()) for path in (assets / "charts").glob("*.yaml"))
        if chart["uuid"] in on_it and datasets[chart["dataset_uuid"]] in module.DATASETS
    ]
    assert {datasets[chart["dataset_uuid"]] for chart in shown} == set(module.DATASETS)
    assert dashboard["metadata"]["refresh_frequency"] == 5
    assert load_streams().source(module.SOURCE).connection == module.CONNECTION
