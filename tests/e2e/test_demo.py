"""`make demo`: all nine stages, what it leaves behind, and that a second run changes nothing it should not."""

from __future__ import annotations

import json
import stat
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

STAGES = [
    ("extract_postgres", "01:00", 30),
    ("extract_apis", "01:30", 45),
    ("load_bronze", "02:15", 15),
    ("dbt_staging", "02:30", 20),
    ("dbt_intermediate", "02:50", 30),
    ("dbt_marts", "03:20", 40),
    ("dbt_tests", "04:00", 15),
    ("refresh_reflections", "04:15", 20),
    ("warm_dashboards", "04:35", 10),
]
PROMISED = [
    *("SOURCE_POSTGRES_DSN", "METADATA_POSTGRES_DSN", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET"),
    *("AIRBYTE_URL", "AIRBYTE_CONFIG_URL", "AIRBYTE_CLIENT_ID", "AIRBYTE_CLIENT_SECRET", "AIRBYTE_CONNECTION_ORDERS"),
    *("DREMIO_URL", "DREMIO_FLIGHT", "DREMIO_USER", "DREMIO_PASSWORD", "ELASTICSEARCH_URL"),
    *("SUPERSET_URL", "SUPERSET_USER", "SUPERSET_PASSWORD", "AIRFLOW_URL", "AIRFLOW_USER", "AIRFLOW_PASSWORD"),
]


@pytest.fixture(scope="module")
def report(platform) -> dict[str, Any]:
    return json.loads((platform.var / "demo" / "report.json").read_text())


def test_the_report_tells_the_nine_stages_in_order(report):
    assert [(stage["planned_start"], stage["planned_minutes"]) for stage in report["stages"]] == [
        (start, minutes) for _, start, minutes in STAGES
    ]
    assert {stage["state"] for stage in report["stages"]} == {"success"}
    assert all(stage["seconds"] > 0 for stage in report["stages"])
    assert (report["dag_id"], report["state"]) == ("daily_batch", "success")
    assert set(report) >= {"dag_id", "run_id", "state", "started_at", "seconds", "stages", "rows", "services"}


def test_rows_are_counted_from_source_to_mart(report):
    rows = report["rows"]
    assert rows["source.orders"] == rows["bronze.raw_orders"]
    assert rows["source.customers"] == rows["bronze.raw_customers"]
    assert 0 < rows["gold.fct_orders"] < rows["source.orders"], "the dirt of the source does not reach the marts"
    assert all(count > 0 for count in rows.values()), rows


def test_credentials_are_for_their_owner_only(platform):
    mode = stat.S_IMODE((platform.var / "sandbox.env").stat().st_mode)
    assert mode == 0o600
    assert not [name for name in PROMISED if not platform.environment.get(name)]


def test_stages_start_in_the_order_of_the_plan(airflow, report):
    tasks = airflow.tasks("daily_batch", report["run_id"])
    groups = {"dbt_staging": "transform.models.staging", "dbt_intermediate": "transform.models.intermediate"}
    groups["dbt_marts"] = "transform.models.marts"
    starts = []
    for stage, *_ in STAGES:
        prefix = groups.get(stage, stage) + "."
        begun = [task["start_date"] for name, task in tasks.items() if name.startswith(prefix)]
        assert begun, f"no task of stage {stage}"
        starts.append(min(datetime.fromisoformat(start) for start in begun))
    assert all(earlier <= later for earlier, later in pairwise(starts[1:]))
    assert starts[0] <= starts[2]


def lake(platform) -> dict[str, str]:
    """Everything but logs, what a sync outside a run may have landed and which jobs a partition is made of."""
    other = ("logs/", "bronze/landing/", "bronze/manifests/")
    return {key: tag for key, tag in platform.objects().items() if not key.startswith(other)}


def test_a_second_demo_changes_nothing(platform, report):
    before, counts = lake(platform), platform.counts()
    again = platform.make("demo", "SCALE=0.01")
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr[-4000:]
    assert "nothing to change" in again.stdout.lower()
    assert platform.counts() == counts
    after = lake(platform)
    assert set(after) == set(before)
    bronze = {key: tag for key, tag in before.items() if key.startswith("bronze/")}
    assert {key: after[key] for key in bronze} == bronze, "an unchanged source gives byte-identical bronze"


def test_state_survives_down_and_up(platform, report):
    counts = platform.counts()
    down = platform.make("down")
    assert down.returncode == 0, down.stdout + down.stderr
    up = platform.make("up")
    assert up.returncode == 0, up.stdout[-4000:] + up.stderr[-4000:]
    assert platform.counts() == counts
    assert platform.make("status").returncode == 0
