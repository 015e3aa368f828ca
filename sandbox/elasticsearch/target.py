"""What one search is over: the chosen indices, their fields and the queries on them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sandbox.elasticsearch.clauses import both, nothing
from sandbox.elasticsearch.documents import Value, index_values
from sandbox.elasticsearch.engine import Engine, Occur, Query
from sandbox.elasticsearch.errors import illegal_argument, missing
from sandbox.elasticsearch.mapping import Field
from sandbox.elasticsearch.query import QueryCompiler
from sandbox.elasticsearch.store import IndexRecord, Store

SLICE = 20_000
"""Rows looked at together where a search has to see every match."""


class Target:
    """Indices as one search sees them.

    Args:
        engine: the tantivy index.
        store: the documents.
        records: the indices searched, which may be none.
    """

    def __init__(self, engine: Engine, store: Store, records: Sequence[IndexRecord]) -> None:
        self.engine = engine
        self.store = store
        self.records = {record.number: record for record in records}
        self.now = time.time()
        # Indices of one mapping, such as the days of a log, share one compiled query.
        groups: dict[str, list[IndexRecord]] = {}
        for record in records:
            groups.setdefault(json.dumps(record.mapping.declared, sort_keys=True), []).append(record)
        self._groups = [
            ([record.number for record in group], QueryCompiler(engine, group[0].mapping, self.now))
            for group in groups.values()
        ]

    def compile(self, raw: Any) -> Query:
        """Return the tantivy query for ``raw`` (None: everything) on these indices and no others."""
        query = {"match_all": {}} if raw is None else raw
        parts = [(self._numbers(numbers), compiler.compile(query)) for numbers, compiler in self._groups]
        if not parts:
            return nothing()
        narrowed = [both(compiled, numbers) for numbers, compiled in parts]
        return (
            narrowed[0] if len(narrowed) == 1 else Query.boolean_query([(Occur.Should, each) for each in narrowed], 1)
        )

    def _numbers(self, numbers: list[int]) -> Query:
        return Query.term_set_query(self.engine.schema, "number", numbers)

    def field(self, path: str) -> Field | None:
        """Return the field ``path``; None if no index maps it.

        Raises:
            ElasticsearchError: 501 if the indices disagree about its type.
        """
        found = {
            record.mapping.fields[path].column: record.mapping.fields[path]
            for record in self.records.values()
            if path in record.mapping.fields
        }
        if len(found) > 1:
            raise missing(
                f"sorting or aggregating the field [{path}], which has different types in the indices searched"
            )
        return next(iter(found.values()), None)

    def valued(self, path: str) -> Field | None:
        """Return the field ``path`` if its values can be sorted and aggregated; None if no index maps it.

        Raises:
            ElasticsearchError: 400 if it is a text field.
        """
        field = self.field(path)
        if field is not None and field.column == "t":
            names = ", ".join(record.name for record in self.records.values() if path in record.mapping.fields)
            raise illegal_argument(
                f"Fielddata is disabled on [{path}] in [{names}]. Text fields are not optimised for operations that "
                "require "
                "per-document field data like aggregations and sorting, so these operations are disabled by default. "
                f"Please use a keyword field instead. Alternatively, set fielddata=true on [{path}] in order to load "
                "field "
                "data by uninverting the inverted index. Note that this can use significant memory."
            )
        return field

    def matches(self, query: Query, fields: Sequence[Field]) -> Iterator[tuple[float, int, list[list[Value]]]]:
        """Yield every match as (score, row, ascending values of each field), in bounded memory."""
        columns = [self.engine.column(field) for field in fields]
        quick = [
            at for at, field in enumerate(fields) if field.column in ("i", "f") and not self.engine.has_multiple(field)
        ]
        asked = [(at, column) for at in quick if (column := columns[at]) is not None]
        slow = [at for at in range(len(fields)) if at not in quick]
        for first in range(0, self.store.last_row() + 1, SLICE):
            hits = self.engine.slice(query, first, first + SLICE - 1, [column for _, column in asked])
            documents = self.store.rows([row for _, row, _ in hits]) if slow else {}
            for score, row, found in hits:
                values: list[list[Value]] = [[] for _ in fields]
                for (at, _), value in zip(asked, found, strict=True):
                    values[at] = [] if value is None else [value]
                if slow and row in documents:
                    document = documents[row]
                    indexed = index_values(
                        self.records[document.number].mapping, json.loads(document.source), lenient=True
                    )
                    for at in slow:
                        values[at] = indexed.get(fields[at].path, [])
                yield score, row, values
