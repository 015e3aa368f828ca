"""Superset's REST over httpx: one way to log in, to judge an answer and to repeat, for blocking and for async code."""

from __future__ import annotations

import asyncio
import base64
import copy
import json as json_module
import threading
import time
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)

from superset_provider import protocol
from superset_provider.connection import API_KEY, SupersetSettings
from superset_provider.exceptions import SupersetAuthenticationError, SupersetError, SupersetTerminalError

# A token is replaced so many seconds before Superset says that it ends, but never before half of its life.
RENEWAL_SECONDS = 60.0
CONNECT_SECONDS = 10.0
LONGEST_PAUSE = 60.0
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# With these a token may have been refused; some have to be read to know.
_REFUSALS = frozenset({400, 401, 422})

Request = httpx.Request
Response = httpx.Response


def lifetime(token: str) -> float:
    """Seconds between a JSON web token's issue and its end, both by the server's clock; endless where it does not
    say."""
    try:
        payload = token.split(".")[1]
        claims = json_module.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - float(claims["iat"])
    except (IndexError, KeyError, TypeError, ValueError):
        return float("inf")


@dataclass(frozen=True)
class _Signature:
    """What a request was signed with."""

    access: str | None
    csrf: str | None


class SupersetLogin(httpx.Auth):
    """Trades user and password for tokens on the first request, renews the access token before it ends or when the
    server no longer takes it, logs in again when the refresh token is used up, and signs what changes something with a
    CSRF token and the session cookie that belongs to it. An API key takes the place of the access token and is never
    renewed.

    :param settings: Where and as whom.
    """

    def __init__(self, settings: SupersetSettings) -> None:
        self._settings = settings
        self._access = settings.password if settings.auth == API_KEY else None
        self._refresh: str | None = None
        self._renew_at = float("inf")
        self._csrf: str | None = None
        self._cookie = ""
        self._refused: SupersetError | None = None
        self._thread_lock = threading.Lock()
        self._loop_lock: asyncio.Lock | None = None

    def sync_auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        """Sign a blocking request; one login serves all threads that wait for it."""
        refusals: set[int] = set()
        while True:
            with self._thread_lock:
                yield from self._obtain(request)
            used = self._sign(request)
            response = yield request
            if response.status_code in _REFUSALS:
                response.read()
            if not self._drop_refused(used, response, refusals):
                return

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Sign a request of an event loop; one login serves all tasks that wait for it."""
        self._loop_lock = self._loop_lock or asyncio.Lock()
        refusals: set[int] = set()
        while True:
            async with self._loop_lock:
                steps = self._obtain(request)
                step = next(steps, None)
                while step is not None:
                    answer = yield step
                    await answer.aread()
                    try:
                        step = steps.send(answer)
                    except StopIteration:
                        step = None
            used = self._sign(request)
            response = yield request
            if response.status_code in _REFUSALS:
                await response.aread()
            if not self._drop_refused(used, response, refusals):
                return

    def _obtain(self, request: Request) -> Generator[Request, Response, None]:
        """Ask for whatever the request needs and is not there."""
        if self._refused is not None:
            # Asking again with the same password would only lock the account.
            raise copy.copy(self._refused)
        if self._access is not None and time.monotonic() >= self._renew_at:
            self._access = None
        if self._access is None and self._refresh is not None:
            renewal = yield self._request(request, "POST", protocol.REFRESH_PATH, token=self._refresh)
            self._accept_renewal(renewal)
        if self._access is None:
            self._accept_login((yield self._login(request)))
        if _changes_something(request) and self._csrf is None:
            self._accept_csrf((yield self._request(request, "GET", protocol.CSRF_PATH, token=self._access)))

    def _login(self, request: Request) -> Request:
        credentials = {
            "username": self._settings.login,
            "password": self._settings.password,
            "provider": self._settings.provider,
            "refresh": True,
        }
        return self._request(request, "POST", protocol.LOGIN_PATH, json=credentials)

    def _request(self, request: Request, method: str, path: str, *, token: str | None = None, **body: Any) -> Request:
        headers = {**base_headers(self._settings), **({"Authorization": f"Bearer {token}"} if token else {})}
        # The extensions carry the timeouts: a login is given as long as the request that needs it.
        url = f"{self._settings.address}{path}"
        return httpx.Request(method, url, headers=headers, extensions=request.extensions, **body)

    def _accept_login(self, response: Response) -> None:
        asked = f"POST {protocol.LOGIN_PATH}"
        try:
            answer = self._judge(response, asked)
        except SupersetAuthenticationError as error:
            self._refused = error
            raise
        self._refresh = answer.get("refresh_token")
        self._accept_access(answer)

    def _accept_renewal(self, response: Response) -> None:
        response.read()
        try:
            self._accept_access(self._judge(response, f"POST {protocol.REFRESH_PATH}"))
        except SupersetTerminalError:
            # The refresh token has ended as well (401), or the server's key has changed (422).
            self._refresh = None

    def _accept_access(self, answer: Any) -> None:
        self._access = str(answer["access_token"])
        seconds = lifetime(self._access)
        # By our own steady clock: the server's may be far from ours.
        self._renew_at = time.monotonic() + max(seconds - RENEWAL_SECONDS, seconds / 2)

    def _accept_csrf(self, response: Response) -> None:
        self._csrf = str(self._judge(response, f"GET {protocol.CSRF_PATH}")["result"])
        self._cookie = "; ".join(f"{name}={value}" for name, value in response.cookies.items())

    def _judge(self, response: Response, asked: str) -> Any:
        response.read()
        if response.is_success:
            return protocol.decode(response, asked, self._settings)
        raise protocol.error_from_response(response, asked, self._settings)

    def _sign(self, request: Request) -> _Signature:
        request.headers["Authorization"] = f"Bearer {self._access}"
        if not _changes_something(request):
            return _Signature(self._access, None)
        request.headers["X-CSRFToken"] = self._csrf or ""
        request.headers["Cookie"] = self._cookie
        return _Signature(self._access, self._csrf)

    def _drop_refused(self, used: _Signature, response: Response, refusals: set[int]) -> bool:
        """Forget the token that was refused, unless it has been replaced meanwhile.

        :param refusals: Statuses of earlier refusals of the same request: a fresh token that is refused is final.
        :returns: Whether to send the request again.
        """
        status = response.status_code
        if status not in _REFUSALS or status in refusals:
            return False
        refusals.add(status)
        if protocol.refuses_token(response):
            if self._settings.auth == API_KEY:
                return False
            if self._access == used.access:
                self._access = None
            return True
        if used.csrf is not None and protocol.refuses_csrf_token(response):
            if self._csrf == used.csrf:
                self._csrf = None
            return True
        return False


def _changes_something(request: Request) -> bool:
    """Whether Superset wants a CSRF token; the data of a chart is exempt (WTF_CSRF_EXEMPT_LIST)."""
    return request.method not in _SAFE_METHODS and not request.url.path.endswith(protocol.CHART_DATA_PATH)


def base_headers(settings: SupersetSettings) -> dict[str, str]:
    """What every request carries: without Accept, errors arrive as HTML pages with status 500; on https the CSRF check
    wants Referer."""
    return {"Accept": "application/json", "Referer": f"{settings.address}/"}


class _Transport:
    """What the blocking and the async client share: how a request is made and when it is made again.

    :param settings: Where and as whom.
    :param request_timeout: Seconds one HTTP request may take; a cold chart query counts as one.
    :param attempts: How often a request is sent before a transient failure is reported.
    :param login: Of another client of the same settings, to share its tokens.
    """

    def __init__(
        self, settings: SupersetSettings, *, request_timeout: float, attempts: int, login: SupersetLogin | None = None
    ) -> None:
        self.settings = settings
        self.request_timeout = request_timeout
        self.attempts = attempts
        self.login = login or SupersetLogin(settings)

    def _client_options(self) -> dict[str, Any]:
        return {
            "base_url": self.settings.address,
            "timeout": httpx.Timeout(self.request_timeout, connect=min(CONNECT_SECONDS, self.request_timeout)),
            "verify": self.settings.tls_context(),
            "headers": base_headers(self.settings),
            # A session is sent with the CSRF token that belongs to it, and with nothing else.
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            "auth": self.login,
        }

    def _repetition(self, idempotent: bool) -> dict[str, Any]:
        return {
            "retry": retry_if_exception(lambda error: protocol.is_retryable(error, idempotent=idempotent)),
            "wait": _pause,
            "stop": stop_after_attempt(self.attempts),
            "reraise": True,
        }

    def _checked(self, response: Response, asked: str, idempotent: bool) -> Response:
        if response.is_success:
            return response
        raise protocol.error_from_response(response, asked, self.settings, idempotent=idempotent)


_backoff = wait_exponential_jitter(initial=0.3, max=10.0)


def _pause(state: RetryCallState) -> float:
    """Seconds before the next attempt: what the server asks for, otherwise growing."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.details.get("retry_after") if isinstance(error, SupersetError) else None
    return _backoff(state) if asked is None else min(float(asked), LONGEST_PAUSE)


def _harmless(method: str, idempotent: bool | None) -> bool:
    return method.upper() != "POST" if idempotent is None else idempotent


class RestClient(_Transport):
    """Blocking client, safe to share by threads; the arguments are those of the class above."""

    def __init__(self, settings: SupersetSettings, *, request_timeout: float = 120.0, attempts: int = 5) -> None:
        super().__init__(settings, request_timeout=request_timeout, attempts=attempts)
        self._client = httpx.Client(**self._client_options())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(self, method: str, path: str, *, idempotent: bool | None = None, **options: Any) -> Any:
        """Send one request, logged in, with a CSRF token where one is needed, repeated on transient failures.

        :param method: HTTP method.
        :param path: Path under the root, for example ``/api/v1/chart/1``; already percent-encoded.
        :param idempotent: Whether the request may be sent twice; by default everything but POST.
        :param options: ``json``, ``params``, and ``files`` and ``data`` of a multipart body, as httpx takes them.
        :returns: The decoded JSON body, the bytes of a file, or None where the server sent none.
        :raises SupersetTransientError: It still failed after the last attempt.
        :raises SupersetTerminalError: The server refused it.
        """
        response = self.send(method, path, idempotent=idempotent, **options)
        return protocol.decode(response, f"{method} {path}", self.settings)

    def send(self, method: str, path: str, *, idempotent: bool | None = None, **options: Any) -> Response:
        """As :meth:`request`, but with the whole answer, for its headers."""
        asked, harmless = f"{method} {path}", _harmless(method, idempotent)

        def attempt() -> Response:
            try:
                response = self._client.request(method, path, **options)
            except httpx.TransportError as error:
                raise protocol.error_from_transport(error, asked, self.settings) from error
            return self._checked(response, asked, harmless)

        return Retrying(**self._repetition(harmless))(attempt)


class AsyncRestClient(_Transport):
    """Client for an event loop.

    :param concurrency: Requests in flight at most.
    """

    def __init__(
        self,
        settings: SupersetSettings,
        *,
        request_timeout: float = 120.0,
        attempts: int = 5,
        concurrency: int = 4,
        login: SupersetLogin | None = None,
    ) -> None:
        super().__init__(settings, request_timeout=request_timeout, attempts=attempts, login=login)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.AsyncClient(**self._client_options(), limits=limits)
        self._slots = asyncio.Semaphore(concurrency)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def request(self, method: str, path: str, *, idempotent: bool | None = None, **options: Any) -> Any:
        """Send one request; arguments, answers and errors as for :meth:`RestClient.request`."""
        response = await self.send(method, path, idempotent=idempotent, **options)
        return protocol.decode(response, f"{method} {path}", self.settings)

    async def send(self, method: str, path: str, *, idempotent: bool | None = None, **options: Any) -> Response:
        """As :meth:`request`, but with the whole answer, for its headers."""
        asked, harmless = f"{method} {path}", _harmless(method, idempotent)

        async def attempt() -> Response:
            try:
                response = await self._client.request(method, path, **options)
            except httpx.TransportError as error:
                raise protocol.error_from_transport(error, asked, self.settings) from error
            return self._checked(response, asked, harmless)

        # The slot comes first, and is kept while a busy server is left alone.
        async with self._slots:
            return await AsyncRetrying(**self._repetition(harmless))(attempt)
