"""The Airflow connection: what it may hold, what it leads to, and what a person is told where it is wrong."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from superset_provider.connection import EXTRA_FIELDS, SupersetSettings
from superset_provider.exceptions import (
    SupersetConfigurationError,
    SupersetError,
    SupersetTerminalError,
    SupersetTransientError,
)
from superset_provider.get_provider_info import provider_info
from superset_provider.hooks.superset import SupersetHook
from superset_provider.protocol import CHART_DATA_PATH

from tests.providers.certificate import Certificate

SECRET = "pass-word"


def settings_of(extra: dict[str, Any], **changes: Any) -> SupersetSettings:
    values = {"conn_id": "c", "host": "s", "port": None, "login": "u", "password": SECRET, **changes}
    return SupersetSettings.from_connection(SimpleNamespace(**values, extra_dejson=extra))


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        pytest.param({"base_url": "x"}, r"extra base_url\..*base_url is the Host field here", id="address"),
        pytest.param({"verify_ssl": False}, r"verify_ssl is verify here", id="verify"),
        pytest.param({"api_token": "x"}, r"api_token is the Password field, with auth = api_key here", id="token"),
        pytest.param({"colour": "red"}, r"extra colour\. Check: allowed are auth, ca_file, .*verify\.$", id="unknown"),
        pytest.param({"auth": "oauth"}, "has auth 'oauth'.*password, api_key", id="auth"),
        pytest.param({"provider": "saml"}, "has provider 'saml'.*db, ldap", id="provider"),
    ],
)
def test_a_wrong_extra_is_named_with_what_is_allowed(extra: dict[str, Any], said: str) -> None:
    with pytest.raises(SupersetConfigurationError, match=said) as caught:
        settings_of(extra)
    assert "'c'" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": None}, "lacks host"),
        ({"login": "", "password": None}, "lacks login, password"),
        ({"port": 70000}, "has port '70000'.*1 to 65535"),
        ({"host": "superset:many"}, "has port 'many'.*1 to 65535"),
        ({"host": "ftp://superset"}, "a host that is no address"),
        ({"host": "https://"}, "a host that is no address"),
        ({"host": f"https://admin:{SECRET}@superset"}, "user and password have fields of their own"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SupersetConfigurationError, match=said) as caught:
        settings_of({}, **fields)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "port", "extra", "address"),
    [
        ("superset", None, {}, "http://superset:8088"),
        ("superset", 80, {"tls": "true"}, "https://superset:80"),
        ("superset:9000", None, {}, "http://superset:9000"),
        ("superset:9000", 9001, {}, "http://superset:9001"),
        ("http://superset", None, {}, "http://superset"),
        ("https://superset/", None, {"tls": False}, "https://superset"),
        ("https://example.com/bi/", None, {}, "https://example.com/bi"),
        ("http://superset", 8088, {}, "http://superset:8088"),
        ("[::1]", None, {}, "http://[::1]:8088"),
    ],
)
def test_the_address(host: str, port: Any, extra: dict[str, Any], address: str) -> None:
    assert settings_of(extra, host=host, port=port).address == address


def test_an_api_key_needs_no_user() -> None:
    settings = settings_of({"auth": "api_key"}, login=None)
    assert (settings.login, settings.who) == ("", "the owner of the API key")


def test_the_forms_fields_are_those_that_are_read() -> None:
    (form,) = provider_info()["connection-types"]
    fields = form["conn-fields"]
    assert sorted(fields) == sorted(EXTRA_FIELDS)
    settings = settings_of({name: field["schema"].get("default") for name, field in fields.items()})
    assert settings == settings_of({})
    for name in ("auth", "provider"):
        allowed = fields[name]["schema"]["enum"]
        assert [getattr(settings_of({name: value}), name) for value in allowed] == allowed


@pytest.mark.parametrize("extra", [{"tls": True}, {"tls": True, "verify": False}, {"tls": True, "ca_file": "here"}])
def test_a_certificate_is_checked_with_the_given_authorities(
    encrypted: Any, superset: Any, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    if "ca_file" in extra:
        extra = {**extra, "ca_file": str(certificate.file)}
    connection = {"conn_type": "superset", "host": "127.0.0.1", "port": encrypted.port, "login": "a"}
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps({**connection, "password": SECRET, "extra": extra}))
    superset.guard_csrf("PUT", "/api/v1/chart/1", {"id": 1})
    with SupersetHook() as hook:
        if extra == {"tls": True}:
            with pytest.raises(SupersetConfigurationError, match=r"not to be trusted.*ca_file"):
                hook.request("PUT", "/api/v1/chart/1")
            return
        assert hook.request("PUT", "/api/v1/chart/1") == {"id": 1}
    # Superset compares it with its own address when it is spoken to over TLS.
    assert encrypted.requests[-1].headers["referer"] == f"https://127.0.0.1:{encrypted.port}/"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_named(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SupersetConfigurationError, match=r"authority\.pem.*ca_file"):
        settings_of({"tls": True, "ca_file": str(file)}).tls_context()


def test_every_error_says_what_was_asked_and_holds_no_secret(
    superset: Any, server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    found: list[SupersetError] = []
    with SupersetHook(attempts=1) as hook:
        for status in (400, 401, 403, 404, 418, 422, 429, 500, 503):
            superset.answers("GET", "/api/v1/chart/1", status, {"message": "no"})
            superset.answers("POST", CHART_DATA_PATH, status, {"message": "no"})
            found.append(raised(lambda: hook.get_chart(1)))
            found.append(raised(lambda: hook.chart_data({}, chart="Sales")))
    wrong = {"conn_type": "superset", "host": server.address, "login": "admin", "password": f"wrong-{SECRET}"}
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(wrong))
    found.append(raised(lambda: SupersetHook(attempts=1).get_chart(1)))
    tokens = superset.valid | {"csrf of abc"}
    for error in found:
        assert isinstance(error, SupersetTransientError) is not isinstance(error, SupersetTerminalError)
        assert error.asked
        assert error.check
        assert error.address
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.attrs()) == (type(error), str(error), error.attrs())
        for text in (str(error), repr(error), json.dumps(error.attrs())):
            assert SECRET not in text
            assert all(token not in text for token in tokens)
    assert SECRET not in caplog.text
    assert all(token not in caplog.text for token in tokens)


def raised(call: Any) -> SupersetError:
    with pytest.raises(SupersetError) as caught:
        call()
    return caught.value


def test_no_object_shows_the_secret(superset: Any) -> None:
    superset.answers("GET", "/api/v1/chart/1", 200, {"result": {}})
    with SupersetHook() as hook:
        hook.get_chart(1)
        for shown in (hook, hook.settings, hook.get_conn(), vars(hook.get_conn())):
            assert SECRET not in repr(shown)
            assert all(token not in repr(shown) for token in superset.valid)
