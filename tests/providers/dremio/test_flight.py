"""Reading over Arrow Flight, against a server that logs in like Dremio: basic credentials for a bearer token."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioTerminalError,
    DremioTimeoutError,
    DremioTransientError,
)
from dremio_provider.hooks.dremio import DremioHook
from pyarrow import flight

USER, PASSWORD = "airflow", "s3cr3t-pass"


class _Middleware(flight.ServerMiddleware):
    def __init__(self, token: str) -> None:
        self.token = token

    def sending_headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


class _Login(flight.ServerMiddlewareFactory):
    def __init__(self) -> None:
        self.schemas: list[str | None] = []

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> _Middleware:
        kind, _, value = headers.get("authorization", [""])[0].partition(" ")
        if kind == "Basic" and base64.b64decode(value).decode() == f"{USER}:{PASSWORD}":
            return _Middleware("flight-token")
        if (kind, value) == ("Bearer", "flight-token"):
            self.schemas.append(next(iter(headers.get("schema", [])), None))
            return _Middleware("flight-token")
        raise flight.FlightUnauthenticatedError("Unable to authenticate user")


class _NoHandshake(flight.ServerAuthHandler):
    def authenticate(self, outgoing: Any, incoming: Any) -> None:
        """The header has said it all."""

    def is_valid(self, token: bytes) -> str:
        return ""


class _Server(flight.FlightServerBase):
    def __init__(self) -> None:
        self.login = _Login()
        super().__init__("grpc://127.0.0.1:0", auth_handler=_NoHandshake(), middleware={"login": self.login})

    def get_flight_info(self, context: Any, descriptor: Any) -> flight.FlightInfo:
        sql = descriptor.command.decode()
        if "broken" in sql:
            raise flight.FlightServerError("VALIDATION ERROR: Object 'broken' not found")
        if "busy" in sql:
            raise flight.FlightUnavailableError("out of memory")
        return flight.FlightInfo(pa.schema([("n", pa.int64())]), descriptor, [flight.FlightEndpoint(sql, [])], -1, -1)

    def do_get(self, context: Any, ticket: Any) -> flight.RecordBatchStream:
        import time

        schema = pa.schema([("n", pa.int64())])

        def batches() -> Iterator[pa.RecordBatch]:
            for number in range(3):
                if b"slow" in ticket.ticket:
                    time.sleep(0.5)
                yield pa.record_batch([pa.array([number])], schema=schema)

        return flight.GeneratorStream(schema, batches())


@pytest.fixture
def flight_server(connect: Any) -> Iterator[_Server]:
    with _Server() as server:
        connect(1, extra={"flight_port": server.port})
        yield server


def test_a_table_is_read_with_the_schema_as_context(flight_server: _Server) -> None:
    table = DremioHook().get_arrow_table("SELECT n FROM t", schema="gold")
    assert table.to_pydict() == {"n": [0, 1, 2]}
    assert flight_server.login.schemas == ["gold", "gold"]


def test_batches_arrive_one_by_one(flight_server: _Server) -> None:
    batches = DremioHook().get_arrow_batches("SELECT n FROM t")
    assert next(batches).to_pydict() == {"n": [0]}
    assert [batch.num_rows for batch in batches] == [1, 1]


def test_wrong_credentials_are_refused(flight_server: _Server, connect: Any) -> None:
    connect(1, password="wrong-one", extra={"flight_port": flight_server.port})
    with pytest.raises(DremioAuthenticationError, match="dremio_default") as caught:
        DremioHook().get_arrow_table("SELECT 1")
    assert "wrong-one" not in str(caught.value)


def test_a_refused_statement_is_terminal(flight_server: _Server) -> None:
    with pytest.raises(DremioTerminalError, match="Object 'broken' not found") as caught:
        DremioHook().get_arrow_table("SELECT * FROM broken")
    assert caught.value.asked == "SELECT * FROM broken"
    assert f"grpc://127.0.0.1:{flight_server.port}" in str(caught.value)


def test_lack_of_resources_is_transient(flight_server: _Server) -> None:
    with pytest.raises(DremioTransientError, match="out of memory"):
        DremioHook().get_arrow_table("SELECT busy")


def test_a_read_that_takes_too_long_ends(flight_server: _Server) -> None:
    with pytest.raises(DremioTimeoutError, match="longer than"):
        DremioHook().get_arrow_table("SELECT slow", timeout=0.3)


def test_nobody_listens(connect: Any, closed_port: int) -> None:
    connect(1, extra={"flight_port": closed_port})
    with pytest.raises(DremioTransientError, match=str(closed_port)):
        DremioHook().get_arrow_table("SELECT 1")
