"""One PostgreSQL, S3 server and Airbyte server for the whole session; every test brings its own tables and streams."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.sandbox.airbyte import services  # the repository has to be on the path first


@pytest.fixture(scope="session")
def postgres() -> Iterator[services.Postgres]:
    with services.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def lake() -> Iterator[services.S3]:
    with services.s3() as server:
        yield server


@pytest.fixture(scope="session")
def airbyte(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Airbyte]:
    server = services.Airbyte(tmp_path_factory.mktemp("airbyte"), services.free_offset())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Airbyte]:
    server = services.Airbyte(tmp_path_factory.mktemp("mortal"), services.free_offset())
    yield server
    server.stop()


@pytest.fixture
def own_airbyte(mortal: services.Airbyte) -> services.Airbyte:
    """A server that a test may kill: it runs when the test begins."""
    if mortal.process is None or mortal.process.poll() is not None:
        mortal.start()
    return mortal


@pytest.fixture(scope="session")
def client(airbyte: services.Airbyte) -> services.Client:
    return airbyte.client()


@pytest.fixture
def schema(postgres: services.Postgres) -> str:
    """A schema of the test's own."""
    name = f"s{uuid.uuid4().hex[:8]}"
    postgres.execute(f"create schema {name}")
    return name


@pytest.fixture
def api() -> Iterator[services.Api]:
    server = services.Api()
    yield server
    server.close()
