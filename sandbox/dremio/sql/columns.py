"""Column types as written in DDL."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.errors import SqlglotError

from sandbox.dremio.errors import ParseError, UnsupportedError, ValidationError
from sandbox.dremio.sql.tokens import Tokens
from sandbox.dremio.types import normalise


def type_of(text: str) -> str:
    """Return the normalised type that a type's text means, e.g. ``varchar(10)`` -> ``VARCHAR``.

    Lists are written ``LIST<INT>``, ``ARRAY<INT>`` or ``ARRAY(INT)``, structures ``STRUCT<a: INT>`` or ``ROW(a INT)``.

    Raises:
        ParseError: if it is not a type.
        UnsupportedError: for MAP.
    """
    tokens = Tokens(text)
    kind = tokens.take_any("LIST", "ARRAY", "STRUCT", "ROW", "MAP")
    if kind == "MAP":
        raise UnsupportedError(f"The column type {text}")
    if not kind:
        return _plain(text)
    members = tokens.items("<" if tokens.at("<") else "(")
    tokens.finish()
    if kind in ("LIST", "ARRAY"):
        if len(members) != 1:
            raise ParseError(f"Failure parsing the query.\nInvalid column type [{text}].")
        return f"{type_of(members[0])}[]"
    return f"STRUCT({', '.join(_member(member) for member in members)})"


def _member(text: str) -> str:
    tokens = Tokens(text)
    name = tokens.name().replace('"', '""')
    tokens.take(":")
    return f'"{name}" {type_of(tokens.rest())}'


def _plain(text: str) -> str:
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
