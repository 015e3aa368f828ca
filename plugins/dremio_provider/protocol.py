"""Dremio's REST protocol without a client: the states of a job, and what an answer means.

The synchronous hook and the asynchronous client of the trigger share this module, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from dremio_provider.connection import PASSWORD, DremioSettings
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioConflictError,
    DremioError,
    DremioJobFailedError,
    DremioNotFoundError,
    DremioTerminalError,
    DremioTimeoutError,
    DremioTransientError,
)

DEFAULT_CONN_ID = "dremio_default"
# Dremio writes CANCELED with one L. Anything that is not in this set is still on its way, whatever it is called.
FINAL_JOB_STATES = frozenset({"COMPLETED", "CANCELED", "FAILED"})
# The server refuses larger pages: "limit can not exceed 500 rows".
MAX_PAGE_ROWS = 500
LOGIN_PATH = "/apiv2/login"
_REJECTED = frozenset({429, 503})
_TRANSIENT = frozenset({429, 502, 503, 504})


def decode(response: httpx.Response, asked: str, settings: DremioSettings) -> Any:
    """The JSON body of an answer, None where there is none.

    :raises DremioTerminalError: The body is not JSON: something else than Dremio answers at this address.
    """
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        raise DremioTerminalError(
            "What answered does not speak Dremio's protocol.",
            asked=asked,
            address=settings.address,
            received=f"{response.status_code} {response.headers.get('content-type', '')}: {response.text[:200]}",
            check=f"host and port of the Airflow connection {settings.conn_id!r}: REST has another port than Flight.",
            status_code=response.status_code,
        ) from error


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
            check=f"{credentials(settings)} and the rights of that user.",
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


def credentials(settings: DremioSettings) -> str:
    """What a person looks at when they were refused."""
    what = "login and password" if settings.auth == PASSWORD else "the personal access token (and its expiry)"
    return f"{what} of the Airflow connection {settings.conn_id!r}"


def is_certificate_refused(text: str) -> bool:
    """Whether an error's text says that a certificate is not trusted; the TLS libraries write it differently."""
    return "certificate verify failed" in text.lower().replace("_", " ")


def certificate_error(asked: str, address: str, received: str, settings: DremioSettings) -> DremioTerminalError:
    """The exception for a certificate that is not trusted: trying again does not help."""
    return DremioTerminalError(
        "Dremio's certificate is not trusted.",
        asked=asked,
        address=address,
        received=received,
        check=f"ca_file and verify of the Airflow connection {settings.conn_id!r}, and the name in the certificate.",
    )


def error_from_transport(error: httpx.TransportError, asked: str, settings: DremioSettings) -> DremioError:
    """The exception a failed connection or a timeout stands for."""
    if is_certificate_refused(str(error)):
        return certificate_error(asked, settings.address, str(error), settings)
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


def job_timeout(
    job_id: str, state: str, seconds: float, settings: DremioSettings, sql: str | None
) -> DremioTimeoutError:
    """The exception for a job that is given up on."""
    return DremioTimeoutError(
        f"The Dremio job {job_id} was still {state} after {seconds:g} s and has been cancelled.",
        asked=shorten(sql) if sql else f"job {job_id}",
        address=settings.address,
        check=f"the job's page {job_page(settings, job_id)}, or allow it more time.",
        details={"job_id": job_id, "job_state": state},
    )


def is_retryable(error: BaseException, *, idempotent: bool) -> bool:
    """Whether to send a request again.

    A request that may have reached the server is repeated only when doing it twice is harmless: a second CREATE TABLE
    or a second job would not be.
    """
    return isinstance(error, DremioTransientError) and (idempotent or not error.delivered)


def job_path(job_id: str) -> str:
    """Path of a job's REST calls; the id may come from a template and is not trusted."""
    return f"/api/v3/job/{quote(job_id, safe='')}"


def job_page(settings: DremioSettings, job_id: str) -> str:
    """Address of a job's page in Dremio's user interface."""
    if settings.project_id is None:
        return f"{settings.address}/job/{job_id}"
    application = settings.address.replace("//api.", "//app.", 1)
    return f"{application}/sonar/{settings.project_id}/job/{job_id}"


def shorten(sql: str, limit: int = 300) -> str:
    """SQL on one line, cut to ``limit`` characters, for messages."""
    flat = " ".join(sql.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
