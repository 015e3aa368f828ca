"""Errors, paths and settings: what needs no server."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from dremio_provider import exceptions
from dremio_provider.connection import DremioSettings
from dremio_provider.exceptions import DremioConfigurationError, DremioError
from dremio_provider.paths import display_path, parse_path, quote_path, sql_literal, url_path
from hypothesis import given
from hypothesis import strategies as st

ERRORS = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, DremioError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_with_all_it_knows(kind: type[DremioError]) -> None:
    error = kind("It broke.", asked="GET /x", address="http://d", received="500 no", check="the log", status_code=500)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert copy.attrs() == error.attrs()
    assert str(copy) == "It broke. Asked: GET /x at http://d. Received: 500 no Check: the log"


def test_every_error_belongs_to_exactly_one_family() -> None:
    families = (exceptions.DremioTransientError, exceptions.DremioTerminalError)
    for kind in ERRORS:
        assert kind is DremioError or sum(issubclass(kind, family) for family in families) == 1


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("gold.orders", ("gold", "orders")),
        ('lake.datalake.silver.customers."version=v2"', ("lake", "datalake", "silver", "customers", "version=v2")),
        ('"a.b"."say ""hi"""', ("a.b", 'say "hi"')),
        (["a", "b.c"], ("a", "b.c")),
    ],
)
def test_a_path_is_split(written: Any, parts: tuple[str, ...]) -> None:
    assert parse_path(written) == parts


@pytest.mark.parametrize("written", ["", "a..b", 'a."b', ".a", []])
def test_a_broken_path_is_refused(written: Any) -> None:
    with pytest.raises(DremioConfigurationError, match="is not a dataset path"):
        parse_path(written)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5))
def test_quoting_and_parsing_are_inverse(parts: list[str]) -> None:
    assert parse_path(quote_path(parts)) == tuple(parts)
    assert parse_path(display_path(parts)) == tuple(parts)


def test_a_path_in_an_address_has_no_quotes() -> None:
    assert url_path('lake.bucket."version=v2/x"') == "lake/bucket/version%3Dv2%2Fx"


def test_a_literal_cannot_be_left() -> None:
    assert sql_literal("it's") == "'it''s'"


def _connection(**changes: Any) -> Any:
    values = {"conn_id": "c", "host": "d", "port": None, "login": "u", "password": "pw", "extra_dejson": {}, **changes}
    return SimpleNamespace(**values)


@pytest.mark.parametrize(
    ("changes", "address", "flight"),
    [
        ({}, "http://d:9047", "grpc://d:32010"),
        ({"port": 1, "extra_dejson": {"flight_port": 2}}, "http://d:1", "grpc://d:2"),
        ({"host": "https://d"}, "https://d:9047", "grpc+tls://d:32010"),
        ({"host": "http://d:7/"}, "http://d:7", "grpc://d:32010"),
        ({"extra_dejson": {"tls": "true"}}, "https://d:9047", "grpc+tls://d:32010"),
    ],
)
def test_addresses_come_from_the_connection(changes: dict[str, Any], address: str, flight: str) -> None:
    settings = DremioSettings.from_connection(_connection(**changes))
    assert (settings.address, settings.flight_address) == (address, flight)


@pytest.mark.parametrize("field", ["host", "login", "password"])
def test_an_incomplete_connection_is_named(field: str) -> None:
    with pytest.raises(DremioConfigurationError, match=f"'c' lacks {field}"):
        DremioSettings.from_connection(_connection(**{field: None}))


def test_an_unknown_edition_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(DremioConfigurationError, match=r"'oss'.*auto, community, enterprise"):
        DremioSettings.from_connection(_connection(extra_dejson={"edition": "oss"}))


def test_the_password_is_not_in_the_representation() -> None:
    assert "topsecret" not in repr(DremioSettings.from_connection(_connection(password="topsecret")))
