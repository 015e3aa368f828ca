"""Planning: from a query as written to DuckDB's SQL, with every dataset found, opened and noted."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from sqlglot import exp

from sandbox.dremio import formats, promotion
from sandbox.dremio.acceleration import Acceleration
from sandbox.dremio.catalog import Catalog
from sandbox.dremio.engine import SCAN_SCHEMA, Engine, scan_name
from sandbox.dremio.entities import Column, Entity, Source, Table, View, now_millis
from sandbox.dremio.errors import DataError, ValidationError, not_found
from sandbox.dremio.lake import Lakes
from sandbox.dremio.lineage import DATASET, is_volatile
from sandbox.dremio.object_cache import ObjectCache, StaleMetadataError
from sandbox.dremio.plan import Plan
from sandbox.dremio.publication import Publisher
from sandbox.dremio.scan import scan_sql
from sandbox.dremio.sql.dialect import parse_one
from sandbox.dremio.sql.translate import SNAPSHOT, Resolver, generate, translate_tree
from sandbox.dremio.system_tables import SystemTables

Path = tuple[str, ...]
_Key = tuple[str, Path, bool, int, int]

MAX_VIEW_DEPTH = 64
PLAN_CACHE = 256
SCAN = "scan"
"""Key in a node's ``meta``: the identifier of the table that is to be opened for the node."""


class Planner:
    """Finds what queries name and translates them.

    Args:
        catalog: the catalog.
        engine: DuckDB.
        lakes: object stores by source.
        cache: local copies of their objects.
        system: INFORMATION_SCHEMA and sys.
        acceleration: puts reflections in the place of what they hold.
        publisher: knows which folders are just being written or deleted.
    """

    def __init__(
        self,
        catalog: Catalog,
        engine: Engine,
        lakes: Lakes,
        cache: ObjectCache,
        system: SystemTables,
        acceleration: Acceleration,
        publisher: Publisher,
    ) -> None:
        self.catalog = catalog
        self.engine = engine
        self.lakes = lakes
        self.cache = cache
        self.system = system
        self._acceleration = acceleration
        self._publisher = publisher
        self._trees: OrderedDict[str, exp.Expr] = OrderedDict()
        self._plans: OrderedDict[_Key, Plan] = OrderedDict()
        self._lineages: OrderedDict[tuple[str, int], Plan] = OrderedDict()
        self._read_at: dict[str, int] = {}
        self._lock = threading.Lock()

    # -- names

    def find(self, path: Path, context: Path = ()) -> Entity | None:
        """Return the catalog object a written path means: within the context first, then from the top.

        Args:
            path: the parts as written; a part may itself be a dotted path.
            context: the current schema.
        """
        for candidate in ((*context, *path), path) if context else (path,):
            entity = self.catalog.get(candidate)
            if entity is not None:
                return entity
        return None

    def dataset(self, path: Path, context: Path = ()) -> View | Table:
        """Return the view or table a written path means, after promoting a folder if its source wants that.

        Raises:
            ValidationError: if there is none.
        """
        entity = self.find(path, context)
        if isinstance(entity, View | Table):
            return entity
        for candidate in (path, (*context, *path)):
            promoted = self._promote(self.absolute(candidate))
            if promoted is not None:
                return promoted
        raise not_found(path)

    def absolute(self, path: Path) -> Path:
        """Return a path whose first part is a source or space, by cutting ``"lake.datalake.x"`` at its dots."""
        if self.catalog.get(path[:1]) is not None or "." not in path[0]:
            return path
        pieces = path[0].split(".")
        for length in range(len(pieces), 0, -1):
            if self.catalog.get((".".join(pieces[:length]),)) is not None:
                return (".".join(pieces[:length]), *pieces[length:], *path[1:])
        return path

    def _promote(self, path: Path) -> Table | None:
        source = self.catalog.source_of(path)
        if source is None or len(path) < 3 or not source.settings.get("metadataPolicy", {}).get("autoPromoteDatasets"):
            return None
        try:
            return self.promote(path, None)
        except ValidationError:
            return None

    def promote(self, path: Path, options: dict[str, Any] | None) -> Table:
        """Make a folder or file of a source a table.

        Args:
            path: its absolute path.
            options: format options; None: what the extensions of the files say.

        Raises:
            ValidationError: if there is nothing at that path, or nothing of a known format.
        """
        source = self.catalog.source_of(path)
        if source is None or len(path) < 2:
            raise not_found(path)
        since = self._publisher.moment
        table = promotion.promote(self.lakes.of(source), self.cache, source, (source.name, *path[1:]), options)
        with self.catalog.change():
            existing = self.catalog.get(path)
            if isinstance(existing, Table):
                return existing
            # What a dropped table leaves for a moment, or a new one has before it is in the catalog, is no table.
            if self._publisher.disturbed(table, since):
                raise not_found(path)
            return _as_table(self.catalog.put(table))

    # -- queries

    def plan(self, sql: str, context: Path = (), *, accelerate: bool = True) -> Plan:
        """Return the plan of a query.

        Args:
            sql: SELECT, WITH or VALUES as written.
            context: the current schema.
            accelerate: whether it may be answered from reflections.

        Raises:
            StatementError: if it cannot be run.
        """
        key = (sql, context, accelerate, self.catalog.generation, self._acceleration.generation)
        with self._lock:
            known = self._plans.get(key)
        if known is not None and self._holds(known):
            return known
        plan = Plan()
        while not self._plan(sql, context, plan, accelerate):
            # A file was not what the metadata says: they were read again, and may mean another plan.
            plan = Plan()
        if plan.stable:
            with self._lock:
                self._plans[key] = plan
                while len(self._plans) > PLAN_CACHE:
                    self._plans.popitem(last=False)
        return plan

    def lineage(self, dataset: View | Table) -> Plan:
        """Return a plan that names the tables and views behind a dataset but reads nothing.

        Raises:
            StatementError: if one of them is gone.
        """
        key = (dataset.id, self.catalog.generation)
        with self._lock:
            known = self._lineages.get(key)
        if known is None:
            known = Plan()
            self._resolve(dataset.path, (), known, 0)
            with self._lock:
                self._lineages[key] = known
                while len(self._lineages) > PLAN_CACHE:
                    self._lineages.popitem(last=False)
        return known

    def _plan(self, sql: str, context: Path, plan: Plan, accelerate: bool) -> bool:
        """Fill in a plan and return whether what it was made from still holds."""
        tree = self._parsed(sql)
        if not isinstance(tree, exp.Query | exp.Values):
            raise ValidationError("Failure parsing the query.")
        tree = translate_tree(tree, lambda path: self._resolve(path, context, plan, 0))
        plan.volatile = is_volatile(tree)
        if accelerate and plan.stable:
            tree, plan.relationships, plan.expires = self._acceleration.rewrite(tree, plan.tables, plan.views)
        holds = self._opened(tree, plan)
        plan.sql = generate(tree)
        return holds

    def _holds(self, plan: Plan) -> bool:
        """Return whether a plan made earlier is still right, as far as the catalog does not say."""
        if plan.expires is not None and self._acceleration.clock() >= plan.expires:
            return False
        return all(self._current(table) is table for table in plan.tables.values()) and all(
            self.cache.path(table.bucket, table.format, file).exists()
            for table in plan.opened.values()
            for file in table.files
        )

    def _parsed(self, sql: str) -> exp.Expr:
        with self._lock:
            tree = self._trees.get(sql)
        if tree is None:
            tree = parse_one(sql)
            with self._lock:
                self._trees[sql] = tree
                while len(self._trees) > PLAN_CACHE:
                    self._trees.popitem(last=False)
        return tree.copy()

    def translate(self, tree: exp.Expr, plan: Plan, context: Path, *, name_columns: bool = True) -> exp.Expr:
        """Rewrite a tree in place for DuckDB and note in ``plan`` what it reads."""
        return translate_tree(tree, self.resolver(plan, context), name_columns=name_columns)

    def resolver(self, plan: Plan, context: Path) -> Resolver:
        """Return what finds and opens datasets for ``plan`` from within ``context``."""

        def resolve(path: Path) -> exp.Expr:
            found = self._resolve(path, context, plan, 0)
            self._opened(found, plan)
            return found

        return resolve

    def _resolve(self, path: Path, context: Path, plan: Plan, depth: int) -> exp.Expr:
        if path[0] == SNAPSHOT:
            return self._snapshots(path[1], context)
        system = self.system.find(path)
        if system is not None:
            return self._system(system, plan)
        dataset = self.dataset(path, context)
        if depth == 0:
            plan.queried.append(dataset.path)
        found = self._scan(dataset, plan) if isinstance(dataset, Table) else self._expanded(dataset, plan, depth)
        found.meta[DATASET] = dataset.id
        return found

    def _expanded(self, dataset: View, plan: Plan, depth: int) -> exp.Expr:
        if depth > MAX_VIEW_DEPTH:
            raise ValidationError(f"View [{'.'.join(dataset.path)}] refers to itself.")
        plan.views[dataset.id] = dataset
        tree = self._parsed(dataset.sql)
        body = translate_tree(tree, lambda inner: self._resolve(inner, dataset.context, plan, depth + 1))
        if isinstance(body, exp.Query) and body.is_star and not dataset.renamed:
            return exp.Subquery(this=body)
        names = [exp.to_identifier(column.name, quoted=True) for column in dataset.columns]
        inner = exp.Subquery(this=body, alias=exp.TableAlias(this=exp.to_identifier("v"), columns=names))
        return exp.Subquery(this=exp.Select(expressions=[exp.Star()]).from_(inner))

    def _system(self, name: str, plan: Plan) -> exp.Expr:
        if self.system.stable(name):
            generation = self.catalog.generation
            if not self.engine.has_meta(name, generation):
                return _table(self.engine.meta(name, generation, self.system.rows(name)))
            return _table(("meta", f"{name}_{generation}"))
        plan.stable = False
        return _table(self.engine.meta(name, now_millis(), self.system.rows(name)))

    def _scan(self, table: Table, plan: Plan) -> exp.Expr:
        """Return what stands for a table until it is opened: it need not be if a reflection takes its place."""
        table = self._current(table)
        plan.tables[table.id] = table
        node = _table((SCAN_SCHEMA, scan_name(table)))
        node.meta[SCAN] = table.id
        return node

    def _opened(self, tree: exp.Expr, plan: Plan) -> bool:
        """Make readable what a tree scans.

        Returns:
            bool: whether every table was as planned; one that was not is opened as it is now.
        """
        as_planned = True
        for node in [node for node in tree.find_all(exp.Table) if SCAN in node.meta]:
            table = plan.tables[node.meta[SCAN]]
            source = self.source(table)
            try:
                paths = self.cache.fetch(self.lakes.of(source), table, table.files)
            except StaleMetadataError:
                # What Dremio does when a file is not what the metadata says: read the metadata again and start over.
                as_planned = False
                table = plan.tables[table.id] = self.refresh(table)
                paths = self.cache.fetch(self.lakes.of(source), table, table.files)
            plan.opened[table.id] = table
            self.engine.scan(table, list(zip(table.files, paths, strict=True)))
            node.set("this", exp.to_identifier(scan_name(table), quoted=True))
        return as_planned

    def located(self, table: Table, only: set[str] | None = None) -> str:
        """Return the SELECT over a table's rows with the columns by which a row is found again.

        Args:
            table: the table.
            only: local paths of the files to read; None for all.
        """
        paths = self.cache.fetch(self.lakes.of(self.source(table)), table, table.files)
        pairs = [(f, p) for f, p in zip(table.files, paths, strict=True) if only is None or str(p) in only]
        return scan_sql(table, pairs, located=True)

    def source(self, table: Table) -> Source:
        """Return the source a table lies in."""
        source = self.catalog.source_of(table.path)
        if source is None:
            raise DataError(f"The source of table [{'.'.join(table.path)}] is gone.")
        return source

    def _current(self, table: Table) -> Table:
        """Return the table, with its metadata read again if the source's policy says it has expired."""
        if table.managed:
            return table
        return self.refresh(table) if self.older(table, "datasetExpireAfterMs") else table

    def older(self, table: Table, limit: str) -> bool:
        """Return whether a table's metadata was read longer ago than a limit of its source's metadataPolicy."""
        millis = int(self.source(table).settings.get("metadataPolicy", {}).get(limit) or 0)
        return bool(millis) and now_millis() - max(table.refreshed_at, self._read_at.get(table.id, 0)) > millis

    def refresh(self, table: Table, part: promotion.Part | None = None) -> Table:
        """Read a promoted table's metadata, or that of a part of it, again and return the table as it is now."""
        moment = now_millis()
        changed = promotion.refresh(self.lakes.of(self.source(table)), self.cache, table, part)
        if part is None:
            self._read_at[table.id] = moment
        return table if changed is None else _as_table(self.catalog.replace(table, changed))

    def reformat(self, table: Table, options: dict[str, Any]) -> Table:
        """Read a promoted table with other format options and return it as it is then."""
        complete = formats.complete(options)
        if complete == table.format:
            return table
        empty = replace(table, format=complete, files=(), shapes=(), columns=())
        changed = promotion.refresh(self.lakes.of(self.source(table)), self.cache, empty)
        return _as_table(self.catalog.replace(table, changed or empty))

    def _snapshots(self, name: str, context: Path) -> exp.Expr:
        from sandbox.dremio.sql.tokens import Tokens

        table = self.dataset(Tokens(name).path(), context)
        if not isinstance(table, Table):
            raise ValidationError(f"[{'.'.join(table.path)}] is not a table.")
        sql = (
            f"SELECT make_timestamp({table.changed_at} * 1000) AS committed_at, "
            f"CAST('{table.tag}' AS VARCHAR) AS snapshot_id, CAST(NULL AS VARCHAR) AS parent_id, "
            "'append' AS operation, CAST(NULL AS VARCHAR) AS manifest_list"
        )
        return exp.Subquery(this=exp.maybe_parse(sql, dialect="duckdb"))

    def columns(self, sql: str, context: Path = ()) -> tuple[Column, ...]:
        """Return names and types of a query's result."""
        plan = self.plan(sql, context)
        if plan.columns is None:
            plan.columns = self.engine.columns(plan.sql)
        return plan.columns


def _table(place: tuple[str, str]) -> exp.Table:
    schema, name = place
    return exp.Table(this=exp.to_identifier(name, quoted=True), db=exp.to_identifier(schema, quoted=True))


def _as_table(entity: Entity) -> Table:
    assert isinstance(entity, Table)
    return entity
