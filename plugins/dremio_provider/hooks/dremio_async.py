"""Asynchronous client for the triggerer: the few calls that waiting needs, and nothing that blocks the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote
from weakref import WeakKeyDictionary

from airflow.sdk import BaseHook

from dremio_provider import protocol
from dremio_provider.anchors import finished_sql
from dremio_provider.connection import DremioSettings
from dremio_provider.exceptions import DremioAuthenticationError, DremioNotFoundError
from dremio_provider.hooks.jobs import job_submission
from dremio_provider.hooks.rest import AsyncRestClient


class DremioAsyncClient(AsyncRestClient):
    """One logged-in connection to Dremio inside an event loop; the arguments are those of :class:`AsyncRestClient`."""

    @classmethod
    async def connect(cls, dremio_conn_id: str, **options: Any) -> Self:
        """Read the Airflow connection and make a client; nothing is sent to Dremio yet."""
        connection = await BaseHook.aget_connection(dremio_conn_id)
        settings = DremioSettings.from_connection(connection)
        # Building an HTTPS client reads the certificate store from disk, for tens of milliseconds.
        return await asyncio.to_thread(cls, settings, **options)

    async def get_job(self, job_id: str) -> dict[str, Any]:
        """A job's state, times and error.

        :raises DremioNotFoundError: There is no such job.
        """
        job: dict[str, Any] = await self.request("GET", protocol.job_path(job_id))
        return job

    async def cancel_job(self, job_id: str) -> None:
        """Ask Dremio to cancel a job; one that is over already stays as it is."""
        await self.request("POST", f"{protocol.job_path(job_id)}/cancel", idempotent=True)

    async def submit_sql(self, sql: str, *, context: Sequence[str] | None = None) -> str:
        """Hand a statement to Dremio without waiting.

        :returns: Id of the job.
        """
        body = job_submission(sql, context, self.settings)
        return str((await self.request("POST", "/api/v3/sql", json=body))["id"])

    async def execute_sql(
        self,
        sql: str,
        *,
        context: Sequence[str] | None = None,
        within: float = 60.0,
        max_rows: int | None = None,
    ) -> list[dict[str, Any]]:
        """Run a small query and fetch its rows. One that is given up on, for whatever reason, is cancelled.

        :param within: Seconds for the query.
        :param max_rows: Stop after so many rows.
        :raises DremioJobFailedError: The job failed or was cancelled.
        :raises DremioTimeoutError: It took longer than ``within``.
        """
        job_id = await self.submit_sql(sql, context=context)
        try:
            job = await self._final(job_id, sql, within)
        except BaseException:
            # Shielded: it is also reached when the waiting task is cancelled, and must not end half way.
            await asyncio.shield(asyncio.gather(self.cancel_job(job_id), return_exceptions=True))
            raise
        if job["jobState"] != "COMPLETED":
            raise protocol.error_from_job(job_id, job, self.settings, sql)
        return await self._rows(job_id, max_rows)

    async def _final(self, job_id: str, sql: str, within: float) -> dict[str, Any]:
        deadline = time.monotonic() + within
        pause = 0.05
        while (job := await self.get_job(job_id))["jobState"] not in protocol.FINAL_JOB_STATES:
            if time.monotonic() >= deadline:
                raise protocol.job_timeout(job_id, job["jobState"], within, self.settings, sql)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return job

    async def _rows(self, job_id: str, max_rows: int | None) -> list[dict[str, Any]]:
        limit = protocol.MAX_PAGE_ROWS if max_rows is None else min(max_rows, protocol.MAX_PAGE_ROWS)
        rows: list[dict[str, Any]] = []
        while True:
            params = {"offset": len(rows), "limit": limit}
            page = await self.request("GET", f"{protocol.job_path(job_id)}/results", params=params)
            rows.extend(page["rows"])
            wanted = int(page["rowCount"]) if max_rows is None else min(int(page["rowCount"]), max_rows)
            if not page["rows"] or len(rows) >= wanted:
                return rows[:max_rows]

    async def get_reflection(self, reflection_id: str) -> dict[str, Any] | None:
        """A reflection with its status, or None when it is gone."""
        try:
            reflection: dict[str, Any] = await self.request("GET", f"/api/v3/reflection/{quote(reflection_id)}")
        except DremioNotFoundError:
            return None
        return reflection

    async def finished_times(self, reflection_ids: Sequence[str], *, within: float = 60.0) -> dict[str, Any]:
        """When each reflection's newest materialization was finished.

        :param within: Seconds for the query.
        """
        rows = await self.execute_sql(finished_sql(reflection_ids), within=within)
        return {str(row["reflection_id"]): row["last_refresh_finished"] for row in rows}


@dataclass
class _Shared:
    """A client that several triggers use, and how many they are."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    client: DremioAsyncClient | None = None
    users: int = 0


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(dremio_conn_id: str) -> AsyncIterator[DremioAsyncClient]:
    """The one client of this event loop for a connection: a thousand triggers need one login and one TLS context.

    It is closed when its last user leaves, and not handed out again once its credentials were refused: the connection
    may have been corrected meanwhile.
    """
    entries = _shared.setdefault(asyncio.get_running_loop(), {})
    entry = entries.setdefault(dremio_conn_id, _Shared())
    entry.users += 1
    try:
        async with entry.lock:
            if entry.client is None:
                entry.client = await DremioAsyncClient.connect(dremio_conn_id)
        yield entry.client
    except DremioAuthenticationError:
        if entries.get(dremio_conn_id) is entry:
            del entries[dremio_conn_id]
        raise
    finally:
        entry.users -= 1
        if entry.users == 0:
            if entries.get(dremio_conn_id) is entry:
                del entries[dremio_conn_id]
            if entry.client is not None:
                await entry.client.close()
