"""The hook over HTTP where a healthy Superset would not show the state on demand."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from superset_provider import exceptions
from superset_provider.exceptions import (
    SupersetConfigurationError,
    SupersetError,
)
from superset_provider.hooks.superset import SupersetHook

ERRORS = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, SupersetError)]


@pytest.fixture
def hook(superset: Any) -> Any:
    superset.guard("GET", "/api/v1/me/", lambda _: superset.reply(200, {"result": {"username": "admin"}}))
    with SupersetHook() as opened:
        yield opened


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_with_all_it_knows(kind: type[SupersetError]) -> None:
    error = kind("It broke.", asked="GET /x", address="http://s", received="500 no", check="the log", status_code=500)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.attrs(), str(copy)) == (kind, error.attrs(), str(error))


def test_the_connection_test_never_raises(
    hook: Any, closed_port: int, monkeypatch: pytest.MonkeyPatch, server: Any
) -> None:
    assert hook.test_connection() == (True, f"Logged in as admin at {server.address}.")
    nobody = {"conn_type": "superset", "host": f"http://127.0.0.1:{closed_port}", "login": "a", "password": "b"}
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(nobody))
    worked, message = SupersetHook().test_connection()
    assert not worked
    assert str(closed_port) in message
    assert SupersetHook("no_such_connection").test_connection()[0] is False


def test_an_incomplete_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps({"conn_type": "superset", "host": "s"}))
    with pytest.raises(SupersetConfigurationError, match="lacks login, password"):
        SupersetHook().list_charts()
