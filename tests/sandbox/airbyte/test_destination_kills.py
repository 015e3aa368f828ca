"""The server dies at random moments of syncs into PostgreSQL and Elasticsearch: each ends as one sync's worth of data.

``DESTINATION_KILLS`` is how often; each time six syncs are on their way.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import httpx
import pytest

from tests.sandbox.airbyte import test_elasticsearch_destination as to_elasticsearch
from tests.sandbox.airbyte import test_postgres_destination as to_postgres
from tests.sandbox.airbyte.services import Airbyte, Postgres

KILLS = int(os.environ.get("DESTINATION_KILLS", "5"))
ROWS, MORE, SPAN = 2000, 100, 3.0
APPEND, OVERWRITE, MERGE = "full_refresh_append", "full_refresh_overwrite", "incremental_deduped_history"
search = to_elasticsearch.search


@pytest.fixture
def syncs(own_airbyte: Airbyte, postgres: Postgres, search: httpx.Client, schema: str) -> dict[str, tuple[str, str]]:
    """Connections by destination and mode: PostgreSQL and Elasticsearch, appended to, overwritten and merged."""
    postgres.execute(f"create table {schema}.t (i int primary key, note text, at timestamp not null)")
    client = own_airbyte.client()
    made = {}
    for mode in (APPEND, OVERWRITE, MERGE):
        cursor = {"cursorField": ["at"]} if mode == MERGE else {}
        source = client.actor("source", postgres.configuration(schemas=[schema]))
        table = to_postgres.destination(postgres, f"{schema}_{mode}")
        made["postgres", mode] = client.connection(
            source, client.actor("destination", table), [{"name": "t", "syncMode": mode, **cursor}]
        )
        endpoint = str(search.base_url).rstrip("/")
        index = {"destinationType": "elasticsearch", "endpoint": endpoint, "upsert": mode == MERGE}
        # An upsert by key is what this destination has for a merge.
        stream = {"name": "t", "syncMode": "incremental_append" if mode == MERGE else mode, **cursor}
        made["elasticsearch", mode] = client.connection(
            source, client.actor("destination", index), [stream], prefix=f"{schema}_{mode}_"
        )
    return made


def count(kind: str, mode: str, postgres: Postgres, search: httpx.Client, schema: str) -> tuple[int, int]:
    """How many rows there are, and how many keys."""
    if kind == "postgres":
        [(rows, keys)] = to_postgres.rows(postgres, f"select count(*), count(distinct i) from {schema}_{mode}.t")
        return rows, keys
    body = {
        "size": 0,
        "track_total_hits": True,
        "aggs": {"keys": {"cardinality": {"field": "i", "precision_threshold": 40000}}},
    }
    found = search.post(f"/{schema}_{mode}_t/_search", json=body).raise_for_status().json()
    return found["hits"]["total"]["value"], found["aggregations"]["keys"]["value"]


def test_one_sync_of_data_in_every_destination_whenever_the_server_is_killed(
    own_airbyte: Airbyte, postgres: Postgres, search: httpx.Client, schema: str, syncs: Any
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    client, seconds, attempts, appended = own_airbyte.client(), 0.0, 0, 0
    for kill in range(KILLS + 1):
        total = ROWS + kill * MORE
        appended += total
        postgres.execute(
            f"insert into {schema}.t select i, repeat('x', 50), timestamp '2026-01-01' + i * interval '1 s' "
            f"from generate_series((select count(*) + 1 from {schema}.t), {total}) i"
        )
        begun = time.monotonic()
        jobs = {
            name: client.post("jobs", {"connectionId": connection, "jobType": "sync"})["jobId"]
            for name, connection in syncs.items()
        }
        if kill:
            time.sleep(moments.uniform(0, min(seconds, SPAN)))
            own_airbyte.stop(signal.SIGKILL)
            own_airbyte.start()
            client.login()
        for (kind, mode), job_id in jobs.items():
            what = (seed, kill, kind, mode)
            client.wait(job_id, "succeeded", 120)
            rows = appended if mode == APPEND else total
            assert count(kind, mode, postgres, search, schema) == (rows, total), what
            if kill:
                attempts += len(client.configuration("jobs/get", {"id": job_id})["attempts"]) - 1
        if not kill:
            seconds = time.monotonic() - begun  # undisturbed: how long it takes
    assert attempts > 0, "the kills came when nothing ran"
