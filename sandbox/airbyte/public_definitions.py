"""Public API: connector definitions of the workspace."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request

from sandbox.airbyte import registry, responses, views
from sandbox.airbyte.description import errors
from sandbox.airbyte.paging import page
from sandbox.airbyte.problems import not_found
from sandbox.airbyte.public_actors import require_workspace
from sandbox.airbyte.requests import DefinitionCreate, DefinitionUpdate, Limit, Offset
from sandbox.airbyte.state import State

DECLARATIVE = "/workspaces/{workspace_id}/definitions/declarative_sources"


def router(state: State) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()
    for kind in ("source", "destination"):
        _add_built_in(routes, kind)
    _add_declarative(routes, state)
    return routes


def _add_built_in(routes: APIRouter, kind: str) -> None:
    known = [definition for definition in registry.BUILT_IN if definition.kind == kind]

    @routes.get(
        f"/workspaces/{{workspace_id}}/definitions/{kind}s",
        response_model=responses.Page[responses.Definition],
        responses=errors(404),
    )
    def list_definitions(request: Request, workspace_id: UUID, limit: Limit = 20, offset: Offset = 0) -> dict[str, Any]:
        require_workspace(workspace_id)
        return page(request, [views.definition(item) for item in known[offset : offset + limit]], limit, offset)

    @routes.get(
        f"/workspaces/{{workspace_id}}/definitions/{kind}s/{{definition_id}}",
        response_model=responses.Definition,
        responses=errors(404),
    )
    def get_definition(workspace_id: UUID, definition_id: UUID) -> dict[str, Any]:
        require_workspace(workspace_id)
        for item in known:
            if item.id == str(definition_id):
                return views.definition(item)
        raise not_found(f"STANDARD_{kind.upper()}_DEFINITION", str(definition_id))


def _add_declarative(routes: APIRouter, state: State) -> None:
    store = state.store
    one = DECLARATIVE + "/{definition_id}"

    @routes.get(DECLARATIVE, response_model=responses.Page[responses.DeclarativeDefinition], responses=errors(404))
    def list_declarative(request: Request, workspace_id: UUID, limit: Limit = 20, offset: Offset = 0) -> dict[str, Any]:
        require_workspace(workspace_id)
        shown = [views.declarative_definition(item) for item in store.declarative_definitions()]
        return page(request, shown[offset : offset + limit], limit, offset)

    @routes.post(DECLARATIVE, response_model=responses.DeclarativeDefinition, responses=errors(404, 422, 501))
    def create_declarative(workspace_id: UUID, body: DefinitionCreate) -> dict[str, Any]:
        require_workspace(workspace_id)
        return views.declarative_definition(store.add_definition(body.name, body.manifest))

    @routes.get(one, response_model=responses.DeclarativeDefinition, responses=errors(404))
    def get_declarative(workspace_id: UUID, definition_id: UUID) -> dict[str, Any]:
        require_workspace(workspace_id)
        return views.declarative_definition(store.declarative_definition(str(definition_id)))

    @routes.put(one, response_model=responses.DeclarativeDefinition, responses=errors(404, 422, 501))
    def update_declarative(workspace_id: UUID, definition_id: UUID, body: DefinitionUpdate) -> dict[str, Any]:
        require_workspace(workspace_id)
        return views.declarative_definition(store.update_definition(str(definition_id), body.manifest))

    @routes.delete(one, response_model=responses.DeclarativeDefinition, responses=errors(404))
    def delete_declarative(workspace_id: UUID, definition_id: UUID) -> dict[str, Any]:
        require_workspace(workspace_id)
        return views.declarative_definition(store.delete_definition(str(definition_id)))
