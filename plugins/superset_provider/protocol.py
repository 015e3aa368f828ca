"""Superset's REST protocol without a client: what an answer means."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from superset_provider.connection import API_KEY, SupersetSettings
from superset_provider.exceptions import (
    SupersetAuthenticationError,
    SupersetChartDataError,
    SupersetConfigurationError,
    SupersetError,
    SupersetNotFoundError,
    SupersetTerminalError,
    SupersetTransientError,
)
from superset_provider.permissions import needed_right

LOGIN_PATH = "/api/v1/security/login"
REFRESH_PATH = "/api/v1/security/refresh"
CSRF_PATH = "/api/v1/security/csrf_token/"
CHART_DATA_PATH = "/api/v1/chart/data"
_REJECTED = frozenset({429, 503})
_TRANSIENT = frozenset({429, 502, 503, 504})
_LONGEST_MESSAGE = 1000
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def is_html(response: httpx.Response) -> bool:
    """Whether the body is a page for people, which Superset's API never sends on success."""
    return "html" in response.headers.get("content-type", "") or response.text[:100].lstrip().startswith("<")


def refuses_token(response: httpx.Response) -> bool:
    """Whether it was the access token: it has ended (401), or is not one of this server's key or time (422).

    flask-jwt-extended answers with ``msg`` where everything else in Superset has ``message`` or ``errors``.
    """
    return response.status_code == 401 or (response.status_code == 422 and "msg" in _json_object(response))


def refuses_csrf_token(response: httpx.Response) -> bool:
    """Whether it was the CSRF token: its session has ended, or belongs to another server."""
    return response.status_code == 400 and "CSRF" in error_message(response)


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def decode(response: httpx.Response, asked: str, settings: SupersetSettings) -> Any:
    """The body of a successful answer.

    :returns: The decoded JSON, the bytes of a file, or None for an empty body.
    :raises SupersetTerminalError: It is a page for people, or no JSON although it says so.
    """
    if not response.content:
        return None
    kind = response.headers.get("content-type", "")
    if "json" in kind:
        try:
            return response.json()
        except ValueError:
            pass
    elif not is_html(response):
        return response.content
    raise _foreign_answer(settings, _facts(response, asked, settings))


def _facts(response: httpx.Response, asked: str, settings: SupersetSettings) -> dict[str, Any]:
    return {
        "asked": asked,
        "address": settings.address,
        "received": f"{response.status_code} {error_message(response)}",
        "status_code": response.status_code,
    }


def error_message(response: httpx.Response) -> str:
    """What the server says went wrong: one of Superset's three kinds of error body, or the title of a page."""
    body = _json_object(response)
    errors = body.get("errors")
    if isinstance(errors, list) and errors:
        return "; ".join(_text(_of_error(entry)) for entry in errors)[:_LONGEST_MESSAGE]
    for key in ("message", "msg"):
        if body.get(key):
            return _text(body[key])[:_LONGEST_MESSAGE]
    if is_html(response):
        title = _TITLE.search(response.text)
        return "an HTML page" + (f" with the title {' '.join(title[1].split())[:200]!r}" if title else "")
    return response.text[:300] or "an empty body"


def _of_error(entry: Any) -> Any:
    return entry.get("message", entry) if isinstance(entry, dict) else entry


def _text(message: Any) -> str:
    """A message, or marshmallow's ``{"field": ["what is wrong"]}``, as one line."""
    if isinstance(message, dict):
        return ", ".join(f"{name}: {_text(inner)}" for name, inner in message.items())
    if isinstance(message, list):
        return " ".join(_text(inner) for inner in message)
    return str(message)


def error_from_response(
    response: httpx.Response, asked: str, settings: SupersetSettings, *, idempotent: bool = True
) -> SupersetError:
    """The exception an unsuccessful answer stands for.

    :param idempotent: Whether the request may be sent again after Superset failed on it (500).
    """
    status = response.status_code
    common = _facts(response, asked, settings)
    if status in _TRANSIENT or (status >= 500 and idempotent):
        return SupersetTransientError(
            "Superset cannot answer at the moment.",
            check="Superset's health and log; the request is repeated with growing pauses before this error appears.",
            details={"delivered": status not in _REJECTED, **_retry_after(response)},
            **common,
        )
    if response.is_redirect:
        return SupersetTerminalError(
            f"The answer leads to {response.headers.get('location', 'another place')}.",
            check=f"the host of the Airflow connection {settings.conn_id!r}: a proxy's login page, or http where "
            "Superset wants https.",
            **common,
        )
    if is_html(response):
        return _foreign_answer(settings, common)
    if status == 403:
        return SupersetAuthenticationError(
            "Superset refused access.", check=_missing_access(response, asked, settings), **common
        )
    if refuses_token(response) or (LOGIN_PATH in asked and status == 400):
        return SupersetAuthenticationError("Superset refused the credentials.", check=_login_of(settings), **common)
    if status == 404:
        return SupersetNotFoundError(
            "Superset does not have it, or this user may not see it.",
            check="the id, uuid or slug, and whether the declared assets have been imported.",
            **common,
        )
    if status >= 500:
        return SupersetTerminalError(
            "Superset failed on the request.",
            check="Superset's own log; it hides the reason from its clients.",
            **common,
        )
    return SupersetTerminalError("Superset refused the request.", check="the message of the server.", **common)


def _login_of(settings: SupersetSettings) -> str:
    where = f"of the Airflow connection {settings.conn_id!r}"
    if settings.auth == API_KEY:
        return f"the API key in the password field {where}, and FAB_API_KEY_ENABLED in Superset's configuration."
    return f"login, password and provider ({settings.provider}) {where}."


def _missing_access(response: httpx.Response, asked: str, settings: SupersetSettings) -> str:
    """Which right is missing: Superset says it for datasets only."""
    for error in _json_object(response).get("errors") or ():
        dataset = error.get("extra", {}).get("datasource_name") if isinstance(error, dict) else None
        if dataset:
            return f"that a role of {settings.who} has 'datasource access' on the dataset {dataset!r}."
    right = needed_right(*asked.split(" ", 1))
    if right is None:
        return f"the roles of {settings.who}."
    return f"that a role of {settings.who} has the right {right!r}; an object is changed by its owners only."


def _foreign_answer(settings: SupersetSettings, common: dict[str, Any]) -> SupersetTerminalError:
    return SupersetTerminalError(
        "The answer does not come from Superset's API.",
        check=f"the host of the Airflow connection {settings.conn_id!r}: a proxy or a login page in front of Superset "
        "may have answered, or Superset lives under another path.",
        **common,
    )


def _retry_after(response: httpx.Response) -> dict[str, float]:
    """Seconds that the server asks to wait, from either form of the header (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return {"retry_after": float(value)}
    try:
        return {"retry_after": max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())}
    except (TypeError, ValueError):
        return {}


def error_from_transport(error: httpx.TransportError, asked: str, settings: SupersetSettings) -> SupersetError:
    """The exception a failed connection, a certificate that nobody vouches for, or a timeout stands for."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return SupersetConfigurationError(
            "The certificate of Superset is not to be trusted.",
            asked=asked,
            address=settings.address,
            received=str(error),
            check=f"ca_file of the Airflow connection {settings.conn_id!r}, or verify in a test network.",
        )
    undelivered = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return SupersetTransientError(
        f"Superset {what}.",
        asked=asked,
        address=settings.address,
        received=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        check=f"that Superset runs (it needs a minute to start) and that the host of the Airflow connection "
        f"{settings.conn_id!r} is right.",
        details={"delivered": not undelivered},
    )


def is_retryable(error: BaseException, *, idempotent: bool) -> bool:
    """Whether to send a request again; one that may have been acted on only when doing it twice is harmless."""
    return isinstance(error, SupersetTransientError) and (idempotent or not error.delivered)


def chart_data_error(error: SupersetTerminalError, chart: str | None, dataset: str) -> SupersetTerminalError:
    """A refused request for chart data, with the names of what it is about.

    :param error: As :func:`error_from_response` made it.
    """
    about = f"chart {chart!r}, dataset {dataset!r}" if chart else f"dataset {dataset!r}"
    if error.status_code in (400, 422):
        message = (error.received or "").removeprefix(f"{error.status_code} ").removeprefix("Error: ")
        return SupersetChartDataError.about(
            chart, dataset, message, asked=error.asked, address=error.address, status_code=error.status_code
        )
    return type(error)(f"{error.message} It is about {about}.", **error.attrs())
