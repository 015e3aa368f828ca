"""Hook for Dremio: SQL and jobs, catalog, reflections over REST; results over Arrow Flight."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx
from airflow.sdk import BaseHook
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from dremio_provider import protocol
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioError,
    DremioTerminalError,
    DremioTimeoutError,
)
from dremio_provider.hooks.catalog import CatalogMethods

if TYPE_CHECKING:
    import pyarrow as pa

    from dremio_provider.protocol import DremioSettings


@dataclass(frozen=True)
class SqlResult:
    """A finished statement: its job and, for a query, the rows."""

    job_id: str
    job: dict[str, Any]
    columns: list[dict[str, Any]]
    rows: list[dict[str, Any]]


class DremioHook(CatalogMethods, BaseHook):
    """Talk to one Dremio. Nothing is sent before the first call; use it as a context manager to close its connections.

    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param request_timeout: Seconds one HTTP request may take.
    :param poll_interval: Longest pause in seconds between two looks at a job; it starts smaller.
    :param attempts: How often a request is sent before a transient failure is reported.
    """

    conn_name_attr = "dremio_conn_id"
    default_conn_name = protocol.DEFAULT_CONN_ID
    conn_type = "dremio"
    hook_name = "Dremio"

    def __init__(
        self,
        dremio_conn_id: str = protocol.DEFAULT_CONN_ID,
        *,
        request_timeout: float = 60.0,
        poll_interval: float = 1.0,
        attempts: int = 5,
    ) -> None:
        super().__init__()
        self.dremio_conn_id = dremio_conn_id
        self.request_timeout = request_timeout
        self.poll_interval = poll_interval
        self.attempts = attempts
        self._settings: DremioSettings | None = None
        self._client: httpx.Client | None = None
        self._token: str | None = None
        self._edition: str | None = None

    # -- connection ---------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> DremioSettings:
        """The connection, read once.

        :raises DremioConfigurationError: It is incomplete.
        """
        if self._settings is None:
            self._settings = protocol.DremioSettings.from_connection(self.get_connection(self.dremio_conn_id))
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

    def get_conn(self) -> httpx.Client:
        """The HTTP client of this hook."""
        if self._client is None:
            self._client = httpx.Client(
                base_url=self.address,
                timeout=httpx.Timeout(self.request_timeout, connect=min(10.0, self.request_timeout)),
                verify=self.settings.verify,
                headers={"Accept": "application/json"},
            )
        return self._client

    def close(self) -> None:
        """Close the connections; the hook can be used again afterwards."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._token = None

    def clone(self) -> DremioHook:
        """A hook for the same Dremio with connections of its own, for example inside a signal handler."""
        other = DremioHook(self.dremio_conn_id, request_timeout=self.request_timeout, attempts=2)
        other._settings = self.settings
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- requests -----------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        idempotent: bool | None = None,
    ) -> Any:
        """Send one request, logged in, repeated on transient failures.

        :param method: HTTP method.
        :param path: Path under the root, for example ``/api/v3/catalog``; already percent-encoded.
        :param json: Body.
        :param params: Query parameters.
        :param idempotent: Whether the request may be sent twice; by default everything but POST.
        :returns: The decoded JSON body, or None where the server sent none.
        :raises DremioTransientError: It still failed after the last attempt.
        :raises DremioTerminalError: The server refused it.
        """
        harmless = method.upper() != "POST" if idempotent is None else idempotent
        retrying = Retrying(
            retry=retry_if_exception(lambda error: protocol.is_retryable(error, idempotent=harmless)),
            wait=wait_exponential_jitter(initial=0.3, max=10.0),
            stop=stop_after_attempt(self.attempts),
            reraise=True,
        )
        return retrying(self._authorized, method, path, json, params)

    def _authorized(self, method: str, path: str, json: Any, params: Mapping[str, Any] | None) -> Any:
        used = self._login()
        try:
            return self._send(method, path, json, params, used)
        except DremioAuthenticationError as error:
            if error.status_code != 401:
                raise
        # The token has expired, or the server was restarted: one new login, then the answer counts.
        if self._token == used:
            self._token = None
        return self._send(method, path, json, params, self._login())

    def _login(self) -> str:
        if self._token is None:
            body = {"userName": self.settings.login, "password": self.settings.password}
            answer = self._send("POST", protocol.LOGIN_PATH, body, None, None)
            self._token = str(answer["token"])
        return self._token

    def _send(self, method: str, path: str, json: Any, params: Mapping[str, Any] | None, token: str | None) -> Any:
        asked = f"{method} {path}"
        headers = {"Authorization": f"_dremio{token}"} if token else {}
        try:
            response = self.get_conn().request(method, path, json=json, params=params, headers=headers)
        except httpx.TransportError as error:
            raise protocol.error_from_transport(error, asked, self.settings) from error
        if response.is_success:
            return response.json() if response.content else None
        raise protocol.error_from_response(response, asked, self.settings)

    # -- SQL and jobs -------------------------------------------------------------------------------------------------

    def submit_sql(self, sql: str, *, context: Sequence[str] | None = None) -> str:
        """Hand a statement to Dremio without waiting.

        :param sql: One statement.
        :param context: Path that unqualified names are looked up in.
        :returns: Id of the job.
        """
        body = {"sql": sql, "context": list(context) if context else None}
        return str(self.request("POST", "/api/v3/sql", json=body)["id"])

    def run_sql(self, sql: str, *, context: Sequence[str] | None = None, timeout: float = 600.0) -> str:
        """Run a statement and wait until it is done.

        :param timeout: Seconds; afterwards the job is cancelled.
        :returns: Id of the finished job.
        :raises DremioJobFailedError: The job failed or was cancelled.
        :raises DremioTimeoutError: It took longer than ``timeout``.
        """
        return self._run(sql, context, timeout)[0]

    def execute_sql(
        self,
        sql: str,
        *,
        context: Sequence[str] | None = None,
        timeout: float = 600.0,
        max_rows: int | None = None,
    ) -> SqlResult:
        """Run a statement and fetch its rows over REST; for large results use :meth:`get_arrow_batches`.

        :param max_rows: Stop after so many rows.
        :returns: Job, columns ``[{"name", "type": {"name"}}]`` and rows.
        """
        job_id, job = self._run(sql, context, timeout)
        columns: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for page in self._pages(job_id, protocol.MAX_PAGE_ROWS if max_rows is None else max(1, max_rows)):
            columns = columns or page.get("schema", [])
            rows.extend(page.get("rows", []))
            if max_rows is not None and len(rows) >= max_rows:
                break
        return SqlResult(job_id, job, columns, rows if max_rows is None else rows[:max_rows])

    def _run(self, sql: str, context: Sequence[str] | None, timeout: float) -> tuple[str, dict[str, Any]]:
        job_id = self.submit_sql(sql, context=context)
        self.log.info("Dremio job %s: %s", job_id, protocol.shorten(sql))
        return job_id, self.wait_for_job(job_id, timeout=timeout, sql=sql)

    def get_job(self, job_id: str) -> dict[str, Any]:
        """A job's state, times and error.

        :raises DremioNotFoundError: There is no such job.
        """
        job: dict[str, Any] = self.request("GET", f"/api/v3/job/{job_id}")
        return job

    def wait_for_job(self, job_id: str, *, timeout: float = 600.0, sql: str | None = None) -> dict[str, Any]:
        """Wait until a job is COMPLETED. A job that is given up on, for whatever reason, is cancelled.

        :param sql: The statement, for the error message.
        :returns: The job.
        :raises DremioJobFailedError: It ended as FAILED or CANCELED.
        :raises DremioTimeoutError: It took longer than ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        pause = min(0.05, self.poll_interval)
        try:
            while True:
                job = self.get_job(job_id)
                state = job.get("jobState")
                if state in protocol.FINAL_JOB_STATES:
                    break
                if time.monotonic() >= deadline:
                    raise DremioTimeoutError(
                        f"The Dremio job {job_id} was still {state} after {timeout:g} s and has been cancelled.",
                        asked=protocol.shorten(sql) if sql else f"job {job_id}",
                        address=self.address,
                        check=f"the job's page {protocol.job_page(self.settings, job_id)}, or allow it more time.",
                        details={"job_id": job_id, "job_state": state},
                    )
                time.sleep(pause)
                pause = min(pause * 1.5, self.poll_interval)
        except BaseException:
            # Also on kill (SystemExit, task timeout): nobody would read the result.
            with suppress(DremioError):
                self.cancel_job(job_id)
            raise
        if state != "COMPLETED":
            raise protocol.error_from_job(job_id, job, self.settings, sql)
        return job

    def cancel_job(self, job_id: str) -> None:
        """Ask Dremio to cancel a job; one that is over already stays as it is."""
        self.request("POST", f"/api/v3/job/{job_id}/cancel", idempotent=True)

    def iter_rows(self, job_id: str, *, page_size: int = protocol.MAX_PAGE_ROWS) -> Iterator[dict[str, Any]]:
        """The rows of a COMPLETED job, one page in memory at a time.

        :param page_size: Rows a request, 1 to 500.
        """
        for page in self._pages(job_id, page_size):
            yield from page.get("rows", [])

    def _pages(self, job_id: str, page_size: int) -> Iterator[dict[str, Any]]:
        limit = max(1, min(page_size, protocol.MAX_PAGE_ROWS))
        offset = 0
        while True:
            params = {"offset": offset, "limit": limit}
            page = self.request("GET", f"/api/v3/job/{job_id}/results", params=params)
            yield page
            offset += len(page.get("rows", []))
            if not page.get("rows") or offset >= int(page.get("rowCount") or 0):
                return

    # -- Arrow Flight -------------------------------------------------------------------------------------------------

    def get_arrow_batches(
        self, sql: str, *, schema: str | None = None, timeout: float = 600.0
    ) -> Iterator[pa.RecordBatch]:
        """Run a query over Arrow Flight and hand out its record batches as they arrive.

        :param schema: Path that unqualified names are looked up in, for example ``gold``.
        :param timeout: Seconds for the whole read.
        """
        from dremio_provider.hooks.flight import read_batches

        return read_batches(self.settings, sql, schema=schema, timeout=timeout)

    def get_arrow_table(self, sql: str, *, schema: str | None = None, timeout: float = 600.0) -> pa.Table:
        """Run a query over Arrow Flight and return all of it. Keeps the whole result in memory."""
        from dremio_provider.hooks.flight import read_table

        return read_table(self.settings, sql, schema=schema, timeout=timeout)

    # -- health -------------------------------------------------------------------------------------------------------

    def server_status(self) -> str:
        """What Dremio says about itself without a login, normally ``OK``."""
        return str(self._send("GET", "/apiv2/server_status", None, None, None))

    def test_connection(self) -> tuple[bool, str]:
        """Prove the credentials on REST and on Arrow Flight. Never raises.

        :returns: Whether both work, and a sentence for the user interface.
        """
        try:
            self.request("GET", "/api/v3/catalog")
            self.get_arrow_table("SELECT 1", timeout=30.0)
        except Exception as error:
            return False, str(error)
        return True, f"Logged in as {self.settings.login} at {self.address} and {self.flight_address}."
