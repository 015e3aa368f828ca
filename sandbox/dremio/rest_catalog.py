"""REST: the catalog. Listing, sources, spaces, folders, views, promotion, wikis and tags."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from sandbox.dremio import entity_json, refresh_policy
from sandbox.dremio.catalog import Catalog, already_exists
from sandbox.dremio.catalog_view import CatalogView
from sandbox.dremio.edition import is_enterprise
from sandbox.dremio.entities import Entity, Folder, Path, Source, Space, Table, View, new_id, path_key
from sandbox.dremio.errors import ApiError, StatementError
from sandbox.dremio.lake import Lake, Lakes
from sandbox.dremio.planner import Planner
from sandbox.dremio.rest import Api, Call
from sandbox.dremio.rest_access import AccessApi
from sandbox.dremio.statements import Statements
from sandbox.dremio.store import Store
from sandbox.dremio.tables import Tables

Json = dict[str, Any]

EXISTING = "$DREMIO_EXISTING_VALUE$"
PREFIX = "/api/v3/catalog"


class CatalogApi:
    """Everything below ``/api/v3/catalog``.

    Args:
        catalog: the catalog.
        planner: promotes and looks up.
        statements: writes views.
        tables: drops managed tables.
        store: keeps wikis and tags.
        lakes: list the folders of sources.
    """

    def __init__(
        self, catalog: Catalog, planner: Planner, statements: Statements, tables: Tables, store: Store, lakes: Lakes
    ) -> None:
        self._catalog = catalog
        self._planner = planner
        self._statements = statements
        self._tables = tables
        self._store = store
        self._view = CatalogView(catalog, lakes)
        self.refreshed: Callable[[Table | View], None] = lambda _: None
        self.access: AccessApi | None = None

    def register(self, api: Api) -> None:
        """Add the routes."""
        api.add("GET", PREFIX, self._view.roots)
        api.add("POST", PREFIX, self._create)
        for method, handler in (("GET", self._get), ("POST", self._post), ("PUT", self._put), ("DELETE", self._delete)):
            api.add(method, PREFIX + "/{rest:path}", handler)

    # -- routing: a path segment may hold encoded slashes, so the raw path is cut here

    def _segments(self, call: Call) -> list[str]:
        rest = call.raw_path.partition(PREFIX + "/")[2]
        return [urllib.parse.unquote(segment) for segment in rest.split("/")]

    def _get(self, call: Call) -> Any:
        segments = self._segments(call)
        if segments[0] == "by-path":
            return self._view.show(
                self._view.at(tuple(segment.strip('"') for segment in segments[1:] if segment)), call
            )
        if segments == ["search"]:
            return self._view.search(call.query.get("query", ""))
        if len(segments) == 3 and segments[1] == "collaboration":
            return self._collaboration(self._view.entity(segments[0]), segments[2])
        if len(segments) == 2 and segments[1] == "grants":
            return self._access().grants(self._view.catalog_entity(segments[0]))
        return self._view.show(self._view.entity("/".join(segments)), call)

    def _post(self, call: Call) -> Any:
        segments = self._segments(call)
        if segments == ["by-ids"]:
            return self._view.several("ids", call, lambda item: self._view.entity(str(item)))
        if segments == ["by-paths"]:
            return self._view.several("paths", call, lambda item: self._view.at(tuple(item)))
        if len(segments) == 3 and segments[1] == "collaboration":
            return self._write_collaboration(self._view.entity(segments[0]), segments[2], call.body)
        if len(segments) == 2 and segments[1] == "refresh":
            return self._refresh(self._view.entity(segments[0]))
        return self._promote("/".join(segments), call.body)

    def _access(self) -> AccessApi:
        if self.access is None:
            raise ApiError(404, "HTTP 404 Not Found", "Grants are only supported in Enterprise Edition.")
        return self.access

    # -- creating

    def _create(self, call: Call) -> Any:
        kind = call.body.get("entityType")
        creators: dict[Any, Callable[[Json], Entity]] = {
            "space": self._create_space,
            "folder": self._create_folder,
            "source": self._create_source,
            "dataset": self._create_view,
        }
        if kind not in creators:
            raise ApiError(400, f"Unable to create an entity of type [{kind}]")
        return self._view.show(creators[kind](call.body), call)

    def _create_space(self, body: Json) -> Entity:
        name = body.get("name")
        if not isinstance(name, str) or not name or any(c in name for c in '.:/@"'):
            raise ApiError(400, f"[{name}] is not a name for a space: it is empty or holds one of . : / @ or a quote")
        return self._catalog.create(Space((name,)))

    def _create_folder(self, body: Json) -> Entity:
        path = _path(body)
        parent = self._catalog.get(path[:-1]) if len(path) > 1 else None
        if isinstance(self._catalog.get(path[:1]), Source):
            raise ApiError(400, "Can not create a folder inside a [SOURCE].")
        if not isinstance(parent, Space | Folder):
            raise ApiError(400, f"Cannot create folder [{'.'.join(path)}]: its parent does not exist.")
        if self._catalog.get(path) is not None:
            raise already_exists(Folder(path))
        return self._catalog.create(Folder((*parent.path, path[-1])))

    def _create_source(self, body: Json) -> Entity:
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "A source needs a name")
        _check_type(body)
        settings = _settings(body)
        settings["metadataPolicy"] = {**entity_json.METADATA_POLICY, **(settings.get("metadataPolicy") or {})}
        source = Source((name,), source_type="S3", config=dict(body.get("config") or {}), settings=settings)
        if self._catalog.get(source.path) is not None:
            raise already_exists(source)
        self._reachable(source)
        return self._catalog.create(source)

    def _reachable(self, source: Source) -> None:
        try:
            Lake(source).buckets()
        except StatementError as error:
            raise ApiError(400, f"Failure creating/updating this source [{source.name}]: {error.message}") from error

    def _create_view(self, body: Json) -> Entity:
        if body.get("type") != "VIRTUAL_DATASET":
            raise ApiError(400, "Only virtual datasets can be created: a physical dataset is promoted by its id")
        path = _path(body)
        if self._catalog.get(path) is not None:
            raise already_exists(View(path))
        return self._put_view(path, body)

    def _put_view(self, path: Path, body: Json) -> Entity:
        text = body.get("sql")
        if not isinstance(text, str) or not text.strip():
            raise ApiError(400, "A virtual dataset needs sql")
        context = tuple(body.get("sqlContext") or ())
        try:
            return self._statements.put_view(path, text, context, self._planner.columns(text, context))
        except StatementError as error:
            raise ApiError(400, error.message) from error

    def _promote(self, identifier: str, body: Json) -> Any:
        """POST /catalog/dremio:/source/folder: make a folder or file a physical dataset."""
        path = _path(body)
        entity = self._view.entity(identifier)
        if path_key(entity.path) != path_key(path):
            raise ApiError(400, "Entity id and path do not match.")
        if isinstance(entity, View | Table):
            raise ApiError(409, f"A dataset with the path [{'.'.join(path)}] already exists.")
        if body.get("type") != "PHYSICAL_DATASET" or not isinstance(body.get("format"), dict):
            raise ApiError(400, "To promote a file or folder, type PHYSICAL_DATASET and a format are needed.")
        try:
            table = self._planner.promote(path, body["format"])
        except StatementError as error:
            raise ApiError(400, error.message) from error
        policy = body.get("accelerationRefreshPolicy")
        if isinstance(policy, dict):
            refresh_policy.check(policy)
            table = dataclasses.replace(table, policy=policy)
            self._catalog.put(table)
        return entity_json.shown(table)

    # -- changing

    def _put(self, call: Call) -> Any:
        segments = self._segments(call)
        if len(segments) == 2 and segments[1] == "grants":
            return self._access().put_grants(self._view.catalog_entity(segments[0]), call.body)
        entity = self._view.entity("/".join(segments))
        if not isinstance(entity, Entity):
            raise ApiError(400, f"[{'.'.join(entity.path)}] can not be changed: promote it first.")
        tag = call.body.get("tag")
        if tag and tag != entity.tag:
            raise ApiError(
                409, f"The catalog object [{'.'.join(entity.path)}] was changed by somebody else: stale tag."
            )
        if isinstance(entity, Source):
            return self._view.show(self._put_source(entity, call.body), call)
        if isinstance(entity, View):
            return entity_json.shown(self._put_view(entity.path, call.body))
        if isinstance(entity, Table):
            policy = call.body.get("accelerationRefreshPolicy") or entity.policy
            refresh_policy.check(policy)
            fmt = call.body.get("format")
            if not entity.managed and isinstance(fmt, dict) and fmt.get("type"):
                table = self._planner.reformat(entity, fmt)
            else:
                table = entity
            return entity_json.shown(self._catalog.replace(table, dataclasses.replace(table, policy=policy)))
        return self._view.show(self._catalog.replace(entity, entity), call)

    def _put_source(self, source: Source, body: Json) -> Entity:
        _check_type({"type": source.source_type, **body})
        config = dict(body.get("config") or source.config)
        for name, value in config.items():
            if value == EXISTING:
                config[name] = source.config.get(name)
        changed = dataclasses.replace(
            source, config=config, settings={**source.settings, **_settings(body)}, tag=new_id()
        )
        self._reachable(changed)
        return self._catalog.replace(source, changed)

    def _delete(self, call: Call) -> Any:
        entity = self._view.entity("/".join(self._segments(call)))
        if not isinstance(entity, Entity):
            raise ApiError(400, f"[{'.'.join(entity.path)}] is not a catalog object that can be deleted.")
        tag = call.query.get("tag")
        if tag and tag != entity.tag:
            raise ApiError(
                409, f"The catalog object [{'.'.join(entity.path)}] was changed by somebody else: stale tag."
            )
        if isinstance(entity, Table) and entity.managed:
            with self._tables.writing(entity.path):
                self._tables.drop(entity)
        else:
            self._catalog.delete(entity)
        return Response(status_code=204)

    def _refresh(self, entity: Entity | entity_json.Stored) -> Any:
        """Wake the reflections on a table and on what reads it; those on a view only in the Enterprise Edition."""
        if not isinstance(entity, View | Table):
            raise ApiError(400, "Can only refresh datasets.")
        if isinstance(entity, Table) or is_enterprise():
            self.refreshed(entity)
        return Response(status_code=204)

    # -- wikis and tags

    def _collaboration(self, entity: Entity | entity_json.Stored, kind: str) -> Any:
        body = self._store.collaboration(_identifier(entity), _kind(kind))
        if body is not None:
            return body
        return {"text": ""} if kind == "wiki" else {"tags": []}

    def _write_collaboration(self, entity: Entity | entity_json.Stored, kind: str, body: Json) -> Any:
        identifier = _identifier(entity)
        current = self._store.collaboration(identifier, _kind(kind))
        version = body.get("version")
        if current is not None and version != current["version"]:
            raise ApiError(409, f"The {kind} was changed by somebody else: version [{version}] is stale.")
        if current is None and version not in (None, "", 0):
            raise ApiError(409, f"There is no {kind} with version [{version}].")
        if kind == "wiki":
            text = body.get("text")
            if not isinstance(text, str):
                raise ApiError(400, "text is needed")
            written: Json = {"text": text, "version": 0 if current is None else current["version"] + 1}
        else:
            tags = body.get("tags")
            if not isinstance(tags, list) or not all(isinstance(item, str) for item in tags):
                raise ApiError(400, "tags must be a list of texts")
            written = {"tags": tags, "version": new_id()}
        self._store.put_collaboration(identifier, kind, written)
        return written


def _identifier(entity: Entity | entity_json.Stored) -> str:
    if not isinstance(entity, Entity):
        raise ApiError(400, "Wikis and tags are kept for catalog objects only.")
    return entity.id


def _kind(kind: str) -> str:
    if kind not in ("wiki", "tag"):
        raise ApiError(404, "HTTP 404 Not Found")
    return kind


def _path(body: Json) -> Path:
    path = body.get("path")
    if not isinstance(path, list) or not path or not all(isinstance(part, str) and part for part in path):
        raise ApiError(400, "path must be a list of names")
    return tuple(path)


def _check_type(body: Json) -> None:
    kind = body.get("type")
    if not isinstance(kind, str) or not kind:
        raise ApiError(400, "A source needs a type")
    if kind != "S3":
        raise ApiError(501, f"Sources of type [{kind}] are not implemented in the sandbox: S3 is.")


def _settings(body: Json) -> Json:
    """Return what is kept of a source besides its configuration."""
    fixed = (
        "entityType",
        "id",
        "tag",
        "type",
        "name",
        "config",
        "createdAt",
        "children",
        "state",
        "path",
        "permissions",
    )
    return {name: value for name, value in body.items() if name not in fixed}
