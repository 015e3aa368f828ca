"""What this project relies on of Airbyte's APIs, whichever server answers."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from airbyte_api import api

from tests.contract.airbyte.conftest import Target

NOBODY = str(uuid.uuid4())


def test_health_needs_no_token(target: Target) -> None:
    assert httpx.get(f"{target.client.api}/health", timeout=20).status_code == 200


@pytest.mark.parametrize("form", ["data", "json"])
def test_tokens_are_given_for_forms_and_json(target: Target, form: str) -> None:
    body: dict[str, Any] = {"client_id": target.client_id, "client_secret": target.client_secret}
    body["grant_type" if form == "data" else "grant-type"] = "client_credentials"
    answer = httpx.post(f"{target.client.api}/applications/token", timeout=20, **{form: body})
    assert answer.status_code == 200
    token = answer.json()
    assert token["token_type"] == "Bearer"
    assert token["expires_in"] > 0
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    assert httpx.get(f"{target.client.api}/workspaces", headers=headers, timeout=20).status_code == 200


def test_wrong_credentials_get_no_token(target: Target) -> None:
    for body in (
        {"client_id": target.client_id, "client_secret": "wrong"},
        {"client_id": NOBODY, "client_secret": target.client_secret},
    ):
        answer = httpx.post(f"{target.client.api}/applications/token", data=body, timeout=20)
        assert answer.status_code == 401


@pytest.mark.parametrize("path", ["workspaces", "sources", "destinations", "connections", "jobs", f"jobs/{1}"])
@pytest.mark.parametrize("authorization", [None, "Bearer not.a.token", "Basic dTpw"])
def test_without_a_valid_token_nothing_is_shown(target: Target, path: str, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    assert httpx.get(f"{target.client.api}/{path}", headers=headers, timeout=20).status_code == 401


def test_lists_have_airbytes_shape(target: Target) -> None:
    for path in ("workspaces", "sources", "destinations", "connections", "jobs"):
        listed = target.client.get(path, limit=1)
        assert listed.keys() >= {"data", "previous", "next"}
        assert len(listed["data"]) <= 1


def test_the_next_page_is_an_address_that_can_be_fetched(target: Target) -> None:
    first = target.client.get("workspaces", limit=1)
    answer = target.client.http.get(first["next"])
    assert answer.status_code == 200
    assert answer.json()["previous"]


def test_unknown_ids_are_problems_with_status_404(target: Target) -> None:
    for path in (f"sources/{NOBODY}", f"destinations/{NOBODY}", f"connections/{NOBODY}"):
        problem = target.client.get(path, 404)
        assert problem["status"] == 404
        assert problem["title"] == "resource-not-found"
        assert "type" in problem


def test_airbytes_own_client_reads_every_list(target: Target) -> None:
    client = target.sdk()
    assert client.workspaces.list_workspaces(request=api.ListWorkspacesRequest()).workspaces_response.data
    assert client.sources.list_sources(request=api.ListSourcesRequest()).sources_response is not None
    assert (
        client.destinations.list_destinations(request=api.ListDestinationsRequest()).destinations_response is not None
    )
    assert client.connections.list_connections(request=api.ListConnectionsRequest()).connections_response is not None
    assert client.jobs.list_jobs(request=api.ListJobsRequest()).jobs_response is not None


def test_airbytes_own_client_is_refused_with_a_wrong_secret(target: Target) -> None:
    with pytest.raises(Exception, match="401"):
        target.sdk("wrong").workspaces.list_workspaces(request=api.ListWorkspacesRequest())


def test_the_config_api_starts_and_shows_a_sync(target: Target) -> None:
    client = target.client
    assert client.config is not None
    assert client.config.get("health").json() == {"available": True}
    started = client.configuration("connections/sync", {"connectionId": target.connection_id})
    job_id = started["job"]["id"]
    client.wait(job_id, "succeeded", 600)
    info = client.configuration("jobs/get", {"id": job_id})
    assert info["job"]["status"] == "succeeded"
    assert (info["job"]["configType"], info["job"]["configId"]) == ("sync", target.connection_id)
    assert info["job"].keys() >= {"id", "createdAt", "updatedAt", "aggregatedStats", "enabledStreams"}
    (attempt,) = info["attempts"]
    assert attempt["attempt"]["status"] == "succeeded"
    assert attempt["attempt"]["streamStats"][0]["streamName"]
    assert attempt["logType"] == "structured"
    assert attempt["logs"]["version"] == "1"
    for event in attempt["logs"]["events"]:
        assert event.keys() >= {"timestamp", "message", "level", "logSource"}
        assert event["level"] in {"trace", "debug", "info", "warn", "error"}
        assert event["logSource"] in {"source", "destination", "platform", "replication-orchestrator"}
    assert client.configuration("jobs/get_light", {"id": job_id})["job"]["id"] == job_id
    listed = client.configuration("jobs/list", {"configTypes": ["sync"], "configId": target.connection_id})
    assert listed["totalJobCount"] >= 1
    assert listed["jobs"][0]["job"]["id"] == job_id
    state = client.configuration("state/get", {"connectionId": target.connection_id})
    assert state["stateType"] in {"stream", "global", "not_set"}
    parts = {"stream": {"streamState"}, "global": {"globalState"}, "not_set": set()}
    assert state.keys() >= {"connectionId", *parts[state["stateType"]]}
    if state["stateType"] == "global":
        assert state["globalState"].keys() >= {"shared_state", "streamStates"}
    read = client.configuration("connections/get", {"connectionId": target.connection_id})
    assert read["syncCatalog"]["streams"]
