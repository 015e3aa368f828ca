"""Stored things as the two APIs show them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sandbox.airbyte import configuration as configurations
from sandbox.airbyte.jobs import TERMINAL, Job, Jobs, StreamCounts, StreamId
from sandbox.airbyte.registry import Definition
from sandbox.airbyte.store import WORKSPACE_ID, Actor, Connection

CONFIG_TYPES = {"sync": "sync", "reset": "reset_connection", "clear": "clear"}


def actor(stored: Actor) -> dict[str, Any]:
    """Return a source or destination for the public API, secrets masked.

    ``sourceType``/``destinationType`` is in the configuration, because Airbyte's own SDK needs it there to read it.
    """
    shown = configurations.masked(stored.configuration, stored.definition.specification)
    type_name = f"{stored.kind}Type"
    if stored.definition.type:
        shown = {**shown, type_name: stored.definition.type}
    return {
        f"{stored.kind}Id": stored.id,
        "name": stored.name,
        type_name: stored.definition.type,
        "definitionId": stored.definition.id,
        "workspaceId": WORKSPACE_ID,
        "configuration": shown,
        "createdAt": stored.created_at,
    }


def connection(stored: Connection) -> dict[str, Any]:
    """Return a connection for the public API."""
    body = {key: value for key, value in stored.body.items() if key != "catalog"}
    return {
        "connectionId": stored.id,
        "name": stored.name,
        "sourceId": stored.source_id,
        "destinationId": stored.destination_id,
        "workspaceId": WORKSPACE_ID,
        "createdAt": stored.created_at,
        **body,
    }


def definition(stored: Definition) -> dict[str, Any]:
    """Return a connector definition for the public API."""
    return {
        "id": stored.id,
        "name": stored.name,
        "dockerRepository": stored.docker_repository,
        "dockerImageTag": stored.docker_image_tag,
    }


def declarative_definition(stored: Definition) -> dict[str, Any]:
    """Return a declarative definition for the public API."""
    return {"id": stored.id, "name": stored.name, "manifest": stored.manifest, "version": stored.version}


def job(stored: Job, jobs: Jobs) -> dict[str, Any]:
    """Return a job for the public API."""
    total = _total(jobs.counts(stored.id).values())
    created, updated = int(stored.created_at), int(stored.updated_at)
    return {
        "jobId": stored.id,
        "status": stored.status,
        "jobType": stored.type,
        "startTime": _utc(created),
        "connectionId": stored.connection_id,
        "lastUpdatedAt": _utc(updated) if stored.status in TERMINAL else None,
        "duration": iso_duration(updated - created) if stored.status != "pending" else None,
        "bytesSynced": total.bytes_committed,
        "rowsSynced": total.records_committed,
    }


def job_read(stored: Job, jobs: Jobs) -> dict[str, Any]:
    """Return a job as the Config API's ``JobRead``."""
    total = _total(jobs.counts(stored.id).values())
    return {
        "id": stored.id,
        "configType": CONFIG_TYPES[stored.type],
        "configId": stored.connection_id,
        "enabledStreams": [_descriptor(*stream) for stream in stored.streams],
        "createdAt": int(stored.created_at),
        "updatedAt": int(stored.updated_at),
        "startedAt": int(stored.started_at) if stored.started_at else None,
        "status": stored.status,
        "aggregatedStats": {
            "recordsEmitted": total.records_emitted,
            "bytesEmitted": total.bytes_emitted,
            "recordsCommitted": total.records_committed,
            "bytesCommitted": total.bytes_committed,
            "recordsRejected": 0,
        },
    }


def attempts(stored: Job, jobs: Jobs) -> list[dict[str, Any]]:
    """Return a job's attempts as the Config API's ``AttemptRead``."""
    return [_attempt(row, jobs.counts(stored.id, row["number"])) for row in jobs.attempts(stored.id)]


def _attempt(row: dict[str, Any], counts: dict[StreamId, StreamCounts]) -> dict[str, Any]:
    total = _total(counts.values())
    streams = [{**_prefixed(_descriptor(*stream)), "stats": _stats(of_stream)} for stream, of_stream in counts.items()]
    return {
        "id": row["number"],
        "status": row["status"],
        "createdAt": int(row["created_at"]),
        "updatedAt": int(row["updated_at"]),
        "endedAt": int(row["ended_at"]) if row["ended_at"] else None,
        "bytesSynced": total.bytes_committed,
        "recordsSynced": total.records_committed,
        "totalStats": _stats(total),
        "streamStats": streams,
        "failureSummary": row["failure"],
    }


def job_info(stored: Job, jobs: Jobs) -> dict[str, Any]:
    """Return a job with its attempts and their structured logs (``JobInfoRead``)."""
    infos = []
    for attempt in attempts(stored, jobs):
        events = jobs.log_events(stored.id, attempt["id"])
        # Airbyte says "formatted" for a log that has no line yet.
        logs: dict[str, Any] = {"events": events, "version": "1"} if events else {"logLines": []}
        infos.append({"attempt": attempt, "logType": "structured" if events else "formatted", "logs": logs})
    return {"job": job_read(stored, jobs), "attempts": infos}


def connection_read(stored: Connection) -> dict[str, Any]:
    """Return a connection as the Config API's ``ConnectionRead``."""
    by_id = {(stream["namespace"], stream["name"]): stream for stream in stored.body["catalog"]}
    streams = []
    for entry in stored.body["configurations"]["streams"]:
        source_mode, _, destination_mode = entry["syncMode"].rpartition("_")
        streams.append(
            {
                "stream": by_id[(entry["namespace"], entry["name"])],
                "config": {
                    "syncMode": source_mode,
                    "destinationSyncMode": destination_mode,
                    "cursorField": entry["cursorField"],
                    "primaryKey": entry["primaryKey"],
                    "selected": True,
                    "fieldSelectionEnabled": bool(entry["selectedFields"]),
                    "selectedFields": entry["selectedFields"],
                },
            }
        )
    return {
        "connectionId": stored.id,
        "name": stored.name,
        "sourceId": stored.source_id,
        "destinationId": stored.destination_id,
        "workspaceId": WORKSPACE_ID,
        "status": stored.body["status"],
        "scheduleType": stored.body["schedule"]["scheduleType"],
        "namespaceDefinition": stored.body["namespaceDefinition"].replace("_", ""),
        "namespaceFormat": stored.body["namespaceFormat"],
        "prefix": stored.body["prefix"],
        "createdAt": stored.created_at,
        "breakingChange": False,
        "syncCatalog": {"streams": streams},
    }


def connection_state(connection_id: str, jobs: Jobs) -> dict[str, Any]:
    """Return a connection's saved state as the Config API's ``ConnectionState``."""
    streams = [
        {"streamDescriptor": _descriptor(*stream), "streamState": state}
        for stream, state in jobs.states(connection_id).items()
    ]
    shared = jobs.shared_state(connection_id)
    if shared is not None:
        # The one name in snake case is Airbyte's: https://github.com/airbytehq/airbyte/issues/26492
        common = {"shared_state": shared, "streamStates": streams}
        return {"stateType": "global", "connectionId": connection_id, "globalState": common}
    if not streams:
        return {"stateType": "not_set", "connectionId": connection_id}
    return {"stateType": "stream", "connectionId": connection_id, "streamState": streams}


def iso_duration(seconds: int) -> str:
    """Return a number of seconds as ISO 8601 writes durations (``PT8M2S``), as Airbyte's Java does."""
    hours, rest = divmod(max(seconds, 0), 3600)
    minutes, left = divmod(rest, 60)
    text = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (left, "S")) if value)
    return f"PT{text or '0S'}"


def _utc(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _descriptor(namespace: str, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace} if namespace else {"name": name}


def _prefixed(descriptor: dict[str, Any]) -> dict[str, Any]:
    return {f"stream{key.capitalize()}": value for key, value in descriptor.items()}


def _stats(counts: StreamCounts) -> dict[str, int]:
    return {
        "recordsEmitted": counts.records_emitted,
        "bytesEmitted": counts.bytes_emitted,
        "recordsCommitted": counts.records_committed,
        "bytesCommitted": counts.bytes_committed,
    }


def _total(counts: Any) -> StreamCounts:
    total = StreamCounts()
    for item in counts:
        total.records_emitted += item.records_emitted
        total.bytes_emitted += item.bytes_emitted
        total.records_committed += item.records_committed
        total.bytes_committed += item.bytes_committed
    return total
