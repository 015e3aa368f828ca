from __future__ import annotations

import signal

import httpx
import pytest


def _count(client, name, body=None):
    return client.post(f"/{name}/_count", json=body or {}).json()["count"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_acknowledged_writes_survive(own_server, number):
    with httpx.Client(base_url=own_server.url, timeout=30) as client:
        client.put(
            "/_index_template/t", json={"index_patterns": ["k*"], "template": {"settings": {"number_of_replicas": 0}}}
        )
        client.put("/kept", json={"mappings": {"properties": {"level": {"type": "keyword"}}}})
        for at in range(20):
            client.put(f"/kept/_doc/{at}", json={"level": "ERROR", "extra": at}).raise_for_status()
        client.post("/kept/_refresh")
        # Not refreshed when the process ends: replaced, deleted, new.
        client.put("/kept/_doc/1", json={"level": "INFO"})
        client.delete("/kept/_doc/2")
        client.put("/kept/_doc/new", json={"level": "WARN"})
        before = client.get("/kept").json()
    own_server.stop(number)
    own_server.start()
    with httpx.Client(base_url=own_server.url, timeout=30) as client:
        assert client.get("/kept").json() == before
        assert _count(client, "kept") == 20
        assert _count(client, "kept", {"query": {"term": {"level": "ERROR"}}}) == 18
        assert client.get("/kept/_doc/1").json()["_version"] == 2
        assert client.get("/kept/_doc/2").json()["found"] is False
        assert client.get("/_index_template/t").status_code == 200


def test_sigterm_ends_the_server_cleanly(own_server):
    assert own_server.stop(signal.SIGTERM) == 0


def test_a_lost_search_index_is_built_anew(own_server):
    import shutil

    with httpx.Client(base_url=own_server.url, timeout=30) as client:
        client.put("/kept/_doc/1?refresh=true", json={"a": 1})
    own_server.stop()
    shutil.rmtree(own_server.directory / "elasticsearch" / "search")
    own_server.start()
    with httpx.Client(base_url=own_server.url, timeout=30) as client:
        assert _count(client, "kept", {"query": {"term": {"a": 1}}}) == 1


def test_more_fields_than_columns(http):
    for part in range(4):
        document = {f"f{part}_{at}": f"value {at}" for at in range(25)}
        http.put(f"/wide/_doc/{part}?refresh=true", json=document).raise_for_status()
    for part in range(4):
        assert _count(http, "wide", {"query": {"match": {f"f{part}_24": "value"}}}) == 1
        assert _count(http, "wide", {"query": {"term": {f"f{part}_7.keyword": "value 7"}}}) == 1


def test_a_write_is_visible_within_the_refresh_interval(http):
    import time

    http.put("/soon/_doc/1", json={"a": 1}).raise_for_status()
    deadline = time.monotonic() + 30
    while _count(http, "soon") == 0:
        assert time.monotonic() < deadline, "never refreshed"
        time.sleep(0.1)
