"""A real S3 server and the sandbox Dremio as processes, and a small client that speaks REST to it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
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
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.config import Config
from pyarrow import flight

REPOSITORY = Path(__file__).resolve().parents[3]
USER, PASSWORD = "admin", "Secret-123"
FINAL = ("COMPLETED", "FAILED", "CANCELED")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_offset() -> int:
    """An offset that moves both of Dremio's ports to free ones."""
    for _ in range(100):
        offset = free_port() - 9047
        with socket.socket() as probe, contextlib.suppress(OSError, OverflowError):
            probe.bind(("127.0.0.1", 32010 + offset))
            if offset > 0:
                return offset
    raise AssertionError("no free ports")


def wait_until(ready: Any, seconds: float = 30.0, what: str = "it") -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ready():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@dataclass
class S3:
    endpoint: str
    key: str = "AKEYAKEY"
    secret: str = "SKEYSKEYSKEY"
    bucket: str = "datalake"
    client: Any = None

    def __post_init__(self) -> None:
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, key: str, content: bytes | pa.Table, bucket: str = "") -> None:
        if isinstance(content, pa.Table):
            sink = io.BytesIO()
            pq.write_table(content, sink)
            content = sink.getvalue()
        self.client.put_object(Bucket=bucket or self.bucket, Key=key, Body=content)

    def keys(self, prefix: str) -> list[str]:
        answer = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return sorted(entry["Key"] for entry in answer.get("Contents", []))

    def parquet(self, key: str) -> pq.ParquetFile:
        body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return pq.ParquetFile(io.BytesIO(body))

    def source(self, name: str = "lake") -> dict[str, Any]:
        """The source's REST entity, as the platform declares it."""
        return {
            "entityType": "source",
            "name": name,
            "type": "S3",
            "config": {
                "credentialType": "ACCESS_KEY",
                "accessKey": self.key,
                "accessSecret": self.secret,
                "secure": False,
                "rootPath": "/",
                "compatibilityMode": True,
                "propertyList": [
                    {"name": "fs.s3a.path.style.access", "value": "true"},
                    {"name": "fs.s3a.endpoint", "value": self.endpoint.rpartition("/")[2]},
                ],
            },
            "metadataPolicy": {"autoPromoteDatasets": False},
            "accelerationActivePolicyType": "NEVER",
            "accelerationNeverExpire": True,
        }


@contextlib.contextmanager
def s3_server(folder: Path, buckets: tuple[str, ...] = ("datalake",)) -> Iterator[S3]:
    for bucket in buckets:
        (folder / bucket).mkdir(parents=True)
    port = free_port()
    binary = Path(sys.executable).parent / "rclone"
    server = S3(f"http://127.0.0.1:{port}")
    keys = f"{server.key},{server.secret}"
    process = subprocess.Popen(
        [str(binary), "serve", "s3", "--auth-key", keys, "--addr", f"127.0.0.1:{port}", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(port), what="the S3 server's start")
        yield server
    finally:
        stop(process)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Dremio:
    """A running server and a logged-in client."""

    var: Path
    offset: int
    process: subprocess.Popen[bytes] | None = None
    http: httpx.Client = field(default_factory=httpx.Client)
    edition: str = "community"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{9047 + self.offset}"

    @property
    def flight_port(self) -> int:
        return 32010 + self.offset

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "SANDBOX_PORT_OFFSET": str(self.offset),
            "SANDBOX_VAR": str(self.var),
            "DREMIO_USER": USER,
            "DREMIO_PASSWORD": PASSWORD,
            "SANDBOX_DREMIO_EDITION": self.edition,
        }

    def start(self) -> None:
        log = (self.var / "dremio.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.dremio"], cwd=REPOSITORY, env=self.environment(), stdout=log, stderr=log
        )
        wait_until(self._healthy, what="the server's start")
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self.http.headers["authorization"] = f"_dremio{self.token()}"

    def _healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.var / "dremio.log").read_text()
        try:
            return httpx.get(f"{self.url}/apiv2/server_status", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def token(self) -> str:
        answer = httpx.post(f"{self.url}/apiv2/login", json={"userName": USER, "password": PASSWORD}, timeout=10)
        return answer.json()["token"]

    def stop(self) -> int:
        assert self.process is not None
        self.http.close()
        return stop(self.process)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def submit(self, sql: str, context: list[str] | None = None) -> str:
        answer = self.http.post("/api/v3/sql", json={"sql": sql, "context": context})
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def job(self, sql: str, context: list[str] | None = None) -> dict[str, Any]:
        job_id = self.submit(sql, context)
        return {"id": job_id, **self.wait(job_id)}

    def wait(self, job_id: str) -> dict[str, Any]:
        def final() -> dict[str, Any] | None:
            body = self.http.get(f"/api/v3/job/{job_id}").json()
            return body if body["jobState"] in FINAL else None

        return wait_until(final, what=f"the end of job {job_id}")

    def rows(self, sql: str, context: list[str] | None = None) -> list[dict[str, Any]]:
        job = self.job(sql, context)
        assert job["jobState"] == "COMPLETED", f"{sql}\n{job['errorMessage']}"
        return self.http.get(f"/api/v3/job/{job['id']}/results", params={"limit": 500}).json()["rows"]

    def error(self, sql: str, context: list[str] | None = None) -> str:
        job = self.job(sql, context)
        assert job["jobState"] == "FAILED", f"{sql} ended {job['jobState']}"
        return job["errorMessage"]

    def entity(self, *path: str) -> dict[str, Any]:
        answer = self.http.get("/api/v3/catalog/by-path/" + "/".join(path))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def flight(self, **headers: str) -> tuple[flight.FlightClient, flight.FlightCallOptions]:
        client = flight.FlightClient(f"grpc://127.0.0.1:{self.flight_port}")
        token = client.authenticate_basic_token(USER, PASSWORD)
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        return client, flight.FlightCallOptions(headers=[token, *extra])


def read(client: flight.FlightClient, options: flight.FlightCallOptions, sql: str) -> pa.Table:
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), options)
    table = client.do_get(info.endpoints[0].ticket, options).read_all()
    assert table.schema == info.schema
    return table
