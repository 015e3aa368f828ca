"""destination-elasticsearch into the sandbox's server and a real one.

The real one is where ``REAL_ELASTICSEARCH_URL`` says, or with ``ELASTICSEARCH_FROM_MAVEN=1`` made of the jars on Maven
Central: version 7, which has the same calls.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.sandbox.airbyte.services import Airbyte, Client, Postgres, free_port
from tests.sandbox.elasticsearch.conftest import Server
from tests.sandbox.elasticsearch.original_server import MISSING, original

REAL, FROM_MAVEN = os.environ.get("REAL_ELASTICSEARCH_URL", ""), "ELASTICSEARCH_FROM_MAVEN" in os.environ


@pytest.fixture(scope="module", params=["sandbox", "real"])
def search(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with ExitStack() as opened:
        if request.param == "sandbox":
            server = Server(tmp_path_factory.mktemp("search"))
            server.start()
            opened.callback(server.stop)
            url = server.url
        elif REAL:
            url = REAL
        elif FROM_MAVEN and not MISSING:
            url = opened.enter_context(original(tmp_path_factory.mktemp("original")))
        else:
            lacking = f"{' and '.join(MISSING)} missing" if FROM_MAVEN else "ELASTICSEARCH_FROM_MAVEN=1 makes one"
            pytest.skip(f"no real Elasticsearch: {lacking}")
        yield opened.enter_context(httpx.Client(base_url=url, timeout=30))


def connect(client: Client, postgres: Postgres, search: httpx.Client, schema: str, mode: str, **changes: Any) -> str:
    source = client.actor("source", postgres.configuration(schemas=[schema]))
    endpoint = str(search.base_url).rstrip("/")
    target = client.actor("destination", {"destinationType": "elasticsearch", "endpoint": endpoint, **changes})
    stream = {"name": "t", "syncMode": mode, "cursorField": ["at"] if mode.startswith("incremental") else []}
    return client.connection(source, target, [stream], prefix=f"{schema}_")


def documents(search: httpx.Client, name: str) -> list[dict[str, Any]]:
    answer = search.post(f"/{name}/_search", json={"size": 1000}).raise_for_status().json()
    return sorted((hit["_source"] for hit in answer["hits"]["hits"]), key=lambda document: int(document["i"]))


def indices(search: httpx.Client, schema: str) -> list[str]:
    rows = search.get("/_cat/indices?format=json").json()
    return sorted(row["index"] for row in rows if schema in row["index"])


@pytest.fixture
def table(postgres: Postgres, schema: str) -> str:
    postgres.execute(
        f"create table {schema}.t (i int primary key, amount numeric(12,2), doc jsonb, at timestamptz)",
        f"insert into {schema}.t select i, i + 0.25, '{{\"n\": 1}}', '2026-01-01Z' from generate_series(1, 5) i",
    )
    return f"{schema}_t"


def test_an_overwrite_is_an_alias_that_moves(
    client: Client, postgres: Postgres, search: httpx.Client, schema: str, table: str
) -> None:
    connection = connect(client, postgres, search, schema, "full_refresh_overwrite")
    first = client.sync(connection)["jobId"]
    assert documents(search, table)[0] == {"i": 1, "amount": 1.25, "doc": {"n": 1}, "at": "2026-01-01T00:00:00+00:00"}
    assert indices(search, schema) == [f"{table}-{first}"]
    postgres.execute(f"delete from {schema}.t where i > 2")
    second = client.sync(connection)["jobId"]
    assert [document["i"] for document in documents(search, table)] == [1, 2]
    assert indices(search, schema) == [f"{table}-{second}"]


def test_an_upsert_replaces_the_document_of_its_key(
    client: Client, postgres: Postgres, search: httpx.Client, schema: str, table: str
) -> None:
    connection = connect(client, postgres, search, schema, "incremental_append")
    client.sync(connection)
    postgres.execute(
        f"update {schema}.t set amount = 9, at = '2026-01-02' where i = 2", f"insert into {schema}.t values (6)"
    )
    client.sync(connection)
    assert [(document["i"], document["amount"]) for document in documents(search, table)][:2] == [(1, 1.25), (2, 9.0)]
    without = connect(client, postgres, search, schema, "full_refresh_append", upsert=False)
    search.delete(f"/{table}")
    client.sync(without)
    client.sync(without)
    assert len(documents(search, table)) == 12


@pytest.mark.parametrize("mode", ["full_refresh_append", "full_refresh_overwrite"])
def test_a_server_that_dies_before_it_has_committed_what_it_published_doubles_nothing(
    own_airbyte: Airbyte, postgres: Postgres, search: httpx.Client, schema: str, table: str, mode: str
) -> None:
    client = own_airbyte.client()
    connection = connect(client, postgres, search, schema, mode, upsert=False)
    job_id = client.sync(connection)["jobId"]
    target = client.get(f"connections/{connection}")["destinationId"]
    own_airbyte.stop(signal.SIGKILL)
    published = {"index": table, "documents": 5}
    if mode == "full_refresh_overwrite":
        published = {"index": f"{table}-{job_id}", "alias": table, "earlier": []}
    with sqlite3.connect(own_airbyte.var / "airbyte" / "airbyte.db") as memory:
        memory.execute("update job set status = 'running' where id = ?", (job_id,))
        memory.execute("update attempt set status = 'running' where job_id = ?", (job_id,))
        memory.execute("insert into staged_object values (?, ?, ?)", (job_id, target, json.dumps(published)))
    memory.close()
    # Fewer than there were: what the first attempt has written has to go, not only to be written over.
    postgres.execute(f"delete from {schema}.t where i > 3", f"insert into {schema}.t values (6)")
    own_airbyte.start()
    assert client.wait(job_id)["rowsSynced"] == 4
    assert [document["i"] for document in documents(search, table)] == [1, 2, 3, 6]
    assert len(indices(search, schema)) == 1


def test_a_refused_document_and_an_unreachable_cluster_fail_the_sync(
    client: Client, postgres: Postgres, search: httpx.Client, schema: str, table: str
) -> None:
    search.put(f"/{table}", json={"mappings": {"properties": {"amount": {"type": "date"}}}}).raise_for_status()
    connection = connect(client, postgres, search, schema, "full_refresh_append")
    postgres.execute(f"alter table {schema}.t alter amount type text using 'no date'")
    client.call(
        "PATCH",
        f"connections/{connection}",
        json={"configurations": {"streams": [{"name": "t", "syncMode": "full_refresh_append"}]}},
    )
    job = client.sync(connection, "failed")
    assert table in " ".join(client.lines(job["jobId"]))
    endpoint = f"http://127.0.0.1:{free_port()}"
    target = client.get(f"connections/{connection}")["destinationId"]
    client.call("PATCH", f"destinations/{target}", json={"configuration": {"endpoint": endpoint}})
    checked = client.configuration("destinations/check_connection", {"destinationId": target})
    assert checked["status"] == "failed"
    assert endpoint in checked["message"]


def test_secrets_are_sent_and_never_shown(client: Client, search: httpx.Client) -> None:
    method = {"method": "basic", "username": "elastic", "password": "never-shown-again"}
    endpoint = str(search.base_url).rstrip("/")
    configuration = {"destinationType": "elasticsearch", "endpoint": endpoint, "authenticationMethod": method}
    made = client.actor("destination", configuration)
    assert "never-shown-again" not in json.dumps(made)
    assert client.actor("destination", {**configuration, "endpoint": "elastic:9200"}, 422)["status"] == 422
