"""A real Superset for the tests: the one that SUPERSET_URL names, otherwise one of our own, started once a session."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS = 240


@dataclass(frozen=True)
class RealSuperset:
    """Where a real Superset is, and a database that it may read.

    :param database_uri: SQLAlchemy URI, as Superset takes it.
    :param home: Folder of the server that was started here; None for somebody else's.
    """

    address: str
    user: str
    password: str
    database_uri: str
    home: Path | None = None

    def connection(self, user: str | None = None, password: str | None = None) -> dict[str, Any]:
        """An Airflow connection, by default of the administrator."""
        return {
            "conn_type": "superset",
            "host": self.address,
            "login": user or self.user,
            "password": password or self.password,
        }

    @contextmanager
    def later(self, by: timedelta) -> Iterator[None]:
        """Move the server's clock for the time of the block; skipped for a server that was not started here."""
        if self.home is None:
            pytest.skip("Only the clock of a Superset that was started here can be moved.")
        clock = self.home / "clock"
        clock.write_text(str(by.total_seconds()))
        try:
            yield
        finally:
            clock.unlink()


@contextmanager
def running_superset(home: Path) -> Iterator[RealSuperset]:
    """The Superset that SUPERSET_URL names (with SUPERSET_USER, SUPERSET_PASSWORD, and SUPERSET_DATABASE_URI of a
    database that it may read), otherwise one of our own, with row-level security, tags and Jinja.

    :param home: Folder for what it keeps.
    """
    env = os.environ
    if "SUPERSET_URL" in env:
        uri = env["SUPERSET_DATABASE_URI"]
        yield RealSuperset(env["SUPERSET_URL"], env["SUPERSET_USER"], env["SUPERSET_PASSWORD"], uri)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(16)
    command = [
        str(REPOSITORY / ".venv/superset/bin/python"),
        str(Path(__file__).with_name("serve_superset.py")),
        str(home),
        str(port),
    ]
    machine = importlib.util.find_spec("time_machine")
    packages = str(Path(machine.origin).parents[1]) if machine is not None and machine.origin else ""
    with (home / "superset.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**env, "SUPERSET_PASSWORD": password, "TIME_MACHINE_PACKAGES": packages},
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _await_health(process, address, home / "superset.log")
            yield RealSuperset(address, "admin", password, f"sqlite:///{home}/source.db", home)
        finally:
            process.terminate()
            process.wait(20)


def _await_health(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.3)
    pytest.fail(f"Superset did not start; its log ends with:\n{log.read_text()[-2000:]}")
