"""INSERT, UPDATE, DELETE and MERGE on managed tables."""

# ruff: noqa: S608 - names are quoted, and writing SQL is what this module is for

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
from sqlglot import exp

from sandbox.dremio.engine import Running
from sandbox.dremio.entities import Column, Table
from sandbox.dremio.errors import UnsupportedError, ValidationError
from sandbox.dremio.plan import Path, Plan
from sandbox.dremio.planner import Planner
from sandbox.dremio.scan import FILE_COLUMN, ROW_COLUMN, identifier
from sandbox.dremio.sql.dialect import parse_one
from sandbox.dremio.sql.translate import generate, path_of, translate_tree
from sandbox.dremio.tables import LABEL, Tables

TARGET = "__target"
CHANGES = "__changes"
ADDED = "__added"


@dataclass
class _Work:
    """One statement under way: the table it changes and the cursor with its temporary tables."""

    running: Running
    cursor: duckdb.DuckDBPyConnection
    table: Table
    alias: exp.Identifier
    context: Path


class Changes:
    """Runs statements that change rows.

    Args:
        planner: finds and translates what the statements read.
        tables: writes what they change.
    """

    def __init__(self, planner: Planner, tables: Tables) -> None:
        self._planner = planner
        self._tables = tables

    def run(self, running: Running, sql: str, context: Path) -> int:
        """Run a statement and return how many rows it inserted, updated or deleted.

        Raises:
            StatementError: if it fails; the table is then as it was.
        """
        tree = parse_one(sql)
        runner = _RUNNERS.get(type(tree))
        if runner is None:
            raise ValidationError("Failure parsing the query.")
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        if not isinstance(target, exp.Table):
            raise ValidationError("Failure parsing the query.")
        path = path_of(target)
        found = self._planner.dataset(path, context)
        with self._tables.writing(found.path), running.connection() as cursor:
            table = self._planner.dataset(path, context)
            if not isinstance(table, Table) or not table.managed:
                raise ValidationError(f"Table [{'.'.join(path)}] is not configured to support DML operations")
            alias = target.args.get("alias")
            name = alias.this if alias is not None else exp.to_identifier(table.name, quoted=True)
            return runner(self, tree, _Work(running, cursor, table, name, context))

    # -- the three kinds

    def _insert(self, tree: exp.Expr, work: _Work) -> int:
        names = [item.name for item in tree.this.expressions] if isinstance(tree.this, exp.Schema) else None
        body = tree.expression
        if not isinstance(body, exp.Query | exp.Values):
            raise UnsupportedError("INSERT without VALUES or a query")
        sql = generate(self._planner.translate(body, Plan(), work.context))
        return self._tables.append(work.running, work.table, self._aligned(work, sql, names))

    def _aligned(self, work: _Work, sql: str, names: list[str] | None) -> str:
        """Return a query whose columns are the table's: in its order, of its types, NULL where nothing is given."""
        relation = work.cursor.sql(sql)
        given = [c.name for c in work.table.columns] if names is None else [self._column(work, n).name for n in names]
        if len(relation.columns) != len(given):
            raise ValidationError(
                f"Number of INSERT columns ({len(given)}) does not match the number of values ({len(relation.columns)})"
            )
        columns = [
            f"CAST({identifier(c.name) if c.name in given else 'NULL'} AS {c.type}) AS {identifier(c.name)}"
            for c in work.table.columns
        ]
        renamed = ", ".join(identifier(name) for name in given)
        return f"SELECT {', '.join(columns)} FROM ({sql}) AS given_({renamed})"

    def _column(self, work: _Work, name: str) -> Column:
        for column in work.table.columns:
            if column.name.lower() == name.lower():
                return column
        raise ValidationError(f"Column '{name}' not found in table '{'.'.join(work.table.path)}'")

    def _delete(self, tree: exp.Expr, work: _Work) -> int:
        if tree.args.get("using") or tree.args.get("cluster"):
            raise UnsupportedError("DELETE .. USING")
        self._open_target(work)
        select = self._located(work, [])
        where = tree.args.get("where")
        if where is not None:
            select = select.where(where.this)
        self._materialise(work, CHANGES, select)
        return self._apply(work, update=False, added=None)

    def _update(self, tree: exp.Expr, work: _Work) -> int:
        if tree.args.get("from_"):
            raise UnsupportedError("UPDATE .. FROM")
        self._open_target(work)
        select = self._located(work, self._assigned(work, tree.expressions))
        where = tree.args.get("where")
        if where is not None:
            select = select.where(where.this)
        self._materialise(work, CHANGES, select)
        return self._apply(work, update=True, added=None)

    def _merge(self, tree: exp.Expr, work: _Work) -> int:
        matched, unmatched = _branches(tree)
        source, condition = tree.args["using"], tree.args["on"]
        self._open_target(work)
        if matched is not None:
            select = self._located(work, self._assigned(work, matched.expressions))
            select = select.join(source.copy(), on=condition.copy(), join_type="inner")
            self._materialise(work, CHANGES, select)
            duplicate = f"SELECT 1 FROM {CHANGES} GROUP BY {FILE_COLUMN}, {ROW_COLUMN} HAVING count(*) > 1 LIMIT 1"
            if work.cursor.execute(duplicate).fetchone():
                raise ValidationError("A target row matched more than once. Please update your query.")
        else:
            work.cursor.execute(
                f"CREATE TEMP TABLE {CHANGES} AS SELECT {FILE_COLUMN}, {ROW_COLUMN} FROM {TARGET} LIMIT 0"
            )
        added = None
        if unmatched is not None:
            self._materialise(work, ADDED, self._missing(work, unmatched, source, condition))
            added = self._aligned(work, f"SELECT * FROM {ADDED}", _inserted_names(unmatched))
        return self._apply(work, update=matched is not None, added=added)

    def _missing(self, work: _Work, insert: exp.Expr, source: exp.Expr, condition: exp.Expr) -> exp.Select:
        values = insert.expression
        items = values.expressions if isinstance(values, exp.Tuple) else [values]
        if isinstance(values, exp.Values):
            items = values.expressions[0].expressions
        named = [exp.alias_(item.copy(), f"c{position}", quoted=True) for position, item in enumerate(items)]
        present = exp.select("1").from_(self._target(work)).where(condition.copy())
        return exp.select(*named).from_(source.copy()).where(exp.Not(this=exp.Exists(this=present)))

    # -- how changes are found and applied

    def _open_target(self, work: _Work) -> None:
        work.cursor.execute(f"CREATE TEMP VIEW {TARGET} AS {self._planner.located(work.table)}")

    def _target(self, work: _Work) -> exp.Table:
        return exp.Table(this=exp.to_identifier(TARGET), alias=exp.TableAlias(this=work.alias.copy()))

    def _located(self, work: _Work, values: list[exp.Expr]) -> exp.Select:
        place = [exp.column(name, table=work.alias.copy()) for name in (FILE_COLUMN, ROW_COLUMN)]
        return exp.select(*place, *values).from_(self._target(work))

    def _assigned(self, work: _Work, assignments: list[exp.Expr]) -> list[exp.Expr]:
        """Return the new value of every column, the old one where nothing is assigned."""
        given: dict[str, exp.Expr] = {}
        for assignment in assignments:
            if not isinstance(assignment, exp.EQ):
                raise ValidationError("Failure parsing the query.")
            given[self._column(work, assignment.this.name).name] = assignment.expression
        partitioned = {text.strip('"').lower() for text in work.table.partition}
        for name in given:
            if name.lower() in partitioned:
                raise UnsupportedError(
                    f"Changing the partition column [{name}]; delete the rows and insert them anew, it"
                )
        values = []
        for column in work.table.columns:
            kept = exp.column(exp.to_identifier(column.name, quoted=True), table=work.alias.copy())
            kind = exp.DataType.build(column.type, dialect="duckdb")
            value = exp.Cast(this=given.get(column.name, kept).copy(), to=kind)
            values.append(exp.alias_(value, column.name, quoted=True))
        return values

    def _materialise(self, work: _Work, name: str, select: exp.Select) -> None:
        def resolve(path: Path) -> exp.Expr:
            if path == (TARGET,):
                return exp.Table(this=exp.to_identifier(TARGET))
            return self._planner.resolver(Plan(), work.context)(path)

        sql = generate(translate_tree(select, resolve, name_columns=False))
        work.cursor.execute(f"CREATE TEMP TABLE {name} AS {sql}")

    def _apply(self, work: _Work, *, update: bool, added: str | None) -> int:
        count, fresh = work.cursor.execute(f"SELECT count(*) FROM {CHANGES}").fetchone()[0], 0
        if added is not None:
            fresh = work.cursor.execute(f"SELECT count(*) FROM ({added})").fetchone()[0]
        if not count and not fresh:
            return 0
        files = work.cursor.execute(f"SELECT DISTINCT {FILE_COLUMN} FROM {CHANGES}").fetchall()
        gone = {str(file) for (file,) in files}
        columns = [identifier(column.name) for column in work.table.columns]
        if update:
            values = ", ".join(f"CASE WHEN c.{ROW_COLUMN} IS NULL THEN t.{n} ELSE c.{n} END AS {n}" for n in columns)
        else:
            values = ", ".join(f"t.{name}" for name in columns)
        keep = "" if update else f"WHERE c.{ROW_COLUMN} IS NULL"
        changed = (
            f"SELECT {values}, t.{FILE_COLUMN} AS {LABEL} FROM ({self._planner.located(work.table, gone)}) AS t "
            f"LEFT JOIN {CHANGES} AS c ON c.{FILE_COLUMN} = t.{FILE_COLUMN} AND c.{ROW_COLUMN} = t.{ROW_COLUMN} "
            f"{keep} ORDER BY t.{FILE_COLUMN}, t.{ROW_COLUMN}"
        )
        self._tables.rewrite(work.running, work.table, changed, added if fresh else None, gone)
        return int(count) + int(fresh)


def _branches(tree: exp.Expr) -> tuple[exp.Expr | None, exp.Expr | None]:
    """Return the UPDATE of WHEN MATCHED and the INSERT of WHEN NOT MATCHED, None where there is none."""
    update: exp.Expr | None = None
    insert: exp.Expr | None = None
    for when in tree.args["whens"].expressions:
        action = when.args.get("then")
        if when.args.get("condition") is not None or when.args.get("source"):
            raise UnsupportedError("MERGE with a condition on WHEN")
        if when.args.get("matched") and isinstance(action, exp.Update) and action.expressions and update is None:
            update = action
        elif not when.args.get("matched") and isinstance(action, exp.Insert) and insert is None:
            insert = action
        else:
            raise UnsupportedError("This form of WHEN in MERGE")
    return update, insert


def _inserted_names(insert: exp.Expr) -> list[str] | None:
    names = insert.this
    if names is None:
        return None
    items = names.expressions if isinstance(names, exp.Tuple | exp.Schema) else [names]
    return [item.name for item in items]


_RUNNERS: dict[type[exp.Expr], Callable[[Changes, exp.Expr, _Work], int]] = {
    exp.Insert: Changes._insert,
    exp.Update: Changes._update,
    exp.Delete: Changes._delete,
    exp.Merge: Changes._merge,
}
