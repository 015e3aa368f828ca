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
            {"integration-name": _NAME, "external-doc-url": "https://docs.dremio.com/", "tags": ["service"]}
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": ["dremio_provider.hooks.dremio"]}],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": ["dremio_provider.operators.reflections", "dremio_provider.operators.sql"],
            }
        ],
        "triggers": [{"integration-name": _NAME, "python-modules": ["dremio_provider.triggers.reflections"]}],
        "extra-links": ["dremio_provider.links.DremioJobLink", "dremio_provider.links.DremioDatasetLink"],
        "connection-types": [
            {
                "connection-type": "dremio",
                "hook-class-name": "dremio_provider.hooks.dremio.DremioHook",
                "hook-name": _NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {"host": "Host", "port": "REST port", "login": "User", "password": "Password"},
                    "placeholders": {"host": "dremio.example.com", "port": "9047", "login": "airflow"},
                },
                "conn-fields": {
                    "flight_port": {
                        "label": "Arrow Flight port",
                        "description": "Where results are read in bulk.",
                        "schema": {"type": ["integer", "null"], "default": 32010, "minimum": 1, "maximum": 65535},
                    },
                    "tls": {
                        "label": "TLS",
                        "description": "Whether REST and Arrow Flight are encrypted.",
                        "schema": {"type": ["boolean", "null"], "default": False},
                    },
                    "verify": {
                        "label": "Verify the certificate",
                        "description": "Switch off only for a self-signed certificate in a test network.",
                        "schema": {"type": ["boolean", "null"], "default": True},
                    },
                    "edition": {
                        "label": "Edition",
                        "description": "Decides how reflections are refreshed; auto asks the server.",
                        "schema": {
                            "type": ["string", "null"],
                            "enum": ["auto", "community", "enterprise"],
                            "default": "auto",
                        },
                    },
                },
            }
        ],
    }
