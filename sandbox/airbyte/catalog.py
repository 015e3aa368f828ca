"""Streams and sync modes: what a connection may ask of a source and a destination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sandbox.airbyte.connectors.base import ConfiguredStream, Stream
from sandbox.airbyte.problems import bad_request, not_implemented

DEDUPLICATING = ("full_refresh_overwrite_deduped", "incremental_deduped_history")


def sync_modes(stream: Stream, destination_modes: Sequence[str]) -> list[str]:
    """Return the combined sync modes that a stream has into a destination.

    Args:
        stream: the stream.
        destination_modes: what the destination can do with records, as in its definition.
    """
    modes = []
    if "full_refresh" in stream.sync_modes:
        modes += [f"full_refresh_{mode}" for mode in ("append", "overwrite") if mode in destination_modes]
        if "append_dedup" in destination_modes:
            modes.append("full_refresh_overwrite_deduped")
    if "incremental" in stream.sync_modes:
        modes.append("incremental_append")
        if "append_dedup" in destination_modes:
            modes.append("incremental_deduped_history")
    return modes


def property_fields(stream: Stream) -> list[list[str]]:
    """Return the paths of all fields of a stream, nested ones after their parent."""
    return _paths(stream.json_schema)


def _paths(schema: dict[str, Any]) -> list[list[str]]:
    paths: list[list[str]] = []
    for name, below in schema.get("properties", {}).items():
        paths.append([name])
        if isinstance(below, dict):
            paths.extend([name, *path] for path in _paths(below))
    return paths


def stream_properties(stream: Stream, destination_modes: Sequence[str] | None) -> dict[str, Any]:
    """Return a stream as ``GET streams`` lists it; sync modes only if a destination was named."""
    return {
        "streamName": stream.name,
        "streamnamespace": stream.namespace,
        "syncModes": None if destination_modes is None else sync_modes(stream, destination_modes),
        "defaultCursorField": stream.default_cursor,
        "sourceDefinedCursorField": stream.source_defined_cursor,
        "sourceDefinedPrimaryKey": stream.primary_key,
        "propertyFields": property_fields(stream),
    }


def select(
    discovered: list[Stream], wanted: list[dict[str, Any]] | None, destination_modes: Sequence[str]
) -> list[dict[str, Any]]:
    """Check a connection's stream configurations and fill in their defaults.

    Args:
        discovered: the streams of the source.
        wanted: ``configurations.streams`` of the request; None or empty selects all streams, full refresh overwrite.
        destination_modes: what the destination can do with records, as in its definition.

    Returns:
        The configurations as the public API returns them.

    Raises:
        Problem: 400 naming the stream and the field that is wrong, 501 for features that are missing here.
    """
    if not wanted:
        wanted = [{"name": stream.name, "namespace": stream.namespace} for stream in discovered]
    chosen: list[dict[str, Any]] = []
    for configuration in wanted:
        stream = _find(discovered, configuration)
        entry = _checked(stream, configuration, sync_modes(stream, destination_modes))
        if any((entry["namespace"], entry["name"]) == (other["namespace"], other["name"]) for other in chosen):
            raise bad_request(f"Duplicate stream found in configuration for: {stream.name}.")
        chosen.append(entry)
    return chosen


def _find(discovered: list[Stream], configuration: dict[str, Any]) -> Stream:
    name, namespace = configuration["name"], configuration.get("namespace")
    for stream in discovered:
        if stream.name == name and namespace in (None, stream.namespace):
            return stream
    names = ", ".join(stream.name for stream in discovered)
    raise bad_request(f"Invalid stream found: {name}. The list of valid streams include: [{names}].")


def _checked(stream: Stream, configuration: dict[str, Any], valid: list[str]) -> dict[str, Any]:
    if configuration.get("mappers"):
        raise not_implemented(f"stream {stream.name}: mappers are not supported by this server.")
    if configuration.get("includeFiles"):
        raise not_implemented(f"stream {stream.name}: includeFiles is not supported by this server.")
    mode = configuration.get("syncMode") or "full_refresh_overwrite"
    if mode not in valid:
        raise bad_request(
            f"Cannot set sync mode to {mode} for stream {stream.name}. Valid sync modes are: [{', '.join(valid)}]"
        )
    fields = _selected_fields(stream, configuration.get("selectedFields"))
    cursor = _cursor(stream, configuration.get("cursorField"), mode, fields)
    primary_key = _primary_key(stream, configuration.get("primaryKey"), mode, fields)
    return {
        "name": stream.name,
        "namespace": stream.namespace,
        "syncMode": mode,
        "cursorField": cursor,
        "primaryKey": primary_key,
        "selectedFields": [{"fieldPath": [name]} for name in fields] if fields is not None else [],
        "mappers": [],
        "includeFiles": False,
        "destinationObjectName": configuration.get("destinationObjectName"),
    }


def _selected_fields(stream: Stream, selected: list[dict[str, Any]] | None) -> list[str] | None:
    if selected is None:
        return None
    known = f"The list of valid field names includes: [{', '.join(stream.columns)}]."
    names: list[str] = []
    for item in selected:
        path = item.get("fieldPath") or []
        if not path:
            raise bad_request(f"Selected field path cannot be empty for stream: {stream.name}.")
        if len(path) > 1:
            raise bad_request(f"Nested field selection not supported for stream {stream.name}.")
        names.append(path[0])
    if len(set(names)) != len(names):
        raise bad_request(f"Duplicate fields selected in configuration for stream: {stream.name}.")
    if not names:
        # An empty list is what this API itself returns for "all fields": a body that is read and sent back must do.
        return None
    if not set(names) <= set(stream.columns):
        raise bad_request(f"Invalid fields selected for stream {stream.name}. {known}")
    return [name for name in stream.columns if name in names]


def _cursor(stream: Stream, given: list[str] | None, mode: str, fields: list[str] | None) -> list[str]:
    if not mode.startswith("incremental"):
        return given or []
    if stream.source_defined_cursor:
        if given and given != stream.default_cursor:
            raise bad_request(
                f"Cursor Field {given} is already defined by source. "
                f"Do not include a cursor field configuration for this stream: {stream.name}."
            )
        return stream.default_cursor
    cursor = given or stream.default_cursor
    if not cursor:
        raise bad_request(
            f"No default cursor field for stream: {stream.name}. "
            "Please include a cursor field configuration for this stream."
        )
    valid = property_fields(stream)
    if cursor not in valid:
        raise bad_request(
            f"Invalid cursor field for stream: {stream.name}. The list of valid cursor fields include: {valid}."
        )
    if fields is not None and cursor[0] not in fields:
        raise bad_request(
            f"Cursor field is not selected properly for stream: {stream.name}. "
            "Please include the cursor field in selected fields for this stream."
        )
    return cursor


def _primary_key(stream: Stream, given: list[list[str]] | None, mode: str, fields: list[str] | None) -> list[list[str]]:
    key = given or stream.primary_key
    if mode not in DEDUPLICATING:
        return key
    if not key:
        raise bad_request(
            f"No default primary key for stream: {stream.name}. "
            "Please include a primary key configuration for this stream."
        )
    valid = property_fields(stream)
    if any(path not in valid for path in key):
        raise bad_request(
            f"Invalid primary key for stream: {stream.name}. The list of valid primary keys fields: {valid}."
        )
    if fields is not None and any(path[0] not in fields for path in key):
        raise bad_request(
            f"Primary key fields are not selected properly for stream: {stream.name}. "
            "Please include primary key(s) in selected fields for this stream."
        )
    return key


def schedule(given: dict[str, Any] | None) -> dict[str, Any]:
    """Return a connection's schedule as the API returns it.

    Raises:
        Problem: 501 for a cron schedule: this server starts no sync by itself.
    """
    if given is None or given["scheduleType"] == "manual":
        return {"scheduleType": "manual"}
    raise not_implemented(
        "schedule.scheduleType cron is not supported: this server starts no sync by itself. Use manual."
    )


def configured(catalog: list[dict[str, Any]], streams: list[dict[str, Any]]) -> list[ConfiguredStream]:
    """Return what a sync has to read.

    Args:
        catalog: the streams as discovered, stored with the connection.
        streams: the connection's stream configurations.
    """
    by_id = {(stream["namespace"], stream["name"]): stream_from_json(stream) for stream in catalog}
    result = []
    for entry in streams:
        stream = by_id[(entry["namespace"], entry["name"])]
        fields = [item["fieldPath"][0] for item in entry.get("selectedFields") or []]
        if fields:
            properties = stream.json_schema["properties"]
            narrowed = {name: properties[name] for name in fields}
            stream = replace(stream, json_schema={**stream.json_schema, "properties": narrowed})
        mode = entry["syncMode"]
        incremental = mode.startswith("incremental")
        cursor = entry["cursorField"] if incremental else []
        overwrite, deduplicate = mode.startswith("full_refresh_overwrite"), mode in DEDUPLICATING
        key = entry["primaryKey"]
        result.append(ConfiguredStream(stream, incremental, overwrite, cursor, deduplicate, key, bool(fields)))
    return result


def stream_to_json(stream: Stream) -> dict[str, Any]:
    """Return a stream as it is stored."""
    return {
        "name": stream.name,
        "namespace": stream.namespace,
        "jsonSchema": stream.json_schema,
        "sourceDefinedPrimaryKey": stream.primary_key,
        "supportedSyncModes": list(stream.sync_modes),
        "defaultCursorField": stream.default_cursor,
        "sourceDefinedCursor": stream.source_defined_cursor,
    }


def stream_from_json(stored: dict[str, Any]) -> Stream:
    """Return a stored stream."""
    return Stream(
        stored["name"],
        stored["namespace"],
        stored["jsonSchema"],
        stored["sourceDefinedPrimaryKey"],
        tuple(stored["supportedSyncModes"]),
        stored["defaultCursorField"],
        stored.get("sourceDefinedCursor", False),
    )
