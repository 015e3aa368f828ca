"""What Airflow learns about this provider at start-up."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

_DISTRIBUTION = "lakehouse-orchestration"
_NAME = "Apache Superset"


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
        "description": "`Apache Superset <https://superset.apache.org/>`__: assets, chart data and warmed dashboards.",
        "integrations": [
            {
                "integration-name": _NAME,
                "external-doc-url": "https://superset.apache.org/docs/api/",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": ["superset_provider.hooks.superset"]}],
        "operators": [{"integration-name": _NAME, "python-modules": ["superset_provider.operators.warm_dashboard"]}],
        "triggers": [{"integration-name": _NAME, "python-modules": ["superset_provider.triggers.warm_dashboard"]}],
        "extra-links": ["superset_provider.links.SupersetDashboardLink"],
        "connection-types": [
            {
                "connection-type": "superset",
                "hook-class-name": "superset_provider.hooks.superset.SupersetHook",
                "hook-name": _NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {"host": "Address", "login": "User", "password": "Password"},
                    "placeholders": {"host": "https://superset.example.com", "port": "8088", "login": "airflow"},
                },
                "conn-fields": {
                    "provider": {
                        "label": "Authentication provider",
                        "description": "How Superset checks the password.",
                        "schema": {"type": ["string", "null"], "enum": ["db", "ldap"], "default": "db"},
                    },
                    "verify": {
                        "label": "Verify the certificate",
                        "description": "Switch off only for a self-signed certificate in a test network.",
                        "schema": {"type": ["boolean", "null"], "default": True},
                    },
                },
            }
        ],
    }
