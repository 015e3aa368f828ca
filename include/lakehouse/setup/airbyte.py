"""Airbyte: the sources, destinations and connections of ``include/airbyte``.

Objects are found by name. Airbyte masks secrets, so a fingerprint of what was applied last tells whether one changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lakehouse import templates
from lakehouse.airbyte import AirbyteError, PublicApi
from lakehouse.config import load_streams
from lakehouse.files import ConfigError, include_dir, parse, read_yaml
from lakehouse.setup.changes import Action, Change, differences, remember_applied, same_as_applied

_SYNC_MODES = {
    "full_refresh": "full_refresh_overwrite",
    "incremental": "incremental_append",
    "cdc": "incremental_append",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Actor(_Strict):
    """A declared source or destination."""

    name: str = Field(min_length=1)
    configuration: dict[str, Any]
    manifest: str | None = None


class _Connection(_Strict):
    """A declared connection."""

    name: str = Field(min_length=1)
    source: str
    destination: str
    apply: bool = True
    status: str = "active"
    namespace_definition: str = "destination"
    schema_updates: str = "propagate_columns"


class _Sources(_Strict):
    sources: list[_Actor]


class _Destinations(_Strict):
    destinations: list[_Actor]


class _Connections(_Strict):
    connections: list[_Connection]


def apply() -> list[Change]:
    """Create or change every declared source, destination and connection.

    Returns:
        One change for each object, connector definitions included.

    Raises:
        ConfigError: When a file says something that is not allowed.
        AirbyteError: When Airbyte refuses something, or has two objects of one name.
    """
    folder = include_dir() / "airbyte"
    sources = parse(_Sources, read_yaml(folder / "sources.yml"), folder / "sources.yml").sources
    destinations = parse(_Destinations, read_yaml(folder / "destinations.yml"), folder / "destinations.yml")
    connections = parse(_Connections, read_yaml(folder / "connections.yml"), folder / "connections.yml")
    applied = [connection for connection in connections.connections if connection.apply]
    kept_out = [connection for connection in connections.connections if not connection.apply]
    unused = {item.source for item in kept_out} - {item.source for item in applied}
    unused |= {item.destination for item in kept_out} - {item.destination for item in applied}
    with PublicApi.from_connection() as api:
        applier = _Applier(api)
        for source in sources:
            if source.name not in unused:
                applier.actor("source", source)
        for destination in destinations.destinations:
            if destination.name not in unused:
                applier.actor("destination", destination)
        for connection in applied:
            applier.connection(connection)
    return applier.changes


def connection_ids() -> dict[str, str]:
    """Return the ids of the declared connections that are applied.

    Returns:
        Connection name -> connection id.

    Raises:
        AirbyteError: When a declared connection is not there.
    """
    path = include_dir() / "airbyte" / "connections.yml"
    declared = [item.name for item in parse(_Connections, read_yaml(path), path).connections if item.apply]
    with PublicApi.from_connection() as api:
        found = _by_name(api.list("connections"), "connections")
    missing = [name for name in declared if name not in found]
    if missing:
        raise AirbyteError(f"Airbyte has no connection {', '.join(missing)}: run platform_setup first")
    return {name: str(found[name]["connectionId"]) for name in declared}


class _Applier:
    """Applies declared objects one by one and remembers what it did."""

    def __init__(self, api: PublicApi) -> None:
        self._api = api
        self._workspace = self._the_workspace()
        self._actors = {kind: _by_name(api.list(f"{kind}s"), f"{kind}s") for kind in ("source", "destination")}
        self.changes: list[Change] = []

    def _the_workspace(self) -> str:
        workspaces = list(self._api.list("workspaces"))
        if not workspaces:
            raise AirbyteError("Airbyte has no workspace: finish its first-time set-up in the browser, then try again")
        return str(workspaces[0]["workspaceId"])

    def _note(self, kind: str, name: str, action: Action, detail: str = "") -> None:
        self.changes.append(Change("airbyte", kind, name, action, detail))

    def _definition(self, name: str, file: str) -> str:
        """Create or change a low-code connector; returns its id."""
        path = include_dir() / "airbyte" / "manifests" / file
        manifest = read_yaml(path)
        place = f"workspaces/{self._workspace}/definitions/declarative_sources"
        found = _by_name(self._api.list(place), "declarative sources").get(name)
        if found is None:
            found = self._api.create(place, {"name": name, "manifest": manifest})
            self._note("connector", name, "created")
            remember_applied("airbyte", "connector", name, manifest)
        elif any(differences(manifest, found["manifest"])) or not same_as_applied(
            "airbyte", "connector", name, manifest
        ):
            found = self._api.replace(place, str(found["id"]), {"manifest": manifest})
            remember_applied("airbyte", "connector", name, manifest)
            self._note("connector", name, "updated", "manifest differs")
        else:
            self._note("connector", name, "unchanged")
        return str(found["id"])

    def actor(self, kind: str, declared: _Actor) -> None:
        """Create or change one source or destination."""
        configuration = templates.resolve(declared.configuration, f"airbyte {kind} {declared.name}")
        definition = self._definition(declared.name, declared.manifest) if declared.manifest else None
        found = self._actors[kind].get(declared.name)
        if found is None:
            body = {"name": declared.name, "workspaceId": self._workspace, "configuration": configuration}
            if definition:
                body["definitionId"] = definition
            self._actors[kind][declared.name] = self._api.create(f"{kind}s", body)
            remember_applied("airbyte", kind, declared.name, configuration)
            self._note(kind, declared.name, "created")
            return
        differing = sorted(differences(configuration, found["configuration"]))
        known = same_as_applied("airbyte", kind, declared.name, configuration)
        if not differing and known:
            self._note(kind, declared.name, "unchanged")
            return
        body = {"name": declared.name, "configuration": configuration}
        self._api.replace(f"{kind}s", str(found[f"{kind}Id"]), body)
        remember_applied("airbyte", kind, declared.name, configuration)
        self._note(kind, declared.name, "updated", ", ".join(differing) or "a value that Airbyte does not show")

    def connection(self, declared: _Connection) -> None:
        """Create or change one connection."""
        body = {
            "name": declared.name,
            "sourceId": self._id("source", declared.source),
            "destinationId": self._id("destination", declared.destination),
            "status": declared.status,
            "schedule": {"scheduleType": "manual"},
            "namespaceDefinition": declared.namespace_definition,
            "nonBreakingSchemaUpdatesBehavior": declared.schema_updates,
            "configurations": {"streams": _stream_configurations(declared.name)},
        }
        found = _by_name(self._api.list("connections"), "connections").get(declared.name)
        if found is None:
            self._api.create("connections", body)
            self._note("connection", declared.name, "created")
            return
        for end in ("sourceId", "destinationId"):
            if found[end] != body[end]:
                raise AirbyteError(
                    f"Airbyte connection {declared.name!r} has another {end.removesuffix('Id')} than declared, which "
                    "cannot be changed: delete the connection in Airbyte, then run this again."
                )
        wanted = {key: value for key, value in body.items() if key not in ("sourceId", "destinationId")}
        differing = sorted(_connection_differences(wanted, found))
        if not differing:
            self._note("connection", declared.name, "unchanged")
            return
        self._api.patch("connections", str(found["connectionId"]), wanted)
        self._note("connection", declared.name, "updated", ", ".join(differing))

    def _id(self, kind: str, name: str) -> str:
        if name not in self._actors[kind]:
            allowed = ", ".join(self._actors[kind])
            raise ConfigError(
                f"{include_dir() / 'airbyte' / 'connections.yml'}: {kind}: {name!r}: no such {kind}; allowed: {allowed}"
            )
        return str(self._actors[kind][name][f"{kind}Id"])


def _stream_configurations(connection: str) -> list[dict[str, Any]]:
    for source in load_streams().sources.values():
        if source.connection == connection:
            break
    else:
        raise ConfigError(
            f"{include_dir() / 'config' / 'streams.yml'}: no source has the connection {connection!r}, which "
            "airbyte/connections.yml declares"
        )
    configurations = []
    for stream in source.streams.values():
        entry: dict[str, Any] = {"name": stream.name, "syncMode": _SYNC_MODES[stream.sync_mode]}
        if stream.sync_mode == "incremental":
            entry["cursorField"] = [stream.cursor]
        elif stream.sync_mode == "cdc":
            # Of a table without a primary key Airbyte has to be told what an update keeps.
            entry["primaryKey"] = [[name] for name in stream.key]
        configurations.append(entry)
    return configurations


def _by_name(items: Iterator[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        name = str(item["name"])
        if name in found:
            raise AirbyteError(f"Airbyte has two {kind} named {name!r}; delete one of them, then run this again.")
        found[name] = item
    return found


def _connection_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        if key != "configurations":
            yield from differences(value, found.get(key), key)
    declared = {item["name"]: item for item in wanted["configurations"]["streams"]}
    there = {item["name"]: item for item in (found.get("configurations") or {}).get("streams") or []}
    for name in declared.keys() ^ there.keys():
        yield f"stream {name}"
    for name in declared.keys() & there.keys():
        yield from differences(declared[name], there[name], f"stream {name}")
