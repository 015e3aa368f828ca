"""The old Config API: the calls that scripts still make, without credentials on loopback."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import FastAPI
from pydantic import Field

from sandbox.airbyte import problems, registry, views
from sandbox.airbyte.configuration import Redactor, secret_values
from sandbox.airbyte.connectors.base import ConnectorError
from sandbox.airbyte.database import now
from sandbox.airbyte.jobs import Job
from sandbox.airbyte.problems import Problem, state_conflict
from sandbox.airbyte.public_jobs import epoch
from sandbox.airbyte.requests import INT64_MAX, Body
from sandbox.airbyte.state import State
from sandbox.airbyte.store import WORKSPACE_ID, WORKSPACE_NAME, Actor

ROOT = "/api/v1"
Number = Annotated[int, Field(ge=0, le=INT64_MAX)]
ConfigType = Literal[
    "check_connection_source",
    "check_connection_destination",
    "discover_schema",
    "get_spec",
    "sync",
    "reset_connection",
    "refresh",
    "clear",
]
_TYPES = {config: stored for stored, config in views.CONFIG_TYPES.items()}


class ConnectionIdBody(Body):
    """A body that names a connection."""

    connection_id: UUID


class JobIdBody(Body):
    """A body that names a job; a number in quotes is a number, as Jackson reads it."""

    id: Number


class Pagination(Body):
    """A page of a list."""

    page_size: Annotated[int, Field(ge=1, le=1000)] = 20
    row_offset: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class JobListBody(Body):
    """``jobs/list``."""

    config_types: list[ConfigType]
    config_id: str | None = None
    statuses: list[str] | None = None
    created_at_start: datetime | None = None
    created_at_end: datetime | None = None
    pagination: Pagination = Pagination()


class WorkspaceIdBody(Body):
    """A body that names a workspace."""

    workspace_id: UUID


class StreamDescriptor(Body):
    """A stream."""

    name: Annotated[str, Field(min_length=1)]
    namespace: str | None = None


class StreamStateBody(Body):
    """The state of a stream."""

    stream_descriptor: StreamDescriptor
    stream_state: dict[str, Any] | None = None


class GlobalStateBody(Body):
    """A state that streams have in common, and what each has of its own."""

    shared_state: Annotated[dict[str, Any] | None, Field(alias="shared_state")] = None
    stream_states: list[StreamStateBody]


class StateBody(Body):
    """The state of a connection."""

    state_type: Literal["global", "stream", "legacy", "not_set"]
    stream_state: list[StreamStateBody] = Field(default_factory=list)
    global_state: GlobalStateBody | None = None


class StateWriteBody(Body):
    """``state/create_or_update``."""

    connection_id: UUID
    connection_state: StateBody


class SourceIdBody(Body):
    """A body that names a source."""

    source_id: UUID


class DestinationIdBody(Body):
    """A body that names a destination."""

    destination_id: UUID


def create_app(state: State) -> FastAPI:
    """Return the application that serves the Config API.

    Args:
        state: the running server.
    """
    app = FastAPI(title="Airbyte Config API (sandbox)", **problems.NO_EXTRAS)
    problems.install(app, config_api=True)

    @app.get(f"{ROOT}/health")
    def health() -> dict[str, bool]:
        return {"available": True}

    _add_jobs(app, state)
    _add_connections(app, state)
    _add_checks(app, state)
    return app


def _add_jobs(app: FastAPI, state: State) -> None:
    jobs = state.jobs

    @app.post(f"{ROOT}/jobs/get")
    def get_job(body: JobIdBody) -> dict[str, Any]:
        return views.job_info(jobs.get(body.id), jobs)

    @app.post(f"{ROOT}/jobs/get_light")
    def get_job_light(body: JobIdBody) -> dict[str, Any]:
        return {"job": views.job_read(jobs.get(body.id), jobs)}

    @app.post(f"{ROOT}/jobs/cancel")
    def cancel_job(body: JobIdBody) -> dict[str, Any]:
        return views.job_info(state.runner.cancel(body.id), jobs)

    @app.post(f"{ROOT}/jobs/list")
    def list_jobs(body: JobListBody) -> dict[str, Any]:
        found, total = _find(state, body)
        listed = [{"job": views.job_read(job, jobs), "attempts": views.attempts(job, jobs)} for job in found]
        return {"jobs": listed, "totalJobCount": total}


def _find(state: State, body: JobListBody) -> tuple[list[Job], int]:
    types = [_TYPES[name] for name in body.config_types if name in _TYPES]
    where, parameters = [f"type in ({', '.join('?' * len(types))})"], list[Any](types)
    if body.config_id is not None:
        where.append("connection_id = ?")
        parameters.append(body.config_id)
    if body.statuses:
        where.append(f"status in ({', '.join('?' * len(body.statuses))})")
        parameters.extend(body.statuses)
    for condition, moment in (("created_at >= ?", body.created_at_start), ("created_at <= ?", body.created_at_end)):
        if moment is not None:
            where.append(condition)
            parameters.append(epoch(moment))
    page = body.pagination
    return state.jobs.find(where, parameters, "created_at desc", page.page_size, page.row_offset)


def _add_connections(app: FastAPI, state: State) -> None:
    store, jobs = state.store, state.jobs

    @app.post(f"{ROOT}/connections/sync")
    def sync(body: ConnectionIdBody) -> dict[str, Any]:
        return views.job_info(state.runner.sync(str(body.connection_id)), jobs)

    @app.post(f"{ROOT}/connections/get")
    def get_connection(body: ConnectionIdBody) -> dict[str, Any]:
        return views.connection_read(store.connection(str(body.connection_id)))

    @app.post(f"{ROOT}/connections/list")
    def list_connections(body: WorkspaceIdBody) -> dict[str, Any]:
        _require_workspace(body.workspace_id)
        return {"connections": [views.connection_read(connection) for connection in store.connections()]}

    @app.post(f"{ROOT}/workspaces/list")
    def list_workspaces() -> dict[str, Any]:
        return {"workspaces": [{"workspaceId": WORKSPACE_ID, "name": WORKSPACE_NAME, "initialSetupComplete": True}]}

    @app.post(f"{ROOT}/state/get")
    def get_state(body: ConnectionIdBody) -> dict[str, Any]:
        connection = store.connection(str(body.connection_id))
        return views.connection_state(connection.id, jobs)

    @app.post(f"{ROOT}/state/create_or_update")
    def write_state(body: StateWriteBody) -> dict[str, Any]:
        connection = store.connection(str(body.connection_id))
        if jobs.active(connection.id):
            raise state_conflict("State cannot be changed while a sync of the connection is running")
        _write_state(state, connection.id, body.connection_state)
        return views.connection_state(connection.id, jobs)


def _write_state(state: State, connection_id: str, given: StateBody) -> None:
    if given.state_type == "legacy":
        raise problems.not_implemented("stateType legacy is not supported; only global, stream and not_set are.")
    common = given.global_state if given.state_type == "global" else None
    states = {
        (item.stream_descriptor.namespace or "", item.stream_descriptor.name): item.stream_state
        for item in (common.stream_states if common else given.stream_state)
        if item.stream_state is not None
    }
    with state.database.transaction():
        state.jobs.clear_states(connection_id)
        state.jobs.save_states(connection_id, states, (common.shared_state or {}) if common else None)


def _require_workspace(workspace_id: UUID) -> None:
    if str(workspace_id) != WORKSPACE_ID:
        raise problems.not_found("WORKSPACE", str(workspace_id))


def _add_checks(app: FastAPI, state: State) -> None:
    @app.post(f"{ROOT}/sources/check_connection")
    def check_source(body: SourceIdBody) -> dict[str, Any]:
        return _check(state.store.actor("source", str(body.source_id)), state)

    @app.post(f"{ROOT}/destinations/check_connection")
    def check_destination(body: DestinationIdBody) -> dict[str, Any]:
        return _check(state.store.actor("destination", str(body.destination_id)), state)


def _check(actor: Actor, state: State) -> dict[str, Any]:
    """Run a connector's check; a failed one is an answer, not an error."""
    began = int(now())
    message = _first_fault(actor, state)
    answer: dict[str, Any] = {"status": "failed" if message else "succeeded"}
    if message:
        secrets = secret_values(actor.configuration, actor.definition.specification)
        answer["message"] = Redactor(list(secrets))(message)
    answer["jobInfo"] = {
        "id": str(uuid.uuid4()),
        "configType": f"check_connection_{actor.kind}",
        "configId": actor.definition.id,
        "createdAt": began,
        "endedAt": int(now()),
        "succeeded": True,
        "connectorConfigurationUpdated": False,
        "logType": "formatted",
        "logs": {"logLines": []},
    }
    return answer


def _first_fault(actor: Actor, state: State) -> str | None:
    wrong = registry.faults(actor.definition, actor.configuration)
    wrong = wrong or registry.unsupported(actor.definition, actor.configuration)
    if wrong:
        return "; ".join(wrong)
    try:
        if actor.kind == "source":
            registry.source(actor.definition, actor.configuration).check()
        else:
            registry.destination(actor.definition, actor.configuration, state.runner.scratch(), 0).check()
    except (ConnectorError, Problem) as error:
        return error.message
    return None
