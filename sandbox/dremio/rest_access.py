"""REST of the Enterprise Edition: users, roles, and the grants on a catalog object."""

from __future__ import annotations

import urllib.parse
from functools import partial
from typing import Any

from starlette.responses import Response

from sandbox.dremio.access import ROLE, USER, Access, available
from sandbox.dremio.entities import Entity
from sandbox.dremio.errors import ApiError, ValidationError
from sandbox.dremio.rest import Api, Call

Json = dict[str, Any]


class AccessApi:
    """``/api/v3/user``, ``/api/v3/role`` and what ``/api/v3/catalog/{id}/grants`` answers.

    Args:
        access: users, roles and grants.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def register(self, api: Api) -> None:
        """Add the routes."""
        for kind in (USER, ROLE):
            path = f"/api/v3/{kind.lower()}"
            api.add("POST", path, partial(self._create, kind))
            api.add("GET", path + "/by-name/{name}", partial(self._by_name, kind))
            api.add("GET", path + "/{id}", partial(self._get, kind))
            api.add("DELETE", path + "/{id}", partial(self._delete, kind))

    def _shown(self, kind: str, name: str) -> Json:
        body = {"id": self._access.identifier(kind, name), "name": name}
        return {**body, "type": "REGULAR", "active": True} if kind == USER else {**body, "type": "INTERNAL"}

    def _create(self, kind: str, call: Call) -> Any:
        name = call.body.get("name")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "name is needed")
        try:
            self._access.create(kind, name)
        except ValidationError as error:
            raise ApiError(409, error.message) from error
        return self._shown(kind, name)

    def _by_name(self, kind: str, call: Call) -> Any:
        name = urllib.parse.unquote(call.parts["name"])
        try:
            return self._shown(kind, name)
        except ValidationError as error:
            raise ApiError(404, error.message) from error

    def _named(self, kind: str, identifier: str) -> str:
        name = self._access.name(kind, identifier)
        if name is None:
            raise ApiError(404, f"Could not find a {kind.lower()} with id [{identifier}]")
        return name

    def _get(self, kind: str, call: Call) -> Any:
        return self._shown(kind, self._named(kind, call.parts["id"]))

    def _delete(self, kind: str, call: Call) -> Any:
        self._access.drop(kind, self._named(kind, call.parts["id"]))
        return Response(status_code=204)

    def grants(self, entity: Entity) -> Json:
        """Return what GET /catalog/{id}/grants answers."""
        return {
            "id": entity.id, "availablePrivileges": list(available(entity)), "grants": self._access.of(entity)
        }  # fmt: skip

    def put_grants(self, entity: Entity, body: Json) -> Response:
        """Do what PUT /catalog/{id}/grants asks: the grants sent take the place of those that are there.

        Raises:
            ApiError: 400 if the body is not a list of grants that fit.
        """
        grants = body.get("grants")
        if not isinstance(grants, list):
            raise ApiError(400, "grants must be a list")
        wanted = []
        for grant in grants:
            kind = grant.get("granteeType")
            name = self._access.name(kind, str(grant.get("id"))) if kind in (USER, ROLE) else None
            if name is None:
                raise ApiError(400, f"Grantee [{grant.get('id')}] of type [{kind}] does not exist.")
            wanted.append((list(grant.get("privileges") or []), kind, name))
        try:
            self._access.replace(entity, wanted)
        except ValidationError as error:
            raise ApiError(400, error.message) from error
        return Response(status_code=204)
