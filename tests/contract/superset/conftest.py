"""What the provider relies on of Superset, asked of the one that is started here or, when SUPERSET_URL is set, of any.

SUPERSET_URL is its root, SUPERSET_USER and SUPERSET_PASSWORD log an administrator in, SUPERSET_DATABASE_URI is the
SQLAlchemy URI of a database in which the tests may make and drop tables. What they create in Superset has names that
nobody else has and is removed again. What needs the server's clock moved is skipped for a Superset that runs elsewhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.providers.superset.fixtures import hook, logged_in, workshop
from tests.providers.superset.real import RealSuperset

__all__ = ["hook", "logged_in", "workshop"]


class Wire:
    """Superset without the provider: what is sent is what the test says.

    :param superset: Where.
    """

    def __init__(self, superset: RealSuperset) -> None:
        self.http = httpx.Client(base_url=superset.address, headers={"Accept": "application/json"}, timeout=60)
        self.credentials = {"username": superset.user, "password": superset.password, "provider": "db"}
        tokens = self.http.post("/api/v1/security/login", json={**self.credentials, "refresh": True}).json()
        self.access, self.refresh = tokens["access_token"], tokens["refresh_token"]

    def send(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        """Send a request, by default with the access token; no cookie is kept."""
        headers = {"Authorization": f"Bearer {token or self.access}", **options.pop("headers", {})}
        self.http.cookies.clear()
        return self.http.request(method, path, headers=headers, **options)


@pytest.fixture
def wire(real_superset: RealSuperset) -> Iterator[Wire]:
    """A client that adds nothing of its own."""
    client = Wire(real_superset)
    yield client
    client.http.close()


def claims(token: str) -> dict[str, Any]:
    """What a JSON web token says."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found
