"""Reading query results over Arrow Flight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioError,
    DremioTerminalError,
    DremioTimeoutError,
    DremioTransientError,
)
from dremio_provider.protocol import DremioSettings, shorten

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def _reader(settings: DremioSettings, sql: str, schema: str | None, timeout: float) -> Iterator[Any]:
    # Imported here: pyarrow costs a quarter of a second, and a DAG file imports the hook at parse time.
    from pyarrow import flight

    options: dict[str, Any] = {}
    if settings.flight_address.startswith("grpc+tls") and not settings.verify:
        options["disable_server_verification"] = True
    logged_in = False
    try:
        with flight.connect(settings.flight_address, **options) as client:
            login = flight.FlightCallOptions(timeout=min(timeout, 30.0))
            headers = [client.authenticate_basic_token(settings.login, settings.password, login)]
            logged_in = True
            if schema:
                headers.append((b"schema", schema.encode()))
            call = flight.FlightCallOptions(headers=headers, timeout=timeout)
            info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), call)
            # Dremio's endpoints carry no location: the client that asked also reads.
            yield client.do_get(info.endpoints[0].ticket, call)
    except _flight_errors() as error:
        raise _translated(error, settings, sql, timeout, logged_in=logged_in) from error


def read_batches(
    settings: DremioSettings, sql: str, *, schema: str | None = None, timeout: float = 600.0
) -> Iterator[pa.RecordBatch]:
    """Run a query and yield its record batches as they arrive.

    :param settings: Where to ask and as whom.
    :param schema: Path that unqualified names are looked up in.
    :param timeout: Seconds for the query and for reading it.
    :raises DremioError: In the family that fits.
    """
    with _reader(settings, sql, schema, timeout) as reader:
        for chunk in reader:
            yield chunk.data


def read_table(settings: DremioSettings, sql: str, *, schema: str | None = None, timeout: float = 600.0) -> pa.Table:
    """Run a query and return all of its rows; arguments as for :func:`read_batches`."""
    with _reader(settings, sql, schema, timeout) as reader:
        return reader.read_all()


def _flight_errors() -> tuple[type[Exception], ...]:
    import pyarrow as pa

    return (pa.ArrowException, OSError)


def _translated(
    error: Exception, settings: DremioSettings, sql: str, timeout: float, *, logged_in: bool
) -> DremioError:
    from pyarrow import flight

    common: dict[str, Any] = {
        "asked": shorten(sql),
        "address": settings.flight_address,
        # gRPC appends its own debug context after the first line.
        "received": str(error).split(" gRPC client debug context", 1)[0].splitlines()[0][:500],
    }
    if isinstance(error, flight.FlightUnauthenticatedError | flight.FlightUnauthorizedError):
        return DremioAuthenticationError(
            "Dremio's Flight endpoint refused the credentials.",
            check=f"login and password of the Airflow connection {settings.conn_id!r}.",
            status_code=401,
            **common,
        )
    if isinstance(error, flight.FlightTimedOutError):
        return DremioTimeoutError(
            f"The query over Arrow Flight took longer than {timeout:g} s.", check="the load of Dremio.", **common
        )
    # During the handshake pyarrow reports a refused connection as a stream that could not be written.
    if isinstance(error, flight.FlightUnavailableError) or not logged_in:
        return DremioTransientError(
            "Dremio's Flight endpoint cannot be reached or is out of resources.",
            check=f"that it runs and that flight_port of the Airflow connection {settings.conn_id!r} is right.",
            **common,
        )
    return DremioTerminalError("The query over Arrow Flight failed.", check="the statement.", **common)
