"""Hook for event loops: the triggerer, and whatever sends many requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from weakref import WeakKeyDictionary

import httpx
from airflow.sdk import BaseHook

from superset_provider.connection import DEFAULT_CONN_ID, SupersetSettings
from superset_provider.exceptions import SupersetAuthenticationError
from superset_provider.hooks.objects import AsyncObjectMethods
from superset_provider.hooks.rest import AsyncRestClient, SupersetLogin


class SupersetAsyncHook(AsyncObjectMethods):
    """Talk to one Superset from an event loop; use it with ``async with``.

    :param superset_conn_id: Airflow connection of type ``superset``.
    :param concurrency: Requests in flight at most.
    :param request_timeout: Seconds one HTTP request may take; a cold chart query counts as one.
    :param attempts: How often a request is sent before a transient failure is reported.
    """

    def __init__(
        self,
        superset_conn_id: str = DEFAULT_CONN_ID,
        *,
        concurrency: int = 4,
        request_timeout: float = 120.0,
        attempts: int = 5,
    ) -> None:
        self.superset_conn_id = superset_conn_id
        self.concurrency = concurrency
        self.request_timeout = request_timeout
        self.attempts = attempts
        self._rest: AsyncRestClient | None = None

    async def __aenter__(self) -> Self:
        """Read the Airflow connection and make a client; nothing is sent to Superset yet.

        :raises SupersetConfigurationError: The connection is incomplete or has a field that nobody knows.
        """
        await self._connect(SupersetSettings.from_connection(await BaseHook.aget_connection(self.superset_conn_id)))
        return self

    async def _connect(self, settings: SupersetSettings, login: SupersetLogin | None = None) -> None:
        # Building an HTTPS client reads the certificate store from disk, for tens of milliseconds.
        self._rest = await asyncio.to_thread(
            AsyncRestClient,
            settings,
            concurrency=self.concurrency,
            request_timeout=self.request_timeout,
            attempts=self.attempts,
            login=login,
        )

    async def __aexit__(self, *_: object) -> None:
        rest, self._rest = self._client, None
        await rest.close()

    @property
    def _client(self) -> AsyncRestClient:
        if self._rest is None:
            raise RuntimeError("SupersetAsyncHook is used outside of its 'async with'.")
        return self._rest

    @property
    def settings(self) -> SupersetSettings:
        """The connection."""
        return self._client.settings

    @property
    def address(self) -> str:
        """Root of Superset, for example ``http://127.0.0.1:8088``."""
        return self.settings.address

    async def request(self, method: str, path: str, *, idempotent: bool | None = None, **options: Any) -> Any:
        """Send one request, logged in, repeated on transient failures; see :meth:`RestClient.request`."""
        return await self._client.request(method, path, idempotent=idempotent, **options)

    async def send(self, method: str, path: str, *, idempotent: bool | None = None, **options: Any) -> httpx.Response:
        """As :meth:`request`, but with the whole answer, for its headers."""
        return await self._client.send(method, path, idempotent=idempotent, **options)

    @asynccontextmanager
    async def on_new_connections(self) -> AsyncIterator[SupersetAsyncHook]:
        """A hook with the same login whose requests travel over connections of their own."""
        hook = SupersetAsyncHook(
            self.superset_conn_id,
            concurrency=self.concurrency,
            request_timeout=self.request_timeout,
            attempts=self.attempts,
        )
        await hook._connect(self.settings, self._client.login)
        try:
            yield hook
        finally:
            await hook.__aexit__()

    async def health(self) -> None:
        """Ask whether Superset is up; needs no login.

        :raises SupersetTransientError: It is not.
        """
        await self.send("GET", "/health", auth=None)


@dataclass
class _Shared:
    """A hook that several triggers use, and how many they are."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    hook: SupersetAsyncHook | None = None
    users: int = 0


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_hook(superset_conn_id: str) -> AsyncIterator[SupersetAsyncHook]:
    """The one hook of this event loop for a connection, for triggers that look at something again and again: a thousand
    of them need one login and one TLS context. A request is sent once, since whoever polls simply polls again.

    It is closed when its last user leaves, and not handed out again once its credentials were refused: the connection
    may have been corrected meanwhile.
    """
    entries = _shared.setdefault(asyncio.get_running_loop(), {})
    entry = entries.setdefault(superset_conn_id, _Shared())
    entry.users += 1
    try:
        async with entry.lock:
            if entry.hook is None:
                hook = SupersetAsyncHook(superset_conn_id, concurrency=8, request_timeout=30.0, attempts=1)
                entry.hook = await hook.__aenter__()
        yield entry.hook
    except SupersetAuthenticationError:
        if entries.get(superset_conn_id) is entry:
            del entries[superset_conn_id]
        raise
    finally:
        entry.users -= 1
        if entry.users == 0:
            if entries.get(superset_conn_id) is entry:
                del entries[superset_conn_id]
            if entry.hook is not None:
                await entry.hook.__aexit__()
