"""Bodies of the public API's answers: promised by its OpenAPI description, and checked before they are sent."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from sandbox.airbyte.requests import ConnectionStatus, NamespaceDefinition, SchemaUpdates, SyncMode

JobStatus = Literal["pending", "queued", "running", "incomplete", "failed", "succeeded", "cancelled"]
"""Airbyte's enumeration. ``queued`` is never answered: the stock Airflow operator does not know it."""
JobType = Literal["sync", "reset", "refresh", "clear"]


class Answer(BaseModel):
    """A JSON object with camelCase names and no field that is not declared."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


Item = TypeVar("Item", bound=BaseModel)


class Page(Answer, Generic[Item]):
    """A page of a list; the neighbours are addresses, empty where there is none."""

    previous: str
    next: str
    data: list[Item]


class Token(BaseModel):
    """An access token."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int


class Refused(Answer):
    """What wrong credentials are answered with."""

    error_id: UUID


class Workspace(Answer):
    """A workspace."""

    workspace_id: UUID
    name: str
    data_residency: str
    notifications: dict[str, Any]


class _Actor(Answer):
    name: str
    definition_id: UUID
    workspace_id: UUID
    configuration: dict[str, Any]
    created_at: int


class Source(_Actor):
    """A source; secrets in its configuration are masked."""

    source_id: UUID
    source_type: str


class Destination(_Actor):
    """A destination; secrets in its configuration are masked."""

    destination_id: UUID
    destination_type: str


class StreamProperties(Answer):
    """A stream of a source."""

    stream_name: str
    streamnamespace: str | None
    sync_modes: list[SyncMode] | None
    default_cursor_field: list[str]
    source_defined_cursor_field: bool
    source_defined_primary_key: list[list[str]]
    property_fields: list[list[str]]


class SelectedFieldInfo(Answer):
    """A field of a stream that is read."""

    field_path: list[str]


class StreamConfigurationInfo(Answer):
    """A stream of a connection."""

    name: str
    namespace: str | None
    sync_mode: SyncMode
    cursor_field: list[str]
    primary_key: list[list[str]]
    selected_fields: list[SelectedFieldInfo]
    mappers: list[dict[str, Any]]
    include_files: bool
    destination_object_name: str | None


class StreamConfigurationsInfo(Answer):
    """The streams of a connection."""

    streams: list[StreamConfigurationInfo]


class ScheduleInfo(Answer):
    """When a connection runs: here only when it is told to."""

    schedule_type: Literal["manual"]


class Connection(Answer):
    """A connection."""

    connection_id: UUID
    name: str
    source_id: UUID
    destination_id: UUID
    workspace_id: UUID
    status: ConnectionStatus
    schedule: ScheduleInfo
    namespace_definition: NamespaceDefinition
    namespace_format: str | None
    prefix: str
    non_breaking_schema_updates_behavior: SchemaUpdates
    tags: list[dict[str, Any]]
    configurations: StreamConfigurationsInfo
    created_at: int


class Job(Answer):
    """A job."""

    job_id: int
    status: JobStatus
    job_type: JobType
    start_time: str
    connection_id: UUID
    last_updated_at: str | None
    duration: str | None
    bytes_synced: int
    rows_synced: int


class Definition(Answer):
    """A connector definition."""

    id: UUID
    name: str
    docker_repository: str
    docker_image_tag: str


class DeclarativeDefinition(Answer):
    """A connector made from a manifest."""

    id: UUID
    name: str
    manifest: dict[str, Any]
    version: int


class ProblemBody(Answer):
    """What every error is answered with (RFC 9457)."""

    status: int
    type: str
    title: str
    detail: str
    documentation_url: str | None
    data: dict[str, Any] | None
