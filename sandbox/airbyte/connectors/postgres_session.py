"""How source-postgres and destination-postgres reach a server, and what of their configuration is missing here."""

from __future__ import annotations

from typing import Any

CONNECT_SECONDS = 10


def address(configuration: dict[str, Any]) -> str:
    """Return ``host:port/database`` for messages."""
    return "{host}:{port}/{database}".format(**{"port": 5432, **configuration})


def parameters(configuration: dict[str, Any], application: str, options: str) -> dict[str, Any]:
    """Return libpq's connection parameters.

    Args:
        configuration: as in the connector's specification; valid, with its secrets.
        application: name the server shows for the session.
        options: libpq's ``options``: settings of the session.
    """
    return {
        "host": configuration["host"],
        "port": str(configuration.get("port", 5432)),
        "dbname": configuration["database"],
        "user": configuration["username"],
        "password": configuration.get("password", ""),
        "sslmode": configuration.get("ssl_mode", {}).get("mode", "prefer"),
        "connect_timeout": str(CONNECT_SECONDS),
        "application_name": application,
        "keepalives_idle": "15",
        "tcp_user_timeout": "60000",
        "options": options,
    }


def unsupported(configuration: dict[str, Any]) -> list[str]:
    """Return what a valid configuration asks for that this server cannot do, each as a sentence naming the field."""
    missing = []
    tunnel = configuration.get("tunnel_method", {}).get("tunnel_method", "NO_TUNNEL")
    if tunnel != "NO_TUNNEL":
        missing.append(f"tunnel_method.tunnel_method {tunnel} is not supported; only NO_TUNNEL is.")
    mode = configuration.get("ssl_mode", {}).get("mode", "prefer")
    if mode.startswith("verify"):
        missing.append(f"ssl_mode.mode {mode} is not supported; only disable, allow, prefer and require are.")
    missing.extend(
        f"{name} is not supported."
        for name in ("jdbc_url_params", "entra_service_principal_auth", "disable_type_dedupe")
        if configuration.get(name)
    )
    return missing


def failure_type(reason: str) -> str:
    """Return how a failure with this message counts: ``config_error`` if trying again cannot help."""
    wrong = ("authentication failed", "does not exist", "permission denied", "depend on it")
    return "config_error" if any(part in reason for part in wrong) else "transient_error"
