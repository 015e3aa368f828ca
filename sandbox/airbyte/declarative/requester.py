"""HTTP for low-code sources: authentication, retries, waiting as long as the server asks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from sandbox.airbyte.connectors.base import CancelledSync, ConnectorError, Log
from sandbox.airbyte.declarative.interpolation import render, render_text

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
MAX_RETRIES = 5
"""The CDK's default."""
MAX_WAIT_SECONDS = 600.0
BACKOFF_FACTOR = 5.0
"""Seconds of the first wait when the server names none; doubles each time, as in the CDK."""


class _Retry(Exception):
    """An answer worth asking for again."""

    def __init__(self, reason: str, response: httpx.Response | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response


class Requester:
    """Sends the requests of one stream.

    Args:
        component: the HttpRequester of the manifest.
        config: the source's configuration.
        log: where to say that something is tried again.
        interrupted: set when the sync is cancelled.
    """

    def __init__(
        self, component: dict[str, Any], config: dict[str, Any], log: Log, interrupted: threading.Event
    ) -> None:
        self._component = component
        self._context = {"config": config, "parameters": component["parameters"]}
        self._handler: dict[str, Any] = component.get("error_handler") or {}
        self._log = log
        self._interrupted = interrupted
        self._client = httpx.Client(timeout=TIMEOUT, follow_redirects=True)
        base = render_text(component.get("url_base") or component.get("url"), self._context)
        path = render_text(component.get("path") or "", self._context).lstrip("/")
        self.url = f"{base.rstrip('/')}/{path}" if path else base

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(
        self, options: dict[str, dict[str, Any]], path: str | None, context: dict[str, Any]
    ) -> httpx.Response | None:
        """Send one request until it succeeds or the retries are used up.

        Args:
            options: what the paginator adds: ``request_parameter``, ``header``, ``body_json``.
            path: address of the next page, if the paginator names one.
            context: further names for expressions (``next_page_token``).

        Returns:
            The answer, or None if a response filter says to ignore it.

        Raises:
            ConnectorError: naming the address and the last answer.
            CancelledSync: if the sync was cancelled while waiting.
        """
        url = urljoin(self.url, path) if path else self.url
        retries = int(self._handler.get("max_retries") or MAX_RETRIES)
        retrying = Retrying(
            retry=retry_if_exception_type(_Retry),
            stop=stop_after_attempt(retries + 1),
            wait=self._wait,
            sleep=self._sleep,
            before_sleep=self._say,
            reraise=True,
        )
        try:
            return retrying(self._once, url, options, context)
        except _Retry as error:
            message = f"API at {url}: {error.reason}, still after {retries} retries. Check that the service is running."
            raise ConnectorError(message, "source", "transient_error") from error

    def _once(self, url: str, options: dict[str, dict[str, Any]], context: dict[str, Any]) -> httpx.Response | None:
        if self._interrupted.is_set():
            raise CancelledSync
        names = {**self._context, **context}
        parameters = {**self._rendered("request_parameters", names), **options.get("request_parameter", {})}
        headers = {**self._rendered("request_headers", names), **options.get("header", {})}
        body = {**self._rendered("request_body_json", names), **options.get("body_json", {})}
        self._authenticate(headers, parameters)
        try:
            response = self._client.request(
                self._component.get("http_method", "GET"),
                url,
                params={key: value for key, value in parameters.items() if value not in (None, "")} or None,
                headers={key: str(value) for key, value in headers.items()},
                json=body or None,
            )
        except httpx.TransportError as error:
            raise _Retry(f"no answer ({type(error).__name__})", None) from error
        return self._judge(url, response)

    def _judge(self, url: str, response: httpx.Response) -> httpx.Response | None:
        status = response.status_code
        for response_filter in self._handler.get("response_filters") or []:
            if status in {int(code) for code in response_filter.get("http_codes") or []}:
                return self._filtered(response_filter, url, response)
        if status == 429 or status >= 500:
            raise _Retry(f"HTTP {status}", response)
        if status >= 400:
            what = "Check the credentials." if status in (401, 403) else "Check the manifest's path and parameters."
            raise ConnectorError(f"API at {url}: HTTP {status}. {what}", "source", "config_error")
        return response

    def _filtered(self, response_filter: dict[str, Any], url: str, response: httpx.Response) -> httpx.Response | None:
        action = response_filter["action"]
        if action == "RETRY":
            raise _Retry(f"HTTP {response.status_code}", response)
        if action == "FAIL":
            reason = render_text(response_filter.get("error_message") or f"HTTP {response.status_code}", self._context)
            raise ConnectorError(f"API at {url}: {reason}", "source", "config_error")
        return None if action == "IGNORE" else response

    def _rendered(self, name: str, context: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = render(self._component.get(name) or {}, context)
        return values

    def _authenticate(self, headers: dict[str, Any], parameters: dict[str, Any]) -> None:
        component = self._component.get("authenticator") or {"type": "NoAuth"}
        if component["type"] == "BearerAuthenticator":
            headers["Authorization"] = f"Bearer {render_text(component['api_token'], self._context)}"
        elif component["type"] == "ApiKeyAuthenticator":
            token = render_text(component.get("api_token", ""), self._context)
            in_header = {"inject_into": "header", "field_name": component.get("header", "")}
            option = component.get("inject_into") or in_header
            target = headers if option["inject_into"] == "header" else parameters
            target[render_text(option.get("field_name", ""), self._context)] = token

    # Waiting

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        response = error.response if isinstance(error, _Retry) else None
        asked = retry_after(response)
        if asked is not None:
            return min(asked, MAX_WAIT_SECONDS)
        for strategy in self._handler.get("backoff_strategies") or []:
            wait = self._strategy(strategy, response, state.attempt_number)
            if wait is not None:
                return min(wait, MAX_WAIT_SECONDS)
        return float(min(BACKOFF_FACTOR * 2 ** (state.attempt_number - 1), MAX_WAIT_SECONDS))

    def _strategy(self, strategy: dict[str, Any], response: httpx.Response | None, attempt: int) -> float | None:
        if strategy["type"] == "ConstantBackoffStrategy":
            return float(render(strategy["backoff_time_in_seconds"], self._context))
        if strategy["type"] == "ExponentialBackoffStrategy":
            return float(render(strategy.get("factor", BACKOFF_FACTOR), self._context)) * 2.0 ** (attempt - 1)
        return seconds_in(response.headers.get(strategy["header"])) if response is not None else None

    def _sleep(self, seconds: float) -> None:
        if self._interrupted.wait(seconds):
            raise CancelledSync

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        self._log("warn", f"{self.url}: {error}; trying again in {wait:.1f} s (attempt {state.attempt_number})")


def retry_after(response: httpx.Response | None) -> float | None:
    """Return how long a ``Retry-After`` header asks to wait, in seconds; None without one."""
    return seconds_in(response.headers.get("retry-after")) if response is not None else None


def seconds_in(header: str | None) -> float | None:
    """Read a header that holds seconds or an HTTP date."""
    if not header:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max((at - datetime.now(UTC)).total_seconds(), 0.0)
