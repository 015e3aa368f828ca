"""What is declared for Airbyte, read and checked as far as that goes without asking anybody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lakehouse.config import Source, load_streams
from lakehouse.files import ConfigError, include_dir, parse, read_yaml
from lakehouse.tuning import TuningError, tuned_destination, tuned_manifest, tuned_source

SYNC_MODES = {
    "full_refresh": "full_refresh_overwrite",
    "incremental": "incremental_append",
    "cdc": "incremental_append",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _DeclaredActor(_Strict):
    name: str = Field(min_length=1)
    configuration: dict[str, Any]
    manifest: str | None = None


class DeclaredConnection(_Strict):
    """A declared connection.

    Args:
        name: Its name.
        source: Name of its source.
        destination: Name of its destination.
        apply: Whether Airbyte is to have it.
        status: "active" or "inactive".
        namespace_definition: As Airbyte's namespaceDefinition.
        schema_updates: As Airbyte's nonBreakingSchemaUpdatesBehavior.
    """

    name: str = Field(min_length=1)
    source: str
    destination: str
    apply: bool = True
    status: str = "active"
    namespace_definition: str = "destination"
    schema_updates: str = "propagate_columns"


class _Sources(_Strict):
    sources: list[_DeclaredActor]


class _Destinations(_Strict):
    destinations: list[_DeclaredActor]


class _Connections(_Strict):
    connections: list[DeclaredConnection]


@dataclass(frozen=True)
class Actor:
    """A declared source or destination.

    Args:
        kind: "source" or "destination".
        name: Its name.
        configuration: As declared and tuned, with references to Airflow connections.
        manifest: Its low-code connector, as declared and tuned; None: a connector of Airbyte's own.
        file: Where it is declared.
    """

    kind: str
    name: str
    configuration: dict[str, Any]
    manifest: dict[str, Any] | None
    file: Path


@dataclass(frozen=True)
class Declared:
    """Everything that Airbyte is to have.

    Args:
        actors: Sources, then destinations.
        connections: Connections that are applied.
        streams: Connection name -> the source of streams.yml that names it.
    """

    actors: list[Actor]
    connections: list[DeclaredConnection]
    streams: dict[str, Source]


def read() -> Declared:
    """Read ``include/airbyte`` and the streams that go with it.

    Raises:
        ConfigError: Naming the file, the path inside it, the value and what is allowed.
    """
    folder = include_dir() / "airbyte"
    files = {kind: folder / f"{kind}s.yml" for kind in ("source", "destination", "connection")}
    sources = parse(_Sources, read_yaml(files["source"]), files["source"]).sources
    destinations = parse(_Destinations, read_yaml(files["destination"]), files["destination"]).destinations
    listed = parse(_Connections, read_yaml(files["connection"]), files["connection"]).connections
    _check_names(files["connection"], listed, {"source": sources, "destination": destinations})
    streams = _streams_of(listed, files["connection"])
    applied = [connection for connection in listed if connection.apply]
    actors = []
    for kind, declared in (("source", sources), ("destination", destinations)):
        users = {getattr(connection, kind): connection for connection in listed}
        kept_out = users.keys() - {getattr(connection, kind) for connection in applied}
        for actor in declared:
            if actor.name not in kept_out:
                used_by = users.get(actor.name)
                source = streams[used_by.name] if used_by else None
                actors.append(_tuned(kind, actor, source, files[kind]))
    return Declared(actors, applied, streams)


def stream_configurations(source: Source) -> list[dict[str, Any]]:
    """Return what a connection syncs, as Airbyte's public API has it."""
    configurations = []
    for stream in source.streams.values():
        entry: dict[str, Any] = {"name": stream.name, "syncMode": SYNC_MODES[stream.sync_mode]}
        if stream.sync_mode == "incremental":
            entry["cursorField"] = [stream.cursor]
        elif stream.sync_mode == "cdc":
            # Of a table without a primary key Airbyte has to be told what an update keeps.
            entry["primaryKey"] = [[name] for name in stream.key]
        configurations.append(entry)
    return configurations


def _check_names(file: Path, connections: list[DeclaredConnection], known: dict[str, list[_DeclaredActor]]) -> None:
    for number, connection in enumerate(connections):
        for kind, actors in known.items():
            name, names = getattr(connection, kind), [actor.name for actor in actors]
            if name not in names:
                where = f"{file}: connections.{number}.{kind}"
                raise ConfigError(f"{where}: {name!r}: no such {kind}; allowed: {', '.join(names)}")


def _streams_of(connections: list[DeclaredConnection], file: Path) -> dict[str, Source]:
    streams = {source.connection: source for source in load_streams().sources.values()}
    names = [connection.name for connection in connections]
    config = include_dir() / "config" / "streams.yml"
    for source in streams.values():
        if source.connection not in names:
            raise ConfigError(
                f"{config}: sources.{source.name}.connection: {source.connection!r}: no such connection in {file}; "
                f"allowed: {', '.join(names)}"
            )
    for number, name in enumerate(names):
        if name not in streams:
            raise ConfigError(
                f"{file}: connections.{number}.name: {name!r}: no source of {config} has this connection; "
                f"allowed: {', '.join(streams)}"
            )
    return streams


def _tuned(kind: str, actor: _DeclaredActor, source: Source | None, file: Path) -> Actor:
    manifest = read_yaml(file.parent / "manifests" / actor.manifest) if actor.manifest else None
    configuration = actor.configuration
    if source is not None:
        try:
            if kind == "destination":
                configuration = tuned_destination(configuration, source.tuning)
            elif manifest is not None:
                manifest = tuned_manifest(manifest, source.tuning)
            else:
                configuration = tuned_source(configuration, source.tuning)
        except TuningError as error:
            raise ConfigError(
                f"{include_dir() / 'config' / 'streams.yml'}: sources.{source.name}.tuning.{error}"
            ) from error
    return Actor(kind, actor.name, configuration, manifest, file)
