"""Whatever is sent, the answer is an error of the sender's, never a fault of the server's."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sandbox.airbyte.services import Airbyte, Client

SOMEONE = str(uuid.uuid4())
OVERFLOWS = ["9223372036854775808", "-9223372036854775809", "1" * 400, "1e3", "0x1", "null", "%00", "٣", ""]
BODIES: list[bytes] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"1e999",
    b"{}",
    b'{"connectionId": 1, "jobType": []}',
    b'{"connectionId": "' + SOMEONE.encode() + b'", "jobType": "dance"}',
    b'{"id": 9223372036854775808}',
    b'{"id": -1}',
    b'{"id": 1.5}',
    b'{"id": "job-id"}',
    b'{"id": null}',
    b'{"name": "\\ud800", "workspaceId": "x", "configuration": 1}',
    b"\xff\xfe\x00",
    b"[" * 100_000,
]
PUBLIC = [
    ("POST", "jobs"),
    ("POST", "sources"),
    ("POST", "destinations"),
    ("POST", "connections"),
    ("PATCH", f"sources/{SOMEONE}"),
    ("PUT", f"destinations/{SOMEONE}"),
    ("PATCH", f"connections/{SOMEONE}"),
    ("POST", "applications/token"),
]
CONFIG = ["connections/sync", "jobs/get", "jobs/cancel", "jobs/list", "jobs/get_light", "state/get", "connections/get"]
CONFIG += ["state/create_or_update", "sources/check_connection", "destinations/check_connection", "connections/list"]


@pytest.mark.parametrize(("method", "path"), PUBLIC)
def test_bad_bodies_of_the_public_api(client: Client, method: str, path: str) -> None:
    for body in BODIES:
        answer = client.http.request(method, path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 404), (body[:60], answer.text[:300])
        assert answer.json()["status"] == answer.status_code


def test_bad_bodies_of_declarative_definitions(client: Client) -> None:
    path = f"workspaces/{client.workspace}/definitions/declarative_sources"
    for body in BODIES:
        answer = client.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, (body[:60], answer.text[:300])


@pytest.mark.parametrize("path", CONFIG)
def test_bad_bodies_of_the_config_api(client: Client, path: str) -> None:
    assert client.config is not None
    for body in BODIES:
        answer = client.config.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (404, 422), (body[:60], answer.status_code, answer.text[:300])
        assert "message" in answer.json()


@pytest.mark.parametrize("number", OVERFLOWS)
def test_job_numbers_out_of_range(client: Client, number: str) -> None:
    for method in ("GET", "DELETE"):
        answer = client.http.request(method, f"jobs/{number}")
        assert 400 <= answer.status_code < 500, answer.text


def test_query_parameters_out_of_range(client: Client) -> None:
    values = ["-1", "0x", "2147483648", "1" * 50, "\x00", "ü"]
    for path, name in itertools.product(("jobs", "sources", "connections"), ("limit", "offset", "workspaceIds")):
        for value in values:
            answer = client.http.get(path, params={name: value})
            assert answer.status_code == 400, (path, name, value, answer.text)
    for name in ("connectionId", "jobType", "status", "createdAtStart", "updatedAtEnd", "orderBy"):
        answer = client.http.get("jobs", params={name: "nonsense"})
        assert answer.status_code == 400, (name, answer.text)
    for moment in ("0001-01-01T00:00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59"):
        answer = client.http.get("jobs", params={"createdAtStart": moment})
        assert answer.status_code in (200, 400), answer.text


def test_unknown_ids_are_not_found(client: Client) -> None:
    for path in ("sources", "destinations", "connections"):
        problem = client.get(f"{path}/{SOMEONE}", 404)
        assert problem["title"] == "resource-not-found"
        assert problem["data"]["resourceId"] == SOMEONE
        client.call("DELETE", f"{path}/{SOMEONE}", 404)
        client.get(f"{path}/not-a-uuid", 400)
    assert client.get("jobs/999999999", 404)["data"] == {"resourceType": "JOB", "resourceId": "999999999"}
    assert client.post("jobs", {"connectionId": SOMEONE, "jobType": "sync"}, 404)["status"] == 404
    client.get("streams", 404, sourceId=SOMEONE)
    client.get("streams", 400)
    client.get(f"workspaces/{SOMEONE}", 404)
    assert "id" in client.configuration("jobs/get", {"id": 999999999}, 404)
    client.configuration("connections/sync", {"connectionId": SOMEONE}, 404)


def test_unknown_routes_and_methods(client: Client) -> None:
    assert client.http.get("nothing/here").status_code == 404
    assert client.http.request("TRACE", "jobs").status_code == 405
    assert httpx.get(client.api.removesuffix("/v1") + "/jobs", timeout=5).status_code == 404


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["name", "workspaceId", "configuration", "sourceId", "connectionId", "jobType", "configurations", "manifest"]
FIELDS += ["schedule", "id", "configTypes", "connectionState", "pagination", "status", "tags", "definitionId"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5))
def test_generated_bodies_never_break_the_server(client: Client, body: dict[str, Any]) -> None:
    assert client.config is not None
    for method, path in PUBLIC[:4]:
        answer = client.http.request(method, path, json=body)
        assert answer.status_code < 500, (path, body, answer.text)
    for path in CONFIG[:4]:
        answer = client.config.post(path, json=body)
        assert answer.status_code < 500, (path, body, answer.text)


def test_both_apis_listen_on_loopback_only(airbyte: Airbyte) -> None:
    import psutil

    assert airbyte.process is not None
    listening = [
        connection.laddr
        for connection in psutil.Process(airbyte.process.pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.port for address in listening} == {8000 + airbyte.offset, 8001 + airbyte.offset}
    assert {address.ip for address in listening} == {"127.0.0.1"}
