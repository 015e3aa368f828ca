"""What must survive: indices, templates and documents, in one SQLite file.

A write is durable when its transaction is committed (write-ahead log, fsync on commit). The table ``dirty`` names the
rows that tantivy has not seen yet; it empties at a refresh, and a crash between the two means indexing a row again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.elasticsearch.mapping import IndexMapping, Json

_SCHEMA = """
create table if not exists setting (name text primary key, value text not null);
create table if not exists indices (
    number integer primary key autoincrement, name text not null unique, uuid text not null, created integer not null,
    settings text not null, mapping text not null, aliases text not null, next_seq integer not null default 0);
create table if not exists template (name text primary key, body text not null);
create table if not exists slot (
    kind text not null, path text not null, number integer not null, multiple integer not null default 0,
    primary key (kind, path));
create table if not exists document (
    row integer primary key autoincrement, number integer not null, id text not null, seq integer not null,
    version integer not null, live integer not null, source text not null);
create unique index if not exists live_document on document (number, id) where live = 1;
create table if not exists dirty (row integer primary key);
"""
_PARAMETERS = 500
"""Rows asked for in one statement."""


@dataclass(slots=True)
class IndexRecord:
    """One index.

    Args:
        number: what tantivy knows it by; never used again.
        created: milliseconds since 1970.
        settings: what the creator asked for, below ``index``.
    """

    number: int
    name: str
    uuid: str
    created: int
    settings: Json
    mapping: IndexMapping
    aliases: Json


@dataclass(frozen=True, slots=True)
class Document:
    """One version of a document; ``source`` is its JSON text."""

    row: int
    number: int
    id: str
    seq: int
    version: int
    source: str


class Store:
    """The SQLite file of the server. Not thread-safe: the caller holds the server's lock.

    Args:
        path: the file; created if missing.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the writes inside all happen, durably, or none."""
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def setting(self, name: str) -> str | None:
        """Return a remembered value."""
        found = self._connection.execute("select value from setting where name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def remember(self, name: str, value: str) -> None:
        """Remember a value."""
        self._connection.execute("insert or replace into setting values (?, ?)", (name, value))

    # Indices and templates

    def indices(self) -> list[IndexRecord]:
        """Return every index, by name."""
        return [
            IndexRecord(
                number,
                name,
                identity,
                created,
                json.loads(settings),
                IndexMapping(json.loads(mapping)),
                json.loads(aliases),
            )
            for number, name, identity, created, settings, mapping, aliases in self._connection.execute(
                "select number, name, uuid, created, settings, mapping, aliases from indices order by name"
            )
        ]

    def create_index(self, name: str, settings: Json, mapping: Json, aliases: Json) -> IndexRecord:
        """Add an index and return it."""
        identity, created = uuid.uuid4().hex[:22], int(time.time() * 1000)
        cursor = self._connection.execute(
            "insert into indices (name, uuid, created, settings, mapping, aliases) values (?, ?, ?, ?, ?, ?)",
            (name, identity, created, json.dumps(settings), json.dumps(mapping), json.dumps(aliases)),
        )
        assert cursor.lastrowid is not None
        return IndexRecord(cursor.lastrowid, name, identity, created, settings, IndexMapping(mapping), aliases)

    def update_index(self, record: IndexRecord) -> None:
        """Write an index's settings, mapping and aliases."""
        self._connection.execute(
            "update indices set settings = ?, mapping = ?, aliases = ? where number = ?",
            (
                json.dumps(record.settings),
                json.dumps(record.mapping.declared),
                json.dumps(record.aliases),
                record.number,
            ),
        )

    def drop_index(self, record: IndexRecord) -> None:
        """Remove an index and its documents; tantivy forgets them at the next refresh."""
        self._connection.execute(
            "insert or ignore into dirty select row from document where number = ?", (record.number,)
        )
        self._connection.execute("delete from document where number = ?", (record.number,))
        self._connection.execute("delete from indices where number = ?", (record.number,))

    def templates(self) -> dict[str, Json]:
        """Return every index template by name."""
        rows = self._connection.execute("select name, body from template order by name")
        return {name: json.loads(body) for name, body in rows}

    def put_template(self, name: str, body: Json) -> None:
        """Add or replace an index template."""
        self._connection.execute("insert or replace into template values (?, ?)", (name, json.dumps(body)))

    def drop_template(self, name: str) -> None:
        """Remove an index template."""
        self._connection.execute("delete from template where name = ?", (name,))

    # The columns of tantivy

    def slots(self) -> dict[tuple[str, str], tuple[int, bool]]:
        """Return (kind, field path) -> (number of the tantivy column, whether a document has several values in it)."""
        rows = self._connection.execute("select kind, path, number, multiple from slot")
        return {(kind, path): (number, bool(multiple)) for kind, path, number, multiple in rows}

    def put_slot(self, kind: str, path: str, number: int, multiple: bool) -> None:
        """Add or replace one column."""
        self._connection.execute("insert or replace into slot values (?, ?, ?, ?)", (kind, path, number, int(multiple)))

    # Documents

    def live(self, number: int, document_id: str) -> Document | None:
        """Return the current version of a document."""
        found = self._connection.execute(
            "select row, number, id, seq, version, source from document where number = ? and id = ? and live = 1",
            (number, document_id),
        ).fetchone()
        return None if found is None else Document(*found)

    def write(self, number: int, document_id: str, source: str, old: Document | None) -> Document:
        """Store a new version of a document in place of ``old``."""
        if old is not None:
            self._retire(old)
        version, seq = (old.version + 1 if old else 1), self._next_seq(number)
        cursor = self._connection.execute(
            "insert into document (number, id, seq, version, live, source) values (?, ?, ?, ?, 1, ?)",
            (number, document_id, seq, version, source),
        )
        assert cursor.lastrowid is not None
        self._connection.execute("insert or ignore into dirty values (?)", (cursor.lastrowid,))
        return Document(cursor.lastrowid, number, document_id, seq, version, source)

    def remove(self, old: Document) -> int:
        """Delete a document and return the sequence number of the deletion."""
        self._retire(old)
        return self._next_seq(old.number)

    def _retire(self, old: Document) -> None:
        # The row stays until the next refresh: until then a search still finds, and has to show, the old version.
        self._connection.execute("update document set live = 0 where row = ?", (old.row,))
        self._connection.execute("insert or ignore into dirty values (?)", (old.row,))

    def _next_seq(self, number: int) -> int:
        found = self._connection.execute(
            "update indices set next_seq = next_seq + 1 where number = ? returning next_seq - 1", (number,)
        ).fetchone()
        return int(found[0])

    def count(self, number: int) -> int:
        """Return how many documents an index has."""
        row = self._connection.execute("select count(*) from document where number = ? and live = 1", (number,))
        return int(row.fetchone()[0])

    def rows(self, wanted: Sequence[int]) -> dict[int, Document]:
        """Return document versions by row; those that are gone are left out."""
        found: dict[int, Document] = {}
        for start in range(0, len(wanted), _PARAMETERS):
            part = wanted[start : start + _PARAMETERS]
            marks = ",".join("?" * len(part))
            query = f"select row, number, id, seq, version, source from document where row in ({marks})"  # noqa: S608  # marks
            found.update((row[0], Document(*row)) for row in self._connection.execute(query, part))
        return found

    def last_row(self) -> int:
        """Return the highest row number in use."""
        return int(self._connection.execute("select coalesce(max(row), 0) from document").fetchone()[0])

    # What tantivy has not seen

    def is_dirty(self) -> bool:
        """Return whether a refresh has something to do."""
        return self._connection.execute("select 1 from dirty limit 1").fetchone() is not None

    def dirty(self, after: int, limit: int) -> list[tuple[int, Document | None]]:
        """Return up to ``limit`` changed rows beyond row ``after``, each with its document if that is still current."""
        rows = self._connection.execute(
            "select d.row, x.row, x.number, x.id, x.seq, x.version, x.source from dirty d "
            "left join document x on x.row = d.row and x.live = 1 where d.row > ? order by d.row limit ?",
            (after, limit),
        )
        return [(row[0], None if row[1] is None else Document(*row[1:])) for row in rows]

    def all_dirty(self) -> None:
        """Mark every document as not yet seen by tantivy."""
        self._connection.execute("insert or ignore into dirty select row from document")

    def clean(self, rows: Iterable[int]) -> None:
        """Take rows off the list of changed ones and drop the versions among them that are no longer current."""
        marks = [(row,) for row in rows]
        self._connection.executemany("delete from dirty where row = ?", marks)
        self._connection.executemany("delete from document where row = ? and live = 0", marks)
