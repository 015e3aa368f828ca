"""Dremio's REST over httpx: one way to log in, to judge an answer and to repeat, for blocking and for async code."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, Self

import httpx
from tenacity import AsyncRetrying, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from dremio_provider import protocol
from dremio_provider.connection import PASSWORD, DremioSettings

# A token is replaced so many seconds before Dremio says that it ends.
RENEWAL_SECONDS = 60.0
CONNECT_SECONDS = 10.0

Request = httpx.Request
Response = httpx.Response


class PasswordLogin(httpx.Auth):
    """Trades user and password for a token on the first request, uses it for all, and gets a new one before it ends or
    when the server no longer knows it (a restart, a logout).

    :param settings: Where and as whom.
    """

    def __init__(self, settings: DremioSettings) -> None:
        self._settings = settings
        self._token: str | None = None
        self._renew_at = float("inf")
        self._thread_lock = threading.Lock()
        self._loop_lock: asyncio.Lock | None = None

    def sync_auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        """Sign a blocking request; one login serves all threads that wait for it."""
        with self._thread_lock:
            if self._outdated():
                login = yield self._login(request)
                self._accept(login, login.read())
        used = self._sign(request)
        if (yield request).status_code != httpx.codes.UNAUTHORIZED:
            return
        with self._thread_lock:
            if self._token == used:
                login = yield self._login(request)
                self._accept(login, login.read())
        self._sign(request)
        yield request

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Sign a request of an event loop; one login serves all tasks that wait for it."""
        self._loop_lock = self._loop_lock or asyncio.Lock()
        async with self._loop_lock:
            if self._outdated():
                login = yield self._login(request)
                self._accept(login, await login.aread())
        used = self._sign(request)
        if (yield request).status_code != httpx.codes.UNAUTHORIZED:
            return
        async with self._loop_lock:
            if self._token == used:
                login = yield self._login(request)
                self._accept(login, await login.aread())
        self._sign(request)
        yield request

    def _outdated(self) -> bool:
        return self._token is None or time.time() >= self._renew_at

    def _login(self, request: Request) -> Request:
        body = {"userName": self._settings.login, "password": self._settings.password}
        # The extensions carry the timeouts: a login is given as long as the request that needs it.
        return httpx.Request(
            "POST", f"{self._settings.address}{protocol.LOGIN_PATH}", json=body, extensions=request.extensions
        )

    def _accept(self, response: Response, _body: bytes) -> None:
        asked = f"POST {protocol.LOGIN_PATH}"
        if not response.is_success:
            raise protocol.error_from_response(response, asked, self._settings)
        answer = protocol.decode(response, asked, self._settings)
        self._token = str(answer["token"])
        # In milliseconds of the server's clock; one that is far from ours would make every token look used up.
        ends = float(answer.get("expires") or 0) / 1000 - RENEWAL_SECONDS
        self._renew_at = ends if ends > time.time() else float("inf")

    def _sign(self, request: Request) -> str | None:
        request.headers["Authorization"] = f"_dremio{self._token}"
        return self._token


class BearerToken(httpx.Auth):
    """Sends a personal access token with every request.

    :param token: The token.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        """Sign a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def authentication(settings: DremioSettings) -> httpx.Auth:
    """The way to log in that a connection asks for."""
    return PasswordLogin(settings) if settings.auth == PASSWORD else BearerToken(settings.password)


class _Transport:
    """What the blocking and the async client share: how a request is made and when it is made again.

    :param settings: Where and as whom.
    :param request_timeout: Seconds one HTTP request may take.
    :param attempts: How often a request is sent before a transient failure is reported.
    """

    def __init__(self, settings: DremioSettings, *, request_timeout: float, attempts: int) -> None:
        self.settings = settings
        self.request_timeout = request_timeout
        self.attempts = attempts

    def _client_options(self) -> dict[str, Any]:
        return {
            "base_url": self.settings.address,
            "timeout": httpx.Timeout(self.request_timeout, connect=min(CONNECT_SECONDS, self.request_timeout)),
            "verify": self.settings.tls_context(),
            "headers": {"Accept": "application/json"},
            "auth": authentication(self.settings),
        }

    def _repetition(self, method: str, idempotent: bool | None) -> dict[str, Any]:
        harmless = method.upper() != "POST" if idempotent is None else idempotent
        return {
            "retry": retry_if_exception(lambda error: protocol.is_retryable(error, idempotent=harmless)),
            "wait": wait_exponential_jitter(initial=0.3, max=10.0),
            "stop": stop_after_attempt(self.attempts),
            "reraise": True,
        }

    def _answer(self, response: Response, asked: str) -> Any:
        if response.is_success:
            return protocol.decode(response, asked, self.settings)
        raise protocol.error_from_response(response, asked, self.settings)


class RestClient(_Transport):
    """Blocking client; the arguments are those of the class above."""

    def __init__(self, settings: DremioSettings, *, request_timeout: float = 60.0, attempts: int = 5) -> None:
        super().__init__(settings, request_timeout=request_timeout, attempts=attempts)
        self._client = httpx.Client(**self._client_options())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        idempotent: bool | None = None,
        logged_in: bool = True,
    ) -> Any:
        """Send one request, repeated on transient failures.

        :param method: HTTP method.
        :param path: Path under the root, for example ``/api/v3/catalog``; already percent-encoded.
        :param json: Body.
        :param params: Query parameters.
        :param idempotent: Whether the request may be sent twice; by default everything but POST.
        :param logged_in: False for the few calls that need no login.
        :returns: The decoded JSON body, or None where the server sent none.
        :raises DremioTransientError: It still failed after the last attempt.
        :raises DremioTerminalError: The server refused it.
        """
        asked = f"{method} {path}"
        options: dict[str, Any] = {} if logged_in else {"auth": None}

        def send() -> Any:
            try:
                response = self._client.request(
                    method, self.settings.rest_path(path), json=json, params=params, **options
                )
            except httpx.TransportError as error:
                raise protocol.error_from_transport(error, asked, self.settings) from error
            return self._answer(response, asked)

        return Retrying(**self._repetition(method, idempotent))(send)


class AsyncRestClient(_Transport):
    """Client for an event loop. By default a request is sent once: whoever polls simply polls again.

    :param concurrency: Requests in flight at most.
    """

    def __init__(
        self, settings: DremioSettings, *, request_timeout: float = 30.0, attempts: int = 1, concurrency: int = 8
    ) -> None:
        super().__init__(settings, request_timeout=request_timeout, attempts=attempts)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.AsyncClient(**self._client_options(), limits=limits)
        self._slots = asyncio.Semaphore(concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        idempotent: bool | None = None,
    ) -> Any:
        """Send one request; arguments, answers and errors as for :meth:`RestClient.request`."""
        asked = f"{method} {path}"

        async def send() -> Any:
            try:
                response = await self._client.request(method, self.settings.rest_path(path), json=json, params=params)
            except httpx.TransportError as error:
                raise protocol.error_from_transport(error, asked, self.settings) from error
            return self._answer(response, asked)

        # The slot comes first: of a thousand requests that wait for one, each is then a few objects and no more.
        async with self._slots:
            return await AsyncRetrying(**self._repetition(method, idempotent))(send)
