"""Hook for Apache Superset: login, objects, bundles and chart data over its REST API."""

from __future__ import annotations

import json as json_module
import threading
from collections.abc import Mapping
from typing import Any, Self

import httpx
from airflow.sdk import BaseHook
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from superset_provider import protocol
from superset_provider.exceptions import SupersetAuthenticationError, SupersetError, SupersetTerminalError
from superset_provider.hooks.objects import ObjectMethods


class SupersetHook(ObjectMethods, BaseHook):
    """Talk to one Superset. Nothing is sent before the first call; use it as a context manager. Safe to share by
    threads.

    :param superset_conn_id: Airflow connection of type ``superset``.
    :param request_timeout: Seconds one HTTP request may take; a cold chart query counts as one.
    :param attempts: How often a request is sent before a transient failure is reported.
    """

    conn_name_attr = "superset_conn_id"
    default_conn_name = protocol.DEFAULT_CONN_ID
    conn_type = "superset"
    hook_name = "Apache Superset"

    def __init__(
        self,
        superset_conn_id: str = protocol.DEFAULT_CONN_ID,
        *,
        request_timeout: float = 120.0,
        attempts: int = 5,
    ) -> None:
        super().__init__()
        self.superset_conn_id = superset_conn_id
        self.request_timeout = request_timeout
        self.attempts = attempts
        self._settings: protocol.SupersetSettings | None = None
        self._client: httpx.Client | None = None
        self._access: str | None = None
        self._refresh: str | None = None
        self._csrf: str | None = None
        self._lock = threading.RLock()

    # -- connection ---------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> protocol.SupersetSettings:
        """The connection, read once.

        :raises SupersetConfigurationError: It is incomplete.
        """
        if self._settings is None:
            self._settings = protocol.SupersetSettings.from_connection(self.get_connection(self.superset_conn_id))
        return self._settings

    @property
    def address(self) -> str:
        """Root of Superset, for example ``http://127.0.0.1:8088``."""
        return self.settings.address

    def get_conn(self) -> httpx.Client:
        """The HTTP client of this hook; it keeps the session cookie that belongs to the CSRF token."""
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(
                    base_url=self.address,
                    timeout=httpx.Timeout(self.request_timeout, connect=min(10.0, self.request_timeout)),
                    verify=self.settings.verify,
                    # Without Accept, errors arrive as HTML pages with status 500; on https the CSRF check wants
                    # Referer.
                    headers={"Accept": "application/json", "Referer": self.address},
                )
            return self._client

    def close(self) -> None:
        """Close the connections; the hook can be used again afterwards."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
            self._access = self._refresh = self._csrf = None

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
        files: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        idempotent: bool | None = None,
    ) -> Any:
        """Send one request, logged in, with CSRF token where one is needed, repeated on transient failures.

        :param method: HTTP method.
        :param path: Path under the root, for example ``/api/v1/chart/1``.
        :param json: JSON body.
        :param params: Query parameters.
        :param files: Files of a multipart body.
        :param data: Fields of a multipart or form body.
        :param idempotent: Whether the request may be sent twice; by default everything but POST.
        :returns: The decoded JSON body, the bytes of anything else, or None for an empty body.
        :raises SupersetTransientError: It still failed after the last attempt.
        :raises SupersetTerminalError: The server refused it.
        """
        response = self.send(method, path, idempotent=idempotent, json=json, params=params, files=files, data=data)
        if not response.content:
            return None
        return response.json() if "json" in response.headers.get("content-type", "") else response.content

    def send(self, method: str, path: str, *, idempotent: bool | None = None, **body: Any) -> httpx.Response:
        """As :meth:`request`, but with the whole answer, for its headers."""
        harmless = method.upper() != "POST" if idempotent is None else idempotent
        retrying = Retrying(
            retry=retry_if_exception(lambda error: protocol.is_retryable(error, idempotent=harmless)),
            wait=wait_exponential_jitter(initial=0.3, max=10.0),
            stop=stop_after_attempt(self.attempts),
            reraise=True,
        )
        response: httpx.Response = retrying(self._authorized, method.upper(), path, body)
        return response

    def _authorized(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        used = self._token()
        guarded = method != "GET" and path != protocol.CHART_DATA_PATH
        try:
            return self._send(method, path, body, used, self._csrf_token(used) if guarded else None)
        except SupersetAuthenticationError as error:
            if error.status_code != 401:
                raise
            self._renew(used)
        except SupersetTerminalError as error:
            if not (guarded and error.status_code == 400 and "CSRF" in (error.received or "")):
                raise
            with self._lock:
                self._csrf = None
        # One new token, then the answer counts.
        fresh = self._token()
        return self._send(method, path, body, fresh, self._csrf_token(fresh) if guarded else None)

    def _token(self) -> str:
        with self._lock:
            if self._access is None:
                credentials = {
                    "username": self.settings.login,
                    "password": self.settings.password,
                    "provider": self.settings.provider,
                    "refresh": True,
                }
                answer = self._send("POST", protocol.LOGIN_PATH, {"json": credentials}, None, None).json()
                self._access = str(answer["access_token"])
                self._refresh = answer.get("refresh_token")
            return self._access

    def _renew(self, used: str) -> None:
        """Replace an expired access token, unless another thread has done so already."""
        with self._lock:
            if self._access != used:
                return
            self._access = None
            if self._refresh is None:
                return
            try:
                answer = self._send("POST", protocol.REFRESH_PATH, {}, self._refresh, None).json()
            except SupersetTerminalError:
                # The refresh token has expired as well: the next call logs in anew.
                self._refresh = None
            else:
                self._access = str(answer["access_token"])

    def _csrf_token(self, access: str) -> str:
        with self._lock:
            if self._csrf is None:
                self._csrf = str(self._send("GET", protocol.CSRF_PATH, {}, access, None).json()["result"])
            return self._csrf

    def _send(
        self, method: str, path: str, body: Mapping[str, Any], token: str | None, csrf: str | None
    ) -> httpx.Response:
        asked = f"{method} {path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if csrf:
            headers["X-CSRFToken"] = csrf
        try:
            response = self.get_conn().request(method, path, headers=headers, **body)
        except httpx.TransportError as error:
            raise protocol.error_from_transport(error, asked, self.settings) from error
        if response.is_success:
            return response
        raise protocol.error_from_response(response, asked, self.settings)

    # -- chart data ---------------------------------------------------------------------------------------------------

    def chart_data(
        self,
        body: Mapping[str, Any],
        *,
        form_data: Mapping[str, Any] | None = None,
        dashboard_id: int | None = None,
    ) -> list[dict[str, Any]]:
        """Ask for a chart's data exactly as a browser does.

        :param body: A query context: datasource, queries, force, result_format, result_type.
        :param form_data: What the browser puts into the address; not part of the cache key.
        :param dashboard_id: Likewise.
        :returns: One entry a query: ``cache_key, is_cached, cached_dttm, rowcount, status, error, data, ..``.
        :raises SupersetTerminalError: A query failed.
        """
        params: dict[str, Any] = {}
        if form_data is not None:
            params["form_data"] = json_module.dumps(form_data)
        if dashboard_id is not None:
            params["dashboard_id"] = dashboard_id
        answer = self.request("POST", protocol.CHART_DATA_PATH, json=body, params=params or None, idempotent=True)
        result: list[dict[str, Any]] = answer["result"]
        for entry in result:
            if entry.get("error"):
                raise SupersetTerminalError(
                    "A chart's query failed.",
                    asked=f"POST {protocol.CHART_DATA_PATH}",
                    address=self.address,
                    received=str(entry["error"])[:1000],
                    check="the chart in Superset, and the dataset's database.",
                )
        return result

    # -- health -------------------------------------------------------------------------------------------------------

    def health(self) -> None:
        """Ask whether Superset is up; needs no login.

        :raises SupersetError: It is not.
        """
        self._send("GET", "/health", {}, None, None)

    def test_connection(self) -> tuple[bool, str]:
        """Prove the credentials. Never raises.

        :returns: Whether they work, and a sentence for the user interface.
        """
        try:
            user = self.request("GET", "/api/v1/me/")["result"]["username"]
        except SupersetError as error:
            return False, str(error)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        return True, f"Logged in as {user} at {self.address}."
