"""Apache Airflow's own Airbyte operator and hook, unmodified, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.airbyte.services import S3, Airbyte, Api, Client, free_port
from tests.sandbox.airbyte.test_declarative import connect, cursor_pages

SCRIPT = """
import json, sys
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook
from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator

results = {}
hook = AirbyteHook("airbyte_test")
results["test_connection"] = hook.test_connection()
for name, connection in json.loads(sys.argv[1]).items():
    operator = AirbyteTriggerSyncOperator(
        task_id=name, airbyte_conn_id="airbyte_test", connection_id=connection, wait_seconds=0.2, timeout=60
    )
    try:
        job_id = operator.execute({})
        details = hook.get_job_details(job_id)
        results[name] = [job_id, details.status.value, details.rows_synced, details.bytes_synced, details.duration]
    except Exception as error:
        results[name] = [type(error).__name__, str(error)]
asynchronous = AirbyteTriggerSyncOperator(
    task_id="a", airbyte_conn_id="airbyte_test", connection_id=list(json.loads(sys.argv[1]).values())[0],
    asynchronous=True,
)
results["asynchronous"] = asynchronous.execute({})
hook.cancel_job(results["asynchronous"])
results["cancelled"] = hook.get_job_status(results["asynchronous"]).value
print("RESULT" + json.dumps(results))
"""


def run(airbyte: Airbyte, home: Path, connections: dict[str, str]) -> dict[str, Any]:
    address = {
        "conn_type": "airbyte",
        "host": airbyte.api,
        "login": airbyte.client_id,
        "password": airbyte.client_secret,
    }
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_AIRBYTE_TEST": json.dumps(address),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(connections)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return dict(json.loads(line.removeprefix("RESULT")))


@pytest.fixture
def slow_start(api: Api) -> Any:
    """An API whose answers take long enough for the operator to see the job running."""
    import time

    pages = cursor_pages(25)

    def handle(path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.3)
        return pages(path, query, headers)

    api.handle = handle
    return api


def test_the_operator_runs_fails_and_cancels_as_against_airbyte(
    airbyte: Airbyte, client: Client, lake: S3, slow_start: Api, tmp_path: Path
) -> None:
    good = connect(client, lake, slow_start, "operator")
    bad = connect(client, lake, slow_start, "operatorbad")
    target = client.get(f"connections/{bad}")["destinationId"]
    endpoint = f"http://127.0.0.1:{free_port()}"
    client.call("PATCH", f"destinations/{target}", json={"configuration": {"s3_endpoint": endpoint}})
    results = run(airbyte, tmp_path, {"good": good, "bad": bad})
    assert results["test_connection"][0] is True
    job_id, status, rows, size, duration = results["good"]
    assert (status, rows) == ("succeeded", 25)
    assert size > 0
    assert duration.startswith("PT")
    assert client.get(f"jobs/{job_id}")["connectionId"] == good
    assert results["bad"][0] == "AirflowException"
    assert "failed" in results["bad"][1]
    assert results["cancelled"] == "cancelled"
