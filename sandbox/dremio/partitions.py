"""PARTITION BY: what its transforms mean and the folder a row's file lies in."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.dremio.entities import Column
from sandbox.dremio.errors import UnsupportedError, ValidationError
from sandbox.dremio.scan import identifier, literal
from sandbox.dremio.sql.tokens import Tokens

_FORMATS = {"YEAR": "%Y", "MONTH": "%Y-%m", "DAY": "%Y-%m-%d", "HOUR": "%Y-%m-%d-%H"}
NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"


def label_sql(partition: Sequence[str], columns: Sequence[Column]) -> str:
    """Return the DuckDB expression for the folder of a row, e.g. ``year=2025/month=10``; ``''`` without partitions.

    Args:
        partition: transforms as written: ``year``, ``"year"``, ``month(order_date)``, ``truncate(3, name)``.
        columns: the table's columns.

    Raises:
        ValidationError: if a column does not exist.
        UnsupportedError: for bucket transforms, whose hash DuckDB does not have.
    """
    parts = [_part(item, columns) for item in partition]
    return " || '/' || ".join(parts) if parts else "''"


def _part(item: str, columns: Sequence[Column]) -> str:
    tokens = Tokens(item)
    first = tokens.name()
    arguments = [] if tokens.done else tokens.items()
    tokens.finish()
    transform = first.upper() if arguments else "IDENTITY"
    name = _unquoted(arguments[-1]) if arguments else first
    column = next((c for c in columns if c.name.lower() == name.lower()), None)
    if column is None:
        raise ValidationError(f"Partition column(s) [{name}] are not found in table.")
    value = identifier(column.name)
    if transform == "IDENTITY":
        return _folder(column.name, f"CAST({value} AS VARCHAR)")
    if transform in _FORMATS:
        return _folder(f"{column.name}_{transform.lower()}", f"strftime({value}, '{_FORMATS[transform]}')")
    if transform == "TRUNCATE" and len(arguments) == 2:
        width = int(arguments[0])
        cut = f"substr({value}, 1, {width})" if column.type == "VARCHAR" else f"{value} - {value} % {width}"
        return _folder(f"{column.name}_trunc", f"CAST({cut} AS VARCHAR)")
    if transform == "BUCKET":
        raise UnsupportedError("PARTITION BY bucket(..); partition by a column, or use LOCALSORT BY,")
    raise ValidationError(f"Invalid partition transform {item}.")


def _folder(name: str, text: str) -> str:
    return f"{literal(name + '=')} || coalesce(url_encode({text}), {literal(NULL_FOLDER)})"


def _unquoted(text: str) -> str:
    tokens = Tokens(text)
    name = tokens.name()
    tokens.finish()
    return name
