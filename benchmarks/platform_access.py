"""How the benchmarks reach a running platform: its settings file, Airflow's and Airbyte's APIs, its processes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
VAR = Path(os.environ.get("SANDBOX_VAR") or REPOSITORY / "var").resolve()
POLL_SECONDS = 0.5
TIMEOUT_SECONDS = 3600
_ENDED = {"success", "failed"}


def read_settings() -> dict[str, str]:
    """Return what ``sandbox.env`` says.

    Raises:
        SystemExit: if the platform was never set up.
    """
    path = VAR / "sandbox.env"
    if not path.exists():
        raise SystemExit(f"{path} does not exist: run `make demo` first.")
    lines = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return {name.removeprefix("export ").strip(): value.strip().strip("'\"") for name, value in lines}


def connection_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the Airflow connections as ``AIRFLOW_CONN_*`` variables: hooks then need no running Airflow."""
    dremio, search, database = (
        urlsplit(settings[name]) for name in ("DREMIO_URL", "ELASTICSEARCH_URL", "METADATA_POSTGRES_DSN")
    )
    checksums = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    lake = {
        "endpoint_url": settings["S3_ENDPOINT"],
        "region_name": settings["S3_REGION"],
        "service_config": {"s3": {"bucket_name": settings["S3_BUCKET"]}},
        "config_kwargs": {"s3": {"addressing_style": "path"}, **checksums},
    }
    extra = {"flight_port": urlsplit(settings["DREMIO_FLIGHT"]).port, "tls": False, "edition": "community"}
    connections: dict[str, dict[str, Any]] = {
        "airbyte_default": {
            "conn_type": "airbyte", "host": f"{settings['AIRBYTE_URL']}/api/public/v1",
            "login": settings["AIRBYTE_CLIENT_ID"], "password": settings["AIRBYTE_CLIENT_SECRET"],
        },
        "airbyte_config": {"conn_type": "http", "host": settings["AIRBYTE_CONFIG_URL"]},
        "dremio_default": {
            "conn_type": "dremio", "host": dremio.hostname, "port": dremio.port, "login": settings["DREMIO_USER"],
            "password": settings["DREMIO_PASSWORD"], "extra": extra,
        },
        "superset_default": {
            "conn_type": "superset", "host": settings["SUPERSET_URL"], "login": settings["SUPERSET_USER"],
            "password": settings["SUPERSET_PASSWORD"],
        },
        "lake_s3": {
            "conn_type": "aws", "login": settings["S3_ACCESS_KEY"], "password": settings["S3_SECRET_KEY"],
            "extra": lake,
        },
        "elasticsearch_default": {
            "conn_type": "elasticsearch", "host": search.hostname, "port": search.port, "schema": "http",
        },
        "metadata_postgres": {
            "conn_type": "postgres", "host": database.hostname, "port": database.port, "login": database.username,
            "password": database.password, "schema": database.path.strip("/"),
        },
    }  # fmt: skip
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}


class Airflow:
    """Airflow's REST API, as far as a run needs it."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._client = httpx.Client(base_url=settings["AIRFLOW_URL"], timeout=60, trust_env=False)
        login = {"username": settings["AIRFLOW_USER"], "password": settings["AIRFLOW_PASSWORD"]}
        answer = self._client.post("/auth/token", json=login).raise_for_status().json()
        self._client.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def run(self, dag_id: str) -> dict[str, Any]:
        """Trigger a run, wait for its end and return it."""
        path = f"/api/v2/dags/{dag_id}/dagRuns"
        run_id = self._client.post(path, json={"logical_date": None}).raise_for_status().json()["dag_run_id"]
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            run: dict[str, Any] = self._client.get(f"{path}/{run_id}").raise_for_status().json()
            if run["state"] in _ENDED:
                return run
            time.sleep(POLL_SECONDS)
        raise SystemExit(f"{dag_id} {run_id} did not end within {TIMEOUT_SECONDS} s")


class Airbyte:
    """Airbyte's public API, as far as a sync needs it."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._client = httpx.Client(base_url=f"{settings['AIRBYTE_URL']}/api/public/v1", timeout=60, trust_env=False)
        login = {"client_id": settings["AIRBYTE_CLIENT_ID"], "client_secret": settings["AIRBYTE_CLIENT_SECRET"]}
        answer = self._client.post("/applications/token", json=login).raise_for_status().json()
        self._client.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def connection_ids(self) -> dict[str, str]:
        """Return the connections by name."""
        answer = self._client.get("/connections").raise_for_status().json()
        return {connection["name"]: connection["connectionId"] for connection in answer["data"]}

    def start(self, connection_id: str) -> int:
        """Start a sync and return its job id."""
        request = {"connectionId": connection_id, "jobType": "sync"}
        return int(self._client.post("/jobs", json=request).raise_for_status().json()["jobId"])

    def wait(self, job_id: int) -> None:
        """Wait for a job to succeed."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            status = self._client.get(f"/jobs/{job_id}").raise_for_status().json()["status"]
            if status == "succeeded":
                return
            if status in ("failed", "cancelled", "incomplete"):
                raise SystemExit(f"sync job {job_id} ended {status}")
            time.sleep(POLL_SECONDS)
        raise SystemExit(f"sync job {job_id} did not end within {TIMEOUT_SECONDS} s")


def platform_memory() -> dict[str, int]:
    """Return the memory of this platform's processes in bytes, by service.

    Returns:
        proportional set size where the system tells it (Linux), else resident size. Empty when nothing runs.
    """
    own = str(VAR)
    found: dict[str, int] = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if "SANDBOX_ID" not in environment or environment.get("SANDBOX_VAR") != own:
                continue
            memory = process.memory_full_info()
            name = environment.get("SANDBOX_SERVICE") or process.name()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        found[name] = found.get(name, 0) + (getattr(memory, "pss", 0) or memory.rss)
    return found
