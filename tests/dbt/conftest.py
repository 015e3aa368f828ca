"""A Dremio and an S3 server of the tests' own, a small bronze layer in it, and dbt as a person would call it."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parents[2]
DBT = REPOSITORY / ".venv/dbt/bin/dbt"
BUCKET = "datalake"
REAL_PORTS = {"s3": 9000, "dremio": 9047, "dremio_flight": 32010}


def load_bronze_module() -> Any:
    """The module beside this file; pytest's import mode knows no packages for tests."""
    spec = importlib.util.spec_from_file_location("dbt_tests_bronze", Path(__file__).with_name("bronze.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def free_offset() -> int:
    """An offset with which none of the ports is taken."""
    for _ in range(100):
        offset = 10_000 + secrets.randbelow(20_000)
        with_offset = [port + offset for port in REAL_PORTS.values()]
        if all(_connect(port) != 0 for port in with_offset):
            return offset
    raise AssertionError("no free ports")


def _connect(port: int) -> int:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port))


def wait_until(process: subprocess.Popen[bytes], log: Path, ready: Any) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-3000:]
        if ready():
            return
        time.sleep(0.1)
    raise AssertionError(f"not ready after 60 s: {log.read_text()[-3000:]}")


@dataclass
class Lakehouse:
    """Where the servers listen, and what a test does with them."""

    environment: dict[str, str]
    directory: Path
    token: str = ""
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def s3(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.environment["S3_ENDPOINT"],
            aws_access_key_id=self.environment["S3_ACCESS_KEY"],
            aws_secret_access_key=self.environment["S3_SECRET_KEY"],
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

    def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"Authorization": f"_dremio{self.token}"} if self.token else {}
        return self.client.request(method, self.environment["DREMIO_URL"] + path, headers=headers, **arguments)

    def login(self) -> None:
        login = {"userName": self.environment["DREMIO_USER"], "password": self.environment["DREMIO_PASSWORD"]}
        answer = self.call("POST", "/apiv2/login", json=login)
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["token"]

    def sql(self, statement: str) -> list[dict[str, Any]]:
        answer = self.call("POST", "/api/v3/sql", json={"sql": statement})
        assert answer.status_code == 200, f"{answer.text}\n{statement}"
        job = f"/api/v3/job/{answer.json()['id']}"
        while (state := self.call("GET", job).json())["jobState"] not in {"COMPLETED", "FAILED", "CANCELED"}:
            time.sleep(0.05)
        assert state["jobState"] == "COMPLETED", f"{state.get('errorMessage')}\n{statement}"
        rows: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"{job}/results", params={"offset": len(rows), "limit": 500}).json()
            rows += page["rows"]
            if len(rows) >= page["rowCount"]:
                return rows

    def value(self, statement: str) -> Any:
        ((value,),) = (row.values() for row in self.sql(statement))
        return value

    def put(self, objects: dict[str, bytes]) -> None:
        """Store objects, tell Dremio about the folders they lie in, and apply the views over bronze."""
        for key, body in objects.items():
            self.s3().put_object(Bucket=BUCKET, Key=key, Body=body)
        for stream in ("customers", "products", "orders", "order_items"):
            self.refresh(["bronze", "postgres", stream], {"type": "Parquet"})
        for stream in ("customers", "orders", "order_items"):
            self.refresh(["bronze", "cdc", "postgres", stream], {"type": "Parquet"})
        self.refresh(["bronze", "api", "payments"], {"type": "JSON"})
        self.refresh(
            ["bronze", "files", "csv_import"],
            {"type": "Text", "fieldDelimiter": ",", "lineDelimiter": "\n", "extractHeader": True},
        )
        self.apply_views("bronze")

    def refresh(self, folders: list[str], file_format: dict[str, Any]) -> None:
        path = ["lake", BUCKET, *folders]
        entity = self.call("GET", "/api/v3/catalog/by-path/" + "/".join(path))
        if entity.status_code == 200 and entity.json()["entityType"] == "dataset":
            self.sql(f"alter table {'.'.join(path)} refresh metadata force update")
            return
        identifier = "dremio%3A%2F" + "%2F".join(path)
        body = {"entityType": "dataset", "type": "PHYSICAL_DATASET", "path": path, "format": file_format}
        body["id"] = "dremio:/" + "/".join(path)
        answer = self.call("POST", f"/api/v3/catalog/{identifier}", json=body)
        assert answer.status_code == 200, answer.text

    def apply_views(self, layer: str) -> None:
        for path in sorted((REPOSITORY / "include/dremio/views" / layer).glob("*.sql")):
            self.sql(f'create or replace view "{layer}"."{path.stem}" as {path.read_text()}')

    def dbt(
        self, *arguments: str, project: Path = REPOSITORY / "dbt", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        # A target folder of their own keeps the tests' partial parse apart from a person's, and a changed copy of the
        # project apart from the project.
        target = self.directory / ("target" if project == REPOSITORY / "dbt" else "target-of-copy")
        return subprocess.run(
            [str(DBT), "--no-use-colors", *arguments, "--target-path", str(target), "--log-path", str(self.directory)],
            cwd=project,
            env={**os.environ, **self.environment, "DBT_THREADS": "8", **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def results(self) -> dict[str, dict[str, Any]]:
        """What the last dbt command did, by node."""
        document = json.loads((self.directory / "target/run_results.json").read_text())
        return {result["unique_id"]: result for result in document["results"]}


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakehouse]:
    directory = tmp_path_factory.mktemp("lakehouse")
    offset = free_offset()
    ports = {name: port + offset for name, port in REAL_PORTS.items()}
    environment = {
        "SANDBOX_PORT_OFFSET": str(offset),
        "SANDBOX_VAR": str(directory / "var"),
        "S3_ENDPOINT": f"http://127.0.0.1:{ports['s3']}",
        "S3_ACCESS_KEY": "dbt-tests",
        "S3_SECRET_KEY": secrets.token_hex(12),
        "S3_REGION": "us-east-1",
        "S3_BUCKET": BUCKET,
        "S3_DROPZONE_BUCKET": "dropzone",
        "DREMIO_URL": f"http://127.0.0.1:{ports['dremio']}",
        "DREMIO_FLIGHT": f"grpc://127.0.0.1:{ports['dremio_flight']}",
        "DREMIO_USER": "admin",
        "DREMIO_PASSWORD": secrets.token_hex(12),
    }
    (directory / "s3" / BUCKET).mkdir(parents=True)
    rclone = shutil.which("rclone") or str(Path(sys.executable).with_name("rclone"))
    keys = f"{environment['S3_ACCESS_KEY']},{environment['S3_SECRET_KEY']}"
    address = f"127.0.0.1:{ports['s3']}"
    commands = {
        "s3": [rclone, "serve", "s3", "--config", os.devnull, "--auth-key", keys, "--addr", address, directory / "s3"],
        "dremio": [sys.executable, "-m", "sandbox.dremio"],
    }
    lakehouse = Lakehouse(environment, directory)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in commands.items():
            log = directory / f"{name}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command, cwd=REPOSITORY, env={**os.environ, **environment}, stdout=output, stderr=output
                )
            running.append(process)
            wait_until(process, log, lambda port=ports[name]: _connect(port) == 0)
        wait_until(running[1], directory / "dremio.log", lambda: _answers(environment["DREMIO_URL"]))
        lakehouse.login()
        yield lakehouse
    finally:
        lakehouse.client.close()
        for process in reversed(running):
            process.terminate()
            process.wait(15)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/apiv2/server_status", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def bronze() -> Any:
    return load_bronze_module().make_bronze()


@pytest.fixture(scope="session")
def lakehouse(servers: Lakehouse) -> Lakehouse:
    """Dremio with its source and spaces as declared; nothing is in bronze yet."""
    for entity in declared_entities(servers.environment):
        answer = servers.call("POST", "/api/v3/catalog", json=entity)
        assert answer.status_code == 200, answer.text
    return servers


def declared_entities(environment: dict[str, str]) -> list[dict[str, Any]]:
    """The catalog entities of include/dremio, with the values that an Airflow connection would bring."""
    from jinja2.nativetypes import NativeEnvironment

    folder = REPOSITORY / "include/dremio"
    spaces = yaml.safe_load((folder / "spaces.yml").read_text())["spaces"]
    sources = yaml.safe_load((folder / "sources.yml").read_text())["sources"]
    connection = {
        "login": environment["S3_ACCESS_KEY"],
        "password": environment["S3_SECRET_KEY"],
        "extra_dejson": {"endpoint_url": environment["S3_ENDPOINT"]},
    }
    jinja = NativeEnvironment()

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [filled(entry) for entry in value]
        if isinstance(value, str) and "{{" in value:
            return jinja.from_string(value).render(conn={"lake_s3": connection})
        return value

    return [{"entityType": "space", "name": space["name"]} for space in spaces] + [
        {"entityType": "source", **filled(source)} for source in sources
    ]
