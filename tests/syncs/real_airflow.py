"""An Airflow of the sandbox's, with its own PostgreSQL, whose scheduler and triggerer a test may kill."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from sandbox import airflow, postgres
from sandbox.airflow_api import AirflowClient
from sandbox.services import Platform
from sandbox.settings import Settings
from tests.lakehouse.servers import free_offset
from tests.sandbox.airbyte.services import ANSWER_SECONDS, Airbyte, wait_until

SETTINGS = """
[scheduler]
scheduler_health_check_threshold = 600
orphaned_tasks_check_interval = 1

[triggerer]
triggerer_health_check_threshold = 600

[dag_processor]
stale_dag_threshold = 600

[workers]
min_heartbeat_interval = 1
"""
"""Who lives is never taken for dead: a scheduler that a busy or paused machine holds up takes its own tasks from
itself, again and again as long as starting them anew keeps the machine busy. Who is dead, ``RealAirflow.kill`` says."""
JOBS = {"scheduler": "SchedulerJob", "triggerer": "TriggererJob"}


class RealAirflow:
    """A running Airflow with the DAGs of one folder.

    Args:
        var: Where all of its state is.
    """

    def __init__(self, var: Path) -> None:
        self.settings = Settings.load({"SANDBOX_VAR": str(var), "SANDBOX_PORT_OFFSET": str(free_offset())})
        airflow.home(self.settings).mkdir(parents=True)
        (airflow.home(self.settings) / "airflow.cfg").write_text(SETTINGS)
        self.platform = Platform(self.settings, [postgres.service(self.settings), *airflow.nodes(self.settings)])
        self.client = AirflowClient(self.settings, timeout=ANSWER_SECONDS)

    def connect(self, airbyte: Airbyte) -> None:
        """Declare the Airflow connections to an Airbyte server."""
        login = {"login": airbyte.client_id, "password": airbyte.client_secret}
        public = {"connection_id": "airbyte_default", "conn_type": "airbyte", "host": airbyte.api, **login}
        config = {"connection_id": "airbyte_config", "conn_type": "http", "host": airbyte.config_url}
        for connection in (public, config):
            self.client.request("POST", "/api/v2/connections", json=connection)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run and return its id."""
        body = {"logical_date": None, "conf": conf}
        return str(self.client.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body).json()["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self.client.run(dag_id, run_id)["state"])

    def task(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return the one task instance of a run."""
        (task,) = self.client.tasks(dag_id, run_id)
        return task

    def xcom(self, dag_id: str, run_id: str, key: str) -> Any:
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/sync/xcomEntries/{key}"
        return self.client.request("GET", path).json()["value"]

    def kill(self, component: str, *, family: bool) -> None:
        """Kill -9 a component, alone or with all the processes it has started, tasks among them; start it again.

        Airflow takes over from it at once, for which it waits half a minute of silence otherwise.
        """
        self._kill(component, family=family)
        with psycopg.connect(self.settings["AIRFLOW_POSTGRES_DSN"]) as database:
            silent = "UPDATE job SET latest_heartbeat = latest_heartbeat - interval '1 hour' WHERE state = 'running'"
            assert database.execute(f"{silent} AND job_type = %s", (JOBS[component],)).rowcount
        # Not by way of the platform, which would end what a dead scheduler has left.
        service = next(node for node in self.platform.services if node.name == f"airflow-{component}")
        self.platform.table.spawn(service.name, service.command(), ())

    def end(self) -> None:
        """Stop everything; nobody misses what Airflow takes its time for."""
        self.client.__exit__()
        for component in airflow.COMPONENTS:
            self._kill(component, family=True)
        self.platform.down()

    def _kill(self, component: str, *, family: bool) -> None:
        record = self.platform.table.record(f"airflow-{component}")
        if record is None or not psutil.pid_exists(record.pid):
            return
        process = psutil.Process(record.pid)
        doomed = [process, *(process.children(recursive=True) if family else [])]
        for each in doomed:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(doomed, timeout=20)

    def succeed(self, dag_id: str, run_id: str, seconds: float = 180) -> None:
        """Wait for the end of a run; fail unless it is a success."""
        wait_until(lambda: self.state(dag_id, run_id) in ("success", "failed"), f"{dag_id} {run_id} ends", seconds)
        assert self.state(dag_id, run_id) == "success", self.client.tasks(dag_id, run_id)


@contextmanager
def real_airflow(var: Path, dags: Path) -> Iterator[RealAirflow]:
    """Run an Airflow while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_DAGS_FOLDER", str(dags))
        made = RealAirflow(var)
        try:
            made.platform.up()
            yield made
        finally:
            made.end()
            # Where PostgreSQL's user cannot reach the tests' folder, it is elsewhere.
            shutil.rmtree(postgres.PostgresServer(made.settings).home, ignore_errors=True)
