"""A running Dremio for the tests: the one DREMIO_URL names, otherwise the sandbox as a process of its own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS = 90
REST, FLIGHT = 9047, 32010


@dataclass(frozen=True)
class RealDremio:
    """Where it is, and the object store that it may use."""

    connection: dict[str, Any]
    s3_address: str
    s3_key: str
    s3_secret: str
    bucket: str

    def source(self, name: str) -> dict[str, Any]:
        """The catalog's entity for the object store."""
        return {
            "entityType": "source",
            "name": name,
            "type": "S3",
            "config": {
                "credentialType": "ACCESS_KEY",
                "accessKey": self.s3_key,
                "accessSecret": self.s3_secret,
                "secure": False,
                "rootPath": "/",
                "compatibilityMode": True,
                "externalBucketList": [self.bucket],
                "defaultCtasFormat": "ICEBERG",
                "propertyList": [
                    {"name": "fs.s3a.path.style.access", "value": "true"},
                    {"name": "fs.s3a.endpoint", "value": self.s3_address.rpartition("/")[2]},
                    {"name": "dremio.s3.compat", "value": "true"},
                ],
            },
        }


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _connection(url: str, flight: str, user: str, password: str) -> dict[str, Any]:
    extra = {"flight_port": int(flight.rpartition(":")[2]), "edition": "auto"}
    return {"conn_type": "dremio", "host": url, "login": user, "password": password, "extra": extra}


@contextmanager
def running_dremio(var: Path) -> Iterator[RealDremio]:
    """The Dremio that DREMIO_URL names, otherwise the sandbox, started for the time of the block.

    :param var: Folder for what the sandbox keeps.
    """
    env = os.environ
    if "DREMIO_URL" in env:
        connection = _connection(env["DREMIO_URL"], env["DREMIO_FLIGHT"], env["DREMIO_USER"], env["DREMIO_PASSWORD"])
        yield RealDremio(connection, env["S3_ENDPOINT"], env["S3_ACCESS_KEY"], env["S3_SECRET_KEY"], env["S3_BUCKET"])
        return
    (var / "s3" / "datalake").mkdir(parents=True)
    # Below the ephemeral ports, which any outgoing connection may hold.
    offset = next(o for o in range(510, 750, 10) if all(_free(p + o) for p in (REST, FLIGHT, 9000)))
    password, key, secret = (secrets.token_hex(12) for _ in range(3))
    s3 = f"127.0.0.1:{9000 + offset}"
    rclone = [str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--addr", s3, str(var / "s3")]
    server = [sys.executable, "-m", "sandbox.dremio"]
    settings = {
        "SANDBOX_VAR": str(var),
        "SANDBOX_PORT_OFFSET": str(offset),
        "DREMIO_USER": "admin",
        "DREMIO_PASSWORD": password,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_AUTH_KEY": f'"{key},{secret}"',
    }
    url = f"http://127.0.0.1:{REST + offset}"
    log = var / "log"
    with log.open("wb") as out:
        started = [
            subprocess.Popen(command, cwd=REPOSITORY, env={**env, **settings}, stdout=out, stderr=out)
            for command in (rclone, server)
        ]
        try:
            _await(started, [f"{url}/apiv2/server_status", f"http://{s3}/"], log)
            flight = f"grpc://127.0.0.1:{FLIGHT + offset}"
            yield RealDremio(_connection(url, flight, "admin", password), s3, key, secret, "datalake")
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(20)


def _await(started: list[subprocess.Popen[bytes]], addresses: list[str], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while addresses and time.monotonic() < deadline and all(process.poll() is None for process in started):
        try:
            httpx.get(addresses[0], timeout=5)
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            addresses.pop(0)
    if addresses:
        pytest.fail(f"{addresses[0]} does not answer; the log ends with:\n{log.read_text()[-2000:]}")
