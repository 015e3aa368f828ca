"""Values for SQL. Dremio's REST takes no bound parameters, so a value is written as a literal of exactly its type, or
refused: nothing reaches the server that a value's own text could turn into SQL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from dremio_provider.exceptions import DremioTerminalError
from dremio_provider.paths import sql_literal

Parameters = Sequence[Any] | Mapping[str, Any]

_MAX_BIGINT = 2**63
# Dremio's decimals have 38 digits at most.
_MAX_DIGITS = 38
# What may hold a per cent sign without being a placeholder, or is one.
_TOKENS = re.compile(
    r"""(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|(?:--|//)[^\n]*|/\*.*?\*/)|(?P<open>['"]|/\*)"""
    r"""|%(?:(?P<escaped>%)|\((?P<name>[^)]*)\)s|(?P<positional>s))""",
    re.DOTALL,
)
_PLACEHOLDER = re.compile(r"%(?:%|\([^)]*\)s|s)")


def bind(sql: str, parameters: Parameters | None) -> str:
    """Put values into a statement.

    :param sql: With ``%s`` for each value of a sequence, or ``%(name)s`` for those of a mapping; ``%%`` is a per cent
        sign. Without parameters the text is taken as it is.
    :param parameters: The values; an empty collection is none.
    :returns: The statement with literals.
    :raises DremioTerminalError: A placeholder stands in quotes or a comment, a value is missing or left over, or has a
        type that cannot be written safely. Values are never part of the message.
    """
    if not parameters:
        return sql
    named = isinstance(parameters, Mapping)
    if not named and (isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence)):
        raise _refused(f"Parameters of type {type(parameters).__name__} cannot be bound.", "a list, tuple or mapping.")
    used: set[Any] = set()

    def replace(match: re.Match[str]) -> str:
        if match["quoted"] is not None:
            return _unescape(match["quoted"])
        if match["open"] is not None:
            raise _refused("The statement has a quote or a comment that never ends.", f"the {match['open']} in it.")
        if match["escaped"]:
            return "%"
        key: Any = match["name"] if named else len(used)
        if named is bool(match["positional"]):
            raise _refused(
                "The statement's placeholders do not fit its parameters.",
                "%(name)s goes with a mapping, %s with a sequence.",
            )
        try:
            value = parameters[key]
        except (KeyError, IndexError):
            raise _refused(f"The statement has no value for parameter {key!r}.", "the placeholders.") from None
        used.add(key)
        return literal(value)

    bound = _TOKENS.sub(replace, sql)
    if not named and len(used) != len(parameters):
        raise _refused(
            f"The statement has {len(used)} placeholders for {len(parameters)} parameters.", "the placeholders."
        )
    return bound


def _unescape(quoted: str) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        raise _refused(
            f"The placeholder {match[0]} stands inside quotes or a comment.",
            "write it without quotes (the value brings its own), and %% for a per cent sign.",
        )

    return _PLACEHOLDER.sub(replace, quoted)


def literal(value: Any) -> str:
    """A value as Dremio's SQL writes it.

    :param value: str, bool, int, Decimal, float, date, datetime, time, bytes, None, or a list of them for ``IN``.
        A datetime with a time zone is converted to UTC, the only zone that Dremio stores; microseconds are cut to
        milliseconds, Dremio's precision.
    :raises DremioTerminalError: Any other type, a number that Dremio has no type for, or an empty list.
    """
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple | set | frozenset):
        return _list(list(value))
    if isinstance(value, datetime):
        return _timestamp(value)
    # Otherwise exactly these types: a subclass may print as anything.
    if (write := _WRITERS.get(type(value))) is not None:
        return write(value)
    raise _refused(
        f"A value of type {type(value).__name__} cannot be bound.",
        "allowed are str, bool, int, Decimal, float, date, datetime, time, bytes, None and lists of them.",
    )


def _list(values: list[Any]) -> str:
    if not values:
        raise _refused("An empty list cannot be bound.", "leave the condition out: IN () is not SQL.")
    if any(isinstance(value, list | tuple | set | frozenset) for value in values):
        raise _refused("A list in a list cannot be bound.", "the parameters.")
    return "(" + ", ".join(literal(value) for value in values) + ")"


def _text(value: str) -> str:
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise _refused("A text with a NUL or a lone surrogate cannot be bound.", "the value's encoding.")
    return sql_literal(value)


def _integer(value: int) -> str:
    if not -_MAX_BIGINT <= value < _MAX_BIGINT:
        raise _refused("An integer beyond 64 bits cannot be bound.", "pass it as a Decimal.")
    # As a cast: the sign of a bare -9223372036854775808 is applied to a number that is no BIGINT, and "1 -%s" with a
    # negative value would begin a comment.
    return f"CAST('{value}' AS BIGINT)" if value < 0 else str(value)


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise _refused("A Decimal that is not a number cannot be bound.", "pass None, or a float.")
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    precision = max(len(digits) + max(0, int(exponent)), scale, 1)
    if precision > _MAX_DIGITS:
        raise _refused(f"A Decimal of {precision} digits cannot be bound.", f"Dremio's have {_MAX_DIGITS} at most.")
    return f"CAST('{value:f}' AS DECIMAL({precision}, {scale}))"


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise _refused("A float that is not a number cannot be bound.", "compare with IS NULL, or leave it out.")
    return f"CAST('{value!r}' AS DOUBLE)"


def _timestamp(value: datetime) -> str:
    try:
        moment = value.astimezone(UTC) if value.tzinfo is not None else value
        # Rebuilt from its numbers: pendulum's and pandas' own kinds print otherwise, and NaT has none.
        plain = datetime(
            moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond
        )
    except (TypeError, ValueError, OverflowError):
        raise _refused(f"A {type(value).__name__} without a date cannot be bound.", "pass None.") from None
    return f"TIMESTAMP '{plain.isoformat(' ', 'milliseconds')}'"


def _time(value: time) -> str:
    if value.tzinfo is not None:
        raise _refused("A time with a time zone cannot be bound.", "Dremio's TIME has none: convert it first.")
    return f"TIME '{value.isoformat('milliseconds')}'"


def _refused(message: str, check: str) -> DremioTerminalError:
    return DremioTerminalError(message, check=check)


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _text,
    bool: lambda value: "TRUE" if value else "FALSE",
    int: _integer,
    Decimal: _decimal,
    float: _float,
    date: lambda value: f"DATE '{value.isoformat()}'",
    time: _time,
    bytes: lambda value: f"FROM_HEX('{value.hex()}')",
}
