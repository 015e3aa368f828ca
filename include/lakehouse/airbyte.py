"""Airbyte's two HTTP APIs: the Config API for logs and state, the public API for what is configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from lakehouse import connections

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_PAGE = 100


class AirbyteError(RuntimeError):
    """Airbyte refused or failed a request."""


class AirbyteBusy(AirbyteError):
    """Airbyte could not be reached or was busy; asking again may help."""


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

    @retry(
        retry=retry_if_exception_type(AirbyteBusy),
        stop=stop_after_attempt(4),
        wait=wait_exponential(multiplier=0.5, max=4),
        reraise=True,
    )
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

    def latest_sync(self, connection_id: str) -> int | None:
        """Return the id of the newest sync job of one connection, or None when it has none; raises AirbyteError."""
        body = {
            "configTypes": ["sync"],
            "configId": connection_id,
            "pagination": {"pageSize": 1, "rowOffset": 0},
        }
        jobs = self._send("POST", "/api/v1/jobs/list", json=body)["jobs"]
        return int(jobs[0]["job"]["id"]) if jobs else None

    def state(self, connection_id: str) -> dict[str, Any]:
        """Return the sync state of one connection; raises AirbyteError."""
        return dict(self._send("POST", "/api/v1/state/get", json={"connectionId": connection_id}))


class PublicApi(_Api):
    """Airbyte's public API: sources, destinations, connections.

    Args:
        base_url: Root of the API, such as "http://localhost:8000/api/public/v1".
        client_id: Of the application; empty: no authentication.
        client_secret: Of the application.
        conn_id: The Airflow connection it came from, for messages.
    """

    def __init__(self, base_url: str, client_id: str, client_secret: str, conn_id: str = "airbyte_default") -> None:
        super().__init__(base_url, client_id, client_secret, conn_id)

    @classmethod
    def from_connection(cls, conn_id: str = "airbyte_default") -> PublicApi:
        """Open the public API of an Airflow connection; host is the root, login and password the application's."""
        address = connections.get(conn_id)
        return cls(address.url, address.login, address.password, conn_id)

    def __enter__(self) -> PublicApi:
        return self

    def list(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield every object of a kind.

        Args:
            kind: "workspaces", "sources", "destinations" or "connections".
        """
        offset = 0
        while True:
            page = self._send("GET", f"/{kind}", params={"limit": _PAGE, "offset": offset})["data"]
            yield from page
            if len(page) < _PAGE:
                return
            offset += len(page)

    def get(self, kind: str, object_id: str) -> dict[str, Any]:
        """Return one object; raises AirbyteError."""
        return dict(self._send("GET", f"/{kind}/{object_id}"))

    def create(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create one object and return it; raises AirbyteError."""
        return dict(self._send("POST", f"/{kind}", json=body))

    def replace(self, kind: str, object_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace one object's name and configuration; raises AirbyteError."""
        return dict(self._send("PUT", f"/{kind}/{object_id}", json=body))

    def patch(self, kind: str, object_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields of one object; raises AirbyteError."""
        return dict(self._send("PATCH", f"/{kind}/{object_id}", json=body))
