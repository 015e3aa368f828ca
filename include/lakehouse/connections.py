"""Addresses and secrets: the Airflow connections, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class ConnectionMissing(LookupError):
    """Airflow knows no connection of this name."""


@dataclass(frozen=True)
class Address:
    """One Airflow connection.

    Args:
        conn_id: Its id.
        conn_type: Its type, such as "aws".
        host: Host, or a whole URL.
        port: TCP port.
        login: User, client id or access key.
        password: Password, client secret or secret key.
        schema: Database, path or URL scheme, by type.
        extra: Everything else.
    """

    conn_id: str
    conn_type: str = ""
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = field(default="", repr=False)
    schema: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """The root URL of an HTTP service, without a trailing slash; "http" when no scheme is given."""
        scheme, separator, rest = self.host.partition("://")
        if not separator:
            scheme, rest = (self.schema if self.schema in ("http", "https") else "http"), self.host
        rest = rest.rstrip("/")
        if self.port and "/" not in rest and ":" not in rest:
            rest = f"{rest}:{self.port}"
        return f"{scheme}://{rest}"


def get(conn_id: str) -> Address:
    """Return one Airflow connection.

    Args:
        conn_id: Its id.

    Returns:
        Its values, as plain Python.

    Raises:
        ConnectionMissing: When Airflow has none of that id.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ConnectionMissing(
            f"Airflow has no connection {conn_id!r}. Add it (airflow connections add {conn_id} ...) "
            f"or set AIRFLOW_CONN_{conn_id.upper()}, then run this again."
        ) from error
    return Address(
        conn_id=conn_id,
        conn_type=found.conn_type or "",
        host=found.host or "",
        port=found.port,
        login=found.login or "",
        password=found.password or "",
        schema=found.schema or "",
        extra=found.extra_dejson,
    )
