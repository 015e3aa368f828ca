"""One S3 server and one Dremio for all tests of this folder; tests keep apart by the names they use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.sandbox.dremio.services import S3, Dremio, free_offset, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def dremio(s3, tmp_path_factory) -> Iterator[Dremio]:
    server = Dremio(tmp_path_factory.mktemp("dremio"), free_offset())
    server.start()
    assert server.http.post("/api/v3/catalog", json=s3.source()).status_code == 200
    for space in ("bronze", "gold"):
        assert server.http.post("/api/v3/catalog", json={"entityType": "space", "name": space}).status_code == 200
    yield server
    server.stop()
