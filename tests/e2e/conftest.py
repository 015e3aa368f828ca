"""The whole platform, started once: `make demo` at a small scale, on its own ports and in its own state folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import psycopg
import pytest
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parents[2]
PORT_OFFSET = 500
"""Moves every port away from a platform that is already running, and stays below the ephemeral ports."""
SCALE = "0.01"
LAST_DAY = "2026-06-30"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(1500))


@dataclass(frozen=True)
class Platform:
    """A running platform: its settings, and a few ways to ask its servers."""

    environment: dict[str, str]
    demo: subprocess.CompletedProcess[str]
    var: Path

    def __getitem__(self, name: str) -> str:
        return self.environment[name]

    def make(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        return run_make(self.var, *arguments, timeout=timeout)

    def kill(self, service: str) -> None:
        """Kill -9 a service of the platform and all its processes; `make up` brings it back."""
        process = psutil.Process(json.loads((self.var / "run" / f"{service}.json").read_text())["pid"])
        processes = [*process.children(recursive=True), process]
        for each in processes:
            each.kill()
        psutil.wait_procs(processes, timeout=20)

    def objects(self, prefix: str = "") -> dict[str, str]:
        """Return {key: ETag} of the lake's objects below a prefix."""
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=self["S3_BUCKET"], Prefix=prefix)
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}

    def s3(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self["S3_ENDPOINT"],
            aws_access_key_id=self["S3_ACCESS_KEY"],
            aws_secret_access_key=self["S3_SECRET_KEY"],
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def metadata(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self["METADATA_POSTGRES_DSN"]) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[call-overload]

    def dremio(self, sql: str) -> list[dict[str, Any]]:
        """Run one statement over REST and return its first 500 rows."""
        login = {"userName": self["DREMIO_USER"], "password": self["DREMIO_PASSWORD"]}
        with httpx.Client(base_url=self["DREMIO_URL"], timeout=60) as client:
            token = client.post("/apiv2/login", json=login).raise_for_status().json()["token"]
            client.headers["Authorization"] = f"_dremio{token}"
            job = client.post("/api/v3/sql", json={"sql": sql}).raise_for_status().json()["id"]
            while (status := client.get(f"/api/v3/job/{job}").json())["jobState"] not in {
                "COMPLETED",
                "FAILED",
                "CANCELED",
            }:
                time.sleep(0.05)
            assert status["jobState"] == "COMPLETED", status
            return client.get(f"/api/v3/job/{job}/results", params={"limit": 500}).raise_for_status().json()["rows"]

    def counts(self) -> dict[str, int]:
        views = [
            f"bronze.raw_{name}" for name in ("customers", "orders", "order_items", "products", "payments", "returns")
        ] + ["gold.fct_orders", "gold.dim_customers", "gold.fct_daily_revenue", "gold.fct_customer_lifetime_value"]
        return {view: int(self.dremio(f"SELECT COUNT(*) AS n FROM {view}")[0]["n"]) for view in views}


class Airflow:
    """What the tests need of Airflow's REST API."""

    def __init__(self, platform: Platform) -> None:
        self.client = httpx.Client(base_url=platform["AIRFLOW_URL"], timeout=30)
        login = {"username": platform["AIRFLOW_USER"], "password": platform["AIRFLOW_PASSWORD"]}
        token = self.client.post("/auth/token", json=login).raise_for_status().json()["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    def trigger(self, dag_id: str, logical_date: str | None = None) -> str:
        body = {"logical_date": logical_date}
        return self.client.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body).raise_for_status().json()["dag_run_id"]

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return self.client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").raise_for_status().json()

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        url = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found = self.client.get(url, params={"limit": 200}).raise_for_status().json()["task_instances"]
        return {instance["task_id"]: instance for instance in found}

    def wait(self, dag_id: str, run_id: str, timeout: float = 400) -> str:
        deadline = time.monotonic() + timeout
        while (state := self.run(dag_id, run_id)["state"]) not in {"success", "failed"}:
            assert time.monotonic() < deadline, f"{dag_id} {run_id} is still {state}: {self.unfinished(dag_id, run_id)}"
            time.sleep(0.5)
        return state

    def unfinished(self, dag_id: str, run_id: str) -> dict[str, str]:
        tasks = self.tasks(dag_id, run_id)
        return {name: task["state"] for name, task in tasks.items() if task["state"] not in {"success", "skipped"}}

    def clear(self, dag_id: str, run_id: str, **options: Any) -> None:
        body = {"dry_run": False, "dag_run_id": run_id, "only_failed": True, "reset_dag_runs": True, **options}
        self.client.post(f"/api/v2/dags/{dag_id}/clearTaskInstances", json=body).raise_for_status()

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the log of a task's newest attempt."""
        attempt = self.tasks(dag_id, run_id)[task_id]["try_number"]
        url = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        return self.client.get(url, params={"full_content": True}).raise_for_status().text


def make_environment(var: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "SANDBOX", "MAKE", "MFLAGS"))
    }
    return kept | {"SANDBOX_PORT_OFFSET": str(PORT_OFFSET), "SANDBOX_VAR": str(var), "SHOP_LAST_DAY": LAST_DAY}


def run_make(var: Path, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    # A group of its own: when the tests are told to end, what make has started ends with it.
    with subprocess.Popen(
        ["make", *arguments],
        cwd=REPOSITORY,
        env=make_environment(var),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


# A package's fixture: the platform goes down after the last of these tests, not at the end of all.
@pytest.fixture(scope="package")
def platform() -> Iterator[Platform]:
    var = REPOSITORY / "var" / "test"
    run_make(var, "down", timeout=120)
    shutil.rmtree(var, ignore_errors=True)
    try:
        demo = run_make(var, "demo", f"SCALE={SCALE}")
        assert demo.returncode == 0, demo.stdout[-6000:] + demo.stderr[-6000:]
        lines = (var / "sandbox.env").read_text().splitlines()
        shell = subprocess.run(
            ["bash", "-c", f"set -a; . {var}/sandbox.env; env -0"], capture_output=True, text=True, check=True, env={}
        )
        names = {line.split("=", 1)[0] for line in lines if "=" in line}
        values = dict(entry.split("=", 1) for entry in shell.stdout.split("\0") if "=" in entry)
        yield Platform({name: values[name] for name in names if name in values}, demo, var)
    finally:
        run_make(var, "down", timeout=120)


@pytest.fixture(scope="package")
def airflow(platform: Platform) -> Airflow:
    return Airflow(platform)
