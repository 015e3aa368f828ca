"""Arrow Flight: the legacy protocol, whose commands are SQL, and Flight SQL for ADBC, JDBC and ODBC."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import flight

from sandbox.dremio import flight_messages
from sandbox.dremio.auth import Authenticator
from sandbox.dremio.errors import (
    CancelledError,
    ConcurrentChangeError,
    DataError,
    EditionError,
    MemoryExceededError,
    StatementError,
    StorageError,
    UnsupportedError,
)
from sandbox.dremio.flight_metadata import Metadata
from sandbox.dremio.flight_session import MIDDLEWARE, NoHandshake, Session, Sessions
from sandbox.dremio.jobs import Jobs
from sandbox.dremio.sql.parse import parse
from sandbox.dremio.sql.statements import Use
from sandbox.dremio.statements import Statements
from sandbox.dremio.types import arrow_schema

Path = tuple[str, ...]

TICKET_SECONDS = 3600.0
CREATE_PREPARED, CLOSE_PREPARED = "CreatePreparedStatement", "ClosePreparedStatement"

# The kinds of Dremio's DremioFlightErrorMapper; what the sandbox lacks has a kind of its own.
_ANSWERS: tuple[tuple[Any, Any], ...] = (
    (UnsupportedError, pa.ArrowNotImplementedError),
    (EditionError, flight.FlightInternalError),
    ((StorageError, MemoryExceededError, ConcurrentChangeError), flight.FlightUnavailableError),
    (DataError, flight.FlightInternalError),
    (StatementError, pa.ArrowInvalid),
)


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


@contextmanager
def _told() -> Iterator[None]:
    """Send the errors of statements inside the block to the client."""
    try:
        yield
    except (StatementError, CancelledError) as error:
        raise flight_error(error) from None


@dataclass(frozen=True)
class _Prepared:
    """A statement that was planned; whoever holds its handle and belongs to its user can run it."""

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
        metadata: answers what clients ask about the server.
    """

    def __init__(
        self,
        address: str,
        port: int,
        authenticator: Authenticator,
        statements: Statements,
        jobs: Jobs,
        metadata: Metadata,
    ) -> None:
        super().__init__(
            f"grpc://{address}:{port}",
            auth_handler=NoHandshake(),
            middleware={MIDDLEWARE: Sessions(authenticator)},
        )
        self._statements = statements
        self._jobs = jobs
        self._metadata = metadata
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

    # -- statements that were planned

    def _prepare(self, session: Session, sql: str) -> tuple[bytes, pa.Schema]:
        with _told():
            schema = arrow_schema(self._statements.describe(sql, session.context))
        handle = secrets.token_bytes(16)
        with self._lock:
            oldest = time.monotonic() - TICKET_SECONDS
            self._prepared = {key: kept for key, kept in self._prepared.items() if kept.made > oldest}
            self._prepared[handle] = _Prepared(sql, session.user, session.context, schema)
        return handle, schema

    def _find(self, session: Session, handle: bytes, where: str) -> _Prepared:
        with self._lock:
            prepared = self._prepared.get(handle)
        if prepared is None or prepared.user != session.user:
            raise pa.ArrowInvalid(f"Invalid {where}: it is unknown or has expired")
        return prepared

    # -- what clients call

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Plan a command and return its schema with the ticket that runs it."""
        if descriptor.descriptor_type != flight.DescriptorType.CMD:
            raise pa.ArrowNotImplementedError("FlightDescriptor type Path is unimplemented.")
        session = context.get_middleware(MIDDLEWARE)
        command = flight_messages.unpack(descriptor.command)
        if command is None:
            ticket, schema = self._prepare(session, _text(descriptor.command))
        else:
            ticket, schema = self._plan(session, command)
        # No location: the client is to ask the server it is already connected to.
        return flight.FlightInfo(schema, descriptor, [flight.FlightEndpoint(ticket, [])], -1, -1)

    def _plan(self, session: Session, command: Any) -> tuple[bytes, pa.Schema]:
        """Return ticket and schema of a command of Flight SQL."""
        name = command.DESCRIPTOR.name
        if name == "CommandStatementQuery":
            handle, schema = self._prepare(session, command.query)
            return flight_messages.pack("TicketStatementQuery", statement_handle=handle), schema
        if name == "CommandPreparedStatementQuery":
            where = "PreparedStatementHandle used in getFlightInfo"
            prepared = self._find(session, command.prepared_statement_handle, where)
            return flight_messages.wrapped(command), prepared.schema
        metadata = self._metadata.schema(command)
        if metadata is None:
            raise pa.ArrowNotImplementedError(f"{name} is not implemented.")
        return flight_messages.wrapped(command), metadata

    def get_schema(self, context: Any, descriptor: Any) -> Any:
        """Return the schema of a command."""
        return flight.SchemaResult(self.get_flight_info(context, descriptor).schema)

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Run what a ticket stands for and stream its rows."""
        session = context.get_middleware(MIDDLEWARE)
        command = flight_messages.unpack(ticket.ticket)
        if command is None:
            return self._stream(
                context, self._find(session, ticket.ticket, "PreparedStatementTicket used in getStream")
            )
        name = command.DESCRIPTOR.name
        if name == "TicketStatementQuery":
            where = "StatementHandle used in getStream"
            return self._stream(context, self._find(session, command.statement_handle, where))
        if name == "CommandPreparedStatementQuery":
            where = "PreparedStatementHandle used in getStream"
            return self._stream(context, self._find(session, command.prepared_statement_handle, where))
        if self._metadata.schema(command) is None:
            raise pa.ArrowNotImplementedError(f"{name} is not implemented.")
        return flight.RecordBatchStream(self._metadata.rows(command))

    def _stream(self, context: Any, prepared: _Prepared) -> Any:
        session = context.get_middleware(MIDDLEWARE)
        batches = self._jobs.stream(prepared.sql, prepared.user, prepared.context, context.is_cancelled)
        with _told():
            first = next(batches)
            statement = parse(prepared.sql)
        if isinstance(statement, Use):
            session.context = statement.path
        return flight.GeneratorStream(first.schema, _guarded(first, batches))

    def list_actions(self, context: Any) -> Any:
        """Return the actions of Flight SQL that Dremio knows."""
        return [
            (CREATE_PREPARED, "Creates a reusable prepared statement resource on the server."),
            (CLOSE_PREPARED, "Closes a reusable prepared statement resource on the server."),
        ]

    def do_action(self, context: Any, action: Any) -> Any:
        """Prepare a statement, or forget one."""
        session = context.get_middleware(MIDDLEWARE)
        request = flight_messages.unpack(action.body.to_pybytes())
        if action.type == CREATE_PREPARED and request is not None:
            handle, schema = self._prepare(session, request.query)
            result = flight_messages.pack(
                "ActionCreatePreparedStatementResult",
                prepared_statement_handle=handle,
                dataset_schema=schema.serialize().to_pybytes(),
            )
            return iter([result])
        if action.type == CLOSE_PREPARED and request is not None:
            where = "PreparedStatementHandle used in closePreparedStatement"
            self._find(session, request.prepared_statement_handle, where)
            with self._lock:
                self._prepared.pop(request.prepared_statement_handle, None)
            return iter([])
        raise pa.ArrowNotImplementedError("doAction is not implemented.")

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> Any:
        """Refuse, as Dremio does: it neither binds parameters nor takes updates this way; those are queries to it."""
        command = flight_messages.unpack(descriptor.command or b"")
        if command is not None and command.DESCRIPTOR.name == "CommandPreparedStatementQuery":
            raise pa.ArrowNotImplementedError("PreparedStatement with parameter binding not supported.")
        raise pa.ArrowNotImplementedError("acceptPut is not implemented.")


def _text(command: bytes) -> str:
    try:
        return command.decode()
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid("The command is neither SQL text nor a command of Flight SQL that is known") from error


def _guarded(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _told():
        yield first
        yield from rest
