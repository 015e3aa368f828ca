"""Which columns of a relation a query really needs: DuckDB's own optimizer is asked.

The query is planned, never run, in a second, empty DuckDB. Every relation is a table without rows there, and of the
optimizer only what removes unused columns is left on: what a scan still projects is what the result depends on, through
views, subqueries, stars and joins alike. Rules about values stay off, since they would conclude from the empty tables.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from sqlglot import exp

from sandbox.dremio import macros
from sandbox.dremio.entities import Column
from sandbox.dremio.scan import identifier
from sandbox.dremio.sql.translate import generate

logger = logging.getLogger(__name__)

Json = dict[str, Any]

STUB_SCHEMA = "stub"
KEPT_STUBS = 2000
_KEPT_RULES = ("unused_columns", "expression_rewriter", "deliminator", "unnest_rewriter")
_TARGET = "footprint"


class Footprint:
    """Plans queries over empty tables."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._database = self._empty()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _empty(self) -> duckdb.DuckDBPyConnection:
        database = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "100MB"})
        database.execute("SET enable_external_access = false")
        database.execute(f"CREATE SCHEMA {STUB_SCHEMA}")
        for statement in macros.STATEMENTS:
            database.execute(statement)
        rules = [name for (name,) in database.execute("SELECT name FROM duckdb_optimizers()").fetchall()]
        off = ",".join(name for name in rules if name not in _KEPT_RULES)
        database.execute(f"SET disabled_optimizers = '{off}'")
        return database

    def columns(
        self,
        tree: exp.Expr,
        targets: Sequence[tuple[exp.Expr, Sequence[Column]]],
        tables: Mapping[str, Sequence[Column]],
    ) -> list[set[str]] | None:
        """Return for each target the names (lower case) of the columns that the query needs of it.

        Args:
            tree: a translated query; it is left as it is.
            targets: relations within it, none inside another, with their columns.
            tables: columns of the other tables, by the name under which the tree scans them.

        Returns:
            list: in the order of the targets; None if the query does not plan: it then fails where it is run, in
            words for the user.
        """
        for number, (node, _) in enumerate(targets):
            node.meta[_TARGET] = number
        copy = tree.copy()
        for node, _ in targets:
            del node.meta[_TARGET]
        stubs = {f"target_{number}": columns for number, (_, columns) in enumerate(targets)}
        for node in [node for node in copy.walk() if _TARGET in node.meta]:
            replace_relation(node, exp.to_identifier(f"target_{node.meta[_TARGET]}", quoted=True), STUB_SCHEMA)
        for node in copy.find_all(exp.Table):
            if node.name in tables and node.db:
                stubs[node.name] = tables[node.name]
                node.set("db", exp.to_identifier(STUB_SCHEMA))
        try:
            with self._lock:
                self._create(stubs)
                ((_, plan),) = self._database.execute(f"EXPLAIN (FORMAT JSON) {generate(copy)}").fetchall()
        except duckdb.Error as error:
            logger.debug("no footprint: %s", error)
            return None
        needed: list[set[str]] = [set() for _ in targets]
        for node in json.loads(plan):
            _collect(node, needed)
        return needed

    def _create(self, stubs: Mapping[str, Sequence[Column]]) -> None:
        if len(self._known) > KEPT_STUBS:
            self._database.close()
            self._database = self._empty()
            self._known.clear()
        for name, columns in stubs.items():
            target = name.startswith("target_")
            if name in self._known and not target:
                continue
            described = ", ".join(f"{identifier(column.name)} {column.type}" for column in columns)
            self._database.execute(f"CREATE OR REPLACE TABLE {STUB_SCHEMA}.{identifier(name)} ({described})")
            self._known.add(name)


def replace_relation(node: exp.Expr, name: exp.Identifier, schema: str, catalog: str = "") -> exp.Table:
    """Put a table in the place of a relation; its alias and what is joined to it stay.

    Returns:
        exp.Table: the table.
    """
    table = exp.Table(this=name, db=exp.to_identifier(schema, quoted=True))
    if catalog:
        table.set("catalog", exp.to_identifier(catalog, quoted=True))
    for argument in ("alias", "joins", "laterals"):
        if node.args.get(argument):
            table.set(argument, node.args[argument])
    node.replace(table)
    return table


def _collect(node: Json, needed: list[set[str]]) -> None:
    info = node.get("extra_info", {})
    table = str(info.get("Table", ""))
    if f"{STUB_SCHEMA}.target_" in table:
        projected = info.get("Projections") or []
        names = [projected] if isinstance(projected, str) else projected
        needed[int(table.rpartition("_")[2])] |= {name.lower() for name in names}
    for child in node.get("children", []):
        _collect(child, needed)
