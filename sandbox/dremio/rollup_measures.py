"""What an aggregation reflection stores, and how expressions over a dataset read over its rows.

Stored are each dimension as ``dimension.<name>``, the number of rows as ``count.*``, and each measure as
``<function>.<name>``: names that no query gives to its own columns.
A timestamp with granularity DATE is stored as its day: it serves what only looks at the day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlglot import exp

from sandbox.dremio.entities import Column
from sandbox.dremio.lineage import is_random
from sandbox.dremio.scan import identifier
from sandbox.dremio.sql.functions import DAY_UNITS, call
from sandbox.dremio.types import decimal_of

Json = dict[str, Any]

ROWS = "count.*"
_STATE = "APPROX_COUNT_DISTINCT"
_DAY_PARTS = (*DAY_UNITS, "DOW", "DOY", "ISODOW", "ISOYEAR", "DAYOFWEEK", "DAYOFYEAR", "DECADE", "CENTURY")
_DAY_FUNCTIONS = (exp.Year, exp.Quarter, exp.Month, exp.Day, exp.DayOfMonth, exp.DayOfYear, exp.DayOfWeek, exp.LastDay)
_MIDNIGHT = re.compile(r"\d{4}-\d{2}-\d{2}([ T]00:00:00(\.0+)?)?\Z")
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


class NotCoveredError(Exception):
    """A reflection does not have what a query needs."""


def atom(node: exp.Expr) -> exp.Expr:
    """Return an expression that stays one whatever it is put into."""
    return node if isinstance(node, exp.Column | exp.Literal | exp.Paren | exp.Cast) else exp.Paren(this=node)


def _is_day_only(field: Json, columns: dict[str, str]) -> bool:
    return field.get("granularity") == "DATE" and columns[field["name"].lower()] == "TIMESTAMP"


def stored_columns(reflection: Json, kinds: dict[str, str]) -> Iterator[tuple[str, str, bool]]:
    """Yield what an aggregation reflection stores: name, DuckDB expression over the dataset, whether it is a dimension.

    Args:
        reflection: the definition.
        kinds: DuckDB types of the dataset's columns, by name in lower case.
    """
    for field in reflection.get("dimensionFields", []):
        name = identifier(field["name"])
        expression = f"CAST({name} AS DATE)" if _is_day_only(field, kinds) else name
        yield f"dimension.{field['name']}", expression, True
    yield ROWS, "count(*)", False
    for field in reflection.get("measureFields", []):
        for function in field["measureTypeList"]:
            tail = " EXPORT_STATE" if function == _STATE else ""
            yield f"{function.lower()}.{field['name']}", f"{function.lower()}({identifier(field['name'])}){tail}", False


class Measures:
    """The columns of an aggregation reflection, and what can be said with them.

    Args:
        reflection: the definition.
        columns: the dataset's columns, with DuckDB's types.
        aggregates: names of DuckDB's aggregate functions, in lower case.
    """

    def __init__(self, reflection: Json, columns: Sequence[Column], aggregates: frozenset[str]) -> None:
        self.columns = columns
        self._aggregates = aggregates
        self._kinds = {column.name.lower(): column.type for column in columns}
        self._dimensions: dict[str, str] = {}
        self._days: dict[str, str] = {}
        for field in reflection.get("dimensionFields", []):
            target = self._days if _is_day_only(field, self._kinds) else self._dimensions
            target[str(field["name"]).lower()] = str(field["name"])
        self._measures = {
            (str(field["name"]).lower(), function): f"{function.lower()}.{field['name']}"
            for field in reflection.get("measureFields", [])
            for function in field["measureTypeList"]
        }

    def of_dimensions(self, expression: exp.Expr) -> exp.Expr:
        """Return an expression over the dataset's columns as one over the reflection's dimensions.

        Raises:
            NotCoveredError: if it needs more than the dimensions, or is not the same for all rows behind them.
        """
        if is_random(expression):
            raise NotCoveredError
        holder = exp.Paren(this=expression.copy())
        self._walk(holder)
        result: exp.Expr = holder.this
        return result.pop()

    def _walk(self, node: exp.Expr) -> None:
        for child in list(node.iter_expressions()):
            if isinstance(child, exp.Query | exp.Star | exp.Window) or self._is_aggregate(child):
                raise NotCoveredError
            if isinstance(child, exp.Column):
                name = self._dimensions.get(child.name.lower())
                if name is None:
                    raise NotCoveredError
                child.replace(_stored(f"dimension.{name}"))
                continue
            day = self._day_of(child)
            if day is not None:
                moment = exp.cast(_stored(f"dimension.{self._days[day.name.lower()]}"), "TIMESTAMP")
                day.replace(moment)
            else:
                self._walk(child)

    def _day_of(self, node: exp.Expr) -> exp.Column | None:
        """Return the column of a day within an expression that looks at nothing but the day."""
        inner: exp.Expr | None = None
        if isinstance(node, exp.Cast) and node.args["to"].is_type("date"):
            inner = node.this
        elif isinstance(node, exp.Extract) and node.this.name.upper() in _DAY_PARTS:
            inner = node.expression
        elif isinstance(node, _DAY_FUNCTIONS):
            inner = node.this
        elif isinstance(node, exp.Anonymous) and node.name.lower() == "dremio_date_trunc":
            unit, inner = node.expressions
            inner = inner if unit.name.upper() in DAY_UNITS else None
        elif isinstance(node, exp.Anonymous) and node.name.lower() == "dremio_day_of_week":
            inner = node.expressions[0]
        elif isinstance(node, exp.GTE | exp.LT) and _is_midnight(node.expression):
            # A moment is not before midnight exactly if its day is not.
            inner = node.this
        elif isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            inner = node.this
        while isinstance(inner, exp.Paren):
            inner = inner.this
        return inner if isinstance(inner, exp.Column) and inner.name.lower() in self._days else None

    def _is_aggregate(self, node: exp.Expr) -> bool:
        if isinstance(node, exp.AggFunc):
            return True
        return isinstance(node, exp.Anonymous) and node.name.lower() in self._aggregates

    # -- aggregates

    def aggregate(self, node: exp.Expr) -> exp.Expr:
        """Return an aggregate over the dataset's rows as one over the reflection's.

        Args:
            node: the call, with FILTER if it has one.

        Raises:
            NotCoveredError: if no measure gives it.
        """
        condition: exp.Expr | None = None
        if isinstance(node, exp.Filter):
            condition = self.of_dimensions(node.expression.this)
            node = node.this
        name = node.name.lower() if isinstance(node, exp.Anonymous) else node.sql_name().lower()
        name = "approx_count_distinct" if isinstance(node, exp.ApproxDistinct) else name
        arguments = node.expressions if isinstance(node, exp.Anonymous) else [node.this]
        extra = {key: value for key, value in node.args.items() if key not in ("this", "expressions", "big_int")}
        if any(extra.values()) or len(arguments) != 1 or (not isinstance(node, exp.Anonymous) and node.expressions):
            raise NotCoveredError
        (argument,) = arguments
        if isinstance(argument, exp.Distinct):
            return self._distinct(node, name, argument, condition)
        build = {"count": self._count, "sum": self._sum, "avg": self._average, "min": self._extreme,
                 "max": self._extreme, "approx_count_distinct": self._approximate}.get(name)  # fmt: skip
        if build is None:
            raise NotCoveredError
        return build(name, argument, condition)

    def _distinct(self, node: exp.Expr, name: str, argument: exp.Distinct, condition: exp.Expr | None) -> exp.Expr:
        if name not in ("count", "sum", "avg", "min", "max") or argument.args.get("on"):
            raise NotCoveredError
        values = [self.of_dimensions(value) for value in argument.expressions]
        return _filtered(type(node)(this=exp.Distinct(expressions=values)), condition)

    def _measure(self, argument: exp.Expr, function: str) -> exp.Column | None:
        while isinstance(argument, exp.Paren):
            argument = argument.this
        if not isinstance(argument, exp.Column):
            return None
        name = self._measures.get((argument.name.lower(), function))
        return _stored(name) if name is not None else None

    def _count(self, _: str, argument: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        counted: exp.Expr | None = self._measure(argument, "COUNT")
        if isinstance(argument, exp.Star | exp.Literal):
            counted = _stored(ROWS)
        elif counted is None:
            missing = exp.Is(this=atom(self.of_dimensions(argument)), expression=exp.Null())
            counted = exp.Case().when(missing, exp.Literal.number(0)).else_(_stored(ROWS))
        return _total(counted, condition)

    def _sum(self, _: str, argument: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        while isinstance(argument, exp.Paren):
            argument = argument.this
        summed: exp.Expr | None = self._measure(argument, "SUM")
        if isinstance(argument, exp.Case):
            summed = self._case(argument)
        if summed is None:
            raise NotCoveredError
        return _filtered(exp.Sum(this=summed), condition)

    def _case(self, case: exp.Case) -> exp.Expr:
        """Return what a CASE over dimensions adds up to for all rows behind one: a measure or nothing, or counts."""
        results = [branch.args["true"] for branch in case.args["ifs"]]
        default = case.args.get("default")
        results += [default] if default is not None else []
        numbers = [node for node in results if isinstance(node, exp.Literal) and node.is_int]
        measured = [node for node in results if self._measure(node, "SUM") is not None]
        nothing = [node for node in results if isinstance(node, exp.Null)]
        if len(numbers) + len(measured) + len(nothing) < len(results) or (
            measured and any(node.name != "0" for node in numbers)
        ):
            raise NotCoveredError
        rolled = exp.Case(ifs=[])
        if case.this is not None:
            rolled.set("this", self.of_dimensions(case.this))
        for branch in case.args["ifs"]:
            rolled = rolled.when(self.of_dimensions(branch.this), self._added(branch.args["true"]), copy=False)
        return rolled if default is None else rolled.else_(self._added(default), copy=False)

    def _added(self, result: exp.Expr) -> exp.Expr:
        measure = self._measure(result, "SUM")
        if measure is not None:
            return measure
        if isinstance(result, exp.Null) or result.name == "0":
            return result.copy()
        return exp.Mul(this=result.copy(), expression=_stored(ROWS))

    def _average(self, _: str, argument: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        total, count = self._measure(argument, "SUM"), self._measure(argument, "COUNT")
        if total is None or count is None:
            raise NotCoveredError
        kind = self._kinds[total.name.partition(".")[2].lower()]
        if kind not in (*_WHOLE, "FLOAT", "DOUBLE") and decimal_of(kind) is None:
            raise NotCoveredError
        number = exp.cast(_filtered(exp.Sum(this=total), condition), "DOUBLE")
        rows = call("nullif", _filtered(exp.Sum(this=count), condition), exp.Literal.number(0))
        return exp.Paren(this=exp.Div(this=number, expression=rows))

    def _extreme(self, name: str, argument: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        function = exp.Min if name == "min" else exp.Max
        value = self._measure(argument, name.upper())
        return _filtered(function(this=value if value is not None else self.of_dimensions(argument)), condition)

    def _approximate(self, _: str, argument: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        state = self._measure(argument, _STATE)
        if state is None:
            return _filtered(call("approx_count_distinct", self.of_dimensions(argument)), condition)
        combined = _filtered(call("combine_aggr", state), condition)
        return call("coalesce", call("finalize", combined), exp.Literal.number(0))


def _stored(name: str) -> exp.Column:
    return exp.column(name, quoted=True)


def _is_midnight(node: exp.Expr) -> bool:
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Cast) and node.args["to"].is_type("date", "timestamp"):
        node = node.this
    elif isinstance(node, exp.Anonymous) and node.name.lower() == "strptime":
        text, pattern = node.expressions
        node = text if pattern.name.startswith("%Y-%m-%d") else node
    return node.is_string and bool(_MIDNIGHT.match(node.name))


def _filtered(node: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
    return node if condition is None else exp.Filter(this=node, expression=exp.Where(this=condition.copy()))


def _total(counted: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
    """Return the sum of counts as COUNT has it: 0 where there is nothing, and no wider than 64 bits."""
    total = call("coalesce", _filtered(exp.Sum(this=counted), condition), exp.Literal.number(0))
    return exp.cast(total, "BIGINT")
