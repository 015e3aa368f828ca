"""Arrow Flight, the legacy protocol: a handshake with a password, then a command, a ticket and a stream of batches."""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import flight

from sandbox.dremio.auth import Authenticator, token_of
from sandbox.dremio.errors import (
    CancelledError,
    DataError,
    EditionError,
    MemoryExceededError,
    ParseError,
    StatementError,
    StorageError,
    UnsupportedError,
)
from sandbox.dremio.jobs import Jobs
from sandbox.dremio.sql.tokens import Tokens
from sandbox.dremio.statements import Statements
from sandbox.dremio.types import arrow_type

Path = tuple[str, ...]

TICKET_SECONDS = 3600.0
MIDDLEWARE = "session"


def flight_error(error: Exception) -> Exception:
    """Return the error that reaches the client with the status code Dremio uses for this kind."""
    kind, text = flight.FlightInternalError, f"{type(error).__name__}: {error}"
    if isinstance(error, CancelledError):
        kind, text = flight.FlightCancelledError, "Query cancelled by user"
    elif isinstance(error, StatementError):
        kind = next(answer for known, answer in _ANSWERS if isinstance(error, known))
        text = error.message
    raised: Exception = kind(text)
    return raised


_ANSWERS: tuple[tuple[Any, Any], ...] = (
    ((UnsupportedError, EditionError), pa.ArrowNotImplementedError),
    ((StorageError, MemoryExceededError), flight.FlightUnavailableError),
    (DataError, flight.FlightInternalError),
    (StatementError, pa.ArrowInvalid),
)


class _NoHandshake(flight.ServerAuthHandler):
    """Lets the old handshake pass: who calls is found in the headers."""

    def authenticate(self, outgoing: Any, incoming: Any) -> None:
        pass

    def is_valid(self, token: bytes) -> str:
        return ""


class _Session(flight.ServerMiddleware):
    """What the headers of one call said."""

    def __init__(self, user: str, context: Path, granted: str) -> None:
        self.user = user
        self.context = context
        self._granted = granted

    def sending_headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._granted}"} if self._granted else {}


class _Sessions(flight.ServerMiddlewareFactory):
    """Turns Basic credentials into a token and refuses calls without either."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> _Session:
        values = {name.lower(): str(entries[0]) for name, entries in headers.items() if entries}
        authorization = values.get("authorization", "")
        context = _context(values.get("schema", ""))
        if authorization.lower().startswith("basic "):
            user, password = _credentials(authorization)
            login = self._authenticator.login(user, password)
            if login is None:
                raise flight.FlightUnauthenticatedError("Login failed: Invalid username or password")
            return _Session(login.user, context, login.token)
        known = self._authenticator.user_of(authorization)
        if known is None:
            raise flight.FlightUnauthenticatedError("Unauthenticated: send Basic credentials or a Bearer token")
        return _Session(known, context, token_of(authorization))


def _credentials(header: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(header[6:], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _context(header: str) -> Path:
    if not header:
        return ()
    try:
        tokens = Tokens(header)
        path = tokens.path()
        tokens.finish()
    except ParseError:
        return (header,)
    return path


@dataclass(frozen=True)
class _Prepared:
    sql: str
    user: str
    context: Path
    schema: pa.Schema
    made: float = field(default_factory=time.monotonic)


class FlightServer(flight.FlightServerBase):
    """The server; it serves in a thread of its own until :meth:`stop`.

    Args:
        address: interface to listen on.
        port: port to listen on.
        authenticator: says who calls.
        statements: describes statements.
        jobs: runs them.
    """

    def __init__(
        self, address: str, port: int, authenticator: Authenticator, statements: Statements, jobs: Jobs
    ) -> None:
        super().__init__(
            f"grpc://{address}:{port}",
            auth_handler=_NoHandshake(),
            middleware={MIDDLEWARE: _Sessions(authenticator)},
        )
        self._statements = statements
        self._jobs = jobs
        self._prepared: dict[bytes, _Prepared] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve, name="flight", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; streams under way are cut."""
        self.shutdown()
        self._thread.join(timeout=3)

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Plan a command and return its schema with the ticket that runs it."""
        if descriptor.descriptor_type != flight.DescriptorType.CMD:
            raise pa.ArrowNotImplementedError("Only commands are supported: FlightDescriptor.for_command(sql)")
        session = context.get_middleware(MIDDLEWARE)
        try:
            sql = descriptor.command.decode()
            columns = self._statements.describe(sql, session.context)
        except UnicodeDecodeError as error:
            raise pa.ArrowNotImplementedError("The command is not SQL text: Flight SQL is not implemented") from error
        except StatementError as error:
            raise flight_error(error) from None
        schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
        ticket = secrets.token_bytes(16)
        with self._lock:
            oldest = time.monotonic() - TICKET_SECONDS
            self._prepared = {key: kept for key, kept in self._prepared.items() if kept.made > oldest}
            self._prepared[ticket] = _Prepared(sql, session.user, session.context, schema)
        # No location: the client is to ask the server it is already connected to.
        endpoint = flight.FlightEndpoint(ticket, [])
        return flight.FlightInfo(schema, descriptor, [endpoint], -1, -1)

    def get_schema(self, context: Any, descriptor: Any) -> Any:
        """Return the schema of a command."""
        return flight.SchemaResult(self.get_flight_info(context, descriptor).schema)

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Run what a ticket stands for and stream its rows."""
        with self._lock:
            prepared = self._prepared.get(ticket.ticket)
        if prepared is None:
            raise pa.ArrowInvalid("Unknown or expired ticket: call GetFlightInfo first")
        batches = self._jobs.stream(prepared.sql, prepared.user, prepared.context)
        try:
            first = next(batches)
        except (StatementError, CancelledError) as error:
            raise flight_error(error) from None
        return flight.GeneratorStream(first.schema, _guarded(first, batches))


def _guarded(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        yield first
        yield from rest
    except (StatementError, CancelledError) as error:
        raise flight_error(error) from None
