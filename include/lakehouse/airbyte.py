"""Airbyte's two HTTP APIs: the public one through its official client, the Config API for what that does not tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from lakehouse import connections

if TYPE_CHECKING:
    from airbyte_api import AirbyteAPI

_COME_BACK = (401, 408, 429, 500, 502, 503, 504)
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_PAGE = 100


class AirbyteError(RuntimeError):
    """Airbyte refused or failed a request.

    Args:
        message: What was asked, what came back and what to check.
        status: HTTP status of the answer, if there was one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class AirbyteBusy(AirbyteError):
    """Airbyte could not be reached or was busy; asking again may help."""


_retried = retry(
    retry=retry_if_exception_type(AirbyteBusy),
    stop=stop_after_attempt(4),
    wait=wait_exponential(multiplier=0.5, max=4),
    reraise=True,
)


def public_api(conn_id: str = "airbyte_default") -> AirbyteAPI:
    """Return the official client of the public API for an Airflow connection, made as the Airbyte provider makes it.

    Args:
        conn_id: Airflow connection of type airbyte; ``timeout`` in its extra is in seconds, 30 if there is none.
    """
    from airflow.providers.airbyte.hooks.airbyte import AirbyteHook

    chosen = connections.get(conn_id).extra.get("timeout")
    return AirbyteHook(conn_id, timeout=chosen or _TIMEOUT.read).airbyte_api


def ask(operation: Callable[..., Any], request: Any = None, **fields: Any) -> Any:
    """Call one operation of the official client once.

    Args:
        operation: A bound method of the client, such as ``api.jobs.get_job``.
        request: Its request.
        fields: The fields of its request, where that is not given.

    Returns:
        Its response.

    Raises:
        AirbyteBusy: When Airbyte cannot be reached or asks to come back later. Whether it has done what was asked is
            then unknown.
        AirbyteError: When it refuses.
    """
    from airbyte_api.errors import AirbyteAPIError, NoResponseError

    name = operation.__name__
    try:
        return operation(request=fields if request is None else request)
    except (httpx.HTTPError, NoResponseError) as error:
        raise AirbyteBusy(f"{name}: {error or type(error).__name__}. Is Airbyte running?") from error
    except AirbyteAPIError as error:
        # 401: an expired token, which the client has dropped and replaces with the next request.
        kind = AirbyteBusy if error.status_code in _COME_BACK else AirbyteError
        raise kind(f"{name}: HTTP {error.status_code}: {error.body[:500]}", error.status_code) from error
    except Exception as error:
        if "token endpoint" not in str(error):  # the client raises it as a bare Exception
            raise
        kind = AirbyteBusy if re.search(r" (429|5\d\d) ", str(error)) else AirbyteError
        raise kind(
            f"{name}: Airbyte gives no token ({error}). Check login and password of the Airflow connection."
        ) from error


def every(operation: Callable[..., Any], **fields: Any) -> Iterator[dict[str, Any]]:
    """Yield everything that a listing operation of the official client lists, as Airbyte returned it.

    Args:
        operation: Such as ``api.sources.list_sources``.
        fields: Fields of its request, without the page.

    Raises:
        AirbyteError: As ``ask``, after a few tries.
    """
    offset = 0
    while True:
        page = _retried(ask)(operation, limit=_PAGE, offset=offset, **fields).raw_response.json()["data"]
        yield from page
        if len(page) < _PAGE:
            return
        offset += len(page)


class _Api:
    """What the two APIs share: one HTTP client, one way to authenticate, one retry, one shape of error."""

    _SIGN_IN_PATH = "/applications/token"

    def __init__(self, base_url: str, client_id: str, client_secret: str, conn_id: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._conn_id = conn_id
        self._http = httpx.Client(timeout=_TIMEOUT)
        self._token: str | None = None

    def __enter__(self) -> _Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _headers(self) -> dict[str, str]:
        if not self._client_id:
            return {}
        if self._token is None:
            self._token = self._new_token()
        return {"Authorization": f"Bearer {self._token}"}

    def _new_token(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
        }
        url = f"{self._base_url}{self._SIGN_IN_PATH}"
        try:
            reply = self._http.post(url, data=form)
        except httpx.HTTPError as error:
            raise AirbyteBusy(f"POST {url}: {error or type(error).__name__}. Is Airbyte running?") from error
        if reply.is_error:
            raise AirbyteError(
                f"POST {url}: HTTP {reply.status_code}: Airbyte gives no token for client {self._client_id!r}. Check "
                f"login and password of the Airflow connection {self._conn_id!r}."
            )
        return str(reply.json()["access_token"])

    @_retried
    def _send(self, method: str, path: str, **options: Any) -> Any:
        where = f"{method} {self._base_url}{path}"
        try:
            reply = self._http.request(method, self._base_url + path, headers=self._headers(), **options)
        except httpx.HTTPError as error:
            raise AirbyteBusy(
                f"{where}: {error or type(error).__name__}. Is Airbyte running, and is the Airflow connection "
                f"{self._conn_id!r} right?"
            ) from error
        if reply.status_code in (429, 502, 503, 504):
            raise AirbyteBusy(f"{where}: HTTP {reply.status_code}: {reply.text[:500]}")
        if reply.is_error:
            raise AirbyteError(
                f"{where}: HTTP {reply.status_code}: {reply.text[:500]}. Check the Airflow connection "
                f"{self._conn_id!r} and that the object exists in Airbyte."
            )
        return reply.json() if reply.content else None


@dataclass(frozen=True)
class SyncProgress:
    """How far a sync is.

    Args:
        job_id: The job.
        attempt: Number of the attempt, from 1; Airbyte itself tries a failed sync again.
        rows: Records that the source has emitted in this attempt.
        bytes: Their size.
    """

    job_id: int
    attempt: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class SyncFailure:
    """Why a sync has failed.

    Args:
        message: What Airbyte says about it; may be empty.
        kind: Airbyte's failure type, such as "config_error" or "transient_error"; may be empty.
    """

    message: str
    kind: str


class ConfigApi(_Api):
    """Airbyte's Config API, for what the public one does not tell.

    Args:
        base_url: Root of the server, such as "http://localhost:8001".
        client_id: Of the application; empty: no authentication, as on a loopback address.
        client_secret: Of the application.
        conn_id: The Airflow connection it came from, for messages.
    """

    _SIGN_IN_PATH = "/api/public/v1/applications/token"

    def __init__(
        self, base_url: str, client_id: str = "", client_secret: str = "", conn_id: str = "airbyte_config"
    ) -> None:
        super().__init__(base_url, client_id, client_secret, conn_id)

    @classmethod
    def from_connection(cls, conn_id: str = "airbyte_config") -> ConfigApi:
        """Open the Config API of an Airflow connection; its host is the root URL, a login the application's."""
        address = connections.get(conn_id)
        return cls(address.url, address.login, address.password, conn_id)

    def __enter__(self) -> ConfigApi:
        return self

    def job(self, job_id: int) -> dict[str, Any]:
        """Return one job with its attempts and their logs; raises AirbyteError."""
        return dict(self._send("POST", "/api/v1/jobs/get", json={"id": job_id}))

    def sync_progress(self, connection_id: str) -> SyncProgress | None:
        """Return how far the newest sync of a connection is, None when it has none; raises AirbyteError.

        The public API counts only what the destination has committed, which a long sync does every few minutes.
        """
        body = {
            "configTypes": ["sync"],
            "configId": connection_id,
            "pagination": {"pageSize": 1, "rowOffset": 0},
        }
        jobs = self._send("POST", "/api/v1/jobs/list", json=body)["jobs"]
        if not jobs:
            return None
        attempts = jobs[0].get("attempts") or []
        counts = (attempts[-1].get("totalStats") if attempts else None) or {}
        return SyncProgress(
            int(jobs[0]["job"]["id"]),
            len(attempts),
            int(counts.get("recordsEmitted") or 0),
            int(counts.get("bytesEmitted") or 0),
        )

    def failure(self, job_id: int) -> SyncFailure:
        """Return why a job has failed, as its last attempt says; raises AirbyteError."""
        attempts = self.job(job_id)["attempts"]
        summary = (attempts[-1]["attempt"].get("failureSummary") if attempts else None) or {}
        failures = summary.get("failures") or [{}]
        text = failures[0].get("externalMessage") or failures[0].get("internalMessage") or ""
        return SyncFailure(str(text), str(failures[0].get("failureType") or ""))

    def state(self, connection_id: str) -> dict[str, Any]:
        """Return the sync state of one connection; raises AirbyteError."""
        return dict(self._send("POST", "/api/v1/state/get", json={"connectionId": connection_id}))
