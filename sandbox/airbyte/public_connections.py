"""Public API: connections."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from sandbox.airbyte import catalog, responses, views
from sandbox.airbyte.description import errors
from sandbox.airbyte.paging import page
from sandbox.airbyte.problems import not_implemented
from sandbox.airbyte.public_actors import discover
from sandbox.airbyte.requests import ConnectionCreate, ConnectionPatch, Limit, Offset
from sandbox.airbyte.state import State
from sandbox.airbyte.store import WORKSPACE_ID, Actor, Connection

DEFAULTS: dict[str, Any] = {
    "status": "active",
    "namespaceDefinition": "destination",
    "namespaceFormat": None,
    "prefix": "",
    "nonBreakingSchemaUpdatesBehavior": "ignore",
    "tags": [],
}


def router(state: State) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()
    store = state.store

    @routes.get("/connections", response_model=responses.Page[responses.Connection])
    def list_connections(
        request: Request,
        limit: Limit = 20,
        offset: Offset = 0,
        workspace_ids: Annotated[list[UUID] | None, Query(alias="workspaceIds")] = None,
    ) -> dict[str, Any]:
        here = not workspace_ids or WORKSPACE_ID in map(str, workspace_ids)
        shown = [views.connection(item) for item in store.connections()[offset : offset + limit]] if here else []
        return page(request, shown, limit, offset)

    @routes.post("/connections", response_model=responses.Connection, responses=errors(404, 500, 501))
    def create_connection(body: ConnectionCreate) -> dict[str, Any]:
        source = store.actor("source", str(body.source_id))
        destination = store.actor("destination", str(body.destination_id))
        given = body.given()
        stored = {**DEFAULTS, **_plain(given), "schedule": catalog.schedule(given.get("schedule"))}
        stored |= _streams(source, destination, given.get("configurations"))
        name = body.name or f"{source.name} → {destination.name}"
        return views.connection(store.add_connection(name, source.id, destination.id, stored))

    @routes.get("/connections/{connection_id}", response_model=responses.Connection, responses=errors(404))
    def get_connection(connection_id: UUID) -> dict[str, Any]:
        return views.connection(store.connection(str(connection_id)))

    @routes.patch("/connections/{connection_id}", response_model=responses.Connection, responses=errors(404, 500, 501))
    def patch_connection(connection_id: UUID, body: ConnectionPatch) -> dict[str, Any]:
        before = store.connection(str(connection_id))
        ends = store.actor("source", before.source_id), store.actor("destination", before.destination_id)
        changed = _patched(before, *ends, body)
        store.update_connection(changed)
        return views.connection(changed)

    @routes.delete("/connections/{connection_id}", status_code=204, responses=errors(404))
    def delete_connection(connection_id: UUID) -> Response:
        store.connection(str(connection_id))
        state.runner.cancel_connection(str(connection_id))
        store.delete_connection(str(connection_id))
        return Response(status_code=204)

    return routes


def _patched(before: Connection, source: Actor, destination: Actor, body: ConnectionPatch) -> Connection:
    given = body.given()
    stored = {**before.body, **_plain(given)}
    if given.get("schedule") is not None:
        stored["schedule"] = catalog.schedule(given["schedule"])
    if given.get("configurations") is not None:
        stored |= _streams(source, destination, given["configurations"])
    return replace(before, name=body.name or before.name, body=stored)


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are stored as they come.

    Raises:
        Problem: 501 for tags, which this server does not keep.
    """
    if given.get("tags"):
        raise not_implemented("tags are not supported by this server.")
    return {key: given[key] for key in DEFAULTS if given.get(key) is not None}


def _streams(source: Actor, destination: Actor, configurations: dict[str, Any] | None) -> dict[str, Any]:
    discovered = discover(source)
    selected = catalog.select(discovered, (configurations or {}).get("streams"), destination.definition.sync_modes)
    return {
        "configurations": {"streams": selected},
        "catalog": [catalog.stream_to_json(stream) for stream in discovered],
    }
