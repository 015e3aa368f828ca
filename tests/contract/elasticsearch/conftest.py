"""One suite over the sandbox's Elasticsearch and, when REAL_ELASTICSEARCH_URL names one, a real Elasticsearch 8."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import ConnectionError as NotReachable
from elasticsearch import Elasticsearch

REPOSITORY = Path(__file__).resolve().parents[3]
REAL = os.environ.get("REAL_ELASTICSEARCH_URL", "")


@pytest.fixture(scope="session")
def sandbox_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("contract-elasticsearch")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "SANDBOX_VAR": str(directory), "SANDBOX_PORT_OFFSET": str(port - 9200)}
    command = [sys.executable, "-m", "sandbox.elasticsearch"]
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    with Elasticsearch(url, max_retries=0) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.info()
            except NotReachable:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError(f"the sandbox's Elasticsearch did not answer at {url}")


@pytest.fixture(scope="session", params=["sandbox", *(["real"] if REAL else [])])
def client(request: pytest.FixtureRequest) -> Iterator[Elasticsearch]:
    url = REAL if request.param == "real" else request.getfixturevalue("sandbox_url")
    with Elasticsearch(url, request_timeout=60) as connected:
        yield connected


@pytest.fixture
def prefix(client: Elasticsearch) -> Iterator[str]:
    """A name of its own for each test's indices and templates, removed afterwards."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    yield name
    for index in client.indices.get(index=f"{name}*"):
        client.indices.delete(index=index)
    client.options(ignore_status=404).indices.delete_index_template(name=name)
