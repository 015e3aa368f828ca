"""Looking into the catalog over REST: objects by id and path, what a source's store holds, listings and search."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from sandbox.dremio import entity_json
from sandbox.dremio.catalog import Catalog
from sandbox.dremio.entities import Entity, Folder, Path, Source, Space, path_key
from sandbox.dremio.errors import ApiError
from sandbox.dremio.lake import Lake, Lakes
from sandbox.dremio.rest import Call, integer

Json = dict[str, Any]
Shown = Entity | entity_json.Stored

PATH_SCHEME = "dremio:/"
MOST_ENTITIES = 50
MOST_CHILDREN = 100


class CatalogView:
    """Finds and shows catalog objects.

    Args:
        catalog: the catalog.
        lakes: list the folders of sources.
    """

    def __init__(self, catalog: Catalog, lakes: Lakes) -> None:
        self._catalog = catalog
        self._lakes = lakes

    # -- finding

    def entity(self, identifier: str) -> Shown:
        """Return the object with an identifier; a folder or file of a source has its path as its identifier.

        Raises:
            ApiError: 404 if there is none.
        """
        entity = self._catalog.by_id(identifier)
        if entity is not None:
            return entity
        if identifier.startswith(PATH_SCHEME):
            parts = tuple(part.strip('"') for part in identifier[len(PATH_SCHEME) :].split("/") if part)
            return self.at(parts)
        raise ApiError(404, f"Could not find entity with id [{identifier}]")

    def catalog_entity(self, identifier: str) -> Entity:
        """Return the object with an identifier, if it is more than a folder or file of a source.

        Raises:
            ApiError: 404 if there is none, 400 if it is no more.
        """
        entity = self.entity(identifier)
        if not isinstance(entity, Entity):
            raise ApiError(400, f"[{'.'.join(entity.path)}] is not a catalog object: promote it first.")
        return entity

    def at(self, path: Path) -> Shown:
        """Return the object at a path.

        Raises:
            ApiError: 404 if there is none.
        """
        entity = self._catalog.get(path) if path else None
        if entity is not None:
            return entity
        stored = self._stored(path)
        if stored is None:
            raise ApiError(404, f"Could not find entity with path [[{', '.join(path)}]]")
        return stored

    def _stored(self, path: Path) -> entity_json.Stored | None:
        """Return a folder or file of a source that is not a dataset, None if the object store has nothing there."""
        source = self._catalog.source_of(path) if path else None
        if source is None:
            return None
        if any(path_key(entity.path[: len(path)]) == path_key(path) for entity in self._catalog.below(source.path)):
            return entity_json.Stored(path, "folder")
        lake = self._lakes.of(source)
        bucket, prefix = lake.locate(path)
        if not prefix:
            return entity_json.Stored(path, "folder") if bucket in lake.buckets() else None
        if lake.head(bucket, prefix) is not None:
            return entity_json.Stored(path, "file")
        return entity_json.Stored(path, "folder") if lake.exists(bucket, prefix) else None

    # -- showing

    def roots(self, _: Call) -> Any:
        """Return what GET /catalog answers."""
        return {"data": [entity_json.listed(entity) for entity in self._catalog.roots()]}

    def show(self, entity: Shown, call: Call) -> Json:
        """Return an object with its children, page by page if the call asks for ``maxChildren``."""
        body = entity_json.shown(entity)
        container = isinstance(entity, Source | Space | Folder) or getattr(entity, "kind", "") == "folder"
        if not container or "children" in call.query.get("exclude", ""):
            return body
        children = self._children(entity)
        start, most = _page_start(call), integer(call, "maxChildren", 0) or len(children)
        body["children"] = children[start : start + most]
        if start + most < len(children):
            body["nextPageToken"] = base64.urlsafe_b64encode(str(start + most).encode()).decode()
        return body

    def _children(self, entity: Shown) -> list[Json]:
        children = {path_key(child.path): entity_json.listed(child) for child in self._catalog.children(entity.path)}
        source = self._catalog.source_of(entity.path)
        if source is not None:
            for child in self._lake_children(self._lakes.of(source), entity.path):
                children.setdefault(path_key(child.path), entity_json.listed(child))
        return [children[key] for key in sorted(children)]

    def _lake_children(self, lake: Lake, path: Path) -> list[entity_json.Stored]:
        bucket, prefix = lake.locate(path)
        if not bucket:
            return [entity_json.Stored((*path, name), "folder") for name in lake.buckets()]
        folders, objects = lake.folder(bucket, prefix)
        found = [entity_json.Stored((*path, name), "folder") for name in folders]
        return found + [entity_json.Stored((*path, o.key.rsplit("/", 1)[-1]), "file") for o in objects]

    def search(self, query: str) -> Json:
        """Return what GET /catalog/search answers: objects whose path holds all words."""
        words = query.lower().split()
        found = [entity for entity in self._catalog.entities() if words and all(word in entity.key for word in words)]
        return {"data": [entity_json.listed(entity) for entity in found]}

    def several(self, what: str, call: Call, find: Callable[[Any], Shown]) -> Json:
        """Return what POST /catalog/by-ids and by-paths answer: those that are there, and an error for each other one.

        Args:
            what: ``ids`` or ``paths``.
            call: the call; its body is a list.
            find: returns the object an item of the list means.

        Raises:
            ApiError: 400 if the list is too long or ``maxChildren`` is missing or too high.
        """
        if call.items is None:
            raise ApiError(400, "Unable to process JSON: a list is expected.")
        if len(call.items) > MOST_ENTITIES:
            raise ApiError(400, f"Too many {what} {len(call.items)} vs maximum {MOST_ENTITIES}")
        if call.items and not 1 <= integer(call, "maxChildren", 0) <= MOST_CHILDREN:
            raise ApiError(400, f"maxChildren query parameter must be set to [1,{MOST_CHILDREN}]")
        body: Json = {"data": []}
        for item in call.items:
            try:
                body["data"].append(self.show(find(item), call))
            except ApiError:
                name = item if isinstance(item, str) else f"[{', '.join(map(str, item))}]"
                body.setdefault("errors", []).append({"errorMessage": f"'{name}' was not found", "moreInfo": ""})
        return body


def _page_start(call: Call) -> int:
    token = call.query.get("pageToken", "")
    try:
        return int(base64.urlsafe_b64decode(token)) if token else 0
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f"Invalid pageToken [{token}]") from error
