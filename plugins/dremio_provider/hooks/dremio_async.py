"""Asynchronous client for the triggerer: the few calls that waiting needs, and nothing that blocks the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

import httpx
from airflow.sdk import BaseHook

from dremio_provider import protocol
from dremio_provider.anchors import finished_sql
from dremio_provider.exceptions import DremioAuthenticationError, DremioNotFoundError, DremioTimeoutError


class DremioAsyncClient:
    """One logged-in connection to Dremio inside an event loop. A request is sent once: whoever polls simply polls
    again.

    :param settings: Where and as whom.
    :param request_timeout: Seconds one HTTP request may take.
    :param concurrency: Requests in flight at most.
    """

    def __init__(
        self, settings: protocol.DremioSettings, *, request_timeout: float = 30.0, concurrency: int = 8
    ) -> None:
        self.settings = settings
        self._client = httpx.AsyncClient(
            base_url=settings.address,
            timeout=httpx.Timeout(request_timeout, connect=min(10.0, request_timeout)),
            verify=settings.verify,
            headers={"Accept": "application/json"},
        )
        self._token: str | None = None
        self._login_lock = asyncio.Lock()
        self._slots = asyncio.Semaphore(concurrency)

    @classmethod
    async def connect(cls, dremio_conn_id: str, **options: Any) -> Self:
        """Read the Airflow connection and make a client; nothing is sent to Dremio yet."""
        connection = await BaseHook.aget_connection(dremio_conn_id)
        settings = protocol.DremioSettings.from_connection(connection)
        # Building an HTTPS client reads the certificate store from disk, for tens of milliseconds.
        return await asyncio.to_thread(cls, settings, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def request(
        self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        """Send one request, logged in, once; arguments and errors as in the synchronous hook."""
        async with self._slots:
            used = await self._login()
            try:
                return await self._send(method, path, json, params, used)
            except DremioAuthenticationError as error:
                if error.status_code != 401:
                    raise
            if self._token == used:
                self._token = None
            return await self._send(method, path, json, params, await self._login())

    async def _login(self) -> str:
        async with self._login_lock:
            if self._token is None:
                body = {"userName": self.settings.login, "password": self.settings.password}
                answer = await self._send("POST", protocol.LOGIN_PATH, body, None, None)
                self._token = str(answer["token"])
            return self._token

    async def _send(
        self, method: str, path: str, json: Any, params: Mapping[str, Any] | None, token: str | None
    ) -> Any:
        asked = f"{method} {path}"
        headers = {"Authorization": f"_dremio{token}"} if token else {}
        try:
            response = await self._client.request(method, path, json=json, params=params, headers=headers)
        except httpx.TransportError as error:
            raise protocol.error_from_transport(error, asked, self.settings) from error
        if response.is_success:
            return response.json() if response.content else None
        raise protocol.error_from_response(response, asked, self.settings)

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
        sql = finished_sql(reflection_ids)
        job_id = str((await self.request("POST", "/api/v3/sql", json={"sql": sql, "context": None}))["id"])
        deadline = time.monotonic() + within
        job = await self.request("GET", f"/api/v3/job/{job_id}")
        while job["jobState"] not in protocol.FINAL_JOB_STATES:
            if time.monotonic() >= deadline:
                raise DremioTimeoutError(
                    f"The Dremio job {job_id} was still {job['jobState']} after {within:g} s.",
                    asked=protocol.shorten(sql),
                    address=self.settings.address,
                    check="the load of Dremio.",
                )
            await asyncio.sleep(0.2)
            job = await self.request("GET", f"/api/v3/job/{job_id}")
        if job["jobState"] != "COMPLETED":
            raise protocol.error_from_job(job_id, job, self.settings, sql)
        found: dict[str, Any] = {}
        while True:
            params = {"offset": len(found), "limit": protocol.MAX_PAGE_ROWS}
            page = await self.request("GET", f"/api/v3/job/{job_id}/results", params=params)
            found.update({str(row["reflection_id"]): row["last_refresh_finished"] for row in page["rows"]})
            if not page["rows"] or len(found) >= int(page["rowCount"]):
                return found
