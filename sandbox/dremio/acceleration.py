"""Answering queries from reflections: which ones could, which one does, and the query rewritten to read it.

Reflections are looked for at every place of a translated query where a dataset was expanded, outer ones first: a query
on a view finds the reflections of the view, then those of the views and tables inside it. An aggregation reflection
takes the place of a SELECT that aggregates over the dataset (:mod:`sandbox.dremio.rollup`), a raw reflection takes that
of the dataset itself, if it has every column that the result depends on (:mod:`sandbox.dremio.footprint`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from sandbox.dremio.accelerator import ACCELERATOR, RAW_SCHEMA, Accelerator
from sandbox.dremio.engine import scan_name
from sandbox.dremio.entities import Column, Table, View, now_millis
from sandbox.dremio.footprint import Footprint, replace_relation
from sandbox.dremio.lineage import DATASET, Versions, occurrences
from sandbox.dremio.reflections import Reflections
from sandbox.dremio.rollup import Rollups

Json = dict[str, Any]


@dataclass(frozen=True)
class Offer:
    """A reflection that may be used.

    Args:
        reflection: its definition.
        materialization: its rows.
    """

    reflection: Json
    materialization: Json

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the dataset, with DuckDB's types."""
        return tuple(Column(name, kind) for name, kind in self.materialization["columns"])

    @property
    def display(self) -> set[str]:
        """The columns a raw reflection has, in lower case."""
        return {str(field["name"]).lower() for field in self.reflection.get("displayFields", [])}

    @property
    def place(self) -> tuple[str, str, str]:
        """Catalog, schema and table of its rows in DuckDB."""
        return ACCELERATOR, str(self.reflection["id"]), str(self.materialization["id"])


class _Search:
    """The search for one query: what is offered where, and what became of it."""

    def __init__(self, tree: exp.Expr, offers: Mapping[str, list[Offer]]) -> None:
        self.tree = tree
        self.offers = offers
        self.places = [node for node in occurrences(tree) if node.meta[DATASET] in offers]
        self.relationships: dict[str, str] = {}
        self.used: list[Offer] = []

    def at(self, node: exp.Expr, kind: str) -> list[Offer]:
        offered = self.offers.get(node.meta.get(DATASET, ""), [])
        return [offer for offer in offered if offer.reflection["type"] == kind]

    def leave(self, source: exp.Expr, definitions: list[exp.CTE]) -> None:
        """Look no further in what an aggregation reflection has taken the place of."""
        names = [table.name.lower() for table in self.tree.find_all(exp.Table) if not table.db]
        unused = [definition for definition in definitions if names.count(definition.alias.lower()) == 1]
        self.places = [place for place in self.places if not any(_inside(place, outer) for outer in (source, *unused))]

    def choose(self, matched: list[Offer]) -> Offer:
        """Note what matched and return the smallest of it."""
        chosen = min(
            matched, key=lambda offer: (int(offer.materialization["bytes"]), int(offer.materialization["rows"]))
        )
        for offer in matched:
            self.relationships.setdefault(str(offer.reflection["id"]), "MATCHED")
        self.relationships[str(chosen.reflection["id"])] = "CHOSEN"
        self.used.append(chosen)
        return chosen


class Acceleration:
    """Rewrites queries.

    Args:
        reflections: all reflections.
        accelerator: holds their rows.
        versions: says what is stale.
        clock: returns the time in milliseconds since 1970.
    """

    def __init__(
        self,
        reflections: Reflections,
        accelerator: Accelerator,
        versions: Versions,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._reflections = reflections
        self._accelerator = accelerator
        self._versions = versions
        self.clock = clock
        self._footprint = Footprint()
        self._rollups = Rollups(accelerator.aggregates())

    @property
    def generation(self) -> int:
        """A number that changes whenever other reflections may be used than before."""
        return self._reflections.generation

    def close(self) -> None:
        """Close what was opened."""
        self._footprint.close()

    def rewrite(
        self, tree: exp.Expr, tables: Mapping[str, Table], views: Mapping[str, View]
    ) -> tuple[exp.Expr, list[Json], int | None]:
        """Let a query read reflections where it may.

        Args:
            tree: the translated query; changed in place.
            tables: the tables it reads, by identifier.
            views: the views it was expanded from, by identifier.

        Returns:
            tuple: the query, what became of each reflection, and when the first one used expires.
        """
        datasets: dict[str, Table | View] = {**tables, **views}
        moment = self.clock()
        usable = {
            identifier: [Offer(*pair) for pair in self._reflections.usable(identifier, moment)]
            for identifier in datasets
        }
        considered = [offer for offers in usable.values() for offer in offers]
        if not considered:
            return tree, [], None
        search = _Search(tree, self._fresh(tree, usable, datasets))
        if search.places:
            edits = self._aggregations(search)
            self._raw(search, {scan_name(table): table.columns for table in tables.values()})
            for apply in edits:
                apply()
        relationships = [
            {
                "datasetId": offer.reflection["datasetId"],
                "reflectionId": offer.reflection["id"],
                "relationship": search.relationships.get(str(offer.reflection["id"]), "CONSIDERED"),
            }
            for offer in considered
        ]
        expires = min((int(offer.materialization["expires"]) for offer in search.used), default=None)
        return search.tree, relationships, expires

    def _fresh(
        self, tree: exp.Expr, usable: Mapping[str, list[Offer]], datasets: Mapping[str, Table | View]
    ) -> dict[str, list[Offer]]:
        """Return the offers whose rows are those of the dataset as this query would expand it."""
        fresh: dict[str, list[Offer]] = {}
        for node in occurrences(tree):
            identifier = node.meta[DATASET]
            if identifier in fresh or not usable.get(identifier):
                continue
            below = {inner.meta[DATASET] for inner in occurrences(node)}
            versions = {name: self._versions.of(datasets[name]) for name in below}
            fresh[identifier] = [offer for offer in usable[identifier] if offer.materialization["versions"] == versions]
        return {identifier: offers for identifier, offers in fresh.items() if offers}

    def _aggregations(self, search: _Search) -> list[Callable[[], None]]:
        """Find the SELECTs that aggregation reflections answer.

        Their sources are taken off the list of places; the changes are made later, since raw reflections may take
        the place of something else in the same query.
        """
        edits = []
        for select in list(search.tree.find_all(exp.Select)):
            for leaf in self._rollups.leaves(select):
                found = [
                    (offer, edit)
                    for offer in search.at(leaf.node, "AGGREGATION")
                    if (edit := self._rollups.match(select, leaf, offer.reflection, offer.columns, offer.place))
                ]
                if found:
                    chosen = search.choose([offer for offer, _ in found])
                    edits.append(next(edit for offer, edit in found if offer is chosen))
                    search.leave(select.args["from_"], leaf.definitions)
                    break
        return edits

    def _raw(self, search: _Search, tables: Mapping[str, tuple[Column, ...]]) -> None:
        """Put raw reflections in the place of datasets, the outermost that is covered first."""
        known = dict(tables)
        waiting = [place for place in search.places if search.at(place, "RAW")]
        while waiting:
            outer = [place for place in waiting if not any(_inside(place, other) for other in waiting)]
            targets = [(place, search.at(place, "RAW")[0].columns) for place in outer]
            needed = self._footprint.columns(search.tree, targets, known)
            waiting = [place for place in waiting if all(place is not done for done in outer)]
            if needed is None:
                return
            for place, names in zip(outer, needed, strict=True):
                covering = [offer for offer in search.at(place, "RAW") if names <= offer.display]
                if covering:
                    chosen = search.choose(covering)
                    name = self._accelerator.raw(chosen.place, chosen.columns, chosen.display)
                    known[name] = chosen.columns
                    waiting = [other for other in waiting if not _inside(other, place)]
                    replace_relation(place, exp.to_identifier(name, quoted=True), RAW_SCHEMA)


def _inside(node: exp.Expr, outer: exp.Expr) -> bool:
    return any(parent is outer for parent in _parents(node))


def _parents(node: exp.Expr) -> Iterator[exp.Expr]:
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent
