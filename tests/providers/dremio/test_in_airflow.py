"""Operators and sensors inside a real Airflow: a database, the task runner, triggers, XCom and the state of a task."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAG = '''
from datetime import timedelta
from airflow.sdk import DAG
from airflow.providers.common.sql.operators.sql import SQLValueCheckOperator
from dremio_provider.exceptions import DremioTransientError
from dremio_provider.operators.sql import DremioRunSqlOperator
from dremio_provider.sensors.jobs import DremioJobSensor
from dremio_provider.sensors.sql import DremioQueryResultSensor


class LosesItsWorker(DremioRunSqlOperator):
    """Goes away after the submission, as a worker does that is killed: nothing of the job is cleaned up."""

    def _wait(self, context, hook, sql, jobs):
        if context["ti"].try_number == 1 and len(jobs) == 2:
            raise DremioTransientError("lost")
        super()._wait(context, hook, sql, jobs)


FORTY = ", ".join(f"({n})" for n in range(40))
SLOW = "SELECT COUNT(*) AS c FROM " + ", ".join(f"(VALUES {FORTY}) AS t{i} (n)" for i in range(5))

with DAG("sql_on_dremio", schedule=None, params={"least": 1}) as dag:
    in_triggerer = DremioRunSqlOperator(
        task_id="in_triggerer", sql=[SLOW, "SELECT %(text)s AS word"], parameters={"text": "it's {{ params.least }}"},
        fetch_rows=5, deferrable=True, poll_interval=0.1,
    )
    resumed = LosesItsWorker(
        task_id="resumed", sql=["SELECT 'first' AS resumed", "SELECT 'second' AS resumed", "SELECT 'third' AS resumed"],
        deferrable=False, retries=1, retry_delay=timedelta(0),
    )
    job = DremioJobSensor(
        task_id="job", job_id="{{ ti.xcom_pull(task_ids='in_triggerer')['job_ids'][0] }}", deferrable=True
    )
    query = DremioQueryResultSensor(
        task_id="query", sql="SELECT COUNT(*) >= %(n)s FROM sys.jobs_recent", parameters={"n": 3}, deferrable=True
    )
    check = SQLValueCheckOperator(
        task_id="check", conn_id="dremio_default", pass_value=3,
        sql="SELECT COUNT(*) FROM sys.jobs_recent WHERE query LIKE '/* airflow % */ SELECT ''%'' AS resumed'",
    )
    [in_triggerer, resumed] >> job >> query >> check

if __name__ == "__main__":
    print("the run is", dag.test().state)
'''


@pytest.fixture
def airflow(tmp_path: Path, real_dremio: Any) -> Any:
    """Run a command of Airflow in a home of its own."""
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "sql_on_dremio.py").write_text(DAG)
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW_CONN_DREMIO_DEFAULT": json.dumps(real_dremio.connection),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return run


def test_a_dag_run(airflow: Any, tmp_path: Path, real_dremio: Any) -> None:
    airflow("-m", "airflow", "db", "migrate")
    airflow("-m", "airflow", "dags", "reserialize")
    log = airflow(str(tmp_path / "dags" / "sql_on_dremio.py"))
    assert "the run is success" in log, log[-6000:]
    assert "Going on with the Dremio job" in log
    with sqlite3.connect(tmp_path / "airflow.db") as database:
        xcoms = {
            (task, key): json.loads(value)
            for task, key, value in database.execute("SELECT task_id, key, value FROM xcom")
        }
        left = database.execute("SELECT COUNT(*) FROM task_state_store").fetchone()[0]
    result = xcoms["in_triggerer", "return_value"]
    assert result["rows"] == [["it's 1"]]
    assert len(xcoms["resumed", "return_value"]["job_ids"]) == 3
    address = real_dremio.connection["host"]
    assert xcoms["in_triggerer", "_link_DremioJobLink"] == f"{address}/job/{result['job_ids'][1]}"
    assert xcoms["job", "_link_DremioJobLink"] == f"{address}/job/{result['job_ids'][0]}"
    assert left == 0
    assert real_dremio.connection["password"] not in log
