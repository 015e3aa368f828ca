"""Hook for Apache Superset: login, objects, bundles and chart data over its REST API."""

from __future__ import annotations

import threading
from typing import Any, Self

import httpx
from airflow.sdk import BaseHook

from superset_provider.connection import DEFAULT_CONN_ID, SupersetSettings
from superset_provider.exceptions import SupersetError
from superset_provider.hooks.objects import ObjectMethods
from superset_provider.hooks.rest import RestClient


class SupersetHook(ObjectMethods, BaseHook):
    """Talk to one Superset. Nothing is sent before the first call; use it as a context manager. Safe to share by
    threads.

    :param superset_conn_id: Airflow connection of type ``superset``.
    :param request_timeout: Seconds one HTTP request may take; a cold chart query counts as one.
    :param attempts: How often a request is sent before a transient failure is reported.
    """

    conn_name_attr = "superset_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "superset"
    hook_name = "Apache Superset"

    def __init__(
        self,
        superset_conn_id: str = DEFAULT_CONN_ID,
        *,
        request_timeout: float = 120.0,
        attempts: int = 5,
    ) -> None:
        super().__init__()
        self.superset_conn_id = superset_conn_id
        self.request_timeout = request_timeout
        self.attempts = attempts
        self._settings: SupersetSettings | None = None
        self._rest: RestClient | None = None
        self._lock = threading.Lock()

    # -- connection ---------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> SupersetSettings:
        """The connection, read once.

        :raises SupersetConfigurationError: It is incomplete or has a field that nobody knows.
        """
        if self._settings is None:
            self._settings = SupersetSettings.from_connection(self.get_connection(self.superset_conn_id))
        return self._settings

    @property
    def address(self) -> str:
        """Root of Superset, for example ``http://127.0.0.1:8088``."""
        return self.settings.address

    def get_conn(self) -> RestClient:
        """The HTTP client of this hook."""
        with self._lock:
            if self._rest is None:
                self._rest = RestClient(self.settings, request_timeout=self.request_timeout, attempts=self.attempts)
            return self._rest

    def close(self) -> None:
        """Close the connections; the hook can be used again afterwards."""
        with self._lock:
            if self._rest is not None:
                self._rest.close()
                self._rest = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- requests -----------------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, *, idempotent: bool | None = None, **options: Any) -> Any:
        """Send one request, logged in, repeated on transient failures; see :meth:`RestClient.request`."""
        return self.get_conn().request(method, path, idempotent=idempotent, **options)

    def send(self, method: str, path: str, *, idempotent: bool | None = None, **options: Any) -> httpx.Response:
        """As :meth:`request`, but with the whole answer, for its headers."""
        return self.get_conn().send(method, path, idempotent=idempotent, **options)

    # -- health -------------------------------------------------------------------------------------------------------

    def health(self) -> None:
        """Ask whether Superset is up; needs no login.

        :raises SupersetTransientError: It is not.
        """
        self.send("GET", "/health", auth=None)

    def test_connection(self) -> tuple[bool, str]:
        """Prove the credentials. Never raises.

        :returns: Whether they work, and a sentence for the user interface.
        """
        try:
            # With a client of its own: a login of long ago proves nothing.
            with SupersetHook(self.superset_conn_id, request_timeout=30.0, attempts=2) as other:
                user = other.get_current_user()["username"]
                return True, f"Logged in as {user} at {other.address}."
        except SupersetError as error:
            return False, str(error)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
