"""What sqlglot reads although Dremio has no such syntax, and what the sandbox cannot do: both are refused."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from sandbox.dremio.errors import ParseError, StatementError, UnsupportedError, ValidationError


def _foreign(what: str) -> StatementError:
    return ParseError(f"Failure parsing the query.\n{what} is not part of Dremio's SQL.")


def _lacking(what: str) -> Callable[[exp.Expr], StatementError | None]:
    return lambda _: UnsupportedError(what)


def _distinct(node: exp.Expr) -> StatementError | None:
    return _foreign("DISTINCT ON") if node.args.get("on") else None


def _star(node: exp.Expr) -> StatementError | None:
    changed = any(node.args.get(name) for name in ("except_", "replace", "rename"))
    return _foreign("A star with EXCEPT, EXCLUDE, REPLACE or RENAME") if changed else None


def _group(node: exp.Expr) -> StatementError | None:
    return _foreign("GROUP BY ALL") if node.args.get("all") is not None else None


def _set_operation(node: exp.Expr) -> StatementError | None:
    return _foreign("A set operation BY NAME") if node.args.get("by_name") else None


def _join(node: exp.Expr) -> StatementError | None:
    if node.args.get("method") in ("ASOF", "POSITIONAL") or node.args.get("kind") in ("SEMI", "ANTI"):
        return _foreign(f"{node.args.get('method') or node.args.get('kind')} JOIN")
    return None


def _ordered(node: exp.Expr) -> StatementError | None:
    if isinstance(node.this, exp.Column) and node.this.name.upper() == "ALL" and not node.this.this.quoted:
        return _foreign("ORDER BY ALL")
    return None


_TYPES = tuple(
    exp.DType[name]
    for name in ("BOOLEAN", "INT", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL", "CHAR", "VARCHAR", "DATE", "TIME",
                 "TIMESTAMP", "VARBINARY", "BINARY", "INTERVAL")
)  # fmt: skip


def _cast(node: exp.Expr) -> StatementError | None:
    kind = node.args["to"]
    if isinstance(kind.this, exp.Interval) or kind.this in _TYPES:
        return None
    return ValidationError(f"Cast to [{kind.this.value}] is not supported.")


_CHECKS: dict[type[exp.Expr], Callable[[exp.Expr], StatementError | None]] = {
    exp.Distinct: _distinct,
    exp.Star: _star,
    exp.Group: _group,
    exp.SetOperation: _set_operation,
    exp.Union: _set_operation,
    exp.Intersect: _set_operation,
    exp.Except: _set_operation,
    exp.Join: _join,
    exp.Ordered: _ordered,
    exp.Cast: _cast,
    exp.TryCast: lambda _: _foreign("TRY_CAST"),
    exp.TableSample: _lacking("TABLESAMPLE"),
    exp.SimilarTo: _lacking("SIMILAR TO"),
    exp.IntervalSpan: _lacking("An interval of several units"),
    exp.Version: _lacking("Time travel (AT SNAPSHOT, AT TIMESTAMP)"),
    exp.Pivot: _lacking("PIVOT or UNPIVOT"),
    exp.MatchRecognize: _lacking("MATCH_RECOGNIZE"),
    exp.Into: lambda _: _foreign("SELECT INTO"),
    exp.Lambda: lambda _: _foreign("A lambda expression"),
    exp.Parameter: lambda _: _foreign("A parameter"),
    # Dremio binds no parameters, on any of its interfaces.
    exp.Placeholder: lambda _: ValidationError("Illegal use of dynamic parameter"),
}

_SAME = (
    # logic
    "And", "Or", "Case", "If", "Coalesce", "Nullif", "Nvl2", "DecodeCase", "Exists", "Cast",
    # aggregates
    "Sum", "Avg", "Min", "Max", "Count", "ApproxDistinct", "ArrayAgg", "Stddev", "StddevPop", "StddevSamp", "Variance",
    "VariancePop", "Median", "PercentileCont", "PercentileDisc", "AnyValue", "Corr", "CovarPop", "CovarSamp",
    "Grouping", "BitwiseAndAgg", "BitwiseOrAgg",
    # windows
    "RowNumber", "Rank", "DenseRank", "PercentRank", "CumeDist", "Ntile", "Lag", "Lead", "FirstValue", "LastValue",
    "NthValue",
    # numbers
    "Abs", "Ceil", "Floor", "Round", "Trunc", "Pow", "Sqrt", "Cbrt", "Exp", "Ln", "Sign", "Acos", "Asin", "Atan",
    "Atan2", "Cos", "Cosh", "Cot", "Sin", "Sinh", "Tan", "Tanh", "Degrees", "Radians", "Pi", "Rand", "Factorial",
    # texts
    "Concat", "ConcatWs", "Lower", "Upper", "Trim", "Substring", "Left", "Right", "Replace", "Repeat", "Reverse",
    "Initcap", "Ascii", "Unicode", "Chr", "SplitPart", "Pad", "Translate", "Levenshtein", "StartsWith", "EndsWith",
    "MD5", "SHA", "SHA2", "Hex", "Unhex", "ToBase64",
    # dates and times
    "CurrentDate", "CurrentTime", "LastDay", "Year", "Quarter", "Month", "Week", "WeekOfYear", "Day", "DayOfMonth",
    "DayOfYear", "Hour", "Minute", "Second", "MonthsBetween", "Dayname", "Monthname",
    # lists
    "Array", "ArrayContains", "ArraySize", "ArrayConcat", "ArrayAppend", "ArrayPrepend", "ArrayDistinct", "ArrayMax",
    "ArrayMin", "ArraySum", "ArrayRemove", "ArrayToString", "ArraySort", "Unnest",
    # translated by rules
    "CurrentTimestamp", "Localtimestamp", "DateTrunc", "TimestampTrunc", "DateAdd", "DateSub", "DayOfWeek", "Extract",
    "Greatest", "Least", "StrPosition", "Anonymous",
)  # fmt: skip
KNOWN = frozenset(getattr(exp, name) for name in _SAME)
"""Functions that sqlglot reads and writes for DuckDB with Dremio's meaning, or that a rule rewrites."""


def check(tree: exp.Expr) -> None:
    """Raise an error for what DuckDB would understand and Dremio would not, or otherwise.

    Raises:
        StatementError: Dremio's own where it has one.
    """
    for node in tree.walk():
        checker = _CHECKS.get(type(node))
        error = checker(node) if checker is not None else None
        if error is not None:
            raise error
        if isinstance(node, exp.Func) and type(node) not in KNOWN:
            raise UnsupportedError(f"The function {node.sql_name()}")
