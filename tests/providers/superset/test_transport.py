"""Login, CSRF, repetition and errors over HTTP, the same for the blocking and for the async hook, where a healthy
Superset would not show the state on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity.nap
from superset_provider.exceptions import (
    SupersetAuthenticationError,
    SupersetChartDataError,
    SupersetError,
    SupersetNotFoundError,
    SupersetTerminalError,
    SupersetTransientError,
)
from superset_provider.hooks import rest
from superset_provider.hooks.superset import SupersetHook
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.protocol import CHART_DATA_PATH, CSRF_PATH, LOGIN_PATH, REFRESH_PATH

ME = "/api/v1/me/"


class Blocking:
    """The blocking hook, used by as many threads as there are requests."""

    def __init__(self) -> None:
        self.hook = SupersetHook()

    def do(self, name: str, *args: Any, **options: Any) -> Any:
        return getattr(self.hook, name)(*args, **options)

    def at_once(self, count: int, *args: Any) -> list[Any]:
        def one(_: int) -> Any:
            try:
                return self.hook.request(*args)
            except SupersetError as error:
                return error

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    def close(self) -> None:
        self.hook.close()


class Async:
    """The async hook in an event loop of its own."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.hook = self.runner.run(SupersetAsyncHook(concurrency=8).__aenter__())

    def do(self, name: str, *args: Any, **options: Any) -> Any:
        async def one() -> Any:
            return await getattr(self.hook, name)(*args, **options)

        return self.runner.run(one())

    def at_once(self, count: int, *args: Any) -> list[Any]:
        async def all_of_them() -> list[Any]:
            asked = [self.hook.request(*args) for _ in range(count)]
            return list(await asyncio.gather(*asked, return_exceptions=True))

        return self.runner.run(all_of_them())

    def close(self) -> None:
        self.runner.run(self.hook.__aexit__(None, None, None))
        self.runner.close()


@pytest.fixture(params=[Blocking, Async])
def client(request: pytest.FixtureRequest, superset: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hook of either kind on the scripted Superset; pauses between attempts are none."""
    monkeypatch.setattr(rest, "_backoff", lambda state: 0.0)
    superset.answers("GET", ME, 200, {"result": {"username": "admin"}})
    opened = request.param()
    yield opened
    opened.close()


# -- login ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 422])
def test_a_refused_token_is_renewed_without_the_password(client: Any, superset: Any, server: Any, status: int) -> None:
    superset.refusal = superset.reply(status, {"msg": "Token has expired, or is not of this key"})
    client.do("request", "GET", ME)
    superset.valid.clear()
    assert client.do("get_current_user")["username"] == "admin"
    assert (server.count("POST", LOGIN_PATH), server.count("POST", REFRESH_PATH)) == (1, 1)


def test_when_the_refresh_token_has_ended_too_it_logs_in_again(client: Any, superset: Any, server: Any) -> None:
    client.do("get_current_user")
    superset.valid.clear()
    superset.refresh_works = False
    assert client.do("get_current_user")["username"] == "admin"
    assert server.count("POST", LOGIN_PATH) == 2


def test_a_token_is_renewed_before_it_ends(
    client: Any, superset: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now, renewals in ((0.0, 0), (839.0, 0), (841.0, 1), (842.0, 1)):
        monkeypatch.setattr(rest, "time", SimpleNamespace(monotonic=lambda now=now: now))
        client.do("get_current_user")
        assert server.count("POST", REFRESH_PATH) == renewals
    # Superset never had to refuse one.
    assert server.count("GET", ME) == 4


def test_a_token_that_lives_for_seconds_is_used_for_half_of_them(
    client: Any, superset: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    superset.lifetime = 10.0
    for now, renewals in ((0.0, 0), (4.9, 0), (5.1, 1)):
        monkeypatch.setattr(rest, "time", SimpleNamespace(monotonic=lambda now=now: now))
        client.do("get_current_user")
        assert server.count("POST", REFRESH_PATH) == renewals


def test_one_login_serves_all_that_wait_for_it(client: Any, server: Any) -> None:
    answers = client.at_once(8, "GET", ME)
    assert [answer["result"]["username"] for answer in answers] == ["admin"] * 8
    assert server.count("POST", LOGIN_PATH) == 1


def test_a_refused_password_is_not_sent_again(client: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps({**_connection(server), "password": "wrong-one"}))
    other = type(client)()
    answers = [*other.at_once(8, "GET", ME), *other.at_once(1, "GET", ME)]
    other.close()
    assert {type(answer) for answer in answers} == {SupersetAuthenticationError}
    # A directory locks an account after a few wrong passwords.
    assert server.count("POST", LOGIN_PATH) == 1


def test_a_busy_login_is_asked_again(client: Any, server: Any, superset: Any) -> None:
    server.on("POST", LOGIN_PATH, superset.reply(429, {"message": "5 per 1 second"}), superset._login)
    assert client.do("get_current_user")["username"] == "admin"


def test_an_api_key_is_sent_as_it_is(client: Any, server: Any, superset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {**_connection(server), "login": None, "password": "sst_key", "extra": {"auth": "api_key"}}
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(connection))
    other = type(client)()
    superset.valid.add("sst_key")
    assert other.do("get_current_user")["username"] == "admin"
    superset.valid.clear()
    with pytest.raises(SupersetAuthenticationError, match="the API key in the password field") as caught:
        other.do("get_current_user")
    other.close()
    assert server.count("POST", LOGIN_PATH) == 0
    assert "sst_key" not in str(caught.value)


def _connection(server: Any) -> dict[str, Any]:
    return {"conn_type": "superset", "host": server.address, "login": "admin", "password": "pass-word"}


# -- CSRF -------------------------------------------------------------------------------------------------------------


def test_writing_carries_the_csrf_token_with_its_cookie(client: Any, superset: Any, server: Any) -> None:
    superset.guard_csrf("PUT", "/api/v1/chart/1", {"id": 1})
    assert client.at_once(4, "PUT", "/api/v1/chart/1") == [{"id": 1}] * 4
    assert server.count("GET", CSRF_PATH) == 1
    assert server.requests[-1].headers["referer"] == f"{server.address}/"


def test_no_other_cookie_is_kept(client: Any, superset: Any, server: Any) -> None:
    body = {"result": {"username": "admin"}}
    superset.guard("GET", ME, lambda _: superset.reply(200, body, {"set-cookie": "session=other; Path=/"}))
    superset.guard_csrf("PUT", "/api/v1/chart/1", {"id": 1})
    client.do("request", "PUT", "/api/v1/chart/1")
    for _ in range(2):
        client.do("get_current_user")
        assert "cookie" not in server.requests[-1].headers
    client.do("request", "PUT", "/api/v1/chart/1")
    assert server.count("GET", CSRF_PATH) == 1


def test_a_lost_session_gets_a_new_csrf_token(client: Any, superset: Any, server: Any) -> None:
    superset.guard_csrf("PUT", "/api/v1/chart/1", {"id": 1})
    client.do("request", "PUT", "/api/v1/chart/1")
    superset.session = "def"
    assert client.do("request", "PUT", "/api/v1/chart/1") == {"id": 1}
    assert server.count("GET", CSRF_PATH) == 2


def test_a_restarted_server_with_another_key_gets_all_anew(client: Any, superset: Any, server: Any) -> None:
    superset.guard_csrf("PUT", "/api/v1/chart/1", {"id": 1})
    client.do("request", "PUT", "/api/v1/chart/1")
    superset.session, superset.refresh_works = "def", False
    superset.valid.clear()
    assert client.do("request", "PUT", "/api/v1/chart/1") == {"id": 1}


def test_a_csrf_token_that_is_never_taken_is_an_error(client: Any, superset: Any, server: Any) -> None:
    superset.answers("PUT", "/api/v1/chart/1", 400, {"errors": [{"message": "The CSRF session token is missing."}]})
    with pytest.raises(SupersetTerminalError, match="CSRF session token"):
        client.do("request", "PUT", "/api/v1/chart/1")
    assert server.count("PUT", "/api/v1/chart/1") == 2


def test_reading_chart_data_needs_no_csrf_token(client: Any, superset: Any, server: Any) -> None:
    superset.answers("POST", CHART_DATA_PATH, 200, {"result": [{"is_cached": True}]})
    assert client.do("chart_data", {}, form_data={"slice_id": 2}, dashboard_id=3) == [{"is_cached": True}]
    assert server.count("GET", CSRF_PATH) == 0
    assert server.requests[-1].query == {"form_data": ['{"slice_id": 2}'], "dashboard_id": ["3"]}


# -- repetition -------------------------------------------------------------------------------------------------------


def test_what_is_transient_is_asked_again(client: Any, superset: Any, server: Any) -> None:
    client.do("get_current_user")
    bad = [superset.reply(status, {}) for status in (429, 500, 502, 503)]
    server.on("GET", ME, *bad, superset.reply(200, {"result": {"username": "admin"}}))
    assert client.do("get_current_user")["username"] == "admin"


def test_it_gives_up_after_so_many_attempts(client: Any, superset: Any, server: Any) -> None:
    superset.answers("GET", "/api/v1/chart/9", 503, {"message": "later"})
    with pytest.raises(SupersetTransientError, match="later"):
        client.do("get_chart", 9)
    assert server.count("GET", "/api/v1/chart/9") == 5


@pytest.mark.parametrize(("status", "times"), [(500, 1), (502, 1), (429, 5), (503, 5)])
def test_what_may_have_been_done_is_not_done_twice(
    client: Any, superset: Any, server: Any, status: int, times: int
) -> None:
    superset.answers("POST", "/api/v1/assets/import/", status, {"message": "no"})
    with pytest.raises(SupersetError):
        client.do("import_assets", b"PK")
    assert server.count("POST", "/api/v1/assets/import/") == times


@pytest.mark.parametrize(("header", "pause"), [("7", 7.0), ("3600", rest.LONGEST_PAUSE), ("soon", None)])
def test_a_busy_server_says_how_long_to_wait(
    superset: Any, server: Any, monkeypatch: pytest.MonkeyPatch, header: str, pause: float | None
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=pauses.append))
    good = superset.reply(200, {"result": {"username": "admin"}})
    server.on("GET", ME, superset.reply(429, {"message": "50 per 1 second"}, {"retry-after": header}), good)
    with SupersetHook() as hook:
        assert hook.get_current_user()["username"] == "admin"
    assert len(pauses) == 1
    assert pauses[0] == pause if pause else 0 < pauses[0] < 2


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, {"message": "Error: no such table: sales"}, SupersetTerminalError, "no such table: sales"),
        (422, {"message": {"slug": ["Must be unique"]}}, SupersetTerminalError, "422 slug: Must be unique Check"),
        (422, {"message": {"queries": {"0": {"row_limit": ["Not a valid integer."]}}}}, SupersetTerminalError,
         "queries: 0: row_limit: Not a valid integer."),
        (422, {"msg": "Not enough segments"}, SupersetAuthenticationError, "Not enough segments"),
        (403, {"errors": [{"message": "No", "error_type": "X"}]}, SupersetAuthenticationError, "'can read on Chart'"),
        (404, {"message": "Not found"}, SupersetNotFoundError, "may not see it"),
        (500, {"errors": [{"message": "boom"}, {"message": "bang"}]}, SupersetTransientError, "boom; bang"),
        (503, {"message": "later"}, SupersetTransientError, "later"),
        (400, {}, SupersetTerminalError, "400 {}"),
    ],
)  # fmt: skip
def test_each_kind_of_error_body_is_understood(
    client: Any, superset: Any, server: Any, status: int, body: Any, kind: type[SupersetError], said: str
) -> None:
    superset.answers("GET", "/api/v1/chart/9", status, body)
    with pytest.raises(kind) as caught:
        client.do("get_chart", 9)
    assert said in str(caught.value)
    assert server.address in str(caught.value)
    assert "pass-word" not in str(caught.value)


PAGE = b"<!DOCTYPE html><html><head><title>Sign in\n to Example</title></head></html>"


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (200, SupersetTerminalError, "does not come from Superset's API"),
        (401, SupersetTerminalError, "does not come from Superset's API"),
        (404, SupersetTerminalError, "does not come from Superset's API"),
        (502, SupersetTransientError, "cannot answer at the moment"),
    ],
)
def test_a_page_of_a_proxy_is_named(
    client: Any, superset: Any, server: Any, status: int, kind: type[SupersetError], said: str
) -> None:
    superset.guard(
        "GET", "/api/v1/chart/9", lambda _: superset.reply(status, raw=PAGE, headers={"content-type": "text/html"})
    )
    with pytest.raises(kind, match=said) as caught:
        client.do("get_chart", 9)
    assert f"{status} an HTML page with the title 'Sign in to Example'" in str(caught.value)


def test_a_login_page_instead_of_the_login_is_named(client: Any, superset: Any, server: Any) -> None:
    server.on("POST", LOGIN_PATH, superset.reply(200, raw=PAGE, headers={"content-type": "text/html"}))
    with pytest.raises(SupersetTerminalError, match="a proxy or a login page in front of Superset"):
        client.do("get_current_user")


def test_a_redirect_says_where_it_leads(client: Any, superset: Any, server: Any) -> None:
    sso = "https://sso.example.com/login"
    superset.guard("GET", "/api/v1/chart/9", lambda _: superset.reply(302, headers={"location": sso}))
    with pytest.raises(SupersetTerminalError, match=f"leads to {sso}"):
        client.do("get_chart", 9)


def test_a_query_that_was_put_into_a_queue_is_named(client: Any, superset: Any, server: Any) -> None:
    superset.answers("POST", CHART_DATA_PATH, 202, {"job_id": "1", "result_url": "/api/v1/chart/data/abc"})
    with pytest.raises(SupersetTerminalError, match="GLOBAL_ASYNC_QUERIES"):
        client.do("chart_data", {})


def test_a_query_that_failed_within_a_good_answer_is_an_error(client: Any, superset: Any, server: Any) -> None:
    superset.answers("POST", CHART_DATA_PATH, 200, {"result": [{"error": None}, {"error": "no such column: b"}]})
    with pytest.raises(SupersetChartDataError, match="chart 'Sales' on dataset 'orders'") as caught:
        client.do("chart_data", {}, chart="Sales", dataset="orders")
    error = caught.value
    assert (error.chart, error.dataset, error.database_message) == ("Sales", "orders", "no such column: b")


def test_a_superset_that_is_not_up_is_worth_another_try(
    client: Any, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = {"conn_type": "superset", "host": "127.0.0.1", "port": closed_port, "login": "a", "password": "pass-word"}
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(nobody))
    other = type(client)()
    with pytest.raises(SupersetTransientError, match="needs a minute to start") as caught:
        other.do("get_current_user")
    with pytest.raises(SupersetTransientError):
        other.do("health")
    other.close()
    assert f"127.0.0.1:{closed_port}" in str(caught.value)
    assert not caught.value.delivered


def test_it_is_used_inside_of_its_block_only(superset: Any) -> None:
    with pytest.raises(RuntimeError, match="outside"):
        asyncio.run(SupersetAsyncHook().get_current_user())
