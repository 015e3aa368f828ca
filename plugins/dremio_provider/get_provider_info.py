"""What Airflow learns about this provider at start-up."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

_DISTRIBUTION = "lakehouse-orchestration"
_NAME = "Dremio"


def get_provider_info() -> dict[str, Any]:
    """What Airflow is to know: this provider, and those that are installed by the same distribution.

    Airflow asks the first entry point of a distribution and no other, so whichever it asks answers for all.
    """
    infos = [provider_info(), *_siblings()]
    merged: dict[str, Any] = {}
    for info in infos:
        for key, value in info.items():
            merged[key] = [*merged.get(key, []), *value] if isinstance(value, list) else merged.get(key, value)
    merged["name"] = " and ".join(sorted(info["name"] for info in infos))
    return merged


def _siblings() -> list[dict[str, Any]]:
    try:
        entry_points = metadata.distribution(_DISTRIBUTION).entry_points
    except metadata.PackageNotFoundError:
        return []
    modules = {point.module for point in entry_points if point.group == "apache_airflow_provider"}
    return [import_module(module).provider_info() for module in sorted(modules - {__name__})]


def provider_info() -> dict[str, Any]:
    """This provider alone: modules, connection type with its form, and extra links."""
    return {
        "package-name": _DISTRIBUTION,
        "name": _NAME,
        "description": "`Dremio <https://www.dremio.com/>`__: SQL, catalog, reflections and Arrow Flight.",
        "integrations": [
            {
                "integration-name": _NAME,
                "external-doc-url": "https://docs.dremio.com/",
                "tags": ["service"],
                "how-to-guide": [
                    f"/docs/providers/dremio/{page}.md"
                    for page in ("operators", "reflections", "sensors", "transfers", "connection", "security")
                ],
            }
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": ["dremio_provider.hooks.dremio"]}],
        "dialects": [
            {"dialect-type": "dremio", "dialect-class-name": "dremio_provider.hooks.dialect.DremioDialect"},
        ],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    "dremio_provider.operators.catalog",
                    "dremio_provider.operators.reflections",
                    "dremio_provider.operators.sql",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    "dremio_provider.sensors.jobs",
                    "dremio_provider.sensors.reflections",
                    "dremio_provider.sensors.sql",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": _NAME,
                "python-modules": ["dremio_provider.triggers.jobs", "dremio_provider.triggers.reflections"],
            }
        ],
        "transfers": [
            {
                "source-integration-name": _NAME,
                "target-integration-name": "Amazon Simple Storage Service (S3)",
                "python-module": "dremio_provider.transfers.dremio_to_s3",
                "how-to-guide": "/docs/providers/dremio/transfers.md",
            }
        ],
        "asset-uris": [
            {
                "schemes": ["dremio"],
                "handler": "dremio_provider.assets.dremio.sanitize_uri",
                "factory": "dremio_provider.assets.dremio.create_asset",
                "to_openlineage_converter": "dremio_provider.assets.dremio.convert_asset_to_openlineage",
            }
        ],
        "extra-links": ["dremio_provider.links.DremioJobLink", "dremio_provider.links.DremioDatasetLink"],
        "connection-types": [
            {
                "connection-type": "dremio",
                "hook-class-name": "dremio_provider.hooks.dremio.DremioHook",
                "hook-name": _NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {
                        "host": "Host",
                        "port": "REST port",
                        "login": "User",
                        "password": "Password or personal access token",
                    },
                    "placeholders": {
                        "host": "dremio.example.com (empty for Dremio Cloud)",
                        "port": "9047",
                        "login": "airflow",
                    },
                },
                "conn-fields": _connection_fields(),
            }
        ],
    }


def _connection_fields() -> dict[str, dict[str, Any]]:
    """The fields of the connection form that Airflow does not bring along; they are kept in ``extra``."""
    return {
        "flight_port": _field(
            "Arrow Flight port",
            "Where results are read in bulk.",
            "integer",
            default=32010,
            minimum=1,
            maximum=65535,
        ),
        "tls": _field("TLS", "Whether REST and Arrow Flight are encrypted.", "boolean", default=False),
        "verify": _field(
            "Verify the certificate",
            "Switch off only for a self-signed certificate in a test network.",
            "boolean",
            default=True,
        ),
        "ca_file": _field(
            "Certificate authorities",
            "PEM file on the workers that the certificate is checked against; empty: the system's authorities.",
            "string",
        ),
        "auth": _field(
            "Log in with",
            "What the password field holds; empty: a password, for Dremio Cloud a personal access token.",
            "string",
            enum=["password", "personal_access_token"],
        ),
        "project_id": _field("Dremio Cloud project", "Id of the project; empty for Dremio software.", "string"),
        "cloud_host": _field(
            "Dremio Cloud API",
            "Host of the control plane: api.dremio.cloud, or api.eu.dremio.cloud in Europe.",
            "string",
            default="api.dremio.cloud",
        ),
        "edition": _field(
            "Edition",
            "Decides how reflections are refreshed; auto asks the server.",
            "string",
            enum=["auto", "community", "enterprise"],
            default="auto",
        ),
        "default_context": _field(
            "Default context", "Path that unqualified names are looked up in, for example lake.bronze.", "string"
        ),
    }


def _field(label: str, description: str, kind: str, **rules: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **rules}}
