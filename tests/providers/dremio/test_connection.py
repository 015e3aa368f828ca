"""The Airflow connection: what it may hold, what it leads to, and what a person is told where it is wrong."""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dremio_provider.connection import DremioSettings
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioConfigurationError,
    DremioError,
    DremioJobFailedError,
    DremioTerminalError,
    DremioTransientError,
)
from dremio_provider.get_provider_info import provider_info
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.protocol import job_page
from dremio_provider.triggers.jobs import DremioJobTrigger, DremioQueryResultTrigger
from pyarrow import flight

from tests.providers.certificate import Certificate

SECRET = "s3cr3t-pass"


def settings_of(extra: dict[str, Any], **changes: Any) -> DremioSettings:
    values = {"conn_id": "c", "host": "d", "port": None, "login": "u", "password": SECRET, **changes}
    return DremioSettings.from_connection(SimpleNamespace(**values, extra_dejson=extra))


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        pytest.param({"pat": "x"}, r"extra pat\..*auth.*pat is the Password field", id="airflow-dremio-provider"),
        pytest.param({"auth_type": "pat"}, r"extra auth_type\..*auth_type is auth here", id="auth_type"),
        pytest.param({"use_ssl": True}, r"extra use_ssl\..*use_ssl is tls here", id="dbt"),
        pytest.param({"UseEncryption": False}, r"UseEncryption is tls here", id="sqlalchemy-dremio"),
        pytest.param({"colour": "red"}, r"extra colour\. Check: allowed are auth, ca_file, .*verify\.$", id="unknown"),
        pytest.param({"auth": "oauth"}, "has auth 'oauth'.*password, personal_access_token", id="auth"),
        pytest.param({"project_id": "p", "auth": "password"}, "personal_access_token only", id="cloud by password"),
        pytest.param({"flight_port": "many"}, "flight_port 'many'.*1 to 65535", id="flight port"),
        pytest.param({"flight_port": 70000}, "flight_port 70000.*1 to 65535", id="flight port too high"),
        pytest.param({"default_context": 'lake."open'}, "lake.*not a dataset path", id="context"),
    ],
)
def test_a_wrong_extra_is_named_with_what_is_allowed(extra: dict[str, Any], said: str) -> None:
    with pytest.raises(DremioConfigurationError, match=said) as caught:
        settings_of(extra)
    assert SECRET not in str(caught.value)


def test_a_secret_in_a_wrong_extra_is_not_repeated() -> None:
    with pytest.raises(DremioConfigurationError) as caught:
        settings_of({"token": "another-secret"})
    assert "another-secret" not in str(caught.value)


def test_the_form_offers_what_the_connection_may_hold() -> None:
    from dremio_provider.connection import EXTRA_FIELDS

    (connection,) = provider_info()["connection-types"]
    assert sorted(connection["conn-fields"]) == sorted(EXTRA_FIELDS)
    defaults = {name: field["schema"].get("default") for name, field in connection["conn-fields"].items()}
    assert settings_of({name: value for name, value in defaults.items() if value is not None}) == settings_of({})


def test_a_token_needs_no_user() -> None:
    settings = settings_of({"auth": "personal_access_token"}, login=None)
    assert (settings.auth, settings.login) == ("personal_access_token", "")
    with pytest.raises(DremioConfigurationError, match="lacks login"):
        settings_of({}, login=None)


@pytest.mark.parametrize(
    ("extra", "address", "flight_address"),
    [
        ({"project_id": "p"}, "https://api.dremio.cloud", "grpc+tls://data.dremio.cloud:443"),
        (
            {"project_id": "p", "cloud_host": "api.eu.dremio.cloud"},
            "https://api.eu.dremio.cloud",
            "grpc+tls://data.eu.dremio.cloud:443",
        ),
    ],
)
def test_a_project_leads_to_the_cloud(extra: Any, address: str, flight_address: str) -> None:
    settings = settings_of(extra, host=None, login=None)
    assert (settings.address, settings.flight_address) == (address, flight_address)
    assert settings.rest_path("/api/v3/catalog") == "/v0/projects/p/catalog"
    assert job_page(settings, "j").endswith("dremio.cloud/sonar/p/job/j")
    with pytest.raises(DremioConfigurationError, match="Dremio Cloud does not have"):
        settings.rest_path("/apiv2/server_status")


# -- certificates -----------------------------------------------------------------------------------------------------


def test_a_certificate_is_checked_with_the_given_authorities(
    encrypted: Any, dremio: Any, connect: Any, certificate: Certificate
) -> None:
    connect(encrypted.port, extra={"tls": True, "ca_file": str(certificate.file)})
    with DremioHook() as hook:
        assert hook.request("GET", "/api/v3/catalog") == {"data": []}
    connect(encrypted.port, extra={"tls": True, "verify": False})
    with DremioHook() as hook:
        assert hook.request("GET", "/api/v3/catalog") == {"data": []}
    connect(encrypted.port, extra={"tls": True})
    with DremioHook() as hook, pytest.raises(DremioTerminalError, match=r"certificate is not trusted.*ca_file"):
        hook.request("GET", "/api/v3/catalog")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_named(dremio: Any, connect: Any, tmp_path: Path, content: Any) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    connect(1, extra={"tls": True, "ca_file": str(file)})
    with DremioHook() as hook, pytest.raises(DremioConfigurationError, match=r"authority\.pem.*ca_file"):
        hook.request("GET", "/api/v3/catalog")


class _FlightServer(flight.FlightServerBase):
    def list_flights(self, context: Any, criteria: Any) -> Iterator[Any]:
        return iter(())


def test_flight_checks_the_certificate_as_well(connect: Any, certificate: Certificate) -> None:
    with _FlightServer("grpc+tls://127.0.0.1:0", tls_certificates=[(certificate.pem, certificate.key)]) as server:
        extra = {"tls": True, "flight_port": server.port}
        connect(1, extra=extra)
        with pytest.raises(DremioTerminalError, match=r"certificate is not trusted.*ca_file"):
            DremioHook().get_arrow_table("SELECT 1")
        # Behind the certificate this server has no login: that it says so shows that the certificate was taken.
        for trusted in ({"ca_file": str(certificate.file)}, {"verify": False}):
            connect(1, extra={**extra, **trusted})
            with pytest.raises(DremioError, match="authentication mechanism"):
                DremioHook().get_arrow_table("SELECT 1")


def test_the_cloud_is_asked_by_project_and_token(
    encrypted: Any, connect: Any, certificate: Certificate, reply: Any
) -> None:
    extra = {
        "project_id": "p-1",
        "cloud_host": f"localhost:{encrypted.port}",
        "ca_file": str(certificate.file),
    }
    connect(1, host=None, login=None, extra=extra)
    encrypted.on("POST", "/v0/projects/p-1/sql", reply(200, {"id": "j"}))
    encrypted.on("GET", "/v0/projects/p-1/job/j", reply(200, {"jobState": "COMPLETED"}))
    with DremioHook() as hook:
        assert hook.run_sql("SELECT 1") == "j"
        assert hook.edition == "enterprise"
    assert {request.headers["authorization"] for request in encrypted.requests} == {f"Bearer {SECRET}"}


# -- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "logins"), [(3600, 1), (30, 1), (61.5, 2)])
def test_a_token_is_renewed_before_it_ends(dremio: Any, reply: Any, server: Any, seconds: float, logins: int) -> None:
    def login(request: Any) -> Any:
        answer = dremio._login(request)
        answer.body["expires"] = int((time.time() + seconds) * 1000)
        return answer

    server.on("POST", "/apiv2/login", login)
    with DremioHook() as hook:
        hook.request("GET", "/api/v3/catalog")
        time.sleep(1.6)
        hook.request("GET", "/api/v3/catalog")
    # A token that seems to end at once (30 s, less than the margin) says that the clocks differ: the 401 decides then.
    assert len(dremio.tokens) == logins


# -- errors -----------------------------------------------------------------------------------------------------------


def test_something_else_at_the_address_is_named(server: Any, dremio: Any, reply: Any) -> None:
    server.on("POST", "/apiv2/login", reply(200, raw=b"<html>Welcome to something else</html>"))
    with DremioHook() as hook, pytest.raises(DremioTerminalError, match="does not speak Dremio's protocol") as caught:
        hook.request("GET", "/api/v3/catalog")
    assert "Welcome to something else" in str(caught.value)
    assert server.count("POST", "/apiv2/login") == 1


def errors_of(dremio: Any, connect: Any, closed_port: int, reply: Any) -> Iterator[DremioError]:
    """Each kind of error, as it really arises."""
    with DremioHook(attempts=1) as hook:
        dremio.guard("POST", "/api/v3/sql", lambda _: reply(200, {"id": "j"}))
        dremio.job("j", [{"jobState": "FAILED", "errorMessage": "VALIDATION ERROR: Column 'gone' not found"}], [])
        dremio.answer("GET", "/api/v3/catalog/a", reply(503, {"errorMessage": "busy"}))
        dremio.answer("GET", "/api/v3/catalog/b", reply(403, {"errorMessage": "no rights"}))
        dremio.answer("GET", "/api/v3/catalog/c", reply(400, {"errorMessage": "bad", "moreInfo": "why"}))
        dremio.answer("GET", "/api/v3/catalog/d", reply(409, {"errorMessage": "exists"}))
        yield raised(lambda: hook.run_sql("SELECT gone FROM t"))
        for entity in "abcde":
            yield raised(lambda entity=entity: hook.request("GET", f"/api/v3/catalog/{entity}"))
        yield raised(lambda: hook.wait_for_job("missing"))
    connect(dremio.server.port, password="wrong-" + SECRET)
    yield raised(lambda: DremioHook(attempts=1).request("GET", "/api/v3/catalog"))
    connect(closed_port, extra={"flight_port": closed_port})
    yield raised(lambda: DremioHook(attempts=1).request("GET", "/api/v3/catalog"))
    yield raised(lambda: DremioHook().get_arrow_table("SELECT 1"))


def raised(call: Any) -> DremioError:
    with pytest.raises(DremioError) as caught:
        call()
    return caught.value


def test_every_error_says_what_was_asked_and_holds_no_secret(
    dremio: Any, connect: Any, closed_port: int, reply: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    found = list(errors_of(dremio, connect, closed_port, reply))
    assert len(found) == 10
    for error in found:
        assert isinstance(error, DremioTransientError) is not isinstance(error, DremioTerminalError)
        assert error.asked
        assert error.check
        assert error.address
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.attrs()) == (type(error), str(error), error.attrs())
        for text in (str(error), repr(error), json.dumps(error.attrs())):
            assert SECRET not in text
            assert all(token not in text for token in dremio.tokens)
    assert isinstance(found[0], DremioJobFailedError)
    assert "Column 'gone' not found" in str(found[0])
    assert isinstance(found[7], DremioAuthenticationError)
    assert SECRET not in caplog.text
    assert all(token not in caplog.text for token in dremio.tokens)


def test_no_object_shows_the_secret(dremio: Any) -> None:
    with DremioHook() as hook:
        hook.request("GET", "/api/v3/catalog")
        triggers = [
            DremioJobTrigger("dremio_default", "j", time.time()),
            DremioQueryResultTrigger("dremio_default", "SELECT 1", time.time()),
        ]
        for shown in (hook, hook.settings, hook.rest, hook.flight, *triggers):
            assert SECRET not in repr(shown)
        assert all(SECRET not in json.dumps(trigger.serialize()) for trigger in triggers)


def test_the_connection_test_says_what_is_wrong_and_never_raises(connect: Any, monkeypatch: Any) -> None:
    connect(1, extra={"use_flight": True})
    worked, message = DremioHook().test_connection()
    assert not worked
    assert "use_flight" in message
    assert SECRET not in message
