"""Functions of Dremio that DuckDB computes differently, calls by another name, or does not have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from sandbox.dremio.errors import UnsupportedError, ValidationError
from sandbox.dremio.sql.formats import to_strftime

Builder = Callable[[exp.Anonymous], exp.Expr]

UNITS = ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND")
DAY_UNITS = ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """Return a call of a DuckDB function by name."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def no_match(node: exp.Anonymous) -> ValidationError:
    """Return Dremio's error for a function that it does not have, or not with these arguments."""
    types = ", ".join(
        "<CHARACTER>" if a.is_string else "<NUMERIC>" if a.is_number else "<ANY>" for a in node.expressions
    )
    return ValidationError(f"No match found for function signature {node.name.upper()}({types})")


def _arguments(node: exp.Anonymous, *counts: int) -> list[exp.Expr]:
    if len(node.expressions) not in counts:
        raise no_match(node)
    return list(node.expressions)


def _unit(node: exp.Anonymous, argument: exp.Expr) -> str:
    name: str = argument.name.upper().removeprefix("SQL_TSI_")
    if name not in UNITS or argument.is_string:
        raise no_match(node)
    return name


def _timestamp_add(node: exp.Anonymous) -> exp.Expr:
    unit, number, moment = _arguments(node, 3)
    name = _unit(node, unit)
    span = call(f"to_{name.lower()}s", exp.cast(number, "BIGINT"))
    if name in DAY_UNITS:
        return call("dremio_add_days", moment, span)
    return exp.Add(this=exp.cast(moment, "TIMESTAMP"), expression=span)


def _timestamp_diff(node: exp.Anonymous) -> exp.Expr:
    """Count whole units between two moments, as Dremio does; DuckDB's date_diff counts boundaries."""
    unit, start, end = _arguments(node, 3)
    name = exp.Literal.string(_unit(node, unit).lower())
    moments = [exp.cast(moment, "TIMESTAMP") for moment in (start, end)]
    return exp.cast(call("date_sub", name, *moments), "INTEGER")


def _date_diff(node: exp.Anonymous) -> exp.Expr:
    """Days from the second argument to the first: Dremio has no DATEDIFF with a unit."""
    end, start = _arguments(node, 2)
    days = call("date_diff", exp.Literal.string("day"), exp.cast(start, "DATE"), exp.cast(end, "DATE"))
    return exp.cast(days, "INTEGER")


def _to_date(node: exp.Anonymous) -> exp.Expr:
    parsed = _parsed(node)
    return exp.cast(parsed, "DATE") if parsed is not None else call("dremio_to_date", node.expressions[0])


def _to_timestamp(node: exp.Anonymous) -> exp.Expr:
    parsed = _parsed(node)
    return parsed if parsed is not None else call("dremio_to_timestamp", node.expressions[0])


def _to_time(node: exp.Anonymous) -> exp.Expr:
    parsed = _parsed(node)
    return exp.cast(parsed if parsed is not None else node.expressions[0], "TIME")


def _parsed(node: exp.Anonymous) -> exp.Expr | None:
    """Return the text parsed by its format, None without a format. A third argument of 1 makes errors NULL."""
    arguments = _arguments(node, 1, 2, 3)
    if len(arguments) == 1:
        return None
    if not arguments[1].is_string:
        raise UnsupportedError(f"{node.name.upper()} with a format that is not a literal")
    pattern = exp.Literal.string(to_strftime(arguments[1].name))
    lenient = len(arguments) == 3 and arguments[2].name == "1"
    return call("try_strptime" if lenient else "strptime", arguments[0], pattern)


def _ilike(node: exp.Anonymous) -> exp.Expr:
    text, pattern = _arguments(node, 2)
    return exp.Paren(this=exp.ILike(this=text, expression=pattern))


def _flatten(node: exp.Anonymous) -> exp.Expr:
    (values,) = _arguments(node, 1)
    return call("unnest", values)


def _to_char(node: exp.Anonymous) -> exp.Expr:
    moment, pattern = _arguments(node, 2)
    if not pattern.is_string:
        raise UnsupportedError("TO_CHAR with a format that is not a literal")
    if set(pattern.name) & set("#09"):
        raise UnsupportedError(f"TO_CHAR of a number with the format {pattern.name!r}")
    return call("strftime", dated(moment), exp.Literal.string(to_strftime(pattern.name)))


def _to_number(node: exp.Anonymous) -> exp.Expr:
    text, pattern = _arguments(node, 2)
    if not pattern.is_string or set(pattern.name) - set("#0."):
        raise UnsupportedError(f"TO_NUMBER with the format {pattern.name!r}")
    return exp.cast(text, "DOUBLE")


def _convert_timezone(node: exp.Anonymous) -> exp.Expr:
    *zones, moment = _arguments(node, 2, 3)
    origin, target = zones if len(zones) == 2 else (exp.Literal.string("UTC"), zones[0])
    return call("timezone", target, call("timezone", origin, exp.cast(moment, "TIMESTAMP")))


def _unix_timestamp(node: exp.Anonymous) -> exp.Expr:
    moment = _to_timestamp(node) if node.expressions else now()
    return exp.cast(call("floor", call("epoch", moment)), "BIGINT")


def _length(node: exp.Anonymous) -> exp.Expr:
    (text,) = _arguments(node, 1)
    return exp.cast(call("length", text), "INTEGER")


def _log(node: exp.Anonymous) -> exp.Expr:
    """The natural logarithm, or the one to the base that comes first; DuckDB's log is to the base 10."""
    arguments = _arguments(node, 1, 2)
    return call("ln" if len(arguments) == 1 else "log", *arguments)


def _list_aggregate(node: exp.Anonymous) -> exp.Expr:
    values, *separator = node.expressions
    if isinstance(values, exp.Distinct) and len(values.expressions) == 2:
        values, separator = exp.Distinct(expressions=values.expressions[:1]), [values.expressions[1]]
    if len(separator) > 1:
        raise no_match(node)
    return call("string_agg", values, *(separator or [exp.Literal.string("")]))


def within_group(node: exp.Expr) -> exp.Expr | None:
    """Return LISTAGG(..) WITHIN GROUP (ORDER BY ..) as DuckDB writes it: with the order in the call."""
    aggregate = node.this
    if not isinstance(aggregate, exp.Anonymous) or aggregate.name != "string_agg":
        return None
    values, separator = aggregate.expressions
    return call("string_agg", values, exp.Order(this=separator, expressions=node.expression.expressions))


def _regexp_like(node: exp.Anonymous) -> exp.Expr:
    """Find a pattern anywhere in a text; the dot matches a line break too."""
    return call("regexp_matches", *_arguments(node, 2), exp.Literal.string("s"))


def _regexp_replace(node: exp.Anonymous) -> exp.Expr:
    """Replace all matches; groups are ``$1`` in Java's replacements and ``\\1`` in DuckDB's."""
    text, pattern, replacement = _arguments(node, 3)
    if not replacement.is_string:
        raise UnsupportedError("REGEXP_REPLACE with a replacement that is not a literal")
    pieces = re.findall(r"\\(.)|\$(\d)|([^\\$]+)|(.)", replacement.name, re.DOTALL)
    translated = ""
    for escaped, group, plain, rest in pieces:
        if rest:
            raise ValidationError(f"Invalid replacement string '{replacement.name}'")
        translated += f"\\{group}" if group else plain or escaped.replace("\\", "\\\\")
    return call("regexp_replace", text, pattern, exp.Literal.string(translated), exp.Literal.string("g"))


def _regexp_extract(node: exp.Anonymous) -> exp.Expr:
    return call("regexp_extract", *_arguments(node, 3))


def _padded(node: exp.Anonymous) -> exp.Expr:
    text, width, *filling = _arguments(node, 2, 3)
    return call(node.name.lower(), text, width, *(filling or [exp.Literal.string(" ")]))


def _found(node: exp.Anonymous) -> exp.Expr:
    text, needle = _arguments(node, 2)
    return call("dremio_locate", needle, text, exp.Literal.number(1))


def _octets(factor: int) -> Builder:
    def build(node: exp.Anonymous) -> exp.Expr:
        (text,) = _arguments(node, 1)
        length = call("octet_length", call("encode", exp.cast(text, "VARCHAR")))
        return exp.cast(length * factor if factor > 1 else length, "INTEGER")

    return build


def _convert_from(node: exp.Anonymous) -> exp.Expr:
    value, encoding = _arguments(node, 2)
    if encoding.name.upper() in ("UTF8", "UTF-8"):
        return call("decode", value)
    if encoding.name.upper() == "JSON" and value.is_string:
        return _from_json(value.name)
    raise UnsupportedError(f"CONVERT_FROM(.., '{encoding.name}') of anything but a literal")


def _from_json(text: str) -> exp.Expr:
    """Return the value that a JSON text stands for; Dremio's reader takes names without quotes."""
    quoted = re.sub(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)", r'\1"\2"\3', text)
    try:
        return _json_value(json.loads(quoted))
    except ValueError as error:
        raise ValidationError(f"Failure while trying to convert value to json: {error}") from error


def _json_value(value: Any) -> exp.Expr:
    if isinstance(value, dict):
        members = [
            exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=_json_value(member))
            for name, member in value.items()
        ]
        return exp.Struct(expressions=members)
    if isinstance(value, list):
        return exp.Array(expressions=[_json_value(member) for member in value])
    literal = exp.convert(value)
    return exp.cast(literal, "BIGINT") if isinstance(value, int) and not isinstance(value, bool) else literal


def _next_day(node: exp.Anonymous) -> exp.Expr:
    moment, weekday = _arguments(node, 2)
    short = weekday.name.upper()[:2]
    if not weekday.is_string or short not in WEEKDAYS:
        raise no_match(node)
    return call("dremio_next_day", moment, exp.Literal.number(WEEKDAYS.index(short) + 1))


def _renamed(name: str) -> Builder:
    return lambda node: call(name, *node.expressions)


def _moment(node: exp.Anonymous) -> exp.Expr:
    _arguments(node, 0)
    return now()


def now() -> exp.Expr:
    """Return the time of the statement in UTC, as a timestamp to the millisecond."""
    return call("date_trunc", exp.Literal.string("millisecond"), exp.cast(exp.CurrentTimestamp(), "TIMESTAMP"))


def dated(node: exp.Expr) -> exp.Expr:
    """Return a text literal that stands for a date or time as one."""
    if not node.is_string:
        return node
    return exp.cast(node, "DATE" if len(node.name) <= len("2026-01-01") else "TIMESTAMP")


def _locate(node: exp.Anonymous) -> exp.Expr:
    needle, text, *start = _arguments(node, 2, 3)
    return call("dremio_locate", needle, text, *(start or [exp.Literal.number(1)]))


_SAME = (
    "ASCII", "CBRT", "CHR", "COT", "DEGREES", "DAYNAME", "DAYOFMONTH",
    "DAYOFYEAR", "FROM_HEX", "LAST_DAY", "LOG10", "LOG2", "MD5", "MOD",
    "MONTHNAME", "PI", "RADIANS", "RANDOM", "REVERSE", "SHA256", "SIGN", "SINH", "COSH", "TANH",
    "TO_HEX", "TRANSLATE", "TRUNC", "STARTS_WITH", "ENDS_WITH", "ARRAY_CONTAINS", "ARRAY_LENGTH", "ISNAN",
    "REGR_SLOPE", "CORR", "COVAR_POP", "COVAR_SAMP", "HEX", "UNHEX", "CONCAT_WS", "ARRAY_TO_STRING",
)  # fmt: skip

LACKING = (
    "AES_DECRYPT", "AES_ENCRYPT", "ARRAY_POSITION", "ARRAY_SLICE", "BIN", "BITWISE_AND", "BITWISE_NOT", "BITWISE_OR",
    "BITWISE_XOR", "CONVERT_REPLACEUTF8", "CONVERT_TO", "CRC32", "GEO_BEYOND", "GEO_DISTANCE", "GEO_NEARBY", "HASH",
    "HASH32", "HASH64", "IS_MEMBER", "MAP_KEYS", "MAP_VALUES", "MASK", "QUERY_USER", "REGEXP_COL_LIKE",
    "REGEXP_SPLIT", "SHA512", "SOUNDEX", "TYPEOF", "XOR",
)  # fmt: skip
"""Functions of Dremio that the sandbox does not compute."""

BUILDERS: dict[str, Builder] = {
    "TIMESTAMPADD": _timestamp_add,
    "TIMESTAMPDIFF": _timestamp_diff,
    "DATEDIFF": _date_diff,
    "DATE_DIFF": _date_diff,
    "TO_DATE": _to_date,
    "TO_TIMESTAMP": _to_timestamp,
    "TO_TIME": _to_time,
    "ILIKE": _ilike,
    "FLATTEN": _flatten,
    "CONVERT_FROM": _convert_from,
    "NEXT_DAY": _next_day,
    "TO_CHAR": _to_char,
    "TO_NUMBER": _to_number,
    "CONVERT_TIMEZONE": _convert_timezone,
    "LENGTH": _length,
    "CHAR_LENGTH": _length,
    "CHARACTER_LENGTH": _length,
    "LPAD": _padded,
    "RPAD": _padded,
    "STRPOS": _found,
    "INSTR": _found,
    "LEVENSHTEIN": lambda node: exp.cast(call("levenshtein", *_arguments(node, 2)), "INTEGER"),
    "OCTET_LENGTH": _octets(1),
    "BIT_LENGTH": _octets(8),
    "LOG": _log,
    "LISTAGG": _list_aggregate,
    "REGEXP_LIKE": _regexp_like,
    "REGEXP_MATCHES": _regexp_like,
    "REGEXP_REPLACE": _regexp_replace,
    "REGEXP_EXTRACT": _regexp_extract,
    "CARDINALITY": _renamed("len"),
    "BTRIM": _renamed("trim"),
    "NDV": _renamed("approx_count_distinct"),
    "LOCATE": _locate,
    "NOW": _moment,
    "LOCALTIMESTAMP": _moment,
    "UNIX_TIMESTAMP": _unix_timestamp,
    **{name: _renamed(name.lower()) for name in _SAME},
}


def translate(node: exp.Anonymous) -> exp.Expr:
    """Return DuckDB's way to compute a function that sqlglot does not know.

    Raises:
        ValidationError: if Dremio has no such function.
        UnsupportedError: if the sandbox has no equivalent.
    """
    name = node.name.upper()
    if name.startswith("DREMIO_") or name in ("UNNEST", "TRY_STRPTIME", "STRPTIME"):
        return node
    builder = BUILDERS.get(name)
    if builder is not None:
        return builder(node)
    if name in LACKING:
        raise UnsupportedError(f"The function {name}")
    raise no_match(node)
