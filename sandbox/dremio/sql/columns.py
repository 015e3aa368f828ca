"""Column types as written in DDL."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.errors import SqlglotError

from sandbox.dremio.errors import ParseError, UnsupportedError, ValidationError
from sandbox.dremio.types import normalise


def type_of(text: str) -> str:
    """Return the normalised type that a type's text means, e.g. ``varchar(10)`` -> ``VARCHAR``.

    Raises:
        ParseError: if it is not a type.
        UnsupportedError: for LIST, STRUCT and ROW, whose notation sqlglot does not read.
    """
    if text.upper().startswith(("LIST", "STRUCT", "ROW", "MAP", "ARRAY")):
        raise UnsupportedError(f"The column type {text}")
    try:
        kind = exp.DataType.build(text, dialect="dremio")
    except (SqlglotError, ValueError) as error:
        raise ParseError(f"Failure parsing the query.\nInvalid column type [{text}].") from error
    if kind.is_type("decimal"):
        numbers = [int(parameter.name) for parameter in kind.expressions] or [38, 0]
        precision, scale = (*numbers, 0)[:2]
        if not 1 <= precision <= 38 or not 0 <= scale <= precision:
            raise ValidationError(f"DECIMAL({precision}, {scale}) is out of range: precision 1 to 38, scale up to it.")
        return f"DECIMAL({precision},{scale})"
    if kind.is_type("varbinary", "binary"):
        return "BLOB"
    if kind.is_type("float"):
        return "FLOAT"
    kind.set("expressions", None)
    name = kind.sql("duckdb")
    return normalise({"TEXT": "VARCHAR", "INT": "INTEGER", "REAL": "FLOAT"}.get(name, name))
