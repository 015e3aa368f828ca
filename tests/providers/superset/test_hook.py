"""The hook over HTTP where a healthy Superset would not show the state on demand."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from superset_provider import exceptions
from superset_provider.exceptions import (
    SupersetAuthenticationError,
    SupersetConfigurationError,
    SupersetError,
    SupersetTerminalError,
    SupersetTransientError,
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


def test_an_expired_token_is_refreshed_without_the_password(hook: Any, superset: Any, server: Any) -> None:
    hook.request("GET", "/api/v1/me/")
    superset.valid.clear()
    assert hook.request("GET", "/api/v1/me/")["result"]["username"] == "admin"
    assert server.count("POST", "/api/v1/security/login") == 1
    assert server.count("POST", "/api/v1/security/refresh") == 1


def test_when_the_refresh_token_has_expired_too_it_logs_in_again(hook: Any, superset: Any, server: Any) -> None:
    hook.request("GET", "/api/v1/me/")
    superset.valid.clear()
    superset.refresh_works = False
    assert hook.request("GET", "/api/v1/me/")["result"]["username"] == "admin"
    assert server.count("POST", "/api/v1/security/login") == 2


def test_writing_carries_the_csrf_token_with_its_cookie(hook: Any, superset: Any, server: Any) -> None:
    superset.guard_csrf("PUT", "/api/v1/chart/1", {"id": 1})
    for _ in range(2):
        assert hook.request("PUT", "/api/v1/chart/1", json={}) == {"id": 1}
    assert server.count("GET", "/api/v1/security/csrf_token/") == 1


def test_a_lost_session_gets_a_new_csrf_token(hook: Any, superset: Any) -> None:
    superset.guard_csrf("PUT", "/api/v1/chart/1", {"id": 1})
    hook.request("PUT", "/api/v1/chart/1", json={})
    superset.session = "def"
    assert hook.request("PUT", "/api/v1/chart/1", json={}) == {"id": 1}


def test_reading_chart_data_needs_no_csrf_token(hook: Any, superset: Any, server: Any) -> None:
    superset.guard("POST", "/api/v1/chart/data", lambda _: superset.reply(200, {"result": [{"is_cached": True}]}))
    assert hook.chart_data({}, form_data={"slice_id": 2}, dashboard_id=3) == [{"is_cached": True}]
    assert server.count("GET", "/api/v1/security/csrf_token/") == 0
    assert server.requests[-1].query == {"form_data": ['{"slice_id": 2}'], "dashboard_id": ["3"]}


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, {"message": "Error: no such table: sales"}, SupersetTerminalError, "no such table: sales"),
        (422, {"msg": "Not enough segments"}, SupersetTerminalError, "Not enough segments"),
        (403, {"errors": [{"message": "Forbidden", "error_type": "X"}]}, SupersetAuthenticationError, "Forbidden"),
        (500, {"errors": [{"message": "boom"}]}, SupersetTransientError, "boom"),
        (503, {"message": "later"}, SupersetTransientError, "later"),
    ],
)
def test_each_kind_of_error_body_is_understood(
    hook: Any, superset: Any, server: Any, status: int, body: Any, kind: type[SupersetError], said: str
) -> None:
    superset.guard("GET", "/api/v1/chart/9", lambda _: superset.reply(status, body))
    with pytest.raises(kind, match=said) as caught:
        hook.get_chart(9)
    assert server.address in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_a_transient_answer_is_repeated(hook: Any, superset: Any, server: Any) -> None:
    hook.request("GET", "/api/v1/me/")
    good = superset.reply(200, {"result": {"username": "admin"}})
    server.on("GET", "/api/v1/me/", superset.reply(429, {"message": "50 per 1 second"}), superset.reply(502, {}), good)
    assert hook.request("GET", "/api/v1/me/")["result"]["username"] == "admin"


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
