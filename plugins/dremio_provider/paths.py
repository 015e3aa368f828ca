"""Dataset paths: the dotted, quoted way people and SQL write them, and the list of parts the REST API wants."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from dremio_provider.exceptions import DremioConfigurationError


def parse_path(path: str | Sequence[str]) -> tuple[str, ...]:
    """Split a dataset path into its parts.

    :param path: ``gold.orders``, ``lake.datalake.silver.customers."version=v2"`` (a doubled quote stands for one), or
        the parts themselves.
    :returns: The parts, unquoted.
    :raises DremioConfigurationError: An empty part or a quote that never closes.
    """
    parts = tuple(_split(path) if isinstance(path, str) else path)
    if not parts or not all(parts):
        raise DremioConfigurationError(
            f"{path!r} is not a dataset path.",
            check='write it as space.folder.name; a part with a dot or another special character goes into "quotes".',
        )
    return parts


def _split(path: str) -> list[str]:
    parts: list[str] = []
    current: list[str] = []
    quoted = False
    position = 0
    while position < len(path):
        char = path[position]
        if char == '"':
            if quoted and path[position + 1 : position + 2] == '"':
                current.append('"')
                position += 1
            else:
                quoted = not quoted
        elif char == "." and not quoted:
            parts.append("".join(current))
            current = []
        else:
            current.append(char)
        position += 1
    parts.append("".join(current))
    return [] if quoted else parts


def quote_path(path: str | Sequence[str]) -> str:
    """Write a path for SQL: every part in double quotes, inner quotes doubled.

    :param path: As for :func:`parse_path`.
    """
    return ".".join('"' + part.replace('"', '""') + '"' for part in parse_path(path))


def display_path(path: str | Sequence[str]) -> str:
    """Write a path for people: quotes only where a part needs them."""
    return ".".join(
        part if part.replace("_", "a").isalnum() else '"' + part.replace('"', '""') + '"' for part in parse_path(path)
    )


def url_path(path: str | Sequence[str]) -> str:
    """Write a path for ``/catalog/by-path/``: percent-encoded segments, no quotes."""
    return "/".join(quote(part, safe="") for part in parse_path(path))


def sql_literal(value: str) -> str:
    """A string literal for SQL; Dremio takes no bound parameters over REST."""
    return "'" + value.replace("'", "''") + "'"
