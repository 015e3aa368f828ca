"""The tantivy side: columns for fields, refresh, and the few things a search asks of it.

All indices share one tantivy index, told apart by the column ``number``, so that a search or an aggregation over many
of them is one search. tantivy's schema is fixed, fields are not: the schema has numbered columns of each kind, a field
path takes the next free one, and when they run out the tantivy index is built anew with twice as many.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import tantivy

from sandbox.elasticsearch import analysis
from sandbox.elasticsearch.documents import Values, index_values
from sandbox.elasticsearch.mapping import Field
from sandbox.elasticsearch.store import Document, IndexRecord, Store

logger = logging.getLogger(__name__)

Query: TypeAlias = tantivy.Query
Occur: TypeAlias = tantivy.Occur

_COLUMNS = 32
"""Columns of each kind a new tantivy index starts with."""
_BATCH = 2000
_WRITER_BYTES = 32_000_000


class Engine:
    """The tantivy index of the server. Not thread-safe: the caller holds the server's lock.

    Args:
        directory: where the tantivy index lives; it can be rebuilt from ``store`` at any time.
        store: the documents.
    """

    def __init__(self, directory: Path, store: Store) -> None:
        self._directory = directory
        self._store = store
        self._slots = store.slots()
        self._writer: Any = None
        columns = int(store.setting("columns") or 0)
        if columns and self._open(columns):
            return
        self._rebuild(columns or _COLUMNS)

    # Opening and rebuilding

    def _open(self, columns: int) -> bool:
        path = self._directory / f"columns-{columns}"
        try:
            if not path.is_dir() or not tantivy.Index.exists(str(path)):
                return False
            self._attach(tantivy.Index(_schema(columns), str(path)), columns)
        except (ValueError, OSError) as error:
            logger.warning("the tantivy index at %s cannot be opened (%s); building it anew", path, error)
            return False
        return True

    def _attach(self, index: tantivy.Index, columns: int) -> None:
        index.register_tokenizer(analysis.STANDARD, analysis.standard())
        index.config_reader("manual")
        self._columns = columns
        self._index = index
        self._writer = index.writer(_WRITER_BYTES, 1)
        self.schema = index.schema
        self._reload()

    def _rebuild(self, columns: int) -> None:
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        path = self._directory / f"columns-{columns}"
        path.mkdir(parents=True)
        with self._store.transaction():
            self._store.remember("columns", str(columns))
            self._store.all_dirty()
        self._attach(tantivy.Index(_schema(columns), str(path)), columns)

    def close(self) -> None:
        """Let background merges end and release the index."""
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    def _reload(self) -> None:
        self._index.reload()
        self.searcher = self._index.searcher()

    # Columns

    def column(self, field: Field) -> str | None:
        """Return the tantivy column of ``field``; None if no document ever had a value in it."""
        slot = self._slots.get((field.column, field.path))
        return None if slot is None else f"{field.column}{slot[0]}"

    def has_multiple(self, field: Field) -> bool:
        """Return whether a document has ever had several values in ``field``."""
        slot = self._slots.get((field.column, field.path))
        return slot is not None and slot[1]

    def _claim(self, kind: str, path: str, multiple: bool) -> int:
        slot = self._slots.get((kind, path))
        if slot is None:
            slot = (sum(1 for known, _ in self._slots if known == kind), False)
        elif slot[1] or not multiple:
            return slot[0]
        self._slots[kind, path] = (slot[0], slot[1] or multiple)
        self._store.put_slot(kind, path, *self._slots[kind, path])
        return slot[0]

    # Refresh

    def refresh(self, indices: Sequence[IndexRecord]) -> None:
        """Make every acknowledged write visible to searches.

        Args:
            indices: all indices there are.
        """
        records = {record.number: record for record in indices}
        while self._store.is_dirty():
            if self._refresh(records):
                continue
            logger.info("more than %d fields of one kind: building the tantivy index anew", self._columns)
            self._rebuild(self._columns * 2)

    def _refresh(self, records: dict[int, IndexRecord]) -> bool:
        """Index what changed; return False if there are not enough columns for it."""
        seen, after = [], 0
        with self._store.transaction():
            while batch := self._store.dirty(after, _BATCH):
                after = batch[-1][0]
                for row, document in batch:
                    seen.append(row)
                    # By a text key: tantivy-py's deletion by an unsigned number finds nothing, and one by a query
                    # is run against every segment.
                    self._writer.delete_documents_by_term("key", str(row))
                    if document is None or document.number not in records:
                        continue
                    entry = self._entry(document, records[document.number])
                    if entry is None:
                        self._writer.rollback()
                        return False
                    self._writer.add_document(entry)
            self._writer.commit()
            # After a crash here the rows are indexed again, replacing themselves: nothing is lost or doubled.
            self._store.clean(seen)
        self._reload()
        return True

    def _entry(self, document: Document, record: IndexRecord) -> tantivy.Document | None:
        entry = tantivy.Document()
        entry.add_text("key", str(document.row))
        entry.add_unsigned("row", document.row)
        entry.add_unsigned("number", document.number)
        entry.add_text("id", document.id)
        values: Values = index_values(record.mapping, json.loads(document.source), lenient=True)
        for path in _present(values):
            entry.add_text("present", path)
        for path, items in values.items():
            kind = record.mapping.fields[path].column
            slot = self._claim(kind, path, len(items) > 1)
            if slot >= self._columns:
                return None
            add = {"i": entry.add_integer, "f": entry.add_float}.get(kind, entry.add_text)
            for item in items:
                add(f"{kind}{slot}", item)
        return entry

    # Asking

    def count(self, query: Query) -> int:
        """Return how many documents ``query`` finds."""
        return int(self.searcher.search(query, 1).count)

    def top(self, query: Query, limit: int) -> list[tuple[float, int]]:
        """Return the best ``limit`` documents as (score, row)."""
        if limit <= 0:
            return []
        hits = self.searcher.search(query, limit, count=False).hits
        rows = self.searcher.fast_field_values("row", [address for _, address in hits])
        return [(score, row) for (score, _), row in zip(hits, rows, strict=True)]

    def slice(self, query: Query, first: int, last: int, columns: Sequence[str]) -> list[tuple[float, int, list[Any]]]:
        """Return the documents with ``first <= row <= last`` as (score, row, first value of each column)."""
        bounds = Query.range_query(self.schema, "row", tantivy.FieldType.Unsigned, first, last)
        both = Query.boolean_query([(Occur.Must, query), (Occur.Must, Query.const_score_query(bounds, 0.0))])
        hits = self.searcher.search(both, last - first + 1, count=False).hits
        addresses = [address for _, address in hits]
        rows = self.searcher.fast_field_values("row", addresses)
        values = [self.searcher.fast_field_values(column, addresses) for column in columns]
        return [(hits[at][0], rows[at], [column[at] for column in values]) for at in range(len(hits))]

    def aggregate(self, query: Query, request: dict[str, Any]) -> dict[str, Any]:
        """Return tantivy's answer to one aggregation called ``a``."""
        answer: dict[str, Any] = self.searcher.aggregate(query, {"a": request})["a"]
        return answer

    def terms(self, column: str, prefix: str = "") -> list[str]:
        """Return the distinct terms of a text column that start with ``prefix``."""
        return [term for term, _ in self.searcher.terms_with_prefix(column, prefix)]


def _present(values: Values) -> set[str]:
    """Return the paths that exist in a document: its fields with values and the objects around them."""
    paths = set(values)
    for path in values:
        while "." in path:
            path = path.rpartition(".")[0]
            paths.add(path)
    return paths


def _schema(columns: int) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("key", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("row", indexed=True, fast=True)
    builder.add_unsigned_field("number", indexed=True, fast=True)
    builder.add_text_field("id", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("present", tokenizer_name="raw", index_option="basic")
    for number in range(columns):
        builder.add_text_field(f"k{number}", fast=True, tokenizer_name="raw", index_option="basic")
        builder.add_text_field(f"t{number}", tokenizer_name=analysis.STANDARD, index_option="position")
        builder.add_integer_field(f"i{number}", indexed=True, fast=True)
        builder.add_float_field(f"f{number}", indexed=True, fast=True)
    return builder.build()
