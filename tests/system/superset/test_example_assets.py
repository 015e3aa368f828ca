"""The example DAGs of assets, datasets and charts run in a real Airflow against a real Superset."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from superset_provider.assets.bundle import read_folder
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.bundles import remove_bundle
from tests.providers.superset.real import RealSuperset

FOLDER = Path(__file__).parent
EXAMPLES = ("example_superset_assets", "example_superset_datasets")


@pytest.fixture
def environment(
    real_superset: RealSuperset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """Airflow's, with the connections that the examples name."""
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(real_superset.connection()))
    source = {"conn_type": "sqlite", "host": real_superset.database_uri.removeprefix("sqlite:///")}
    yield {
        **os.environ,
        "AIRFLOW_CONN_EXAMPLE_WAREHOUSE": json.dumps(source),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    with SupersetHook() as hook:
        remove_bundle(hook, read_folder(FOLDER / "assets"))


def test_the_examples_run(environment: dict[str, str], tmp_path: Path, real_superset: RealSuperset) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run_examples.py"), *EXAMPLES],
        capture_output=True, text=True, timeout=400, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert real_superset.password not in done.stdout + done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    states = {f"{dag}.{task}": state for dag, tasks in outcomes.items() for task, state in tasks.items()}
    assert len(states) == 10
    assert set(states.values()) == {"success"}, f"{states}\n{done.stdout[-6000:]}"
    with sqlite3.connect(tmp_path / "airflow.db") as database:
        rows = database.execute("SELECT task_id, value FROM xcom WHERE key = 'return_value'")
        results: dict[str, Any] = {task: json.loads(value) for task, value in rows}
    assert [step["action"] for step in results["show_plan"]] == ["created"] * 5
    assert [step["action"] for step in results["import_assets"]] == ["created"] * 5
    assert results["refresh_dataset"][0]["added"] == []
    assert len(results["repair_charts"]["right"]) == 2
    assert results["invalidate_cache"] == ["example_orders"]
    assert results["revenue"]["rows"] == [{"region": "EU", "revenue": 50}]
    assert pq.read_table(tmp_path / "revenue.parquet").num_rows == 2
    # The export of what was imported has the same content, in files that are named after it.
    exported = read_folder(tmp_path / "superset_export")
    exported["databases/example_warehouse.yaml"]["sqlalchemy_uri"] = "sqlite:///{{ conn.example_warehouse.host }}"
    assert exported == read_folder(FOLDER / "assets")
