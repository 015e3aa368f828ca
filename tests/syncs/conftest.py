"""A real Airbyte of the sandbox, an S3 server, and an HTTP API as the source whose pace a test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from airbyte_api.jobs import Jobs
from lakehouse.airbyte import ConfigApi, public_api

from tests.providers import conftest as providers
from tests.sandbox.airbyte import conftest as servers
from tests.sandbox.airbyte import services
from tests.sandbox.airbyte.manifests import payments
from tests.sandbox.airbyte.test_declarative import JSONL, TOKEN, cursor_pages

ROWS = 25
lake, airbyte, quiet_memory = servers.lake, servers.airbyte, providers.quiet_memory


class Shop:
    """A connection whose source is an HTTP API of 25 records on three pages, appended to the lake by every sync.

    Appending shows what must not happen: a second sync of the same request leaves every row twice.
    """

    def __init__(self, airbyte: services.Airbyte, lake: services.S3, name: str) -> None:
        self.airbyte, self.lake, self.name = airbyte, lake, name
        self.open = threading.Event()
        self.open.set()
        self.pause = 0.0
        self.looks = 0
        self._at_look: tuple[int, Callable[[], object]] | None = None
        self.api = services.Api()
        self._pages = cursor_pages(ROWS)
        self.api.handle = self._handle
        client = airbyte.client()
        path = f"workspaces/{client.workspace}/definitions/declarative_sources"
        definition = client.post(path, {"name": name, "manifest": payments()})
        configuration = {"base_url": self.api.url, "api_token": TOKEN}
        source = client.actor("source", configuration, definitionId=definition["id"])
        target = client.actor("destination", lake.destination(f"{name}/${{STREAM_NAME}}/", JSONL))
        streams = [{"name": "payments", "syncMode": "full_refresh_append"}]
        self.connection = client.connection(source, target, streams)
        self.client = client

    def _handle(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Any:
        threading.Event().wait(self.pause)
        assert self.open.wait(600)
        return self._pages(path, query, headers)

    def asked(self, looks: int, action: Callable[[], object]) -> None:
        """Do something once Airbyte has been asked so many times how a job is."""
        self._at_look = (self.looks + looks, action)

    def note_look(self) -> None:
        self.looks += 1
        if self._at_look is not None and self.looks >= self._at_look[0]:
            action, self._at_look = self._at_look[1], None
            threading.Thread(target=action).start()

    def rows(self) -> int:
        """How many rows have landed."""
        return sum(len(self.lake.body(key).splitlines()) for key in self.lake.keys(f"bronze/landing/{self.name}/"))

    def jobs(self) -> list[tuple[int, str]]:
        """Number and state of every job, the oldest first."""
        jobs = self.client.get("jobs", connectionId=self.connection, limit=100, orderBy="createdAt|ASC")["data"]
        return sorted((job["jobId"], job["status"]) for job in jobs)

    def ended(self) -> list[str]:
        """The states of all jobs, once none runs any more."""
        over = lambda: not {"pending", "running"} & {status for _, status in self.jobs()}  # noqa: E731  # one use
        services.wait_until(over, "all jobs end")
        return [status for _, status in self.jobs()]

    def start(self) -> int:
        """Start a sync as somebody else would."""
        return int(self.client.post("jobs", {"connectionId": self.connection, "jobType": "sync"})["jobId"])

    def close(self) -> None:
        self.open.set()
        self.api.close()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[services.Airbyte], None]:
    """Points the Airflow connections at an Airbyte server."""

    def point(airbyte: services.Airbyte) -> None:
        address = {
            "conn_type": "airbyte",
            "host": airbyte.api,
            "login": airbyte.client_id,
            "password": airbyte.client_secret,
        }
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", json.dumps(address))
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_CONFIG", json.dumps({"conn_type": "http", "host": airbyte.config_url}))

    return point


@pytest.fixture
def shop(
    airbyte: services.Airbyte,
    lake: services.S3,
    connect: Any,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    """Its source answers again in a moment when a sync is cancelled: that is when the sync ends."""
    connect(airbyte)
    made = Shop(airbyte, lake, request.node.name.replace("[", "-").replace("]", ""))
    get_job, cancel_job = Jobs.get_job, Jobs.cancel_job

    @wraps(get_job)
    def looking(self: Jobs, **arguments: Any) -> Any:
        made.note_look()
        return get_job(self, **arguments)

    @wraps(cancel_job)
    def cancelling(self: Jobs, **arguments: Any) -> Any:
        threading.Timer(0.3, made.open.set).start()
        return cancel_job(self, **arguments)

    monkeypatch.setattr(Jobs, "get_job", looking)
    monkeypatch.setattr(Jobs, "cancel_job", cancelling)
    yield made
    made.close()


@pytest.fixture
def fragile(tmp_path: Path, lake: services.S3, connect: Any, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop on an Airbyte server of its own, which a test may kill."""
    server = services.Airbyte(tmp_path / "var", services.free_offset())
    server.start()
    connect(server)
    made = Shop(server, lake, request.node.name)
    yield made
    made.close()
    server.stop()


class TaskInstance:
    """Collects what a task pushes to XCom."""

    def __init__(self, max_tries: int = 2) -> None:
        self.max_tries = max_tries
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


class Store(dict[str, Any]):
    """The state of a task, which outlives its tries."""

    set = dict.__setitem__


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": TaskInstance(), "task_state_store": Store()}


@pytest.fixture
def api(shop: Shop) -> Any:
    return public_api()


@pytest.fixture
def config(shop: Shop) -> Iterator[ConfigApi]:
    with ConfigApi.from_connection() as opened:
        yield opened
