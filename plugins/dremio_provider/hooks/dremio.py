"""Hook for Dremio: SQL and jobs, catalog, reflections over REST; results and DB-API over Arrow Flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.common.sql.hooks.sql import DbApiHook

from dremio_provider import protocol
from dremio_provider.connection import DB_API_FIELDS, EXTRA_FIELDS, DremioSettings
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioConfigurationError,
    DremioTerminalError,
)
from dremio_provider.hooks.catalog import CatalogMethods
from dremio_provider.hooks.dbapi import DremioConnection
from dremio_provider.hooks.flight import FlightSession, iter_batches
from dremio_provider.hooks.frames import FrameMethods
from dremio_provider.hooks.jobs import JobMethods, SqlResult
from dremio_provider.hooks.rest import RestClient
from dremio_provider.parameters import Parameters, bind

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.providers.openlineage.extractors import OperatorLineage

__all__ = ["DremioHook", "SqlResult"]


# What is remembered for lineage.
_KEPT_STATEMENTS = 100
_KEPT_CHARACTERS = 100_000


class DremioHook(JobMethods, CatalogMethods, FrameMethods, DbApiHook):
    """Talk to one Dremio. Nothing is sent before the first call; use it as a context manager to close its connections.

    It is a ``DbApiHook``: the stock operators of ``common-sql`` take a connection of type ``dremio``.

    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param request_timeout: Seconds one HTTP request may take.
    :param poll_interval: Longest pause in seconds between two looks at a job; it starts smaller.
    :param attempts: How often a request is sent before a transient failure is reported.
    :param statement_timeout: Seconds a statement of the DB-API side may take.
    :param schema: Path that unqualified names are looked up in, on the DB-API side; by default the connection's
        ``default_context``.
    :param options: Those of ``DbApiHook``. The stock operators pass the connection's extra as well; it is read from the
        connection itself.
    """

    conn_name_attr = "dremio_conn_id"
    default_conn_name = protocol.DEFAULT_CONN_ID
    conn_type = "dremio"
    hook_name = "Dremio"
    supports_autocommit = True
    strip_semicolon = True

    def __init__(
        self,
        dremio_conn_id: str = protocol.DEFAULT_CONN_ID,
        *,
        request_timeout: float = 60.0,
        poll_interval: float = 1.0,
        attempts: int = 5,
        statement_timeout: float = 600.0,
        schema: str | Sequence[str] | None = None,
        log_sql: bool = True,
        **options: Any,
    ) -> None:
        unknown = sorted(set(options) - {*EXTRA_FIELDS, *DB_API_FIELDS})
        if unknown:
            raise DremioConfigurationError(
                f"DremioHook does not know {', '.join(unknown)}.",
                check=f"hook_params, and the extra of the Airflow connection {dremio_conn_id!r}, where allowed are "
                f"{', '.join(EXTRA_FIELDS)}.",
            )
        formats = {name: options[name] for name in DB_API_FIELDS if name in options}
        super().__init__(dremio_conn_id=dremio_conn_id, log_sql=log_sql, **formats)
        self.request_timeout = request_timeout
        self.poll_interval = poll_interval
        self.attempts = attempts
        self.statement_timeout = statement_timeout
        self.schema = schema
        self._settings: DremioSettings | None = None
        self._rest: RestClient | None = None
        self._flight: FlightSession | None = None
        self._edition: str | None = None
        self._finished: deque[str] = deque(maxlen=_KEPT_STATEMENTS)

    # -- connection ---------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> DremioSettings:
        """The connection, read once.

        :raises DremioConfigurationError: It is incomplete or has a field that nobody knows.
        """
        if self._settings is None:
            self._settings = DremioSettings.from_connection(self.get_connection(self.dremio_conn_id))
        return self._settings

    @property
    def address(self) -> str:
        """Root of the REST API, for example ``http://127.0.0.1:9047``."""
        return self.settings.address

    @property
    def flight_address(self) -> str:
        """Address of Arrow Flight, for example ``grpc://127.0.0.1:32010``."""
        return self.settings.flight_address

    @property
    def edition(self) -> str:
        """``community`` or ``enterprise``; ``auto`` in the connection is resolved by asking the server once."""
        if self._edition is None:
            self._edition = self.settings.edition if self.settings.edition != "auto" else self._ask_edition()
        return self._edition

    def _ask_edition(self) -> str:
        if self.settings.project_id is not None:
            return "enterprise"
        # Only the Enterprise edition lists all reflections; the community server takes "summary" for an unknown id.
        try:
            self.request("GET", "/api/v3/reflection/summary")
        except DremioAuthenticationError as error:
            if error.status_code == 401:
                raise
            return "enterprise"
        except DremioTerminalError:
            return "community"
        return "enterprise"

    def close(self) -> None:
        """Close the connections; the hook can be used again afterwards."""
        if self._rest is not None:
            self._rest.close()
            self._rest = None
        if self._flight is not None:
            self._flight.close()
            self._flight = None

    def clone(self) -> DremioHook:
        """A hook for the same Dremio with connections of its own, for example inside a signal handler."""
        other = DremioHook(self.dremio_conn_id, request_timeout=self.request_timeout, attempts=2)
        other._settings = self.settings
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- REST ---------------------------------------------------------------------------------------------------------

    @property
    def rest(self) -> RestClient:
        """The HTTP client of this hook."""
        if self._rest is None:
            self._rest = RestClient(self.settings, request_timeout=self.request_timeout, attempts=self.attempts)
        return self._rest

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        idempotent: bool | None = None,
    ) -> Any:
        """Send one request, logged in, repeated on transient failures; see :meth:`RestClient.request`."""
        return self.rest.request(method, path, json=json, params=params, idempotent=idempotent)

    def server_status(self) -> str:
        """What Dremio says about itself without a login, normally ``OK``."""
        return str(self.rest.request("GET", "/apiv2/server_status", logged_in=False))

    # -- Arrow Flight -------------------------------------------------------------------------------------------------

    @property
    def flight(self) -> FlightSession:
        """The Arrow Flight connection of this hook; one login serves all queries."""
        if self._flight is None:
            self._flight = FlightSession(self.settings)
        return self._flight

    def get_arrow_batches(
        self,
        sql: str,
        *,
        schema: str | Sequence[str] | None = None,
        timeout: float = 600.0,
        parameters: Parameters | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Run a query over Arrow Flight and hand out its record batches as they arrive. Closing the iterator before its
        end cancels the query.

        :param schema: Path that unqualified names are looked up in, for example ``gold``.
        :param timeout: Seconds for the whole read.
        :param parameters: Values for ``%s`` or ``%(name)s``, see :func:`dremio_provider.parameters.bind`.
        """
        return iter_batches(self.flight, bind(sql, parameters), schema=schema, timeout=timeout)

    def get_arrow_table(
        self,
        sql: str,
        *,
        schema: str | Sequence[str] | None = None,
        timeout: float = 600.0,
        parameters: Parameters | None = None,
    ) -> pa.Table:
        """Run a query over Arrow Flight and return all of it; arguments as for :meth:`get_arrow_batches`. Keeps the
        whole result in memory."""
        with self.flight.reader(bind(sql, parameters), schema=schema, timeout=timeout) as reader:
            return reader.read_all()

    # -- DB-API -------------------------------------------------------------------------------------------------------

    def get_conn(self) -> DremioConnection:
        """A DB-API 2.0 connection over the hook's Arrow Flight session."""
        return DremioConnection(self.flight, schema=self.schema, timeout=self.statement_timeout)

    def run(  # type: ignore[override]  # one signature for the base's two
        self,
        sql: str | Iterable[str],
        autocommit: bool = False,
        parameters: Parameters | None = None,
        handler: Callable[[Any], Any] | None = None,
        split_statements: bool = True,
        return_last: bool = True,
    ) -> Any:
        """Run statements one after the other, see ``DbApiHook.run``. Dremio takes one statement at a time, so a text is
        split at its semicolons; without a handler the rows are read and dropped, because Dremio ends a statement only
        with its last row."""
        found = super().run(sql, autocommit, parameters, handler or _drain, split_statements, return_last)
        return found if handler is not None else None

    def insert_rows(
        self,
        table: str,
        rows: Iterable[Sequence[Any]],
        target_fields: Sequence[str] | None = None,
        commit_every: int = 1000,
        replace: bool = False,
        **_: Any,
    ) -> None:
        """Insert rows, many with one statement: each is a Dremio job and a commit of the table. Further arguments are
        those of ``DbApiHook`` (``executemany``, ``autocommit``, ..) and change nothing.

        :param table: The table's path as SQL has it, quoted where needed.
        :param rows: The values of each row; written with :func:`dremio_provider.parameters.literal`.
        :param target_fields: Names of the columns.
        :param commit_every: Rows a statement; 0 is all with one.
        :param replace: Refused: Dremio has no REPLACE.
        :raises DremioTerminalError: A value cannot be written safely.
        """
        if replace:
            raise DremioTerminalError("Dremio cannot replace rows on insert.", check="use a MERGE statement.")
        columns = self.dialect._joined_target_fields(target_fields)
        done = 0
        remaining = iter(rows)
        while chunk := list(islice(remaining, commit_every or None)):
            values = ", ".join(f"({self.dialect._joined_placeholders(row)})" for row in chunk)
            statement = f"INSERT INTO {table} {columns} VALUES {values}"  # noqa: S608  # the values are bound
            self.run(statement, parameters=[value for row in chunk for value in row], split_statements=False)
            done += len(chunk)
        self.log.info("Inserted %s rows into %s", done, table)

    @property
    def dialect_name(self) -> str:
        """Name of the SQL dialect that this provider registers."""
        return "dremio"

    def _run_command(self, cur: Any, sql_statement: str, parameters: Any) -> None:
        super()._run_command(cur, sql_statement, parameters)
        # Of a long INSERT the beginning says what it writes.
        self._finished.append(sql_statement if len(sql_statement) <= _KEPT_CHARACTERS else sql_statement[:1000])

    def get_openlineage_database_specific_lineage(self, task_instance: Any) -> OperatorLineage | None:
        """What the statements of :meth:`run` read and wrote. The stock operators ask for it after the task; their own
        parser, which ``get_openlineage_database_info`` would switch on, cuts Dremio's paths to three parts."""
        from dremio_provider.lineage import lineage_of

        return lineage_of([(sql, None) for sql in self._finished], self.settings)

    # -- health -------------------------------------------------------------------------------------------------------

    def test_connection(self) -> tuple[bool, str]:  # type: ignore[override]  # the base's stub says None
        """Prove the credentials on REST and on Arrow Flight. Never raises.

        :returns: Whether both work, and a sentence for the user interface.
        """
        try:
            # With connections of its own: a login of long ago proves nothing.
            with self.clone() as other:
                other.request("GET", "/api/v3/catalog")
                other.get_arrow_table("SELECT 1", timeout=30.0)
        except Exception as error:
            return False, str(error)
        return True, f"Logged in as {self.settings.who} at {self.address} and {self.flight_address}."


def _drain(cursor: Any) -> None:
    while cursor.fetchmany():
        pass
