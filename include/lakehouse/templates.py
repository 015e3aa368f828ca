"""Declared files refer to Airflow connections (``{{ conn.lake_s3.password }}``); here the references become values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from lakehouse import connections


class TemplateFault(ValueError):
    """A reference in a declared file has no value."""


class _Connection:
    """One Airflow connection as templates see it."""

    def __init__(self, conn_id: str) -> None:
        address = connections.get(conn_id)
        self.host = address.host
        self.port = address.port
        self.login = address.login
        self.password = address.password
        self.schema = address.schema
        self.url = address.url
        self.extra_dejson = dict(address.extra)


class _Connections:
    """Looks connections up by attribute: ``conn.<id>``."""

    def __getattr__(self, conn_id: str) -> _Connection:
        if conn_id.startswith("_"):
            raise AttributeError(conn_id)
        return _Connection(conn_id)


_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


def resolve(value: Any, where: str = "") -> Any:
    """Replace every reference in a declared value.

    A text that is one reference and nothing else becomes the value itself, a number or a boolean too.

    Args:
        value: What a YAML file holds.
        where: The file, and the path inside it, for messages.

    Returns:
        The same structure with values.

    Raises:
        TemplateFault: When a reference cannot be resolved; the message never holds a value.
        ConnectionMissing: When Airflow has no such connection.
    """
    if isinstance(value, dict):
        return {key: resolve(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, f"{where}.{number}") for number, item in enumerate(value)]
    if not isinstance(value, str) or "{{" not in value:
        return value
    text = value.strip()
    try:
        if text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1:
            result = _ENVIRONMENT.compile_expression(text[2:-2], undefined_to_none=False)(conn=_Connections())
            if isinstance(result, StrictUndefined):
                str(result)  # raises, naming what is not there
            return result
        return _ENVIRONMENT.from_string(value).render(conn=_Connections())
    except TemplateError as error:
        raise TemplateFault(
            f"{where}: {value!r} has no value: {error}. Correct the Airflow connection it names."
        ) from error


def references(value: Any) -> Iterator[str]:
    """Yield every text of a declared value that refers to a connection's password."""
    if isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, str) and "{{" in value:
        yield value
