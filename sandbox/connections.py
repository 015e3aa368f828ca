"""The Airflow connections of the sandbox: where each system is, who logs in. On a real platform only these differ."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

from sandbox.airflow import home
from sandbox.airflow_api import AirflowClient
from sandbox.settings import Settings, write_atomically

_COMPARED = ("conn_type", "host", "login", "schema", "port")


def declared(settings: Settings) -> list[dict[str, Any]]:
    """Return the connections as Airflow's API takes them."""
    lake_extra = {
        "endpoint_url": settings["S3_ENDPOINT"],
        "region_name": settings["S3_REGION"],
        "service_config": {"s3": {"bucket_name": settings["S3_BUCKET"]}},
        "config_kwargs": {
            "s3": {"addressing_style": "path"},
            # The S3 server stores the chunked encoding of newer checksums as if it were content.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
    }
    dremio_extra = {"flight_port": urlsplit(settings["DREMIO_FLIGHT"]).port, "tls": False, "edition": "community"}
    dremio, search = urlsplit(settings["DREMIO_URL"]), urlsplit(settings["ELASTICSEARCH_URL"])
    return [
        _connection(
            "airbyte_default",
            "airbyte",
            host=f"{settings['AIRBYTE_URL']}/api/public/v1",
            login=settings["AIRBYTE_CLIENT_ID"],
            password=settings["AIRBYTE_CLIENT_SECRET"],
        ),
        _connection("airbyte_config", "http", host=settings["AIRBYTE_CONFIG_URL"]),
        _connection(
            "dremio_default",
            "dremio",
            host=dremio.hostname,
            port=dremio.port,
            login=settings["DREMIO_USER"],
            password=settings["DREMIO_PASSWORD"],
            extra=dremio_extra,
        ),
        _connection(
            "superset_default",
            "superset",
            host=settings["SUPERSET_URL"],
            login=settings["SUPERSET_USER"],
            password=settings["SUPERSET_PASSWORD"],
        ),
        _connection(
            "lake_s3", "aws", login=settings["S3_ACCESS_KEY"], password=settings["S3_SECRET_KEY"], extra=lake_extra
        ),
        _connection("elasticsearch_default", "elasticsearch", host=search.hostname, port=search.port, schema="http"),
        _postgres("metadata_postgres", settings["METADATA_POSTGRES_DSN"]),
        _postgres("shop_postgres", settings["SOURCE_POSTGRES_DSN"]),
        _connection(
            "payment_provider",
            "http",
            host=settings["PAYMENT_PROVIDER_URL"],
            password=settings["PAYMENT_PROVIDER_TOKEN"],
        ),
    ]


def apply(settings: Settings, client: AirflowClient) -> list[str]:
    """Create the connections that are missing and update those that differ.

    Airflow does not give a password back, so what was last written is remembered as a hash.

    Returns:
        the ids that were written.
    """
    path = home(settings) / "connections.json"
    remembered: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    answer = client.request("GET", "/api/v2/connections", params={"limit": 100}).json()
    existing = {connection["connection_id"]: connection for connection in answer["connections"]}
    written = []
    for connection in declared(settings):
        name = connection["connection_id"]
        found = existing.get(name)
        if found is not None and remembered.get(name) == fingerprint(connection) and same(found, connection):
            continue
        if found is None:
            client.request("POST", "/api/v2/connections", json=connection)
        else:
            client.request("PATCH", f"/api/v2/connections/{name}", json=connection)
        remembered[name] = fingerprint(connection)
        written.append(name)
    if written:
        write_atomically(path, json.dumps(remembered, indent=2) + "\n", mode=0o600)
    return written


def same(found: dict[str, Any], connection: dict[str, Any]) -> bool:
    """Return whether what Airflow shows of a connection is what is declared."""
    extra = json.loads(found.get("extra") or "{}") == json.loads(connection.get("extra") or "{}")
    return extra and all((found.get(key) or None) == (connection.get(key) or None) for key in _COMPARED)


def fingerprint(connection: dict[str, Any]) -> str:
    """Return a hash of a declared connection, its password included."""
    return hashlib.sha256(json.dumps(connection, sort_keys=True).encode()).hexdigest()


def _connection(name: str, conn_type: str, **fields: Any) -> dict[str, Any]:
    extra = fields.pop("extra", None)
    connection = {"connection_id": name, "conn_type": conn_type, **fields}
    return {**connection, "extra": json.dumps(extra)} if extra else connection


def _postgres(name: str, dsn: str) -> dict[str, Any]:
    parts = urlsplit(dsn)
    return _connection(
        name,
        "postgres",
        host=parts.hostname,
        port=parts.port,
        login=parts.username,
        password=parts.password,
        schema=parts.path.strip("/"),
    )
