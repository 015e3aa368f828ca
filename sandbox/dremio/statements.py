"""Running a statement: from its text to rows, or to what Dremio answers when something was done."""

# ruff: noqa: S608 - names are quoted, and writing SQL is what this module is for

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from sandbox.dremio import answers
from sandbox.dremio.answers import (
    EXPLAIN_COLUMNS,
    RECORDS_COLUMNS,
    WRITTEN_COLUMNS,
    Outcome,
    done,
    rows_outcome,
)
from sandbox.dremio.catalog import Catalog, already_exists
from sandbox.dremio.changes import Changes
from sandbox.dremio.edition import is_enterprise
from sandbox.dremio.engine import Running, result_columns
from sandbox.dremio.entities import Column, Entity, Folder, Source, Space, Table, View, path_key
from sandbox.dremio.errors import ApiError, EditionError, ValidationError
from sandbox.dremio.granting import Granting
from sandbox.dremio.metadata import MetadataStatements
from sandbox.dremio.plan import Path, Plan
from sandbox.dremio.planner import Planner
from sandbox.dremio.reflections import Reflections
from sandbox.dremio.scan import identifier
from sandbox.dremio.sql import access_ddl
from sandbox.dremio.sql import statements as sql
from sandbox.dremio.sql.columns import type_of
from sandbox.dremio.sql.parse import parse
from sandbox.dremio.tables import Tables
from sandbox.dremio.writer import codec_of

PARSED = 256
LONGEST_PARSED = 10_000
"""Statements up to this many characters are remembered once they are parsed: dashboards ask the same ones again."""


class Statements:
    """Runs statements of any kind.

    Args:
        catalog: the catalog.
        planner: finds and translates what is read.
        tables: writes tables.
        changes: runs INSERT, UPDATE, DELETE and MERGE.
        reflections: keeps reflections.
        granting: runs what concerns users, roles and privileges.
    """

    def __init__(
        self,
        catalog: Catalog,
        planner: Planner,
        tables: Tables,
        changes: Changes,
        reflections: Reflections,
        granting: Granting,
    ) -> None:
        self._catalog = catalog
        self._planner = planner
        self._tables = tables
        self._changes = changes
        self._reflections = reflections
        self._granting = granting
        self._metadata = MetadataStatements(catalog, planner)

    def run(self, running: Running, text: str, context: Path = ()) -> Outcome:
        """Start a statement.

        Args:
            running: by which it can be cancelled.
            text: the statement.
            context: the current schema.

        Raises:
            StatementError: if it fails before it yields rows.
        """
        statement = _parsed(text)
        runner = _RUNNERS[type(statement)]
        try:
            return runner(self, running, statement, context)
        except ApiError as error:
            raise ValidationError(error.message) from error

    def describe(self, text: str, context: Path = ()) -> tuple[Column, ...]:
        """Return the columns a statement will yield, without running it.

        Raises:
            StatementError: if it would fail right away.
        """
        statement = _parsed(text)
        if isinstance(statement, sql.Query):
            return self._planner.columns(statement.sql, context)
        if isinstance(statement, sql.Change):
            return RECORDS_COLUMNS
        if isinstance(statement, sql.CreateTable) and statement.sql is not None:
            return WRITTEN_COLUMNS
        return answers.columns_of(statement)

    # -- queries

    def _query(self, running: Running, statement: sql.Query, context: Path) -> Outcome:
        plan = self._planner.plan(statement.sql, context)
        plan.columns, batches = running.open(plan.sql, plan.columns)
        return Outcome(plan.columns, batches, plan.queried, "SELECT", plan.scanned, plan.relationships)

    def _explain(self, running: Running, statement: sql.Explain, context: Path) -> Outcome:
        plan = self._planner.plan(statement.sql, context)
        with running.connection() as cursor:
            lines = cursor.execute(f"EXPLAIN {plan.sql}").fetchall()
        text = "\n".join(str(line[-1]) for line in lines)
        text += self._reflections.described(plan.relationships)
        described = json.dumps({"reflectionRelationships": plan.relationships})
        return rows_outcome(EXPLAIN_COLUMNS, [{"text": text, "json": described}], "EXPLAIN")

    # -- tables

    def _create_table(self, running: Running, statement: sql.CreateTable, context: Path) -> Outcome:
        source, path = self._tables.target(statement.path)
        with self._tables.writing(path):
            if self._catalog.get(path) is not None and statement.if_not_exists:
                return done(f"Table [{'.'.join(path)}] already exists.", ok=False)
            codec_of(statement.properties)
            plan = self._planner.plan(statement.sql, context) if statement.sql is not None else None
            query, columns = self._table_columns(running, statement, plan)
            draft = Table(
                path=path,
                columns=columns,
                partition=statement.partition,
                sort=tuple(_existing(columns, name) for name in statement.sort),
                properties=statement.properties,
            )
            files = self._tables.create(running, source, draft, query)
        if plan is None:
            return done("Table created")
        rows = [
            {"Fragment": "0_0", "Records": f.rows, "Path": f"/{path[0]}/{path[1]}/{f.key}", "FileSize": f.size,
             "Partition": f.key.rsplit("/", 1)[0]}
            for f in files
        ]  # fmt: skip
        outcome = rows_outcome(WRITTEN_COLUMNS, rows, "CTAS")
        outcome.queried, outcome.scanned, outcome.relationships = plan.queried, plan.scanned, plan.relationships
        return outcome

    def _table_columns(
        self, running: Running, statement: sql.CreateTable, plan: Plan | None
    ) -> tuple[str | None, tuple[Column, ...]]:
        """Return the query of a CREATE TABLE and the columns it gets; the list of columns wins over the query."""
        declared = tuple(Column(name, type_of(kind) if kind else "") for name, kind in statement.columns)
        if plan is None:
            if any(not column.type for column in declared):
                raise ValidationError("Column types are needed in CREATE TABLE without AS.")
            return None, _unique(declared)
        with running.connection() as cursor:
            relation = cursor.sql(plan.sql)
            yielded = result_columns(relation)
            _unique([Column(name, "") for name in relation.columns])
        if not declared:
            return plan.sql, yielded
        if len(declared) != len(yielded):
            raise ValidationError(f"Number of columns in the list ({len(declared)}) and query ({len(yielded)}) differ")
        columns = tuple(Column(d.name, d.type or y.type) for d, y in zip(declared, yielded, strict=True))
        names = [identifier(column.name) for column in columns]
        casts = ", ".join(f"CAST({n} AS {c.type}) AS {n}" for n, c in zip(names, columns, strict=True))
        return f"SELECT {casts} FROM ({plan.sql}) AS declared_({', '.join(names)})", _unique(columns)

    def _change(self, running: Running, statement: sql.Change, context: Path) -> Outcome:
        count = self._changes.run(running, statement.sql, context)
        return rows_outcome(RECORDS_COLUMNS, [{"Records": count}], "DML")

    def _managed(self, path: Path, context: Path) -> Table:
        dataset = self._planner.dataset(path, context)
        if not isinstance(dataset, Table) or not dataset.managed:
            raise ValidationError(f"Table [{'.'.join(path)}] is not configured to support DML operations")
        return dataset

    def _truncate(self, _: Running, statement: sql.Truncate, context: Path) -> Outcome:
        if statement.if_exists and self._planner.find(statement.path, context) is None:
            return done(f"Table [{'.'.join(statement.path)}] does not exist.")
        with self._tables.writing(self._managed(statement.path, context).path):
            self._tables.truncate(self._managed(statement.path, context))
        return done(f"Table [{'.'.join(statement.path)}] truncated")

    def _add_columns(self, _: Running, statement: sql.AddColumns, context: Path) -> Outcome:
        added = tuple(Column(name, type_of(kind)) for name, kind in statement.columns)
        with self._tables.writing(self._managed(statement.path, context).path):
            table = self._managed(statement.path, context)
            self._tables.alter(table, _unique((*table.columns, *added)))
        return done("New columns added.")

    def _drop_column(self, _: Running, statement: sql.DropColumn, context: Path) -> Outcome:
        with self._tables.writing(self._managed(statement.path, context).path):
            table = self._managed(statement.path, context)
            gone = _existing(table.columns, statement.column)
            if any(gone.lower() in item.lower() for item in (*table.partition, *table.sort)):
                raise ValidationError(f"[{gone}] is used in table partition or sort columns and cannot be dropped")
            if len(table.columns) == 1:
                raise ValidationError("Cannot drop all columns of a table")
            self._tables.alter(table, tuple(column for column in table.columns if column.name != gone))
        return done(f"Column [{gone}] dropped")

    def _refresh(self, _: Running, statement: sql.RefreshMetadata, context: Path) -> Outcome:
        return self._metadata.refresh(statement, context)

    def _forget(self, _: Running, statement: sql.ForgetMetadata, context: Path) -> Outcome:
        return self._metadata.forget(statement, context)

    def _set(self, _: Running, statement: sql.SetProperties, context: Path) -> Outcome:
        dataset = self._planner.dataset(statement.path, context)
        if isinstance(dataset, Table):
            codec_of(statement.properties)
            properties = {**dataset.properties, **statement.properties}
            self._tables.set_properties(dataset, properties)
        return done(f"Table [{'.'.join(statement.path)}] options updated")

    # -- views, folders

    def _create_view(self, _: Running, statement: sql.CreateView, context: Path) -> Outcome:
        path = self._planner.absolute(statement.path)
        existing = self._catalog.get(path)
        if existing is not None and statement.if_not_exists:
            return done(f"View '{'.'.join(path)}' already exists.", ok=False)
        if existing is not None and not (statement.replace and isinstance(existing, View)):
            raise ValidationError(f"A non-view or existing object [{'.'.join(path)}] already exists.")
        root = self._catalog.get(path[:1])
        if isinstance(root, Source):
            raise ValidationError(f"Cannot create view [{'.'.join(path)}] in source [{root.name}]: use a space.")
        if root is None or len(path) < 2:
            raise ValidationError(f"Cannot find a space to create view [{'.'.join(path)}] in.")
        columns = self._planner.columns(statement.sql, context)
        if statement.columns:
            if len(statement.columns) != len(columns):
                raise ValidationError("View's field list and the query's column list have different counts.")
            columns = tuple(Column(n, c.type) for n, c in zip(statement.columns, columns, strict=True))
        self.put_view(path, statement.sql, context, columns, renamed=bool(statement.columns))
        word = "replaced" if existing is not None else "created"
        return done(f"View '{'.'.join(path)}' {word} successfully")

    def put_view(
        self, path: Path, text: str, context: Path, columns: tuple[Column, ...], *, renamed: bool = False
    ) -> View:
        """Write a view, new or in the place of the one that is there."""
        with self._catalog.change():
            if not isinstance(self._catalog.get(path[:-1]), Space | Folder):
                raise ValidationError(f"The folder [{'.'.join(path[:-1])}] does not exist.")
            existing = self._catalog.get(path)
            view = View(path=path, sql=text, context=context, columns=columns, renamed=renamed)
            if isinstance(existing, View):
                view = dataclasses.replace(view, id=existing.id, created_at=existing.created_at)
            self._catalog.put(view)
        return view

    def _drop(self, _: Running, statement: sql.Drop, context: Path) -> Outcome:
        name = ".".join(statement.path)
        kind = statement.kind.capitalize()
        entity: Entity | None = self._planner.find(statement.path, context)
        wanted = {"TABLE": Table, "VIEW": View, "FOLDER": Folder}[statement.kind]
        if entity is None:
            if statement.if_exists:
                return done(f"{kind} [{name}] not found.")
            raise ValidationError(f"{kind} [{name}] does not exist.")
        if not isinstance(entity, wanted):
            raise ValidationError(f"[{name}] is not a {statement.kind}")
        if isinstance(entity, Table):
            with self._tables.writing(entity.path):
                if entity.managed:
                    self._tables.drop(entity)
                else:
                    self._catalog.delete(entity)
        else:
            if isinstance(entity, Folder) and self._catalog.below(entity.path):
                raise ValidationError(f"Folder [{name}] is not empty.")
            self._catalog.delete(entity)
        return done(f"{kind} [{name}] dropped")

    def _create_folder(self, _: Running, statement: sql.CreateFolder, __: Path) -> Outcome:
        path = self._planner.absolute(statement.path)
        if self._catalog.get(path) is not None and statement.if_not_exists:
            return done(f"Folder [{'.'.join(path)}] already exists.", ok=False)
        if not isinstance(self._catalog.get(path[:-1]), Space | Folder):
            raise ValidationError(f"Cannot create folder [{'.'.join(path)}]: its parent is not a space or folder.")
        folder = Folder(path)
        if self._catalog.get(path) is not None:
            raise already_exists(folder)
        self._catalog.put(folder)
        return done(f"Folder [{'.'.join(path)}] created")

    # -- reflections

    def _create_reflection(self, _: Running, statement: sql.CreateReflection, context: Path) -> Outcome:
        dataset = self._planner.dataset(statement.path, context)
        self._reflections.create({**statement.body, "datasetId": dataset.id})
        return done(f"Reflection [{statement.name}] created.")

    def _drop_reflection(self, _: Running, statement: sql.DropReflection, context: Path) -> Outcome:
        dataset = self._planner.dataset(statement.path, context)
        for reflection in self._reflections.of(dataset.id):
            if statement.name.lower() in (str(reflection["name"]).lower(), str(reflection["id"]).lower()):
                self._reflections.delete(str(reflection["id"]))
                return done("Reflection dropped.")
        raise ValidationError(f"No matching reflection found for [{statement.name}] on [{'.'.join(statement.path)}]")

    def _refresh_reflections(self, _: Running, statement: sql.RefreshReflections, context: Path) -> Outcome:
        if not is_enterprise():
            raise EditionError("REFRESH REFLECTIONS command is not supported.")
        dataset = self._planner.dataset(statement.path, context)
        self._reflections.request([str(reflection["id"]) for reflection in self._reflections.of(dataset.id)])
        return done("Reflections on the dataset will be refreshed.")

    def _set_acceleration(self, _: Running, statement: sql.SetAcceleration, context: Path) -> Outcome:
        dataset = self._planner.dataset(statement.path, context)
        for reflection in self._reflections.of(dataset.id):
            if statement.kind in ("", reflection["type"]):
                body = {**reflection, "enabled": statement.enabled}
                self._reflections.update(str(reflection["id"]), body)
        return done("Acceleration enabled." if statement.enabled else "Acceleration disabled.")

    def _grantees(self, _: Running, statement: sql.Statement, context: Path) -> Outcome:
        return self._granting.run(statement, context)

    # -- lists

    def _show(self, _: Running, statement: sql.Show, context: Path) -> Outcome:
        return answers.show(self._planner.system, statement, context)

    def _describe(self, _: Running, statement: sql.Describe, context: Path) -> Outcome:
        system = self._planner.system.find(statement.path)
        if system is not None:
            return answers.describe(dict(self._planner.system.describe())[system])
        return answers.describe(self._planner.dataset(statement.path, context).columns)

    def _use(self, _: Running, statement: sql.Use, __: Path) -> Outcome:
        if path_key(statement.path) not in {name.lower() for name in self._planner.system.schemas()}:
            raise ValidationError(f"Unable to find the schema [{'.'.join(statement.path)}]")
        return done(f"Default schema changed to [{'.'.join(statement.path)}]")


@functools.lru_cache(maxsize=PARSED)
def _remembered(text: str) -> sql.Statement:
    return parse(text)


def _parsed(text: str) -> sql.Statement:
    return _remembered(text) if len(text) <= LONGEST_PARSED else parse(text)


def _existing(columns: Sequence[Column], name: str) -> str:
    for column in columns:
        if column.name.lower() == name.lower():
            return column.name
    raise ValidationError(f"Column [{name}] is not found in table.")


def _unique(columns: Sequence[Column]) -> tuple[Column, ...]:
    seen: set[str] = set()
    for column in columns:
        if column.name.lower() in seen:
            raise ValidationError(f"Column [{column.name}] specified multiple times.")
        seen.add(column.name.lower())
    return tuple(columns)


_RUNNERS: dict[type[sql.Statement], Callable[[Statements, Running, Any, Path], Outcome]] = {
    sql.Query: Statements._query,
    sql.Explain: Statements._explain,
    sql.CreateTable: Statements._create_table,
    sql.Change: Statements._change,
    sql.Truncate: Statements._truncate,
    sql.AddColumns: Statements._add_columns,
    sql.DropColumn: Statements._drop_column,
    sql.RefreshMetadata: Statements._refresh,
    sql.ForgetMetadata: Statements._forget,
    sql.SetProperties: Statements._set,
    sql.CreateView: Statements._create_view,
    sql.Drop: Statements._drop,
    sql.CreateFolder: Statements._create_folder,
    sql.CreateReflection: Statements._create_reflection,
    sql.DropReflection: Statements._drop_reflection,
    sql.RefreshReflections: Statements._refresh_reflections,
    sql.SetAcceleration: Statements._set_acceleration,
    access_ddl.Grant: Statements._grantees,
    access_ddl.GrantRole: Statements._grantees,
    access_ddl.CreateGrantee: Statements._grantees,
    access_ddl.DropGrantee: Statements._grantees,
    sql.Show: Statements._show,
    sql.Describe: Statements._describe,
    sql.Use: Statements._use,
}
