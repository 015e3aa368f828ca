"""Functions of Dremio that DuckDB computes differently, calls by another name, or does not have."""

from __future__ import annotations

from collections.abc import Callable

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


def _convert_from(node: exp.Anonymous) -> exp.Expr:
    value, encoding = _arguments(node, 2)
    if encoding.name.upper() in ("UTF8", "UTF-8"):
        return call("decode", value)
    raise UnsupportedError(f"CONVERT_FROM(.., '{encoding.name}')")


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


def _locate(node: exp.Anonymous) -> exp.Expr:
    needle, text = _arguments(node, 2)
    return call("instr", text, needle)


_SAME = (
    "ASCII", "BIT_LENGTH", "CBRT", "CHR", "COT", "DEGREES", "DAYNAME", "DAYOFMONTH",
    "DAYOFYEAR", "FROM_HEX", "INSTR", "LAST_DAY", "LEVENSHTEIN", "LOG10", "LOG2", "MD5", "MOD",
    "MONTHNAME", "OCTET_LENGTH", "PI", "RADIANS", "RANDOM", "REVERSE", "SHA256", "SIGN", "SINH", "COSH", "TANH",
    "STRPOS", "TO_HEX", "TRANSLATE", "TRUNC", "STARTS_WITH", "ENDS_WITH", "ARRAY_CONTAINS", "ARRAY_LENGTH", "ISNAN",
    "REGR_SLOPE", "CORR", "COVAR_POP", "COVAR_SAMP", "HEX", "UNHEX", "LPAD", "RPAD", "CONCAT_WS", "ARRAY_TO_STRING",
)  # fmt: skip

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
    "CARDINALITY": _renamed("len"),
    "BTRIM": _renamed("trim"),
    "NDV": _renamed("approx_count_distinct"),
    "LOCATE": _locate,
    "NOW": _moment,
    "LOCALTIMESTAMP": _moment,
    "UNIX_TIMESTAMP": lambda node: call("epoch", *(node.expressions or [now()])),
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
    if name in ("HASH64", "HASH32", "CONVERT_TO", "REGEXP_SPLIT", "CONVERT_REPLACEUTF8", "IS_MEMBER", "AES_ENCRYPT"):
        raise UnsupportedError(f"The function {name}")
    raise no_match(node)
