"""Reading query results over Arrow Flight: record batches from the socket to the caller, without Python objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dremio_provider.connection import PASSWORD, DremioSettings
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioError,
    DremioTerminalError,
    DremioTimeoutError,
    DremioTransientError,
)
from dremio_provider.paths import display_path
from dremio_provider.protocol import certificate_error, credentials, is_certificate_refused, shorten

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import flight

LOGIN_SECONDS = 30.0


class FlightSession:
    """One Flight connection to Dremio and one login for all queries. May be shared by threads.

    :param settings: Where to ask and as whom.
    """

    def __init__(self, settings: DremioSettings) -> None:
        self._settings = settings
        self._client: flight.FlightClient | None = None
        self._token: tuple[bytes, bytes] | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; the session opens a new one when it is used again."""
        with self._lock:
            client, self._client, self._token = self._client, None, None
        if client is not None:
            client.close()

    @contextmanager
    def reader(self, sql: str, *, schema: str | Sequence[str] | None = None, timeout: float = 600.0) -> Iterator[Any]:
        """Run a query and hand out its stream. Whoever leaves before its end cancels the query.

        :param schema: Path that unqualified names are looked up in; by default the connection's context.
        :param timeout: Seconds for the query and for reading it.
        :returns: A ``pyarrow.flight.FlightStreamReader``.
        :raises DremioError: In the family that fits.
        """
        # Imported here: pyarrow costs a quarter of a second, and a DAG file imports the hook at parse time.
        import pyarrow as pa

        reader = None
        try:
            reader = self._ask(sql, schema, timeout)
            yield reader
        except (pa.ArrowException, OSError) as error:
            raise self._translated(error, sql, timeout) from error
        finally:
            # Of a stream that has been read to its end there is nothing left to cancel.
            if reader is not None:
                reader.cancel()

    def _ask(self, sql: str, schema: str | Sequence[str] | None, timeout: float) -> Any:
        from pyarrow import flight

        client, token = self._open()
        try:
            return self._send(client, token, sql, schema, timeout)
        except flight.FlightUnauthenticatedError:
            if self._settings.auth != PASSWORD:
                raise
        # The token has ended, or the server was restarted: one new login, then the answer counts.
        with self._lock:
            if self._token == token:
                self._token = None
        return self._send(*self._open(), sql, schema, timeout)

    def _open(self) -> tuple[flight.FlightClient, tuple[bytes, bytes]]:
        from pyarrow import flight

        with self._lock:
            if self._client is None:
                self._client = flight.connect(self._settings.flight_address, **self._settings.flight_options())
            if self._token is None:
                self._token = self._login(self._client)
            return self._client, self._token

    def _login(self, client: flight.FlightClient) -> tuple[bytes, bytes]:
        import pyarrow as pa
        from pyarrow import flight

        if self._settings.auth != PASSWORD:
            return b"authorization", f"Bearer {self._settings.password}".encode()
        options = flight.FlightCallOptions(timeout=LOGIN_SECONDS)
        try:
            token: tuple[bytes, bytes] = client.authenticate_basic_token(
                self._settings.login, self._settings.password, options
            )
        except flight.FlightUnauthenticatedError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise flight.FlightUnavailableError(_why_unreachable(client) or str(error)) from error
        return token

    def _send(
        self,
        client: flight.FlightClient,
        token: tuple[bytes, bytes],
        sql: str,
        schema: str | Sequence[str] | None,
        timeout: float,
    ) -> Any:
        from pyarrow import flight

        headers = [token]
        context = schema or self._settings.default_context
        if context:
            headers.append((b"schema", (context if isinstance(context, str) else display_path(context)).encode()))
        if self._settings.project_id:
            headers.append((b"project_id", self._settings.project_id.encode()))
        started = time.monotonic()
        planning = flight.FlightCallOptions(headers=headers, timeout=timeout)
        info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), planning)
        left = max(0.001, timeout - (time.monotonic() - started))
        # Dremio's endpoints carry no location: the client that asked also reads.
        return client.do_get(info.endpoints[0].ticket, flight.FlightCallOptions(headers=headers, timeout=left))

    def _translated(self, error: Exception, sql: str, timeout: float) -> DremioError:
        from pyarrow import flight

        common: dict[str, Any] = {
            "asked": shorten(sql),
            "address": self._settings.flight_address,
            # gRPC appends its own debug context after the first line.
            "received": str(error).split(" gRPC client debug context", 1)[0].splitlines()[0][:500],
        }
        if isinstance(error, flight.FlightUnauthenticatedError | flight.FlightUnauthorizedError):
            return DremioAuthenticationError(
                "Dremio's Flight endpoint refused the credentials.",
                check=f"{credentials(self._settings)}.",
                status_code=401,
                **common,
            )
        if isinstance(error, flight.FlightTimedOutError):
            return DremioTimeoutError(
                f"The query over Arrow Flight took longer than {timeout:g} s.", check="the load of Dremio.", **common
            )
        if is_certificate_refused(str(error)):
            return certificate_error(common["asked"], common["address"], common["received"], self._settings)
        if isinstance(error, flight.FlightUnavailableError):
            return DremioTransientError(
                "Dremio's Flight endpoint cannot be reached or is out of resources.",
                check=f"that it runs and that flight_port, tls, verify and ca_file of the Airflow connection "
                f"{self._settings.conn_id!r} are right.",
                **common,
            )
        return DremioTerminalError("The query over Arrow Flight failed.", check="the statement.", **common)


def _why_unreachable(client: flight.FlightClient) -> str:
    """What gRPC says of the connection. The handshake only reports a stream that could not be written, whether nobody
    listens or a certificate was refused; a plain call gives the reason before anybody asks for a login."""
    import pyarrow as pa
    from pyarrow import flight

    try:
        client.get_flight_info(flight.FlightDescriptor.for_command(b""), flight.FlightCallOptions(timeout=5.0))
    except flight.FlightUnavailableError as error:
        return str(error)
    except (pa.ArrowException, OSError):
        # Refused for another reason: it was reached.
        return ""
    return ""


def iter_batches(session: FlightSession, sql: str, **options: Any) -> Iterator[pa.RecordBatch]:
    """Run a query and yield its record batches as they arrive; closing the iterator early cancels the query.

    :param options: As for :meth:`FlightSession.reader`.
    """
    with session.reader(sql, **options) as reader:
        for chunk in reader:
            yield chunk.data
