"""A run of ``ingest_small`` in an Airflow of its own, waited for in the task and in the triggerer; real servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from dremio_provider.hooks.dremio import DremioHook
from lakehouse import setup
from lakehouse.files import include_dir
from lakehouse.lake import Lake

from . import test_setup_dremio
from .conftest import Platform
from .servers import REPOSITORY

dremio_offset, dremio_server = test_setup_dremio.dremio_offset, test_setup_dremio.dremio_server

RUNS = """
import os
from airflow.dag_processing.dagbag import DagBag

dag = DagBag(os.path.join(os.environ["AIRFLOW_HOME"], "dags")).dags["ingest_small"]
for deferrable in (False, True):
    dag.get_task("sync_payment_provider").deferrable = deferrable
    print("the run is", dag.test().state)
"""
PAYMENTS = 20


@pytest.fixture
def small(platform: Platform, dremio_server: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The payments every 15 minutes, and everything that is declared applied; the id of their connection."""
    shutil.copytree(include_dir(), tmp_path / "include", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "include" / "config" / "streams.yml"
    declared = yaml.safe_load(file.read_text())
    del declared["sources"]["api"]["stage"]
    declared["sources"]["api"]["frequency"] = "small"
    file.write_text(yaml.safe_dump(declared, sort_keys=False))
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path / "include"))
    for system in ("elasticsearch", "airbyte", "dremio"):
        setup.apply(system)
    connections = setup.airbyte.connection_ids()
    monkeypatch.setenv("AIRFLOW_VAR_AIRBYTE_CONNECTIONS", json.dumps(connections))
    return connections["payment_provider"]


def airflow(home: Path, *arguments: str) -> str:
    """Run a Python in an Airflow of its own; return what it says."""
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "false"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def jobs(platform: Platform, connection: str) -> list[str]:
    public = f"http://127.0.0.1:{8000 + platform.offset}/api/public/v1"
    login = {"client_id": "client", "client_secret": "client-secret"}
    token = httpx.post(f"{public}/applications/token", json=login).raise_for_status().json()["access_token"]
    query = {"connectionId": connection, "limit": 100}
    answer = httpx.get(f"{public}/jobs", params=query, headers={"Authorization": f"Bearer {token}"})
    return [job["status"] for job in answer.raise_for_status().json()["data"]]


def test_a_source_of_every_quarter_of_an_hour(
    platform: Platform, dremio_server: Lake, small: str, tmp_path: Any
) -> None:
    before = jobs(platform, small)
    (tmp_path / "dags").mkdir()
    shutil.copy(REPOSITORY / "dags" / "ingestion.py", tmp_path / "dags")
    airflow(tmp_path, "-m", "airflow", "db", "migrate")
    said = airflow(tmp_path, "-c", RUNS)
    assert said.count("the run is success") == 2, said[-8000:]
    assert jobs(platform, small) == ["succeeded"] * (len(before) + 2)
    with DremioHook("dremio_default") as hook:
        assert hook.get_first("SELECT COUNT(*), COUNT(DISTINCT payment_id) FROM bronze.raw_payments") == (PAYMENTS,) * 2
    assert said.count("DEFERRED") == 1
