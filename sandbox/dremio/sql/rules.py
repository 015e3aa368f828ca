"""How nodes of a syntax tree are rewritten so that DuckDB computes what Dremio would."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from sandbox.dremio.sql import functions
from sandbox.dremio.sql.functions import call, dated


def rewrite(node: exp.Expr) -> exp.Expr | None:
    """Return what takes a node's place, None if it stays; its children are rewritten already."""
    rule = _RULES.get(type(node))
    return rule(node) if rule is not None else None


def _divide(node: exp.Expr) -> exp.Expr:
    """Integers divide to integers: DuckDB's // does just that, and divides everything else as / does."""
    return exp.IntDiv(this=node.this, expression=node.expression)


def _date_trunc(node: exp.Expr) -> exp.Expr:
    unit = exp.Literal.string(node.args["unit"].name.lower())
    return call("dremio_date_trunc", unit, dated(node.this))


def _cast(node: exp.Expr) -> exp.Expr | None:
    kind = node.args["to"]
    if isinstance(kind.this, exp.Interval):
        unit = str(kind.this.args["unit"].name).lower().rstrip("s")
        return call(f"to_{unit}s", node.this)
    if kind.is_type("varchar", "char"):
        return _text(node.this, kind)
    if kind.is_type("int", "bigint") and not node.this.is_string:
        return call("dremio_bigint" if kind.is_type("bigint") else "dremio_integer", node.this)
    if kind.is_type("decimal") and not kind.expressions:
        # Without precision and scale Dremio's DECIMAL has 38 digits and no fraction.
        kind.replace(exp.DataType.build("DECIMAL(38, 0)"))
    elif kind.is_type("float"):
        kind.replace(exp.DataType.build("REAL", dialect="duckdb"))
    elif kind.is_type("varbinary", "binary"):
        kind.replace(exp.DataType.build("BLOB", dialect="duckdb"))
    elif kind.is_type("timestamp", "time"):
        kind.set("expressions", None)
    return None


def _text(value: exp.Expr, kind: exp.Expr) -> exp.Expr:
    """Return a value as text: times have milliseconds, and what is longer than the type is cut."""
    text = value if value.is_string else call("dremio_text", value)
    cast = exp.cast(text, "VARCHAR") if value.is_string else text
    return call("left", cast, kind.expressions[0].this) if kind.expressions else cast


def _anonymous(node: exp.Expr) -> exp.Expr | None:
    assert isinstance(node, exp.Anonymous)
    # A table function is looked up with the datasets.
    return None if _of_table(node) else functions.translate(node)


def _of_table(node: exp.Expr) -> bool:
    while isinstance(node.parent, exp.Anonymous | exp.Dot):
        node = node.parent
    return isinstance(node.parent, exp.Table) and node.arg_key == "this"


def _now(node: exp.Expr) -> exp.Expr | None:
    inside = node.parent
    return None if isinstance(inside, exp.Cast) and inside.args["to"].is_type("timestamp") else functions.now()


def _add_date(node: exp.Expr) -> exp.Expr | None:
    """DATE_ADD and DATE_SUB: whole days keep a date a date."""
    unit = node.args.get("unit")
    name = unit.name.upper().rstrip("S") if unit is not None else "DAY"
    amount = node.expression
    if isinstance(amount, exp.Interval):
        span: exp.Expr = amount
    else:
        span = call(f"to_{name.lower()}s", exp.cast(amount, "BIGINT"))
    if isinstance(node, exp.DateSub):
        span = exp.Neg(this=exp.Paren(this=span))
    return call("dremio_add_days", dated(node.this), span)


def _day_of_week(node: exp.Expr) -> exp.Expr:
    """Days count from Sunday = 1; DuckDB's count from 0."""
    return call("dremio_day_of_week", node.this)


def _extract(node: exp.Expr) -> exp.Expr | None:
    if node.this.name.upper() in ("DOW", "DAYOFWEEK"):
        return call("dremio_day_of_week", node.expression)
    if node.this.name.upper() == "EPOCH":
        return exp.cast(call("floor", call("epoch", node.expression)), "BIGINT")
    return None


def _whole(node: exp.Expr) -> exp.Expr:
    return exp.cast(node.copy(), "INTEGER")


def _extreme(node: exp.Expr) -> exp.Expr:
    """GREATEST and LEAST are NULL as soon as one argument is; DuckDB's skip NULL."""
    values = [node.this, *node.expressions]
    missing = exp.or_(*[exp.Is(this=value.copy(), expression=exp.Null()) for value in values])
    return exp.Case().when(missing, exp.Null()).else_(node.copy())


_RULES: dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr | None]] = {
    exp.Div: _divide,
    exp.DateTrunc: _date_trunc,
    exp.TimestampTrunc: _date_trunc,
    exp.Cast: _cast,
    exp.Anonymous: _anonymous,
    exp.CurrentTimestamp: _now,
    exp.DateAdd: _add_date,
    exp.DateSub: _add_date,
    exp.DayOfWeek: _day_of_week,
    exp.Extract: _extract,
    exp.Greatest: _extreme,
    exp.Least: _extreme,
    exp.StrPosition: _whole,
    exp.CurrentTime: lambda node: exp.cast(node.copy(), "TIME"),
    exp.WithinGroup: functions.within_group,
}
