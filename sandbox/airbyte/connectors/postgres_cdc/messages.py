"""pgoutput, protocol version 1: messages of a replication slot become changes in columns, a chunk at a time.

The format is PostgreSQL's: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.airbyte.connectors.postgres_cdc.tuples import Buffer, Mask, Positions, Values, walk

_BEGIN, _COMMIT, _RELATION, _TRUNCATE = ord("B"), ord("C"), ord("R"), ord("T")
_INSERT, _UPDATE, _DELETE = ord("I"), ord("U"), ord("D")
_NEW, _FULL = ord("N"), ord("O")
POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000
"""2000-01-01, from which PostgreSQL counts, since 1970-01-01."""


@dataclass(frozen=True)
class RelationColumn:
    """A column as a relation message describes it.

    Attributes:
        name: the column's name.
        type_oid: oid of its type.
        type_modifier: its modifier, -1 if none.
        key: whether it belongs to the replica identity.
    """

    name: str
    type_oid: int
    type_modifier: int
    key: bool


@dataclass(frozen=True)
class Relation:
    """A table as it was when its changes were made.

    Attributes:
        oid: oid of the table.
        namespace: its schema.
        name: its name.
        identity: replica identity: ``d`` default, ``n`` nothing, ``f`` full, ``i`` index.
        columns: its published columns.
    """

    oid: int
    namespace: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True)
class Changes:
    """Changes of one table in the order of the log, in columns.

    Attributes:
        relation: the table as it was.
        columns: one array of text for each of its columns; null where a delete does not carry the column.
        unchanged: for each column, which rows keep the value they had because the update left it out, or None.
        lsn: position of each change's record.
        commit_lsn: position of its transaction's commit record.
        committed_at: when that was, epoch microseconds.
        deleted: whether the row is gone.
    """

    relation: Relation
    columns: list[Any]
    unchanged: list[Mask | None]
    lsn: Positions
    commit_lsn: Positions
    committed_at: Positions
    deleted: Mask

    def __len__(self) -> int:
        return len(self.lsn)


@dataclass(frozen=True)
class _Interval:
    """Messages without a relation or truncate message between them."""

    buffer: Buffer
    kinds: Positions
    starts: Positions
    lsn: Positions
    commit_lsn: Positions
    committed_at: Positions


class Decoder:
    """Follows one run through a slot; relations and the open transaction are kept from chunk to chunk.

    Args:
        keys: names of a table's key columns by (namespace, name), for tables whose replica identity is all columns; an
            update that changes one of them is a delete and an insert. Without an entry the table has no key: every
            update is.

    Attributes:
        end: position behind the last commit record that was decoded, 0 if there was none.
    """

    def __init__(self, keys: dict[tuple[str, str], tuple[str, ...]]) -> None:
        self._keys = keys
        self._relations: dict[int, Relation] = {}
        self._commit_lsn = self._committed_at = 0
        self.end = 0

    def decode(self, data: bytes, starts: Positions, lsn: Positions) -> Iterator[Changes]:
        """Yield the changes of a chunk, table by table; those of one table come in the order of the log.

        Args:
            data: the messages and :data:`~.tuples.PADDING` bytes.
            starts: where each message begins in ``data``.
            lsn: position in the log that came with each message.

        Raises:
            ValueError: if a message contradicts the protocol.
        """
        buffer = Buffer(data)
        kinds = buffer.bytes[starts].astype(np.int64)
        begins = np.flatnonzero(kinds == _BEGIN)
        transaction = np.cumsum(kinds == _BEGIN)
        commits = np.concatenate([[self._commit_lsn], buffer.numbers(starts[begins] + 1, "i8")])
        times = buffer.numbers(starts[begins] + 9, "i8") + POSTGRES_EPOCH_MICROSECONDS
        times = np.concatenate([[self._committed_at], times])
        whole = _Interval(buffer, kinds, starts, lsn, commits[transaction], times[transaction])
        self._commit_lsn, self._committed_at = int(commits[-1]), int(times[-1])
        ends = np.flatnonzero(kinds == _COMMIT)
        if len(ends):
            self.end = int(buffer.numbers(starts[ends[-1:]] + 10, "i8")[0])
        first = 0
        for stop in np.flatnonzero((kinds == _RELATION) | (kinds == _TRUNCATE)).tolist():
            yield from self._interval(whole, first, stop)
            if kinds[stop] == _RELATION:
                relation = _relation(data, int(starts[stop]))
                self._relations[relation.oid] = relation
            else:
                yield from self._truncated(whole, stop)
            first = stop + 1
        yield from self._interval(whole, first, len(kinds))

    def _interval(self, whole: _Interval, first: int, stop: int) -> Iterator[Changes]:
        kinds = whole.kinds[first:stop]
        rows = first + np.flatnonzero((kinds == _INSERT) | (kinds == _UPDATE) | (kinds == _DELETE))
        oids = whole.buffer.numbers(whole.starts[rows] + 1, "u4")
        for oid in np.unique(oids).tolist():
            relation = self._relations.get(oid)
            if relation is None:
                raise ValueError(f"pgoutput: a change of relation {oid} came before the relation's description")
            yield self._changes(whole, relation, rows[oids == oid])

    def _changes(self, whole: _Interval, relation: Relation, rows: Positions) -> Changes:
        """Turn the messages ``rows`` of one table into changes."""
        buffer, kinds, starts = whole.buffer, whole.kinds[rows], whole.starts[rows]
        width = len(relation.columns)
        marker = buffer.bytes[starts + 5]
        has_old = marker != _NEW
        old_rows = np.flatnonzero(has_old)
        old, behind = walk(buffer, starts[old_rows] + 6, width)
        tuples = starts + 6
        tuples[old_rows] = behind + 1
        new_rows = np.flatnonzero(kinds != _DELETE)
        new, _ = walk(buffer, tuples[new_rows], width)
        new = self._filled(old, old_rows, marker == _FULL, new, new_rows)
        moved = self._moved(buffer, relation, marker, old, old_rows, new, new_rows)
        kept = np.flatnonzero((kinds[old_rows] == _DELETE) | moved)
        # Of an update that changes the key the old row comes first: at the same position in the log it is gone already.
        source = np.concatenate([old_rows[kept], new_rows])
        order = np.argsort(source, kind="stable")
        if len(kept):
            pairs = zip(old, new, strict=True)
            new = [before.take(kept).followed_by(after).take(order) for before, after in pairs]
        columns = [buffer.texts(values) for values in new]
        unchanged = [values.unchanged if values.unchanged.any() else None for values in new]
        messages = rows[source[order]]
        deleted = order < len(kept)
        return Changes(
            relation,
            columns,
            unchanged,
            whole.lsn[messages],
            whole.commit_lsn[messages],
            whole.committed_at[messages],
            deleted,
        )

    @staticmethod
    def _filled(
        old: list[Values], old_rows: Positions, full: Mask, new: list[Values], new_rows: Positions
    ) -> list[Values]:
        """Take the values that an update left out from the old row, where the old row is complete."""
        if not full.any() or not any(values.unchanged.any() for values in new):
            return new
        place = np.zeros(len(full), dtype=np.int64)
        place[old_rows] = np.arange(len(old_rows))
        at = place[new_rows]
        return [
            after.where(after.unchanged & full[new_rows], before.take(at))
            for before, after in zip(old, new, strict=True)
        ]

    def _moved(
        self,
        buffer: Buffer,
        relation: Relation,
        marker: npt.NDArray[np.uint8],
        old: list[Values],
        old_rows: Positions,
        new: list[Values],
        new_rows: Positions,
    ) -> Mask:
        """Return which old rows belong to an update that gave the row another key."""
        place = np.full(len(marker), -1, dtype=np.int64)
        place[new_rows] = np.arange(len(new_rows))
        partner = place[old_rows]
        updated = partner >= 0
        moved: Mask = updated & (marker[old_rows] != _FULL)
        full = np.flatnonzero(updated & (marker[old_rows] == _FULL))
        if len(full):
            key = self._keys.get((relation.namespace, relation.name))
            differs = np.zeros(len(full), dtype=bool)
            for column, before, after in zip(relation.columns, old, new, strict=True):
                if key is not None and column.name not in key:
                    continue
                same = pc.equal(buffer.texts(before.take(full)), buffer.texts(after.take(partner[full])))
                both_null = ~before.present[full] & ~after.present[partner[full]]
                differs |= ~(np.asarray(pc.fill_null(same, False)) | both_null)
            moved[full] = differs if key is not None else True
        return moved

    def _truncated(self, whole: _Interval, row: int) -> Iterator[Changes]:
        """Yield a delete without key for every table that a truncate message names."""
        data, start = whole.buffer.data, int(whole.starts[row])
        (count,) = struct.unpack_from(">I", data, start + 1)
        for oid in struct.unpack_from(f">{count}I", data, start + 6):
            relation = self._relations.get(oid)
            if relation is None:
                raise ValueError(f"pgoutput: a truncate of relation {oid} came before the relation's description")
            at = slice(row, row + 1)
            yield Changes(
                relation,
                [pa.nulls(1, pa.string()) for _ in relation.columns],
                [None] * len(relation.columns),
                whole.lsn[at],
                whole.commit_lsn[at],
                whole.committed_at[at],
                np.ones(1, dtype=bool),
            )


def _relation(data: bytes, start: int) -> Relation:
    (oid,) = struct.unpack_from(">I", data, start + 1)
    namespace, position = _text(data, start + 5)
    name, position = _text(data, position)
    identity = chr(data[position])
    (count,) = struct.unpack_from(">H", data, position + 1)
    position += 3
    columns = []
    for _ in range(count):
        key = bool(data[position] & 1)
        column, position = _text(data, position + 1)
        type_oid, modifier = struct.unpack_from(">Ii", data, position)
        position += 8
        columns.append(RelationColumn(column, type_oid, modifier, key))
    return Relation(oid, namespace or "pg_catalog", name, identity, tuple(columns))


def _text(data: bytes, start: int) -> tuple[str, int]:
    """Return the zero-terminated text at ``start`` and the position behind it."""
    end = data.index(0, start)
    return data[start:end].decode(), end + 1
