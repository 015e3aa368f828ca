"""References from a database's file to Airflow connections: ``{{ conn.<id>.host }}``.

The password is not among them. A file has Superset's mask, ``XXXXXXXXXX``, where it belongs, and the password of the
connection that the URI refers to goes beside the bundle when it is sent.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from superset_provider.exceptions import SupersetConfigurationError

MASK = "XXXXXXXXXX"
_REFERENCE = re.compile(r"\bconn\.([A-Za-z0-9_]+)")
_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:token|password|secret|key)[^=&]*=)[^&]+", re.IGNORECASE)
_SHOWN = ("conn_id", "conn_type", "host", "login", "port", "schema", "extra_dejson")


class _Connection:
    """What a file may see of a connection."""

    def __init__(self, found: Any) -> None:
        for name in _SHOWN:
            setattr(self, name, getattr(found, name))


class _Connections:
    """Looks connections up by attribute: ``conn.<id>``."""

    def __getattr__(self, conn_id: str) -> _Connection:
        if conn_id.startswith("_"):
            raise AttributeError(conn_id)
        return _Connection(_connection(conn_id))


_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


def has_references(text: Any) -> bool:
    """Whether a text of a database's file refers to a connection."""
    return isinstance(text, str) and "{{" in text


def resolve(text: str, path: str) -> str:
    """A text with the values of the connections it refers to.

    :param text: For example ``dremio+flight://{{ conn.dremio_default.login }}:XXXXXXXXXX@host/``.
    :param path: File and field, for messages.
    :raises SupersetConfigurationError: Airflow has no such connection, or it lacks the field; names no value.
    """
    try:
        return _ENVIRONMENT.from_string(text).render(conn=_Connections())
    except TemplateError as error:
        hint = f" A password is written {MASK}; it is taken from the connection." if ".password" in text else ""
        raise SupersetConfigurationError(
            f"{path}: refers to what the Airflow connection does not have: {error}.{hint}",
            check=f"the reference; allowed: {', '.join(f'conn.<id>.{name}' for name in _SHOWN)}.",
        ) from error


def needs_password(uri: str) -> bool:
    """Whether a URI has the mask where its password belongs."""
    return f":{MASK}@" in uri


def password_for(uri: str, path: str) -> str | None:
    """The password of the connection that a masked URI refers to; None when it refers to none.

    :param uri: As it stands in the file.
    :param path: The file, for messages.
    :raises SupersetConfigurationError: It refers to several connections, or to one without password.
    """
    named = sorted(set(_REFERENCE.findall(uri)))
    if not named:
        return None
    if len(named) > 1:
        raise SupersetConfigurationError(
            f"{path}: sqlalchemy_uri: refers to {', '.join(named)}.",
            check="a masked password is that of the one connection which the URI refers to.",
        )
    password = _connection(named[0]).password
    if not password:
        raise SupersetConfigurationError(
            f"{path}: sqlalchemy_uri: has a masked password, but the Airflow connection {named[0]!r} has none.",
            check="the connection.",
        )
    return str(password)


def same_uri(left: str, right: str) -> bool:
    """Whether two URIs lead to the same database, whatever their spelling and their password."""
    return _parts(left) == _parts(right)


def without_secrets(uri: str) -> str:
    """A URI as Superset exports it, fit for a file: Superset masks the password, but no token among the parameters."""
    return _SECRET_PARAMETER.sub(rf"\1{MASK}", uri)


def _parts(uri: str) -> tuple[Any, ...]:
    split = urlsplit(uri)
    return (
        split.scheme,
        unquote(split.username or ""),
        (split.hostname or "").lower(),
        split.port,
        unquote(split.path),
        sorted(parse_qsl(split.query, keep_blank_values=True)),
    )


def _connection(conn_id: str) -> Any:
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise SupersetConfigurationError(
            f"Airflow has no connection {conn_id!r}, to which a database of the bundle refers.",
            check=f"airflow connections add {conn_id} ..",
        ) from error
