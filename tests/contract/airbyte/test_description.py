"""The sandbox's server against its own OpenAPI description: schemathesis, every check, every phase."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.contract.airbyte.conftest import Target

# 422 is Airbyte's answer to a body that is well-formed and that a connector does not accept: no schema can say which.
# 501 is this server's to what Airbyte can do and it cannot.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422", "501"]

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "501"]

[[operations]]
include-path-regex = "/connections"
# The streams of a connection are the source's: 400 names the one that is not there.
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422", "501"]

[parameters]
"path.workspace_id" = "{workspace}"
"path.jobId" = {job}
"query.sourceId" = "{source}"
"query.destinationId" = "{destination}"
"""


def test_schemathesis_finds_no_fault(sandbox: Target, tmp_path: Path) -> None:
    client = sandbox.client
    connection = client.get(f"connections/{sandbox.connection_id}")
    job = client.post("jobs", {"connectionId": sandbox.connection_id, "jobType": "clear"})["jobId"]
    ends = {"source": connection["sourceId"], "destination": connection["destinationId"]}
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(workspace=client.workspace, job=job, **ends))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")),
            f"--config-file={configuration}",
            "run",
            f"{client.api}/openapi.json",
            f"--header=Authorization: {client.http.headers['Authorization']}",
            "--checks=all",
            "--max-examples=5",
            "--seed=1",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "35 selected / 35 total" in done.stdout
