"""Public API: workspaces, sources and destinations, and the streams of a source."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from sandbox.airbyte import catalog, registry, responses, views
from sandbox.airbyte import configuration as configurations
from sandbox.airbyte.configuration import Redactor, secret_values
from sandbox.airbyte.connectors.base import ConnectorError, Stream
from sandbox.airbyte.description import errors
from sandbox.airbyte.paging import page
from sandbox.airbyte.problems import connector_failed, not_found, unprocessable
from sandbox.airbyte.requests import ActorCreate, ActorPatch, ActorPut, Limit, Offset
from sandbox.airbyte.state import State
from sandbox.airbyte.store import WORKSPACE_ID, WORKSPACE_NAME, Actor, Store


def router(state: State) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()
    _add_workspaces(routes)
    for kind in ("source", "destination"):
        _add_actors(routes, state, kind)

    @routes.get("/streams", response_model=list[responses.StreamProperties], responses=errors(404, 500, 501))
    def streams(
        source_id: Annotated[UUID, Query(alias="sourceId")],
        destination_id: Annotated[UUID | None, Query(alias="destinationId")] = None,
        ignore_cache: Annotated[bool, Query(alias="ignoreCache")] = False,
    ) -> list[dict[str, Any]]:
        source = state.store.actor("source", str(source_id))
        modes = None
        if destination_id is not None:
            modes = state.store.actor("destination", str(destination_id)).definition.sync_modes
        return [catalog.stream_properties(stream, modes) for stream in discover(source)]

    return routes


def discover(source: Actor) -> list[Stream]:
    """Ask a source for its streams.

    Raises:
        Problem: 500 with the connector's message if the source cannot be reached, as the real API answers; 501 if it is
            one that this server cannot run.
    """
    secrets = secret_values(source.configuration, source.definition.specification)
    try:
        return registry.source(source.definition, source.configuration).discover()
    except ConnectorError as error:
        raise connector_failed(Redactor(list(secrets))(error.message)) from error


def require_workspace(workspace_id: UUID) -> None:
    """Check that a workspace is the one this server has.

    Raises:
        Problem: 404 if it is not.
    """
    if str(workspace_id) != WORKSPACE_ID:
        raise not_found("WORKSPACE", str(workspace_id))


def _add_workspaces(routes: APIRouter) -> None:
    workspace = {
        "workspaceId": WORKSPACE_ID,
        "name": WORKSPACE_NAME,
        "dataResidency": "auto",
        "notifications": {},
    }

    @routes.get("/workspaces", response_model=responses.Page[responses.Workspace])
    def list_workspaces(request: Request, limit: Limit = 20, offset: Offset = 0) -> dict[str, Any]:
        return page(request, [workspace][offset : offset + limit], limit, offset)

    @routes.get("/workspaces/{workspace_id}", response_model=responses.Workspace, responses=errors(404))
    def get_workspace(workspace_id: UUID) -> dict[str, Any]:
        require_workspace(workspace_id)
        return workspace


def _definition(store: Store, kind: str, body: ActorCreate) -> registry.Definition:
    if body.definition_id is not None:
        return store.definition(kind, str(body.definition_id))
    connector_type = body.configuration.get(f"{kind}Type")
    if not isinstance(connector_type, str):
        raise unprocessable(f"configuration.{kind}Type: required field is missing, or give a definitionId")
    return registry.by_type(kind, connector_type)


def _without_type(kind: str, definition: registry.Definition, configuration: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration as it is stored: the connector's type is not one of the connector's own fields."""
    given = configuration.get(f"{kind}Type")
    if given is not None and definition.type and given != definition.type:
        raise unprocessable(f"configuration.{kind}Type: must be {definition.type}")
    if f"{kind}Type" in definition.specification.get("properties", {}):
        return configuration
    return {key: value for key, value in configuration.items() if key != f"{kind}Type"}


def _add_actors(routes: APIRouter, state: State, kind: str) -> None:
    store = state.store
    model: type[responses.Source | responses.Destination] = (
        responses.Source if kind == "source" else responses.Destination
    )

    def save(actor: Actor, name: str, configuration: dict[str, Any]) -> dict[str, Any]:
        specification = actor.definition.specification
        given = _without_type(kind, actor.definition, configuration)
        whole = configurations.unmasked(given, actor.configuration, specification)
        registry.refuse_invalid(actor.definition, whole)
        changed = replace(actor, name=name, configuration=whole)
        store.update_actor(changed)
        return views.actor(changed)

    @routes.get(f"/{kind}s", response_model=responses.Page[model])  # type: ignore[valid-type]  # one of two
    def list_actors(
        request: Request,
        limit: Limit = 20,
        offset: Offset = 0,
        workspace_ids: Annotated[list[UUID] | None, Query(alias="workspaceIds")] = None,
    ) -> dict[str, Any]:
        here = not workspace_ids or WORKSPACE_ID in map(str, workspace_ids)
        shown = [views.actor(actor) for actor in store.actors(kind)[offset : offset + limit]] if here else []
        return page(request, shown, limit, offset)

    @routes.post(f"/{kind}s", response_model=model, responses=errors(404, 422, 501))
    def create_actor(body: ActorCreate) -> dict[str, Any]:
        require_workspace(body.workspace_id)
        definition = _definition(store, kind, body)
        configuration = _without_type(kind, definition, body.configuration)
        registry.refuse_invalid(definition, configuration)
        return views.actor(store.add_actor(kind, body.name, definition, configuration))

    @routes.get(f"/{kind}s/{{actor_id}}", response_model=model, responses=errors(404))
    def get_actor(actor_id: UUID) -> dict[str, Any]:
        return views.actor(store.actor(kind, str(actor_id)))

    @routes.patch(f"/{kind}s/{{actor_id}}", response_model=model, responses=errors(404, 422, 501))
    def patch_actor(actor_id: UUID, body: ActorPatch) -> dict[str, Any]:
        actor = store.actor(kind, str(actor_id))
        configuration = configurations.merged(body.configuration or {}, actor.configuration)
        return save(actor, body.name or actor.name, configuration)

    @routes.put(f"/{kind}s/{{actor_id}}", response_model=model, responses=errors(404, 422, 501))
    def put_actor(actor_id: UUID, body: ActorPut) -> dict[str, Any]:
        return save(store.actor(kind, str(actor_id)), body.name, body.configuration)

    @routes.delete(f"/{kind}s/{{actor_id}}", status_code=204, responses=errors(404))
    def delete_actor(actor_id: UUID) -> Response:
        store.actor(kind, str(actor_id))
        for connection in store.connections():
            if str(actor_id) in (connection.source_id, connection.destination_id):
                state.runner.cancel_connection(connection.id)
        store.delete_actor(kind, str(actor_id))
        return Response(status_code=204)
