"""Which connectors there are, and how a stored configuration becomes one that runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.airbyte import configuration as configurations
from sandbox.airbyte import specifications
from sandbox.airbyte.connectors import (
    elasticsearch_destination,
    landing,
    postgres,
    postgres_session,
    s3_destination,
    s3_source,
)
from sandbox.airbyte.connectors.base import Destination, Source
from sandbox.airbyte.connectors.postgres_cdc.source import PostgresCdcSource
from sandbox.airbyte.connectors.postgres_destination import PostgresDestination
from sandbox.airbyte.declarative.manifest import Manifest
from sandbox.airbyte.declarative.source import DeclarativeSource
from sandbox.airbyte.problems import not_implemented, unknown_value, unprocessable

_ELSEWHERE = {
    "source": {"mysql", "mongodb-v2", "mssql", "file", "faker", "oracle", "snowflake", "bigquery", "google-sheets"},
    "destination": {"mysql", "snowflake", "bigquery", "s3-data-lake", "gcs", "duckdb"},
}
"""Connectors that Airbyte is known to have and this server has not: they get 501, not "no such thing"."""


@dataclass(frozen=True)
class Definition:
    """A connector definition.

    Attributes:
        id: Airbyte's id of the definition.
        kind: ``source`` or ``destination``.
        type: ``sourceType`` or ``destinationType``; empty for declarative sources, as in Airbyte.
        name: name for people.
        docker_repository: image of the real connector.
        docker_image_tag: version of the real connector whose configuration is spoken.
        specification: JSON schema of the configuration.
        manifest: the low-code manifest of a declarative source.
        version: version of the manifest.
        sync_modes: what a destination can do with records: ``append``, ``overwrite``, ``append_dedup``.
    """

    id: str
    kind: str
    type: str
    name: str
    docker_repository: str
    docker_image_tag: str
    specification: dict[str, Any]
    manifest: dict[str, Any] | None = None
    version: int = 1
    sync_modes: tuple[str, ...] = ()


SOURCE_POSTGRES = Definition(
    "decd338e-5647-4c0b-adf4-da0e75f5a750",
    "source",
    "postgres",
    "Postgres",
    "airbyte/source-postgres",
    "3.8.4",
    specifications.SOURCE_POSTGRES,
)
SOURCE_S3 = Definition(
    "69589781-7828-43c5-9f63-8925b1c1ccc2",
    "source",
    "s3",
    "S3",
    "airbyte/source-s3",
    "4.16.1",
    specifications.SOURCE_S3,
)
DESTINATION_S3 = Definition(
    "4816b78f-1489-44c1-9060-4b19d5fa9362",
    "destination",
    "s3",
    "S3",
    "airbyte/destination-s3",
    "1.9.0",
    specifications.DESTINATION_S3,
    sync_modes=("append", "overwrite"),
)
DESTINATION_POSTGRES = Definition(
    "25c5221d-dce2-4163-ade9-739ef790f503",
    "destination",
    "postgres",
    "Postgres",
    "airbyte/destination-postgres",
    "3.0.13",
    specifications.DESTINATION_POSTGRES,
    sync_modes=("append", "overwrite", "append_dedup"),
)
DESTINATION_ELASTICSEARCH = Definition(
    "68f351a7-2745-4bef-ad7f-996b8e51bb8c",
    "destination",
    "elasticsearch",
    "ElasticSearch",
    "airbyte/destination-elasticsearch",
    "0.1.6",
    specifications.DESTINATION_ELASTICSEARCH,
    sync_modes=("append", "overwrite"),
)
BUILT_IN = (SOURCE_POSTGRES, SOURCE_S3, DESTINATION_S3, DESTINATION_POSTGRES, DESTINATION_ELASTICSEARCH)


def declarative(definition_id: str, name: str, manifest: dict[str, Any], version: int) -> Definition:
    """Return the definition that a manifest makes.

    Raises:
        Problem: 422 if the manifest is wrong, 501 if it uses a component that is not interpreted; both name it.
    """
    specification = Manifest.parse(manifest).specification
    repository, tag = "airbyte/source-declarative-manifest", str(manifest.get("version", "0.0.0"))
    return Definition(definition_id, "source", "", name, repository, tag, specification, manifest, version)


def by_type(kind: str, connector_type: str) -> Definition:
    """Return the built-in definition of a ``sourceType`` or ``destinationType``.

    Raises:
        Problem: 400 for a name that nobody knows, 501 for one that Airbyte has and this server has not.
    """
    for definition in BUILT_IN:
        if (definition.kind, definition.type) == (kind, connector_type):
            return definition
    if connector_type in _ELSEWHERE[kind]:
        have = ", ".join(definition.type for definition in BUILT_IN if definition.kind == kind)
        raise not_implemented(f"{kind} connector {connector_type!r} is missing here; this server has: {have}.")
    raise unknown_value(connector_type)


def refuse_invalid(definition: Definition, configuration: Any) -> None:
    """Check a configuration before it is stored.

    Raises:
        Problem: 422 naming every field that is missing, unknown or wrong; 501 naming what is valid but missing here.
    """
    wrong = faults(definition, configuration)
    if wrong:
        raise unprocessable("The provided configuration does not fulfill the specification. " + "; ".join(wrong))
    missing = unsupported(definition, configuration)
    if missing:
        raise not_implemented(" ".join(missing))


def faults(definition: Definition, configuration: Any) -> list[str]:
    """Return what is wrong with a configuration, each as a sentence that names the field."""
    wrong = configurations.mistakes(configuration, definition.specification)
    if not wrong and definition is DESTINATION_S3:
        wrong = landing.problems(configuration)
    return wrong


def unsupported(definition: Definition, configuration: dict[str, Any]) -> list[str]:
    """Return what a valid configuration asks for that this server cannot do."""
    if definition in (SOURCE_POSTGRES, DESTINATION_POSTGRES):
        return postgres_session.unsupported(configuration)
    if definition is SOURCE_S3:
        return s3_source.unsupported(configuration)
    if definition is DESTINATION_ELASTICSEARCH:
        return elasticsearch_destination.unsupported(configuration)
    if definition is DESTINATION_S3:
        return s3_destination.unsupported(configuration)
    return []


def source(definition: Definition, configuration: dict[str, Any]) -> Source:
    """Return a source that runs with this configuration."""
    if definition.manifest is not None:
        return DeclarativeSource(Manifest.parse(definition.manifest), configuration)
    if definition is SOURCE_POSTGRES:
        if configuration.get("replication_method", {}).get("method") == "CDC":
            return PostgresCdcSource(configuration)
        return postgres.PostgresSource(configuration)
    return s3_source.S3Source(configuration)


def destination(definition: Definition, configuration: dict[str, Any], spool: Path, sync_id: int) -> Destination:
    """Return a destination that runs with this configuration; ``spool`` is its working directory."""
    if definition is DESTINATION_POSTGRES:
        return PostgresDestination(configuration, spool, sync_id)
    if definition is DESTINATION_ELASTICSEARCH:
        return elasticsearch_destination.ElasticsearchDestination(configuration, spool, sync_id)
    return s3_destination.S3Destination(configuration, spool, sync_id)
