"""The server the contract is held against: the sandbox, and a real Airbyte where ``REAL_AIRBYTE_URL`` is set.

For the real one: ``REAL_AIRBYTE_URL``, ``REAL_AIRBYTE_CLIENT_ID``, ``REAL_AIRBYTE_CLIENT_SECRET``; with
``REAL_AIRBYTE_CONNECTION_ID`` (a small connection that may be synced) its jobs are tested, with
``REAL_AIRBYTE_CONFIG_URL`` the Config API, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.sandbox.airbyte import services  # the repository has to be on the path first


@dataclass
class Target:
    """A server and what may be done with it."""

    client: services.Client
    client_id: str
    client_secret: str
    connection_id: str | None


def _real() -> Target:
    url = os.environ["REAL_AIRBYTE_URL"].rstrip("/")
    client_id, secret = os.environ["REAL_AIRBYTE_CLIENT_ID"], os.environ["REAL_AIRBYTE_CLIENT_SECRET"]
    config_url = os.environ.get("REAL_AIRBYTE_CONFIG_URL")
    client = services.Client(f"{url}/api/public/v1", config_url, client_id, secret)
    return Target(client, client_id, secret, os.environ.get("REAL_AIRBYTE_CONNECTION_ID"))


def _targets() -> list[str]:
    return ["sandbox", "real"] if os.environ.get("REAL_AIRBYTE_URL") else ["sandbox"]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    server = services.Airbyte(tmp_path_factory.mktemp("airbyte"), services.free_offset())
    server.start()
    try:
        with services.postgres() as postgres, services.s3() as lake:
            postgres.execute(
                "create table orders (order_id bigint primary key, amount numeric(12,2), updated_at timestamp)",
                "insert into orders select i, i * 1.5, timestamp '2026-01-01' + i * interval '1 hour' "
                "from generate_series(1, 50) i",
            )
            client = server.client()
            source = client.actor("source", postgres.configuration())
            target = client.actor("destination", lake.destination("contract/${STREAM_NAME}/"))
            streams = [{"name": "orders", "syncMode": "incremental_append", "cursorField": ["updated_at"]}]
            connection = client.connection(source, target, streams)
            yield Target(client, server.client_id, server.client_secret, connection)
    finally:
        server.stop()


@pytest.fixture(scope="session", params=_targets())
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == "real":
        return _real()
    return request.getfixturevalue("sandbox")
