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
                "how-to-guide": [
                    f"/docs/providers/superset/{page}.md"
                    for page in ("warming", "assets", "operators", "sensors", "connection", "security")
                ],
            }
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": ["superset_provider.hooks.superset"]}],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    f"superset_provider.operators.{name}" for name in ("assets", "charts", "datasets", "warm_dashboard")
                ],
            }
        ],
        "sensors": [{"integration-name": _NAME, "python-modules": ["superset_provider.sensors.freshness"]}],
        "triggers": [
            {
                "integration-name": _NAME,
                "python-modules": [f"superset_provider.triggers.{name}" for name in ("freshness", "warm_dashboard")],
            }
        ],
        "extra-links": ["superset_provider.links.SupersetDashboardLink"],
        "connection-types": [
            {
                "connection-type": "superset",
                "hook-class-name": "superset_provider.hooks.superset.SupersetHook",
                "hook-name": _NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {"host": "Host", "login": "User", "password": "Password or API key"},
                    "placeholders": {
                        "host": "superset.example.com, or https://example.com/superset",
                        "port": "8088",
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
        "tls": _field("TLS", "Whether the connection is encrypted; a host with https:// is.", "boolean", False),
        "verify": _field(
            "Verify the certificate",
            "Switch off only for a self-signed certificate in a test network.",
            "boolean",
            True,
        ),
        "ca_file": _field(
            "Certificate authorities",
            "PEM file on the workers that the certificate is checked against; empty: the system's authorities.",
            "string",
        ),
        "auth": _field(
            "Log in with",
            "What the password field holds; an API key needs FAB_API_KEY_ENABLED in Superset's configuration.",
            "string",
            "password",
            enum=["password", "api_key"],
        ),
        "provider": _field(
            "Authentication provider", "Who checks the password for Superset.", "string", "db", enum=["db", "ldap"]
        ),
    }


def _field(label: str, description: str, kind: str, default: Any = None, **rules: Any) -> dict[str, Any]:
    preset = {} if default is None else {"default": default}
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **preset, **rules}}
