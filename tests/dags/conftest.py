"""The DAGs of the repository, parsed once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def manifest() -> None:
    """The DAG is rendered from dbt's manifest, as on a real deployment, where the image build writes it."""
    dbt = REPOSITORY / ".venv/dbt/bin/dbt"
    subprocess.run([str(dbt), "parse", "--quiet"], cwd=REPOSITORY / "dbt", check=True, timeout=120)


@pytest.fixture(scope="session")
def dags(manifest: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    os.environ.setdefault("AIRFLOW__COSMOS__ENABLE_TELEMETRY", "False")
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(REPOSITORY / "dags")
    assert bag.import_errors == {}
    return bag.dags
