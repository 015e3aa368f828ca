"""Dremio's REST protocol without a client: settings, states, and what an answer means.

The synchronous hook and the asynchronous client of the trigger share this module, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioConfigurationError,
    DremioConflictError,
    DremioError,
    DremioJobFailedError,
    DremioNotFoundError,
    DremioTerminalError,
    DremioTransientError,
)

DEFAULT_CONN_ID = "dremio_default"
DEFAULT_PORT = 9047
DEFAULT_FLIGHT_PORT = 32010
EDITIONS = ("community", "enterprise", "auto")
# Dremio writes CANCELED with one L. Anything that is not in this set is still on its way, whatever it is called.
FINAL_JOB_STATES = frozenset({"COMPLETED", "CANCELED", "FAILED"})
# The server refuses larger pages: "limit can not exceed 500 rows".
MAX_PAGE_ROWS = 500
LOGIN_PATH = "/apiv2/login"
_REJECTED = frozenset({429, 503})
_TRANSIENT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class DremioSettings:
    """Where a Dremio is and how to log in, read from an Airflow connection."""

    conn_id: str
    address: str
    flight_address: str
    login: str
    password: str = field(repr=False)
    edition: str = "auto"
    verify: bool = True

    @classmethod
    def from_connection(cls, conn: Any) -> DremioSettings:
        """Read an Airflow connection of type ``dremio``.

        :param conn: ``host`` (with or without ``http://``), ``port`` (9047), ``login``, ``password``; in ``extra``:
            ``flight_port`` (32010), ``tls`` (false), ``verify`` (true), ``edition`` (auto).
        :raises DremioConfigurationError: Host, login or password is missing, or the edition is unknown.
        """
        extra: Mapping[str, Any] = conn.extra_dejson
        missing = [name for name in ("host", "login", "password") if not getattr(conn, name)]
        if missing:
            raise DremioConfigurationError(
                f"The Airflow connection {conn.conn_id!r} lacks {', '.join(missing)}.",
                check="complete the connection (type dremio: host, port, login, password).",
            )
        edition = str(extra.get("edition") or "auto").lower()
        if edition not in EDITIONS:
            raise DremioConfigurationError(
                f"The Airflow connection {conn.conn_id!r} has edition {edition!r}.",
                check=f"allowed are {', '.join(EDITIONS)}.",
            )
        host = str(conn.host)
        scheme, _, rest = host.rpartition("://")
        tls = scheme == "https" if scheme else as_bool(extra.get("tls"), default=False)
        host = rest.split("/", 1)[0]
        if ":" in host and not host.endswith("]"):
            host, _, inline_port = host.rpartition(":")
            port = int(conn.port or inline_port)
        else:
            port = int(conn.port or DEFAULT_PORT)
        flight_port = int(extra.get("flight_port") or DEFAULT_FLIGHT_PORT)
        return cls(
            conn_id=str(conn.conn_id),
            address=f"{'https' if tls else 'http'}://{host}:{port}",
            flight_address=f"{'grpc+tls' if tls else 'grpc'}://{host}:{flight_port}",
            login=str(conn.login),
            password=str(conn.password),
            edition=edition,
            verify=as_bool(extra.get("verify"), default=True),
        )


def as_bool(value: Any, *, default: bool) -> bool:
    """A connection's extra may hold true, "true" or nothing at all."""
    if value is None or value == "":
        return default
    return value if isinstance(value, bool) else str(value).strip().lower() in {"1", "true", "yes", "on"}


def error_message(response: httpx.Response) -> str:
    """What the server says went wrong: ``errorMessage`` and ``moreInfo``, or the start of the body."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and body.get("errorMessage"):
        more = body.get("moreInfo")
        return f"{body['errorMessage']} ({more})" if more else str(body["errorMessage"])
    return response.text[:500] or "an empty body"


def error_from_response(response: httpx.Response, asked: str, settings: DremioSettings) -> DremioError:
    """The exception an unsuccessful answer stands for."""
    status = response.status_code
    said = f"{status} {error_message(response)}"
    common: dict[str, Any] = {
        "asked": asked,
        "address": settings.address,
        "received": said,
        "status_code": status,
    }
    login = LOGIN_PATH in asked
    if status in _TRANSIENT or (login and status >= 500):
        return DremioTransientError(
            "Dremio cannot answer at the moment.",
            check="Dremio's health and load; the request is repeated with growing pauses before this error appears.",
            details={"delivered": status not in _REJECTED},
            **common,
        )
    if status in (401, 403):
        return DremioAuthenticationError(
            "Dremio refused the credentials." if status == 401 else "Dremio refused access.",
            check=f"login and password of the Airflow connection {settings.conn_id!r} and the rights of that user.",
            **common,
        )
    if status == 404:
        return DremioNotFoundError("Dremio does not have it.", check="the name or id, and its spelling.", **common)
    if status == 409:
        return DremioConflictError(
            "Dremio has it already, or somebody else changed it in between.",
            check="read the object again and repeat the change on its newest version.",
            **common,
        )
    return DremioTerminalError("Dremio refused the request.", check="the message of the server.", **common)


def error_from_transport(error: httpx.TransportError, asked: str, settings: DremioSettings) -> DremioTransientError:
    """The exception a failed connection or a timeout stands for."""
    undelivered = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return DremioTransientError(
        f"Dremio {what}.",
        asked=asked,
        address=settings.address,
        received=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        check=f"that Dremio runs and that host and port of the Airflow connection {settings.conn_id!r} are right.",
        details={"delivered": not undelivered},
    )


def error_from_job(job_id: str, job: Mapping[str, Any], settings: DremioSettings, sql: str | None) -> DremioError:
    """The exception a job that ended in FAILED or CANCELED stands for."""
    state = str(job.get("jobState"))
    said = job.get("errorMessage") or job.get("cancellationReason") or "no message"
    return DremioJobFailedError(
        f"The Dremio job {job_id} ended as {state}: {said}",
        asked=shorten(sql) if sql else f"job {job_id}",
        address=settings.address,
        check=f"the job's page {job_page(settings, job_id)}",
        details={"job_id": job_id, "job_state": state},
    )


def is_retryable(error: BaseException, *, idempotent: bool) -> bool:
    """Whether to send a request again.

    A request that may have reached the server is repeated only when doing it twice is harmless: a second CREATE TABLE
    or a second job would not be.
    """
    return isinstance(error, DremioTransientError) and (idempotent or not error.delivered)


def job_page(settings: DremioSettings, job_id: str) -> str:
    """Address of a job's page in Dremio's user interface."""
    return f"{settings.address}/job/{job_id}"


def shorten(sql: str, limit: int = 300) -> str:
    """SQL on one line, cut to ``limit`` characters, for messages."""
    flat = " ".join(sql.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
