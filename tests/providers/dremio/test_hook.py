"""The hook over HTTP: login, repetition, jobs, paging, catalog."""

from __future__ import annotations

from typing import Any

import pytest
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioConflictError,
    DremioJobFailedError,
    DremioNotFoundError,
    DremioTerminalError,
    DremioTimeoutError,
    DremioTransientError,
)
from dremio_provider.hooks.dremio import DremioHook


@pytest.fixture
def hook(dremio: Any) -> Any:
    with DremioHook(poll_interval=0.01) as opened:
        yield opened


def test_making_a_hook_reads_and_sends_nothing(server: Any) -> None:
    DremioHook("no_such_connection")
    assert server.requests == []


def test_one_login_serves_many_requests(hook: Any, dremio: Any) -> None:
    for _ in range(3):
        hook.request("GET", "/api/v3/catalog")
    assert len(dremio.tokens) == 1


def test_an_expired_token_is_replaced_once(hook: Any, dremio: Any) -> None:
    hook.request("GET", "/api/v3/catalog")
    dremio.valid.clear()
    assert hook.request("GET", "/api/v3/catalog") == {"data": []}
    assert len(dremio.tokens) == 2


def test_wrong_credentials_are_tried_once_and_never_shown(dremio: Any, connect: Any, server: Any) -> None:
    connect(server.port, password="not-the-password")
    with DremioHook() as hook, pytest.raises(DremioAuthenticationError, match="dremio_default") as caught:
        hook.request("GET", "/api/v3/catalog")
    assert server.count("POST", "/apiv2/login") == 1
    assert "not-the-password" not in str(caught.value)
    assert server.address in str(caught.value)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_transient_answer_to_a_read_is_repeated(hook: Any, dremio: Any, reply: Any, status: int, server: Any) -> None:
    dremio.answer("GET", "/api/v3/catalog/x", reply(status, {}), reply(status, {}), {"id": "x"})
    assert hook.get_catalog_entity_by_id("x") == {"id": "x"}
    assert server.count("GET", "/api/v3/catalog/x") == 3


def test_a_login_that_fails_with_5xx_is_repeated(hook: Any, dremio: Any, server: Any, reply: Any) -> None:
    server.on("POST", "/apiv2/login", reply(500, {"errorMessage": "starting"}), dremio._login)
    assert hook.request("GET", "/api/v3/catalog") == {"data": []}


@pytest.mark.parametrize(("status", "sent"), [(502, 1), (504, 1), (429, 5), (503, 5)])
def test_a_statement_is_sent_again_only_if_it_was_not_taken(
    hook: Any, dremio: Any, reply: Any, server: Any, status: int, sent: int
) -> None:
    dremio.answer("POST", "/api/v3/sql", reply(status, {"errorMessage": "busy"}))
    with pytest.raises(DremioTransientError, match="busy"):
        hook.submit_sql("CREATE TABLE t AS SELECT 1")
    assert server.count("POST", "/api/v3/sql") == sent


def test_a_request_that_never_arrives_names_the_address(connect: Any, closed_port: int) -> None:
    connect(closed_port)
    with DremioHook() as hook, pytest.raises(DremioTransientError) as caught:
        hook.request("GET", "/api/v3/catalog")
    assert f"http://127.0.0.1:{closed_port}" in str(caught.value)
    assert not caught.value.delivered


def test_a_slow_answer_is_a_transient_error(dremio: Any, reply: Any) -> None:
    dremio.answer("GET", "/api/v3/catalog/slow", reply(200, {}, delay=0.5))
    hook = DremioHook(request_timeout=0.1, attempts=2)
    with hook, pytest.raises(DremioTransientError, match="did not answer in time") as caught:
        hook.get_catalog_entity_by_id("slow")
    assert caught.value.delivered


def test_a_job_is_awaited_through_states_nobody_knows(hook: Any, dremio: Any) -> None:
    states = ["PENDING", "METADATA_RETRIEVAL", "SOMETHING_NEW", "INVALID_STATE", "RUNNING", "COMPLETED"]
    dremio.job("j", [{"jobState": name} for name in states], [])
    assert hook.wait_for_job("j")["jobState"] == "COMPLETED"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"jobState": "FAILED", "errorMessage": "column x not found"}, "column x not found"),
        ({"jobState": "FAILED"}, "no message"),
        ({"jobState": "CANCELED", "cancellationReason": "by admin"}, "by admin"),
    ],
)
def test_a_job_that_did_not_complete_says_why(hook: Any, dremio: Any, job: dict[str, str], said: str) -> None:
    dremio.job("j", [{"jobState": "RUNNING"}, job], [])
    with pytest.raises(DremioJobFailedError, match=said) as caught:
        hook.wait_for_job("j", sql="SELECT x")
    assert (caught.value.job_id, caught.value.job_state) == ("j", job["jobState"])
    assert f"{hook.address}/job/j" in str(caught.value)
    assert dremio.cancelled == []


def test_a_job_that_takes_too_long_is_cancelled(hook: Any, dremio: Any) -> None:
    dremio.job("j", [{"jobState": "RUNNING"}], [])
    with pytest.raises(DremioTimeoutError, match="still RUNNING"):
        hook.wait_for_job("j", timeout=0.05)
    assert dremio.cancelled == ["j"]


def test_a_wait_that_is_interrupted_cancels_the_job(hook: Any, dremio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dremio.job("j", [{"jobState": "RUNNING"}], [])

    def interrupted(_: str) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(hook, "get_job", interrupted)
    with pytest.raises(SystemExit):
        hook.wait_for_job("j")
    assert dremio.cancelled == ["j"]


@pytest.mark.parametrize(("rows", "pages"), [(0, 1), (1, 1), (500, 1), (501, 2), (1250, 3)])
def test_rows_arrive_complete_in_pages_of_500(hook: Any, dremio: Any, server: Any, rows: int, pages: int) -> None:
    dremio.tables["big"] = [{"n": number} for number in range(rows)]
    result = hook.execute_sql("SELECT * FROM big")
    assert [row["n"] for row in result.rows] == list(range(rows))
    assert server.count("GET", f"/api/v3/job/{result.job_id}/results") == pages


def test_max_rows_limits_what_is_read(hook: Any, dremio: Any) -> None:
    dremio.tables["big"] = [{"n": number} for number in range(900)]
    result = hook.execute_sql("SELECT * FROM big", max_rows=3)
    assert result.rows == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert result.columns == [{"name": "n", "type": {"name": "VARCHAR"}}]


def test_an_absent_entity_is_none_and_an_absent_job_an_error(hook: Any) -> None:
    assert hook.get_catalog_entity("gold.nothing") is None
    with pytest.raises(DremioNotFoundError):
        hook.get_job("nothing")


def test_special_characters_in_a_path_are_encoded(hook: Any, server: Any) -> None:
    hook.get_catalog_entity('lake.b."version=v2"')
    assert server.requests[-1].path == "/api/v3/catalog/by-path/lake/b/version%3Dv2"


def test_refreshing_an_unknown_table_names_it(hook: Any) -> None:
    with pytest.raises(DremioNotFoundError, match=r"no dataset lake\.nothing"):
        hook.refresh_dataset("lake.nothing")


def test_a_stale_tag_is_a_conflict(hook: Any, dremio: Any, reply: Any) -> None:
    dremio.answer("PUT", "/api/v3/catalog/x", reply(409, {"errorMessage": "modified", "moreInfo": "tag"}))
    with pytest.raises(DremioConflictError, match=r"409 modified \(tag\)"):
        hook.update_catalog_entity({"id": "x", "tag": "old"})


def test_a_refusal_is_terminal_and_not_repeated(hook: Any, dremio: Any, reply: Any, server: Any) -> None:
    dremio.answer("POST", "/api/v3/catalog", reply(400, {"errorMessage": "bad name"}))
    with pytest.raises(DremioTerminalError, match="bad name"):
        hook.create_catalog_entity({"entityType": "space", "name": ""})
    assert server.count("POST", "/api/v3/catalog") == 1


def test_refresh_metadata_quotes_the_path(hook: Any, dremio: Any) -> None:
    hook.refresh_metadata('lake.b."version=v2"')
    assert dremio.sql[-1].startswith('ALTER TABLE "lake"."b"."version=v2" REFRESH METADATA ')


@pytest.mark.parametrize(("configured", "server_is", "edition"), [
    ("community", "enterprise", "community"),
    ("auto", "community", "community"),
    ("auto", "enterprise", "enterprise"),
])  # fmt: skip
def test_the_edition_is_configured_or_asked(
    dremio: Any, connect: Any, server: Any, configured: str, server_is: str, edition: str
) -> None:
    connect(server.port, extra={"edition": configured})
    if server_is == "enterprise":
        dremio.enterprise()
    with DremioHook() as hook:
        assert hook.edition == edition


def test_the_connection_test_never_raises(connect: Any, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(closed_port)
    worked, message = DremioHook().test_connection()
    assert not worked
    assert str(closed_port) in message
    monkeypatch.delenv("AIRFLOW_CONN_DREMIO_DEFAULT")
    worked, message = DremioHook().test_connection()
    assert not worked
    assert "dremio_default" in message


def test_the_connection_test_proves_flight_as_well(dremio: Any, connect: Any, server: Any, closed_port: int) -> None:
    connect(server.port, extra={"flight_port": closed_port})
    worked, message = DremioHook().test_connection()
    assert not worked
    assert f"grpc://127.0.0.1:{closed_port}" in message
