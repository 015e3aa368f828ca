"""The server the contract is held against: the sandbox's, and a real Airbyte where ``AIRBYTE_URL`` names its root.

For the real one: ``AIRBYTE_URL``, ``AIRBYTE_CLIENT_ID``, ``AIRBYTE_CLIENT_SECRET``, ``AIRBYTE_CONFIG_URL`` (the root of
the Config API) and ``AIRBYTE_CONNECTION_ID``: a small connection that may be synced and whose ends a second connection
may be made of. What the tests create they delete.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import airbyte_api
import psycopg
import pytest
from airbyte_api import models

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.sandbox.airbyte import services  # the repository has to be on the path first


@dataclass
class Target:
    """A server and what may be done with it."""

    client: services.Client
    client_id: str
    client_secret: str
    connection_id: str
    hold: Callable[[], AbstractContextManager[None]] = nullcontext
    """Keeps a sync of the connection from ending as long as the context lasts; a real one takes its time by itself."""

    def sdk(self, secret: str | None = None) -> airbyte_api.AirbyteAPI:
        """Airbyte's own client, as the stock Airflow hook builds it."""
        credentials = models.SchemeClientCredentials(
            client_id=self.client_id, client_secret=secret or self.client_secret, token_url="v1/applications/token"
        )
        return airbyte_api.AirbyteAPI(
            server_url=self.client.api, security=models.Security(client_credentials=credentials)
        )


def _real() -> Target:
    url = os.environ["AIRBYTE_URL"].rstrip("/")
    client_id, secret = os.environ["AIRBYTE_CLIENT_ID"], os.environ["AIRBYTE_CLIENT_SECRET"]
    client = services.Client(f"{url}/api/public/v1", os.environ["AIRBYTE_CONFIG_URL"], client_id, secret)
    return Target(client, client_id, secret, os.environ["AIRBYTE_CONNECTION_ID"])


def _targets() -> list[str]:
    return ["sandbox", "real"] if os.environ.get("AIRBYTE_URL") else ["sandbox"]


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

            @contextmanager
            def hold() -> Iterator[None]:
                with psycopg.connect(postgres.dsn) as lock:
                    lock.execute("lock table orders in access exclusive mode")
                    yield

            yield Target(client, server.client_id, server.client_secret, connection, hold)
    finally:
        server.stop()


@pytest.fixture(scope="session", params=_targets())
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == "real":
        return _real()
    return request.getfixturevalue("sandbox")
