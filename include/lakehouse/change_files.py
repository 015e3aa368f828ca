"""Bronze files of change data: what a sync landed of a stream, in the order of the log, every change once."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse import partition
from lakehouse.config import Stream
from lakehouse.contracts import CDC_COLUMNS, UNAVAILABLE_VALUE, Mismatch, conform, contract_schema, target_schema
from lakehouse.ordering import ranges
from lakehouse.partition import ParquetInput

_IDENTITY_ROWS = 4_000_000  # changes whose identities are compared in memory at a time
_LSN, _COMMITTED, _DELETED, _SEQUENCE = CDC_COLUMNS.names


@dataclass(frozen=True)
class WrittenChanges:
    """A file of changes on local disk.

    Args:
        rows: How many changes it holds.
        repeated: How many deliveries of a change it leaves out, because the change is there already.
        first_lsn: The smallest position in the write-ahead log.
        last_lsn: The largest.
        newest_commit: The latest commit, ISO 8601 in UTC.
        schema: Fingerprint of columns and types.
        new_columns: Columns that are not in the contract, with their types.
    """

    rows: int
    repeated: int
    first_lsn: int
    last_lsn: int
    newest_commit: str
    schema: str
    new_columns: dict[str, str]


def build(
    stream: Stream, landed: Mapping[int, Sequence[Path]], folder: Path, known: pa.Schema | None = None
) -> dict[int, tuple[Path, WrittenChanges]]:
    """Make one file of what each sync landed. Each depends on its own landing files and on those of syncs before it.

    Args:
        stream: The stream and its contract.
        landed: Sync job -> its landing files, both in the order in which they were written.
        folder: Where to write.
        known: Columns outside the contract that bronze has of the stream, whose types are kept.

    Returns:
        Sync job -> its file and what is in it; a job that landed nothing new is left out.

    Raises:
        Mismatch: When a file does not fit the contract.
    """
    written = {}
    files = {job: [partition.look_into(path) for path in paths] for job, paths in landed.items()}
    schemas = {job: target_schema(stream, [file.schema for file in opened], known) for job, opened in files.items()}
    repeated = _repeated(list(itertools.chain(*files.values())), stream)
    position = 0
    for job, opened in files.items():
        schema, new = schemas[job]
        total = sum(file.metadata.num_rows for file in opened)
        target = folder / f"{stream.name}-{job}.parquet"
        summary = _Summary()
        pieces = _changes(opened, position, schema, stream, repeated, summary)
        first = next(pieces, None)
        position += total
        if first is None:
            continue
        rows = partition.write(itertools.chain([first], pieces), schema, target)
        columns = {name: str(schema.field(name).type) for name in new}
        span = (summary.first_lsn, summary.last_lsn, summary.newest_commit)
        written[job] = target, WrittenChanges(rows, total - rows, *span, fingerprint(schema), columns)
    return written


def fingerprint(schema: pa.Schema) -> str:
    """Return a short name for columns and their types."""
    text = "\n".join(f"{field.name} {field.type}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Summary:
    """What a manifest says about the rows, gathered while they pass."""

    def __init__(self) -> None:
        self.first_lsn, self.last_lsn = 2**63 - 1, 0
        self._newest: pa.Scalar | None = None

    def add(self, piece: pa.Table) -> None:
        span = pc.min_max(piece.column(_LSN)).as_py()
        self.first_lsn, self.last_lsn = min(self.first_lsn, span["min"]), max(self.last_lsn, span["max"])
        # As times, not as texts: their fractions of a second differ in length.
        newest = pc.max(piece.column(_COMMITTED).cast(pa.timestamp("us", "UTC")))
        if self._newest is None or pc.greater(newest, self._newest).as_py():
            self._newest = newest

    @property
    def newest_commit(self) -> str:
        return self._newest.as_py().isoformat() if self._newest is not None and self._newest.is_valid else ""


def _changes(
    files: Sequence[ParquetInput],
    position: int,
    schema: pa.Schema,
    stream: Stream,
    repeated: pa.Array,
    summary: _Summary,
) -> Iterator[pa.Table]:
    """Yield the changes of a sync in the order of the log, numbered; ``position`` is that of its first row."""
    sequence = 0
    for batch in partition.batches(files):
        table = pa.Table.from_batches([batch])
        if len(repeated):
            positions = pa.array(range(position, position + table.num_rows), pa.int64())
            table = table.filter(pc.invert(pc.is_in(positions, value_set=repeated)))
        position += batch.num_rows
        if not table.num_rows:
            continue
        piece = _typed(table, schema, stream)
        numbers = pa.array(range(sequence, sequence + piece.num_rows), pa.int64())
        piece = piece.set_column(schema.get_field_index(_SEQUENCE), schema.field(_SEQUENCE), numbers)
        sequence += piece.num_rows
        summary.add(piece)
        yield piece


def _typed(table: pa.Table, schema: pa.Schema, stream: Stream) -> pa.Table:
    """Return a piece in the types of the contract; a deletion need hold no more than its key."""
    try:
        piece = conform(table, schema, stream, may_be_null=table.column(_DELETED).is_valid())
    except Mismatch as mismatch:
        if UNAVAILABLE_VALUE not in mismatch.reason:
            raise
        raise Mismatch(
            f"{mismatch.reason}. This is an unchanged TOAST value, which the log does not hold and only a text column "
            f"can stand for: ALTER TABLE {stream.name} REPLICA IDENTITY FULL makes the log hold it",
            mismatch.landed,
        ) from mismatch
    if piece.column(_LSN).null_count:
        raise Mismatch(f"column {_LSN} is null in {piece.column(_LSN).null_count} rows", table.schema)
    return piece


def _repeated(files: Sequence[ParquetInput], stream: Stream) -> pa.Array:
    """Return the positions of changes that an earlier object holds already.

    A sync that is tried again delivers anew what it had landed after its last checkpoint. The same change has the same
    position in the log, the same key and the same kind; a COPY gives many rows one position, an update of the key
    is a deletion and an insertion at one position.
    """
    if not _may_repeat(files):
        return pa.array([], pa.int64())
    identity = [_LSN, *stream.key]
    contract = contract_schema(stream)
    wanted = pa.schema([CDC_COLUMNS.field(_LSN), *(contract.field(name) for name in stream.key)])
    found: list[pa.Array] = []
    total = sum(file.metadata.num_rows for file in files)
    leading = stream.key[0]
    sample = partition.sample(files, stream, wanted)
    for inside in ranges(sample, -(-total // _IDENTITY_ROWS)):
        kept, position = [], 0
        for batch in partition.batches(files, [*identity, _DELETED]):
            piece = _identities(batch, wanted, stream, position)
            position += batch.num_rows
            kept.append(piece.filter(inside(piece.column(leading))))
        found.append(_later_ones(pa.concat_tables(kept), [*identity, _DELETED]))
    return pa.concat_arrays(found)


def _identities(batch: pa.RecordBatch, schema: pa.Schema, stream: Stream, position: int) -> pa.Table:
    table = pa.Table.from_batches([batch])
    deleted = table.column(_DELETED).is_valid()
    numbers = pa.array(range(position, position + table.num_rows), pa.int64())
    piece = conform(table, schema, stream, may_be_null=deleted)
    return piece.append_column(_DELETED, deleted).append_column("position", numbers)


def _later_ones(table: pa.Table, identity: list[str]) -> pa.Array:
    """Return the positions of rows whose identity a row before them has."""
    first = table.group_by(identity, use_threads=False).aggregate([("position", "min")]).column("position_min")
    if len(first) == table.num_rows:
        return pa.array([], pa.int64())
    positions = table.column("position")
    return positions.filter(pc.invert(pc.is_in(positions, value_set=first))).combine_chunks()


def _may_repeat(files: Sequence[ParquetInput]) -> bool:
    """Tell whether two objects may hold one change: not when their spans of the log are apart."""
    spans = []
    for file in files:
        column = _leaf(file, _LSN)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        statistics = [group.column(column).statistics for group in groups if group.num_rows]
        if any(found is None or not found.has_min_max for found in statistics):
            return len(files) > 1
        if statistics:
            spans.append((min(found.min for found in statistics), max(found.max for found in statistics)))
    spans.sort()
    return any(later[0] <= earlier[1] for earlier, later in itertools.pairwise(spans))


def _leaf(file: ParquetInput, name: str) -> int:
    """Return the number of a flat column among Parquet's leaf columns."""
    columns = file.metadata.schema
    return next(number for number in range(len(columns)) if columns.column(number).path == name)
