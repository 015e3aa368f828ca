"""Login, renewal and CSRF."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.contract.superset.conftest import Wire, claims

REFRESH, CSRF = "/api/v1/security/refresh", "/api/v1/security/csrf_token/"


def test_a_token_says_when_it_ends(wire: Wire) -> None:
    access, refresh = claims(wire.access), claims(wire.refresh)
    assert access["exp"] > access["iat"]
    assert refresh["exp"] - refresh["iat"] > access["exp"] - access["iat"]


def test_wrong_credentials_are_a_401(wire: Wire) -> None:
    answer = wire.http.post("/api/v1/security/login", json={**wire.credentials, "password": "wrong-one"})
    assert (answer.status_code, answer.json()) == (401, {"message": "Not authorized"})


def test_a_login_needs_its_provider(wire: Wire) -> None:
    credentials = {name: value for name, value in wire.credentials.items() if name != "provider"}
    answer = wire.http.post("/api/v1/security/login", json=credentials)
    assert (answer.status_code, answer.json()) == (500, {"message": "Fatal error"})
    other = wire.http.post("/api/v1/security/login", json={**wire.credentials, "provider": "saml"})
    assert other.status_code == 400
    assert list(other.json()["message"]) == ["provider"]


def test_the_refresh_token_gives_an_access_token_and_no_more(wire: Wire) -> None:
    answer = wire.send("POST", REFRESH, wire.refresh)
    assert list(answer.json()) == ["access_token"]
    assert wire.send("GET", "/api/v1/me/", answer.json()["access_token"]).is_success
    refused = wire.send("POST", REFRESH, wire.access)
    assert (refused.status_code, list(refused.json())) == (422, ["msg"])


def test_a_token_that_is_none_is_a_422_with_msg(wire: Wire) -> None:
    answer = wire.send("GET", "/api/v1/me/", "nonsense")
    assert (answer.status_code, list(answer.json())) == (422, ["msg"])


def test_an_ended_token_is_a_401_with_msg(wire: Wire, real_superset: Any) -> None:
    with real_superset.later(timedelta(days=1)):
        answer = wire.send("GET", "/api/v1/me/")
        assert (answer.status_code, answer.json()) == (401, {"msg": "Token has expired"})
        assert wire.send("POST", REFRESH, wire.refresh).is_success
    with real_superset.later(timedelta(days=400)):
        assert wire.send("POST", REFRESH, wire.refresh).status_code == 401


def test_writing_needs_the_csrf_token_and_its_cookie(wire: Wire) -> None:
    given = wire.send("GET", CSRF)
    token = {"X-CSRFToken": given.json()["result"]}
    cookie = {"Cookie": f"session={given.cookies['session']}"}
    body = {"dashboard_title": "x", "slug": "y" * 300}
    for headers in ({}, token, cookie):
        refused = wire.send("POST", "/api/v1/dashboard/", headers=headers, json=body)
        assert refused.status_code == 400
        assert "CSRF" in refused.json()["errors"][0]["message"]
    # Past the check it is the body that is wrong; both serve again, with a new access token too.
    renewed = wire.send("POST", REFRESH, wire.refresh).json()["access_token"]
    for access in (wire.access, renewed):
        taken = wire.send("POST", "/api/v1/dashboard/", access, headers={**token, **cookie}, json=body)
        assert (taken.status_code, list(taken.json()["message"])) == (400, ["slug"])


def test_asking_for_chart_data_needs_none(wire: Wire) -> None:
    body = {"datasource": {"id": 987654, "type": "table"}, "queries": [{}]}
    assert wire.send("POST", "/api/v1/chart/data", json=body).status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/me/", "/api/v1/dashboard/", CSRF])
def test_without_a_token_nothing_is_told(wire: Wire, path: str) -> None:
    answer = wire.http.get(path)
    assert answer.status_code == 401
    assert "result" not in answer.json()


def test_health_needs_no_login(real_superset: Any) -> None:
    assert httpx.get(f"{real_superset.address}/health", timeout=30).text == "OK"
