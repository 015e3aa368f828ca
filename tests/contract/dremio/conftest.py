"""The same questions to the sandbox and, when REAL_DREMIO_URL is set, to a real Dremio.

REAL_DREMIO_URL is the root of its REST API; REAL_DREMIO_USER and REAL_DREMIO_PASSWORD open it, REAL_DREMIO_FLIGHT
(default: port 32010 of the same host) is its Arrow Flight address. What the tests create lies in a space of their own
and is deleted in the end.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.sandbox.dremio.services import FINAL, PASSWORD, USER, Dremio, free_offset, wait_until

TARGETS = ["sandbox", *(["real"] if os.environ.get("REAL_DREMIO_URL") else [])]


@dataclass
class Target:
    """A Dremio to ask."""

    url: str
    flight: str
    user: str
    password: str
    space: str
    http: httpx.Client

    def job(self, sql: str) -> dict[str, Any]:
        job_id = self.http.post("/api/v3/sql", json={"sql": sql}).raise_for_status().json()["id"]

        def final() -> dict[str, Any] | None:
            body = self.http.get(f"/api/v3/job/{job_id}").json()
            return body if body["jobState"] in FINAL else None

        return {"id": job_id, **wait_until(final, 60, f"the end of {sql}")}

    def rows(self, sql: str) -> list[dict[str, Any]]:
        job = self.job(sql)
        assert job["jobState"] == "COMPLETED", job["errorMessage"]
        return self.http.get(f"/api/v3/job/{job['id']}/results").json()["rows"]


def _log_in(url: str, flight: str, user: str, password: str) -> Target:
    http = httpx.Client(base_url=url, timeout=60)
    answer = http.post("/apiv2/login", json={"userName": user, "password": password})
    http.headers["authorization"] = f"_dremio{answer.raise_for_status().json()['token']}"
    return Target(url, flight, user, password, f"contract_{uuid.uuid4().hex[:8]}", http)


@pytest.fixture(scope="session", params=TARGETS)
def target(request, tmp_path_factory) -> Iterator[Target]:
    server = None
    if request.param == "sandbox":
        server = Dremio(tmp_path_factory.mktemp("dremio"), free_offset())
        server.start()
        found = _log_in(server.url, f"grpc://127.0.0.1:{server.flight_port}", USER, PASSWORD)
    else:
        url = os.environ["REAL_DREMIO_URL"].rstrip("/")
        flight = os.environ.get("REAL_DREMIO_FLIGHT", f"grpc://{urlsplit(url).hostname}:32010")
        found = _log_in(url, flight, os.environ["REAL_DREMIO_USER"], os.environ["REAL_DREMIO_PASSWORD"])
    space = found.http.post("/api/v3/catalog", json={"entityType": "space", "name": found.space}).raise_for_status()
    yield found
    found.http.delete(f"/api/v3/catalog/{space.json()['id']}")
    if server is not None:
        server.stop()
