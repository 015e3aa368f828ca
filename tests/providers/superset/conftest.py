"""A scripted Superset for what a real one does not show on demand, and the hook to the real one."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from superset_provider import protocol
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

from tests.providers.superset.fixtures import hook, logged_in, workshop

__all__ = ["hook", "logged_in", "workshop"]


class ScriptedSuperset:
    """Login, refresh and CSRF as Superset does them; the test decides which tokens are still good."""

    def __init__(self, server: Any, reply: Any) -> None:
        self.server, self.reply = server, reply
        self.valid: set[str] = set()
        self.refresh_works = True
        self.session = "abc"
        self.lifetime = 900.0
        self.refusal = reply(401, {"msg": "Token has expired"})
        self._ids = itertools.count(1)
        server.on("POST", protocol.LOGIN_PATH, self._login)
        server.on("POST", protocol.REFRESH_PATH, self._refresh)
        self.guard("GET", protocol.CSRF_PATH, self._csrf)

    def guard(self, method: str, path: str, handler: Any) -> None:
        """Answer with the handler whoever has a good token."""

        def guarded(request: Any) -> Any:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            return handler(request) if token in self.valid else self.refusal

        self.server.on(method, path, guarded)

    def answers(self, method: str, path: str, status: int, body: Any) -> None:
        """Answer whoever has a good token with this."""
        self.guard(method, path, lambda _: self.reply(status, body))

    def guard_csrf(self, method: str, path: str, body: Any) -> None:
        """Answer whoever has a good token, and a CSRF token with its cookie."""

        def checked(request: Any) -> Any:
            sent = (request.headers.get("x-csrftoken"), request.headers.get("cookie"))
            if sent != (f"csrf of {self.session}", f"session={self.session}"):
                return self.reply(400, {"errors": [{"message": "400 Bad Request: The CSRF token is missing."}]})
            return self.reply(200, body)

        self.guard(method, path, checked)

    def _token(self) -> str:
        # The server's clock is a year behind: only how long a token lives matters.
        issued = time.time() - 365 * 86_400
        claims = json.dumps({"iat": issued, "exp": issued + self.lifetime, "jti": next(self._ids)}).encode()
        token = f"header.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.signature"
        self.valid.add(token)
        return token

    def _login(self, request: Any) -> Any:
        if request.body.get("provider") != "db":
            return self.reply(400, {"message": {"provider": ["Alternative authentication provider is not allowed"]}})
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


@pytest.fixture
def warm(context: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """Run the operator with these arguments."""

    def run(**arguments: Any) -> dict[str, Any]:
        return SupersetWarmDashboardOperator(task_id="warm", **arguments).execute(context)

    return run


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, Any]], str]:
    """Add an Airflow connection and return its id."""

    def add(name: str, connection: dict[str, Any]) -> str:
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
        return name

    return add
