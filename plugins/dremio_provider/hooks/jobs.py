"""SQL as jobs over REST, mixed into the hook: submit, wait, cancel, read rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dremio_provider import protocol
from dremio_provider.exceptions import DremioError, DremioTimeoutError, DremioTransientError
from dremio_provider.parameters import Parameters, bind

if TYPE_CHECKING:
    from dremio_provider.connection import DremioSettings


@dataclass(frozen=True)
class SqlResult:
    """A finished statement: its job and, for a query, the rows."""

    job_id: str
    job: dict[str, Any]
    columns: list[dict[str, Any]]
    rows: list[dict[str, Any]]


def job_submission(sql: str, context: Sequence[str] | None, settings: DremioSettings) -> dict[str, Any]:
    """The body of ``POST /api/v3/sql``; without a context of its own a statement gets the connection's."""
    return {"sql": sql, "context": list(context or settings.default_context) or None}


class JobMethods:
    """Statements and jobs. Needs ``request``, ``settings`` and ``poll_interval`` of the hook."""

    log: Any
    poll_interval: float

    if TYPE_CHECKING:

        @property
        def settings(self) -> DremioSettings: ...  # noqa: D102  # the hook implements and documents these two

        def request(  # noqa: D102
            self,
            method: str,
            path: str,
            *,
            json: Any = None,
            params: Mapping[str, Any] | None = None,
            idempotent: bool | None = None,
        ) -> Any: ...

    def submit_sql(
        self, sql: str, *, context: Sequence[str] | None = None, parameters: Parameters | None = None
    ) -> str:
        """Hand a statement to Dremio without waiting.

        :param sql: One statement.
        :param context: Path that unqualified names are looked up in; by default the connection's.
        :param parameters: Values for ``%s`` or ``%(name)s``, see :func:`dremio_provider.parameters.bind`.
        :returns: Id of the job.
        """
        body = job_submission(bind(sql, parameters), context, self.settings)
        return str(self.request("POST", "/api/v3/sql", json=body)["id"])

    def run_sql(
        self,
        sql: str,
        *,
        context: Sequence[str] | None = None,
        timeout: float = 600.0,
        parameters: Parameters | None = None,
    ) -> str:
        """Run a statement and wait until it is done.

        :param timeout: Seconds; afterwards the job is cancelled.
        :returns: Id of the finished job.
        :raises DremioJobFailedError: The job failed or was cancelled.
        :raises DremioTimeoutError: It took longer than ``timeout``.
        """
        return self._run(sql, context, timeout, parameters)[0]

    def execute_sql(
        self,
        sql: str,
        *,
        context: Sequence[str] | None = None,
        timeout: float = 600.0,
        max_rows: int | None = None,
        parameters: Parameters | None = None,
    ) -> SqlResult:
        """Run a statement and fetch its rows over REST; for large results use :meth:`DremioHook.get_arrow_batches`.

        :param max_rows: Stop after so many rows.
        :returns: Job, columns ``[{"name", "type": {"name"}}]`` and rows.
        """
        job_id, job = self._run(sql, context, timeout, parameters)
        columns, rows = self.read_rows(job_id, max_rows)
        return SqlResult(job_id, job, columns, rows)

    def read_rows(self, job_id: str, max_rows: int | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Columns and rows of a COMPLETED job.

        :param max_rows: Stop after so many rows.
        """
        columns: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for page in self._pages(job_id, protocol.MAX_PAGE_ROWS if max_rows is None else max(1, max_rows)):
            columns = columns or page.get("schema", [])
            rows.extend(page.get("rows", []))
            if max_rows is not None and len(rows) >= max_rows:
                break
        return columns, rows if max_rows is None else rows[:max_rows]

    def _run(
        self, sql: str, context: Sequence[str] | None, timeout: float, parameters: Parameters | None
    ) -> tuple[str, dict[str, Any]]:
        job_id = self.submit_sql(sql, context=context, parameters=parameters)
        self.log.info("Dremio job %s: %s", job_id, protocol.shorten(sql))
        return job_id, self.wait_for_job(job_id, timeout=timeout, sql=sql)

    def get_job(self, job_id: str) -> dict[str, Any]:
        """A job's state, times and error.

        :raises DremioNotFoundError: There is no such job.
        """
        job: dict[str, Any] = self.request("GET", protocol.job_path(job_id))
        return job

    def wait_for_job(
        self, job_id: str, *, timeout: float = 600.0, sql: str | None = None, resumable: bool = False
    ) -> dict[str, Any]:
        """Wait until a job is COMPLETED. A job that is given up on, for whatever reason, is cancelled.

        :param sql: The statement, for the error message.
        :param resumable: Somebody will attach to the job again: leave it running when Dremio cannot be asked any more.
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
                    raise protocol.job_timeout(job_id, str(state), timeout, self.settings, sql)
                time.sleep(pause)
                pause = min(pause * 1.5, self.poll_interval)
        except BaseException as error:
            # Also on kill (SystemExit, task timeout): nobody would read the result.
            unreachable = isinstance(error, DremioTransientError) and not isinstance(error, DremioTimeoutError)
            if not (resumable and unreachable):
                with suppress(DremioError):
                    self.cancel_job(job_id)
            raise
        if state != "COMPLETED":
            raise protocol.error_from_job(job_id, job, self.settings, sql)
        return job

    def cancel_job(self, job_id: str) -> None:
        """Ask Dremio to cancel a job; one that is over already stays as it is."""
        self.request("POST", f"{protocol.job_path(job_id)}/cancel", idempotent=True)

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
            page = self.request("GET", f"{protocol.job_path(job_id)}/results", params=params)
            yield page
            offset += len(page.get("rows", []))
            if not page.get("rows") or offset >= int(page.get("rowCount") or 0):
                return
