"""From Dremio's query to DuckDB's: every table is resolved first, then functions, divisions and names are rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from sandbox.dremio.errors import UnsupportedError, ValidationError
from sandbox.dremio.sql import rules
from sandbox.dremio.sql.dialect import parse_one

Path = tuple[str, ...]
Resolver = Callable[[Path], exp.Expr]
"""Takes the path of a dataset as written, returns a table or subquery that DuckDB can read."""

SNAPSHOT = "$snapshot"
"""First part of the path under which the resolver is asked for the snapshots of a table."""


def path_of(table: exp.Table) -> Path:
    """Return the parts of a table's name as written, however many there are."""
    parts = [part.name for part in (table.args.get("catalog"), table.args.get("db")) if part is not None]
    return (*parts, *_flat(table.this))


def _flat(node: exp.Expr) -> Iterator[str]:
    if isinstance(node, exp.Dot):
        yield from _flat(node.this)
        yield from _flat(node.expression)
    else:
        yield node.name


def translate_query(sql: str, resolve: Resolver) -> str:
    """Return DuckDB's SQL for a query.

    Args:
        sql: SELECT, WITH or VALUES in Dremio's dialect.
        resolve: finds datasets.

    Raises:
        StatementError: if the query cannot be parsed, names something unknown, or has no equivalent.
    """
    tree = parse_one(sql)
    if not isinstance(tree, exp.Query | exp.Values):
        raise ValidationError("Failure parsing the query.")
    return generate(translate_tree(tree, resolve))


def generate(tree: exp.Expr) -> str:
    """Return a translated tree as DuckDB's SQL."""
    return str(DuckDB().generate(tree, copy=False, comments=False))


def translate_tree(tree: exp.Expr, resolve: Resolver, *, name_columns: bool = True) -> exp.Expr:
    """Rewrite a syntax tree in place.

    Args:
        tree: a query, or an expression of one.
        resolve: finds datasets.
        name_columns: give bare columns in a SELECT list the name as written.

    Returns:
        exp.Expr: the tree, or what took its place.
    """
    if name_columns:
        tree = _name_values(tree)
        _name_columns(tree)
    # Before tables are replaced: what a view's body became must not be rewritten again.
    tree = _rewritten(tree)
    _tables(tree, frozenset(), resolve)
    return tree


def _rewritten(tree: exp.Expr) -> exp.Expr:
    # Leaves first: what a node is rewritten to holds its children rewritten already.
    for node in reversed(list(tree.walk(bfs=False))):
        replacement = rules.rewrite(node)
        if replacement is not None and replacement is not node:
            if node is tree:
                tree = replacement
            else:
                node.replace(replacement)
    return tree


def _tables(node: exp.Expr, common: frozenset[str], resolve: Resolver) -> None:
    """Replace tables by what the resolver finds; a name defined in WITH hides a dataset where it is visible."""
    clause = node.args.get("with_")
    if clause is not None:
        for definition in clause.expressions:
            inner = common | {definition.alias.lower()} if clause.args.get("recursive") else common
            _tables(definition.this, inner, resolve)
            common = common | {definition.alias.lower()}
    for child in list(node.iter_expressions()):
        if child is clause:
            continue
        if isinstance(child, exp.Table):
            _table(child, common, resolve)
        else:
            _tables(child, common, resolve)


def _table(table: exp.Table, common: frozenset[str], resolve: Resolver) -> None:
    for join in table.args.get("joins") or []:
        _tables(join, common, resolve)
    path = path_of(table) if not isinstance(table.this, exp.Func | exp.Anonymous) else ()
    if isinstance(table.this, exp.Anonymous):
        path = _table_function(table)
    elif isinstance(table.this, exp.Func):
        raise UnsupportedError(f"The table function {table.this.sql_name()}")
    if _has_function(table.this):
        raise UnsupportedError("A table function")
    if len(path) == 1 and path[0].lower() in common:
        return
    found = resolve(path)
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(path[-1], quoted=True))
    found.set("alias", alias)
    for name in ("joins", "laterals", "sample"):
        if table.args.get(name):
            found.set(name, table.args[name])
    _qualified_columns(table, path, alias)
    table.replace(found)


def _has_function(node: exp.Expr) -> bool:
    return isinstance(node, exp.Dot) and any(True for _ in node.find_all(exp.Func, exp.Anonymous))


def _table_function(table: exp.Table) -> Path:
    """Handle ``TABLE(..)``: a dataset with format options, or a function.

    Returns:
        Path: the dataset inside; for ``table_snapshot`` a path that begins with :data:`SNAPSHOT`.
    """
    function = table.this
    if function.name.upper() != "TABLE" or len(function.expressions) != 1:
        raise UnsupportedError(f"The table function {function.name.upper()}")
    inner = function.expressions[0]
    parts = list(_dot_parts(inner))
    last = parts[-1]
    if isinstance(last, exp.Anonymous):
        name = last.name
        if name.lower() == "table_snapshot" and len(parts) == 1:
            return (SNAPSHOT, last.expressions[0].name if last.expressions else "")
        if name.lower() == "external_query" or not all(isinstance(a, exp.Kwarg) for a in last.expressions):
            raise UnsupportedError(f"The table function {name.upper()}")
        return (*[part.name for part in parts[:-1]], name)
    return tuple(part.name for part in parts)


def _dot_parts(node: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(node, exp.Dot):
        yield from _dot_parts(node.this)
        yield from _dot_parts(node.expression)
    elif isinstance(node, exp.Column):
        yield from node.parts
    else:
        yield node


def _qualified_columns(table: exp.Table, path: Path, alias: exp.TableAlias) -> None:
    """Shorten ``space.folder.t.column`` to ``t.column`` within the SELECT that reads the table."""
    select = table.find_ancestor(exp.Select)
    if select is None or len(path) < 2:
        return
    wanted = [part.lower() for part in path]
    for column in list(select.find_all(exp.Column)):
        # Beyond four parts sqlglot nests the rest in Dot nodes around the column.
        whole: exp.Expr = column
        parts = list(column.parts)
        while isinstance(whole.parent, exp.Dot) and whole.parent.this is whole:
            whole = whole.parent
            parts.append(whole.expression)
        if len(parts) <= len(path) or [part.name.lower() for part in parts[: len(path)]] != wanted:
            continue
        short: exp.Expr = exp.column(parts[len(path)].copy(), table=alias.this.copy())
        for part in parts[len(path) + 1 :]:
            short = exp.Dot(this=short, expression=part.copy())
        whole.replace(short)


def _name_values(tree: exp.Expr) -> exp.Expr:
    """Give the columns of VALUES the names they have in Dremio where the query gives them none."""
    for values in list(tree.find_all(exp.Values)):
        alias = values.args.get("alias")
        if (alias is not None and alias.args.get("columns")) or not isinstance(values.parent, exp.From | None):
            continue
        width = len(values.expressions[0].expressions)
        names = [exp.to_identifier(f"EXPR${position}", quoted=True) for position in range(width)]
        name = alias.this if alias is not None else exp.to_identifier("values_")
        values.set("alias", exp.TableAlias(this=name, columns=names))
    if isinstance(tree, exp.Values):
        return exp.Select(expressions=[exp.Star()]).from_(tree)
    return tree


def _name_columns(tree: exp.Expr) -> None:
    for select in tree.find_all(exp.Select):
        named = []
        for position, item in enumerate(select.expressions):
            if isinstance(item, exp.Alias | exp.Aliases | exp.Star) or item.is_star:
                named.append(item)
            elif isinstance(item, exp.Column | exp.Dot):
                named.append(exp.alias_(item, item.name or item.expression.name, quoted=True))
            else:
                named.append(exp.alias_(item, f"EXPR${position}", quoted=True))
        select.set("expressions", named)
