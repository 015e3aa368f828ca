"""Aggregation reflections: whether a SELECT can be computed from coarser rows, and how it then reads.

A reflection has one row for each combination of its dimensions, with the number of rows behind it and its measures. A
SELECT over the dataset is covered if everything it says of a row it says of dimensions alone (grouping, filters,
expressions in between), and every aggregate can be put together from measures or does not mind that equal dimensions
are one row. Between the SELECT and the dataset there may be subqueries, views and WITH that only choose, compute and
filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from sandbox.dremio.entities import Column
from sandbox.dremio.footprint import replace_relation
from sandbox.dremio.lineage import DATASET, is_random
from sandbox.dremio.rollup_measures import Measures, NotCoveredError, atom

Json = dict[str, Any]
Edit = Callable[[], None]

_PLAIN_SELECT = {"expressions", "from_", "where", "order"}
_ROLLED_SELECT = _PLAIN_SELECT | {"group", "having", "limit", "offset", "distinct", "qualify", "with_"}
_ROWS = (exp.Unnest, exp.Explode, exp.UDTF)


@dataclass(frozen=True)
class Leaf:
    """A dataset below a SELECT, as the SELECT sees it.

    Args:
        node: the relation that stands for the dataset.
        alias: under which the SELECT knows its source.
        layers: the SELECTs between the two, outer ones first.
        definitions: what of WITH lies between the two.
    """

    node: exp.Expr
    alias: str
    layers: list[Layer]
    definitions: list[exp.CTE]


@dataclass(frozen=True)
class Layer:
    """A SELECT that only chooses, computes and filters, with the names that its columns get outside, if any."""

    select: exp.Select
    names: list[str]


class Rollups:
    """Matches SELECTs with aggregation reflections.

    Args:
        aggregates: names of DuckDB's aggregate functions, in lower case.
    """

    def __init__(self, aggregates: frozenset[str]) -> None:
        self._aggregates = aggregates

    def is_aggregate(self, node: exp.Expr) -> bool:
        """Return whether a node calls an aggregate function (as a window function or not)."""
        if isinstance(node, exp.AggFunc):
            return True
        if isinstance(node, exp.Anonymous):
            return node.name.lower() in self._aggregates
        return isinstance(node, exp.Func) and any(name.lower() in self._aggregates for name in node.sql_names())

    def leaves(self, select: exp.Select) -> Iterator[Leaf]:
        """Yield the datasets that a SELECT aggregates over, outer ones first; none if it does not aggregate one."""
        if any(value for name, value in select.args.items() if name not in _ROLLED_SELECT):
            return
        distinct = select.args.get("distinct")
        if distinct is not None and distinct.args.get("on"):
            return
        inside = list(own(select))
        grouped = select.args.get("group") or any(self.is_aggregate(node) and not _over(node) for node in inside)
        if not grouped and (not distinct or any(isinstance(node, exp.Window) for node in inside)):
            return
        layers: list[Layer] = []
        definitions: list[exp.CTE] = []
        node = _source(select)
        alias = node.alias_or_name if node is not None else ""
        while node is not None:
            if DATASET in node.meta:
                yield Leaf(node, alias, list(layers), list(definitions))
            body: exp.Expr | None = node.this if isinstance(node, exp.Subquery) else None
            names = _column_names(node)
            definition = _definition(node) if isinstance(node, exp.Table) and not node.db else None
            if definition is not None:
                definitions.append(definition)
                body, names = definition.this, names or _column_names(definition)
            if not isinstance(body, exp.Select) or not self._is_plain(body):
                return
            layers.append(Layer(body, names))
            node = _source(body)

    def _is_plain(self, select: exp.Select) -> bool:
        if any(value for name, value in select.args.items() if name not in _PLAIN_SELECT):
            return False
        refused = (exp.Window, exp.Query, *_ROWS)
        parts = [node for node in own(select) if isinstance(node, refused) or self.is_aggregate(node)]
        return not parts and not any(is_random(part) for part in _parts(select))

    def match(
        self,
        select: exp.Select,
        leaf: Leaf,
        reflection: Json,
        columns: Sequence[Column],
        place: tuple[str, str, str],
    ) -> Edit | None:
        """Return what makes a SELECT read a reflection, None if the reflection does not cover it.

        Args:
            select: the SELECT.
            leaf: the reflection's dataset below it.
            reflection: the definition.
            columns: the dataset's columns.
            place: where DuckDB has the reflection's rows: catalog, schema and table.
        """
        try:
            return _Match(self, select, leaf, Measures(reflection, columns, self._aggregates), place).edit()
        except NotCoveredError:
            return None


class _Match:
    """One attempt: every part of the SELECT is visited, and what is to be replaced by what is noted."""

    def __init__(
        self, rollups: Rollups, select: exp.Select, leaf: Leaf, measures: Measures, place: tuple[str, str, str]
    ) -> None:
        self._rollups = rollups
        self._select = select
        self._leaf = leaf
        self._measures = measures
        self._place = place
        self._columns, self._filters = _composed(leaf, measures.columns)
        self._aliases = {item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)}
        self._replaced: list[tuple[exp.Expr, exp.Expr]] = []

    def edit(self) -> Edit:
        for item in self._select.expressions:
            self._visit(item)
        for name in ("where", "group", "qualify"):
            if self._select.args.get(name):
                self._visit(self._select.args[name])
        if self._select.args.get("having"):
            self._unambiguous(self._select.args["having"])
            self._visit(self._select.args["having"])
        for item in self._select.args["order"].expressions if self._select.args.get("order") else []:
            # A bare name in ORDER BY is an alias first.
            if not (self._is_alias(item.this)):
                self._visit(item)
        filters = [self._qualified(self._measures.of_dimensions(condition)) for condition in self._filters]
        return lambda: self._apply(filters)

    def _apply(self, filters: list[exp.Expr]) -> None:
        for node, replacement in self._replaced:
            node.replace(replacement)
        catalog, schema, table = self._place
        source = self._select.args["from_"].this
        named = exp.TableAlias(this=exp.to_identifier(self._leaf.alias, quoted=True))
        replace_relation(source, exp.to_identifier(table, quoted=True), schema, catalog).set("alias", named)
        for condition in filters:
            self._select.where(condition, copy=False)

    def _visit(self, node: exp.Expr) -> None:
        if isinstance(node, exp.Query):
            self._independent(node)
        elif isinstance(node, (exp.Star, *_ROWS)) or (isinstance(node, exp.Column) and node.is_star):
            raise NotCoveredError
        elif isinstance(node, exp.Window):
            self._visit_window(node)
        elif isinstance(node, exp.Filter) or self._rollups.is_aggregate(node):
            composed = self._composed(node)
            self._replace(node, self._measures.aggregate(composed))
        elif isinstance(node, exp.Column) and self._is_alias(node) and node.name.lower() not in self._columns:
            return
        elif self._is_of_rows(node):
            self._replace(node, self._measures.of_dimensions(self._composed(node)))
        else:
            if isinstance(node, exp.Func) and is_random(node):
                raise NotCoveredError
            for child in node.iter_expressions():
                self._visit(child)

    def _visit_window(self, window: exp.Window) -> None:
        """A window function runs over the groups: not it, but what it is given is put together from measures."""
        function = window.this
        if isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
            raise NotCoveredError
        for child in function.iter_expressions():
            if not isinstance(child, exp.Star):
                self._visit(child)
        for name, child in window.args.items():
            if name != "this":
                for item in child if isinstance(child, list) else [child]:
                    if isinstance(item, exp.Expr):
                        self._visit(item)

    def _is_of_rows(self, node: exp.Expr) -> bool:
        """Return whether an expression says something of a single row of the dataset."""
        if not isinstance(node, exp.Column | exp.Func | exp.Binary | exp.Unary | exp.Between | exp.In | exp.Case):
            return False
        columns = 0
        for inner in node.walk():
            if isinstance(inner, exp.Query | exp.Window) or self._rollups.is_aggregate(inner):
                return False
            if isinstance(inner, exp.Column):
                if inner.name.lower() not in self._columns and self._is_alias(inner):
                    return False
                columns += 1
        return columns > 0

    def _is_alias(self, node: exp.Expr) -> bool:
        return isinstance(node, exp.Column) and not node.table and node.name.lower() in self._aliases

    def _unambiguous(self, having: exp.Expr) -> None:
        """Refuse a name in HAVING that is a column and another column's alias: which one is meant is not plain."""
        for column in having.find_all(exp.Column):
            name = column.name.lower()
            if self._is_alias(column) and name in self._columns and column.find_ancestor(exp.AggFunc) is None:
                meant = self._aliases[name]
                if not isinstance(meant, exp.Column) or meant.name.lower() != name:
                    raise NotCoveredError

    def _independent(self, query: exp.Expr) -> None:
        """Refuse a subquery that may look at the rows of this SELECT."""
        for column in query.find_all(exp.Column):
            qualifier = column.table.lower()
            if qualifier == self._leaf.alias.lower() or (not qualifier and column.name.lower() in self._columns):
                raise NotCoveredError

    def _composed(self, node: exp.Expr) -> exp.Expr:
        return compose(node, self._columns, self._leaf.alias)

    def _replace(self, node: exp.Expr, replacement: exp.Expr) -> None:
        self._replaced.append((node, self._qualified(replacement)))

    def _qualified(self, expression: exp.Expr) -> exp.Expr:
        for column in expression.find_all(exp.Column):
            column.set("table", exp.to_identifier(self._leaf.alias, quoted=True))
        return expression


def own(select: exp.Select) -> Iterator[exp.Expr]:
    """Yield the nodes of a SELECT's own expressions, without its sources and subqueries."""
    for part in _parts(select):
        yield from part.walk(prune=lambda node: isinstance(node, exp.Query))


def _parts(select: exp.Select) -> Iterator[exp.Expr]:
    for name, value in select.args.items():
        if name not in ("from_", "with_", "joins", "laterals"):
            yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, exp.Expr))


def _source(select: exp.Select) -> exp.Expr | None:
    """Return the one relation that a SELECT reads, None if there is another or something is done to it."""
    clause = select.args.get("from_")
    if clause is None or select.args.get("joins") or select.args.get("laterals"):
        return None
    node: exp.Expr = clause.this
    if not isinstance(node, exp.Table | exp.Subquery):
        return None
    done = ("joins", "laterals", "sample", "pivots", "limit", "offset", "order", "version", "when", "ordinality")
    return None if any(node.args.get(name) for name in done) else node


def _definition(table: exp.Table) -> exp.CTE | None:
    """Return what WITH defines under a table's name where the table is read."""
    ancestor = table.parent
    below: set[int] = {id(table)}
    while ancestor is not None:
        below.add(id(ancestor))
        clause = ancestor.args.get("with_")
        if clause is not None:
            for definition in clause.expressions:
                if definition.alias.lower() == table.name.lower() and id(definition) not in below:
                    found: exp.CTE | None = None if clause.args.get("recursive") else definition
                    return found
        ancestor = ancestor.parent
    return None


def compose(node: exp.Expr, columns: dict[str, exp.Expr], alias: str) -> exp.Expr:
    """Return an expression with every column replaced by what it is one layer below.

    Raises:
        NotCoveredError: if it names something else.
    """
    holder = exp.Paren(this=node.copy())
    for column in list(holder.find_all(exp.Column)):
        known = columns.get(column.name.lower())
        if known is None or column.args.get("db") or (column.table and column.table.lower() != alias.lower()):
            raise NotCoveredError
        column.replace(atom(known.copy()))
    result: exp.Expr = holder.this
    return result.pop()


def _composed(leaf: Leaf, known: Sequence[Column]) -> tuple[dict[str, exp.Expr], list[exp.Expr]]:
    """Return what the outermost layer's columns and all layers' conditions are in terms of the dataset's columns.

    Raises:
        NotCoveredError: if a layer does more than choose, compute and filter columns of the dataset.
    """
    columns: dict[str, exp.Expr] = {column.name.lower(): exp.column(column.name, quoted=True) for column in known}
    columns = _renamed(list(columns.items()), _column_names(leaf.node))
    filters: list[exp.Expr] = []
    for layer in reversed(leaf.layers):
        alias = layer.select.args["from_"].this.alias_or_name
        condition = layer.select.args.get("where")
        if condition is not None:
            filters.append(compose(condition.this, columns, alias))
        items: list[tuple[str, exp.Expr]] = []
        for item in layer.select.expressions:
            if item.is_star:
                star = item.this if isinstance(item, exp.Column) else item
                if any(star.args.values()) or (isinstance(item, exp.Column) and item.table.lower() != alias.lower()):
                    raise NotCoveredError
                items += columns.items()
            else:
                items.append((item.alias_or_name.lower(), compose(item.unalias(), columns, alias)))
        columns = _renamed(items, layer.names)
    return columns, filters


def _column_names(node: exp.Expr) -> list[str]:
    alias = node.args.get("alias")
    return [identifier.name for identifier in alias.columns] if alias is not None else []


def _renamed(items: list[tuple[str, exp.Expr]], names: list[str]) -> dict[str, exp.Expr]:
    if names and len(names) != len(items):
        raise NotCoveredError
    named = {(names[position] if names else name).lower(): value for position, (name, value) in enumerate(items)}
    if len(named) != len(items):
        raise NotCoveredError
    return named


def _over(node: exp.Expr) -> bool:
    """Return whether an aggregate is called as a window function."""
    called = node.parent if isinstance(node.parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls) else node
    return isinstance(called.parent, exp.Window) and called.parent.this is called
