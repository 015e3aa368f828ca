"""A scripted Superset for tokens that expire, and a real one that is started once."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from superset_provider.hooks.superset import SupersetHook

REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS = 240


@dataclass(frozen=True)
class RealSuperset:
    """Where a real Superset is, and a database that it may read."""

    address: str
    user: str
    password: str
    database_uri: str


@pytest.fixture(scope="session")
def real_superset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSuperset]:
    """The Superset that SUPERSET_URL names; otherwise one of our own, with an empty metadata database."""
    if "SUPERSET_URL" in os.environ:
        env = os.environ
        yield RealSuperset(
            env["SUPERSET_URL"], env["SUPERSET_USER"], env["SUPERSET_PASSWORD"], env["METADATA_POSTGRES_DSN"]
        )
        return
    home = tmp_path_factory.mktemp("superset")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(16)
    command = [
        str(REPOSITORY / ".venv/superset/bin/python"),
        str(Path(__file__).parent / "serve_superset.py"),
        str(home),
        str(port),
    ]
    with (home / "superset.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "SUPERSET_PASSWORD": password}
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _await_health(process, address, home / "superset.log")
            yield RealSuperset(address, "admin", password, f"sqlite:///{home}/source.db")
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


@pytest.fixture(scope="module")
def hook(real_superset: Any) -> Iterator[SupersetHook]:
    connection = {
        "conn_type": "superset",
        "host": real_superset.address,
        "login": real_superset.user,
        "password": real_superset.password,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(connection))
        with SupersetHook() as opened:
            yield opened


class ScriptedSuperset:
    """Login, refresh and CSRF as Superset does them; the test decides which tokens are still good."""

    def __init__(self, server: Any, reply: Any) -> None:
        self.server, self.reply = server, reply
        self.valid: set[str] = set()
        self.refresh_works = True
        self.session = "abc"
        self._ids = itertools.count(1)
        server.on("POST", "/api/v1/security/login", self._login)
        server.on("POST", "/api/v1/security/refresh", self._refresh)
        self.guard("GET", "/api/v1/security/csrf_token/", self._csrf)

    def guard(self, method: str, path: str, handler: Any) -> None:
        def guarded(request: Any) -> Any:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in self.valid:
                return self.reply(401, {"msg": "Token has expired"})
            return handler(request)

        self.server.on(method, path, guarded)

    def guard_csrf(self, method: str, path: str, body: Any) -> None:
        def checked(request: Any) -> Any:
            sent = (request.headers.get("x-csrftoken"), request.headers.get("cookie"))
            if sent != (f"csrf of {self.session}", f"session={self.session}"):
                return self.reply(400, {"errors": [{"message": "400 Bad Request: The CSRF token is missing."}]})
            return self.reply(200, body)

        self.guard(method, path, checked)

    def _token(self) -> str:
        token = f"access{next(self._ids)}"
        self.valid.add(token)
        return token

    def _login(self, request: Any) -> Any:
        if request.body.get("provider") != "db":
            return self.reply(500, {"errors": [{"message": "no provider"}]})
        if request.body["password"] != "pass-word":
            return self.reply(401, {"message": "Not authorized"})
        return self.reply(200, {"access_token": self._token(), "refresh_token": "refresh"})

    def _refresh(self, request: Any) -> Any:
        if request.headers.get("authorization") != "Bearer refresh" or not self.refresh_works:
            return self.reply(401, {"msg": "Token has expired"})
        return self.reply(200, {"access_token": self._token()})

    def _csrf(self, request: Any) -> Any:
        cookie = f"session={self.session}; HttpOnly; Path=/"
        return self.reply(200, {"result": f"csrf of {self.session}"}, {"set-cookie": cookie})


@pytest.fixture
def superset(server: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> ScriptedSuperset:
    connection = {"conn_type": "superset", "host": server.address, "login": "admin", "password": "pass-word"}
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(connection))
    return ScriptedSuperset(server, reply)
