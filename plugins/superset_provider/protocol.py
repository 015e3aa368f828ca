"""Superset's REST protocol without a client: settings, and what an answer means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from superset_provider.exceptions import (
    SupersetAuthenticationError,
    SupersetConfigurationError,
    SupersetError,
    SupersetNotFoundError,
    SupersetTerminalError,
    SupersetTransientError,
)

DEFAULT_CONN_ID = "superset_default"
DEFAULT_PORT = 8088
LOGIN_PATH = "/api/v1/security/login"
REFRESH_PATH = "/api/v1/security/refresh"
CSRF_PATH = "/api/v1/security/csrf_token/"
CHART_DATA_PATH = "/api/v1/chart/data"
_REJECTED = frozenset({429, 503})
_TRANSIENT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class SupersetSettings:
    """Where a Superset is and how to log in, read from an Airflow connection."""

    conn_id: str
    address: str
    login: str
    password: str = field(repr=False)
    provider: str = "db"
    verify: bool = True

    @classmethod
    def from_connection(cls, conn: Any) -> SupersetSettings:
        """Read an Airflow connection of type ``superset``.

        :param conn: ``host`` (``http://host:8088``, or a bare host with ``port``), ``login``, ``password``; in
            ``extra``: ``provider`` (db), ``verify`` (true).
        :raises SupersetConfigurationError: Host, login or password is missing.
        """
        missing = [name for name in ("host", "login", "password") if not getattr(conn, name)]
        if missing:
            raise SupersetConfigurationError(
                f"The Airflow connection {conn.conn_id!r} lacks {', '.join(missing)}.",
                check="complete the connection (type superset: host, login, password).",
            )
        extra: Mapping[str, Any] = conn.extra_dejson
        scheme, _, rest = str(conn.host).rpartition("://")
        rest = rest.rstrip("/")
        # A path stays: Superset may live under one behind a proxy.
        host, slash, path = rest.partition("/")
        if ":" not in host and (conn.port or not scheme):
            host = f"{host}:{conn.port or DEFAULT_PORT}"
        verify = extra.get("verify")
        return cls(
            conn_id=str(conn.conn_id),
            address=f"{scheme or 'http'}://{host}{slash}{path}",
            login=str(conn.login),
            password=str(conn.password),
            provider=str(extra.get("provider") or "db"),
            verify=True if verify is None else str(verify).lower() not in {"0", "false", "no", "off"},
        )


def error_message(response: httpx.Response) -> str:
    """What the server says went wrong. It has three kinds of error body, and HTML for whatever it did not foresee."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        errors = body.get("errors")
        if isinstance(errors, list) and errors:
            return "; ".join(str(entry.get("message", entry)) for entry in errors)[:1000]
        for key in ("message", "msg"):
            if body.get(key):
                return str(body[key])[:1000]
    return response.text[:300] or "an empty body"


def error_from_response(response: httpx.Response, asked: str, settings: SupersetSettings) -> SupersetError:
    """The exception an unsuccessful answer stands for."""
    status = response.status_code
    common: dict[str, Any] = {
        "asked": asked,
        "address": settings.address,
        "received": f"{status} {error_message(response)}",
        "status_code": status,
    }
    if status in _TRANSIENT or (LOGIN_PATH in asked and status >= 500):
        return SupersetTransientError(
            "Superset cannot answer at the moment.",
            check="Superset's health and load; the request is repeated with growing pauses before this error appears.",
            details={"delivered": status not in _REJECTED},
            **common,
        )
    if status in (401, 403):
        return SupersetAuthenticationError(
            "Superset refused the credentials." if status == 401 else "Superset refused access.",
            check=f"login and password of the Airflow connection {settings.conn_id!r} and the roles of that user.",
            **common,
        )
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


def error_from_transport(error: httpx.TransportError, asked: str, settings: SupersetSettings) -> SupersetTransientError:
    """The exception a failed connection or a timeout stands for."""
    undelivered = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return SupersetTransientError(
        f"Superset {what}.",
        asked=asked,
        address=settings.address,
        received=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        check=f"that Superset runs and that the host of the Airflow connection {settings.conn_id!r} is right.",
        details={"delivered": not undelivered},
    )


def is_retryable(error: BaseException, *, idempotent: bool) -> bool:
    """Whether to send a request again; one that may have been acted on only when doing it twice is harmless."""
    return isinstance(error, SupersetTransientError) and (idempotent or not error.delivered)
