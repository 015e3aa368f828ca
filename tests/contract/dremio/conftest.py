"""The same questions to the sandbox in both editions and, when DREMIO_URL is set, to a real Dremio.

DREMIO_URL is the root of its REST API, DREMIO_USER and DREMIO_PASSWORD open it, DREMIO_FLIGHT (default: port 32010 of
the same host) is its Arrow Flight address, DREMIO_EDITION (default: community) says what it can do. S3_ENDPOINT,
S3_ACCESS_KEY, S3_SECRET_KEY and S3_BUCKET name an object store that both the tests and Dremio reach; without it what
needs files is skipped. What the tests create lies in a space and a source of their own and is deleted in the end.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pyarrow import flight

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.sandbox.dremio.services import FINAL, PASSWORD, S3, USER, Dremio, free_offset, s3_server, wait_until

EDITIONS = ("community", "enterprise")
TARGETS = [*(f"sandbox-{edition}" for edition in EDITIONS), *(["real"] if os.environ.get("DREMIO_URL") else [])]


@dataclass(frozen=True)
class Capabilities:
    """What a Dremio can do, beyond what all can.

    Args:
        enterprise: users, roles and grants; reflections that are refreshed one by one or by ``ALTER``. Without it the
            tests assert that the server refuses, in the words of the community edition.
        lake: whether there is an object store for tests that need files.
    """

    enterprise: bool
    lake: bool


@dataclass
class Target:
    """A Dremio to ask."""

    url: str
    flight: str
    user: str
    password: str
    can: Capabilities
    lake: S3 | None
    mark: str
    http: httpx.Client

    @property
    def space(self) -> str:
        return f"contract_{self.mark}"

    @property
    def source(self) -> str:
        return f"contract_lake_{self.mark}"

    @property
    def folder(self) -> tuple[str, ...]:
        """The path below which tests find files and make tables."""
        assert self.lake is not None
        return self.source, self.lake.bucket, f"contract_{self.mark}"

    def name(self, *parts: str) -> str:
        """A path as SQL."""
        return ".".join(f'"{part}"' for part in parts)

    def table(self, name: str) -> str:
        return self.name(*self.folder, name)

    def submit(self, sql: str, context: list[str] | None = None) -> str:
        answer = self.http.post("/api/v3/sql", json={"sql": sql, "context": context})
        return answer.raise_for_status().json()["id"]

    def job(self, sql: str, context: list[str] | None = None) -> dict[str, Any]:
        job_id = self.submit(sql, context)

        def final() -> dict[str, Any] | None:
            body = self.http.get(f"/api/v3/job/{job_id}").json()
            return body if body["jobState"] in FINAL else None

        return {"id": job_id, **wait_until(final, 60, f"the end of {sql}")}

    def rows(self, sql: str, context: list[str] | None = None) -> list[dict[str, Any]]:
        job = self.job(sql, context)
        assert job["jobState"] == "COMPLETED", f"{sql}\n{job['errorMessage']}"
        return self.http.get(f"/api/v3/job/{job['id']}/results").json()["rows"]

    def error(self, sql: str) -> str:
        job = self.job(sql)
        assert job["jobState"] == "FAILED", f"{sql} ended {job['jobState']}"
        return job["errorMessage"]

    def entity(self, *path: str) -> dict[str, Any]:
        return self.http.get("/api/v3/catalog/by-path/" + "/".join(path)).raise_for_status().json()

    def flight_call(self, **headers: str) -> tuple[flight.FlightClient, flight.FlightCallOptions]:
        client = flight.FlightClient(self.flight)
        token = client.authenticate_basic_token(self.user, self.password)
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        return client, flight.FlightCallOptions(headers=[token, *extra])


def _log_in(url: str, address: str, user: str, password: str, enterprise: bool, lake: S3 | None) -> Target:
    http = httpx.Client(base_url=url, timeout=60)
    answer = http.post("/apiv2/login", json={"userName": user, "password": password})
    http.headers["authorization"] = f"_dremio{answer.raise_for_status().json()['token']}"
    can = Capabilities(enterprise, lake is not None)
    return Target(url, address, user, password, can, lake, uuid.uuid4().hex[:8], http)


def _real() -> Target:
    env = os.environ
    url = env["DREMIO_URL"].rstrip("/")
    address = env.get("DREMIO_FLIGHT", f"grpc://{urlsplit(url).hostname}:32010")
    lake = None
    if env.get("S3_ENDPOINT"):
        lake = S3(env["S3_ENDPOINT"], env["S3_ACCESS_KEY"], env["S3_SECRET_KEY"], env["S3_BUCKET"])
    enterprise = env.get("DREMIO_EDITION", "community") == "enterprise"
    return _log_in(url, address, env["DREMIO_USER"], env["DREMIO_PASSWORD"], enterprise, lake)


def _sandbox(edition: str, stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Target:
    lake = stack.enter_context(s3_server(tmp_path_factory.mktemp("s3")))
    server = Dremio(tmp_path_factory.mktemp("dremio"), free_offset(), edition=edition)
    server.start()
    stack.callback(server.stop)
    address = f"grpc://127.0.0.1:{server.flight_port}"
    return _log_in(server.url, address, USER, PASSWORD, edition == "enterprise", lake)


@pytest.fixture(scope="session", params=TARGETS)
def target(request, tmp_path_factory) -> Iterator[Target]:
    with ExitStack() as stack:
        if request.param == "real":
            found = _real()
        else:
            found = _sandbox(request.param.removeprefix("sandbox-"), stack, tmp_path_factory)
        made = [{"entityType": "space", "name": found.space}]
        if found.lake is not None:
            made.append(found.lake.source(found.source))
        for entity in made:
            created = found.http.post("/api/v3/catalog", json=entity).raise_for_status().json()
            stack.callback(found.http.delete, f"/api/v3/catalog/{created['id']}")
        yield found


@pytest.fixture
def lake(target: Target) -> S3:
    """The object store; without one the test is skipped, which only happens to a real Dremio."""
    if target.lake is None:
        pytest.skip("S3_ENDPOINT names no object store that the tests and Dremio share")
    return target.lake
