"""Bodies of the public API's requests."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

INT64_MAX = 2**63 - 1


def _written_out(text: str) -> str:
    if not re.match(r"\d{4}-\d{2}-\d{2}[Tt ]", text):
        raise ValueError("must be a date and time in ISO 8601")
    return text


JobId = Annotated[int, Path(alias="jobId", ge=0, le=INT64_MAX)]
Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1)]
Moment = Annotated[datetime, BeforeValidator(_written_out)]
"""A date and time in ISO 8601, not a number of seconds."""
NonEmpty = Annotated[str, Field(min_length=1)]
ConnectionStatus = Literal["active", "inactive", "deprecated", "locked"]
NamespaceDefinition = Literal["source", "destination", "custom_format"]
SchemaUpdates = Literal["ignore", "disable_connection", "propagate_columns", "propagate_fully"]
SyncMode = Literal[
    "full_refresh_overwrite",
    "full_refresh_overwrite_deduped",
    "full_refresh_append",
    "full_refresh_update",
    "full_refresh_soft_delete",
    "incremental_append",
    "incremental_deduped_history",
    "incremental_update",
    "incremental_soft_delete",
]


class Body(BaseModel):
    """A JSON object with camelCase names; unknown fields are ignored, as Airbyte ignores them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    def given(self) -> dict[str, Any]:
        """Return the fields that the request contained, with their names on the wire."""
        return self.model_dump(by_alias=True, exclude_unset=True, mode="json")


class ActorCreate(Body):
    """``POST sources`` and ``POST destinations``."""

    name: NonEmpty
    workspace_id: UUID
    configuration: dict[str, Any]
    definition_id: UUID | None = None


class ActorPatch(Body):
    """``PATCH sources/{id}``: fields that are missing stay as they are."""

    name: NonEmpty | None = None
    configuration: dict[str, Any] | None = None


class ActorPut(Body):
    """``PUT sources/{id}``: the configuration is replaced."""

    name: NonEmpty
    configuration: dict[str, Any]


class SelectedField(Body):
    """One field of a stream."""

    field_path: list[str] | None = None


class StreamConfiguration(Body):
    """One stream of a connection."""

    name: NonEmpty
    namespace: str | None = None
    sync_mode: SyncMode | None = None
    cursor_field: list[str] | None = None
    primary_key: list[list[str]] | None = None
    selected_fields: list[SelectedField] | None = None
    mappers: list[dict[str, Any]] | None = None
    include_files: bool | None = None
    destination_object_name: str | None = None


class StreamConfigurations(Body):
    """The streams of a connection."""

    streams: list[StreamConfiguration] | None = None


class ManualSchedule(Body):
    """A connection that runs when it is told to."""

    schedule_type: Literal["manual"]


class CronSchedule(Body):
    """A connection that runs by the clock."""

    schedule_type: Literal["cron"]
    cron_expression: NonEmpty


class ConnectionPatch(Body):
    """``PATCH connections/{id}``: fields that are missing stay as they are."""

    name: str | None = None
    configurations: StreamConfigurations | None = None
    schedule: Annotated[ManualSchedule | CronSchedule, Field(discriminator="schedule_type")] | None = None
    status: ConnectionStatus | None = None
    namespace_definition: NamespaceDefinition | None = None
    namespace_format: str | None = None
    prefix: str | None = None
    non_breaking_schema_updates_behavior: SchemaUpdates | None = None
    tags: list[dict[str, Any]] | None = None


class ConnectionCreate(ConnectionPatch):
    """``POST connections``."""

    source_id: UUID
    destination_id: UUID


class JobCreate(Body):
    """``POST jobs``."""

    connection_id: UUID
    job_type: Literal["sync", "reset", "refresh", "clear"]


class DefinitionCreate(Body):
    """``POST definitions/declarative_sources``."""

    name: NonEmpty
    manifest: dict[str, Any]


class DefinitionUpdate(Body):
    """``PUT definitions/declarative_sources/{id}``."""

    manifest: dict[str, Any]
