"""The one order and the one copy of every record that a bronze partition keeps, whatever order they arrived in.

Records with a complete key come first, sorted by key and cursor; then those without one. A record that was delivered
several times is kept once, as first extracted. The result depends on the set of deliveries only, so that a second
load of the same deliveries, or of some of them again, changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.config import Stream
from lakehouse.contracts import data_columns

BUCKET_ROWS = 125_000  # records that are sorted in memory at a time; wider spread goes through local files
_PART_ROWS = 250_000  # records that are parted at a time
_MOST_BUCKETS = 500  # each is an open file while rows are parted
_SAMPLE_EVERY = 100
_FIRST_SEEN = ("_airbyte_extracted_at", "_airbyte_raw_id")


def sorted_records(
    pieces: Iterable[pa.Table], total_rows: int, sample: pa.ChunkedArray, stream: Stream, work: Path
) -> Iterator[pa.Table]:
    """Sort records and drop repeated deliveries, in bounded memory.

    Args:
        pieces: The records in any order, all of one schema, in pieces of any size.
        total_rows: How many there are in all, repeats included.
        sample: Values of the first key column, from which the ranges are cut; any sample gives the same result.
        stream: Names the key and the cursor.
        work: An empty folder for the ranges that do not fit into memory.

    Yields:
        The records, sorted and without repeats, in pieces.
    """
    bounds = _bounds(sample, min(max(1, -(-total_rows // BUCKET_ROWS)), _MOST_BUCKETS))
    if bounds is None:
        tables = list(pieces)
        if tables:
            yield from _arranged(pa.concat_tables(tables), stream)
        return
    with _Buckets(work, bounds, stream) as buckets:
        for piece in pieces:
            buckets.add(piece)
    for path in buckets.paths:
        yield from _arranged(_read(path), stream)


def sample_of(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return every hundredth value of a column."""
    picks = pa.array(range(0, len(values), _SAMPLE_EVERY), pa.int64())
    return values.take(picks)


def ranges(sample: pa.ChunkedArray, count: int) -> list[Callable[[pa.ChunkedArray], pa.ChunkedArray]]:
    """Cut the values of a column into ranges that hold about as many rows each.

    Args:
        sample: Some of the values.
        count: How many ranges; there may be fewer.

    Returns:
        For each range, a function that tells which values lie in it. Every value, and null, lies in exactly one.
    """
    bounds = _bounds(sample, count)
    if bounds is None:
        return [lambda values: pa.chunked_array([pa.repeat(pa.scalar(True), len(values))])]
    return [partial(_inside, low=low, high=high) for low, high in zip([None, *bounds], [*bounds, None], strict=True)]


def _inside(values: pa.ChunkedArray, low: pa.Scalar | None, high: pa.Scalar | None) -> pa.ChunkedArray:
    if low is None:
        return pc.fill_null(pc.less(values, high), True)
    above = pc.fill_null(pc.greater_equal(values, low), False)
    return above if high is None else pc.and_(above, pc.fill_null(pc.less(values, high), False))


def _bounds(sample: pa.ChunkedArray, count: int) -> pa.Array | None:
    """Return the lower bounds of all ranges but the first, or None when one range is enough."""
    values = pc.drop_null(sample)
    if count == 1 or len(values) < count:
        return None
    ordered = values.take(pc.sort_indices(values))
    picks = pa.array([len(ordered) * part // count for part in range(1, count)], pa.int64())
    return pc.unique(ordered.take(picks))


class _Buckets:
    """Records, parted by ranges of their first key column into local files."""

    def __init__(self, work: Path, bounds: pa.Array, stream: Stream) -> None:
        self._bounds = bounds
        self._stream = stream
        # One bucket for each range, in order, and the last for records whose first key column is null.
        self._paths = [work / f"bucket-{number}.arrow" for number in range(len(bounds) + 2)]
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> _Buckets:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._part()
        for writer in self._writers.values():
            writer.close()

    def add(self, piece: pa.Table) -> None:
        """Take a piece in; several are parted together, for a bucket gets few rows of a small one."""
        self._waiting.append(piece)
        if sum(waiting.num_rows for waiting in self._waiting) >= _PART_ROWS:
            self._part()

    def _part(self) -> None:
        if not self._waiting:
            return
        piece = pa.concat_tables(self._waiting)
        self._waiting = []
        leading = self._stream.key[0]
        piece = piece.take(pc.sort_indices(piece, sort_keys=[(leading, "ascending")]))
        # Nulls are last.
        valid = len(piece) - piece.column(leading).null_count
        values = piece.column(leading).slice(0, valid)
        ends = [pc.sum(pc.less(values, bound)).as_py() or 0 for bound in self._bounds]
        for number, (start, end) in enumerate(itertools.pairwise([0, *ends, valid, len(piece)])):
            if end > start:
                self._writer(number, piece.schema).write_table(piece.slice(start, end - start))

    def _writer(self, number: int, schema: pa.Schema) -> pa.ipc.RecordBatchStreamWriter:
        if number not in self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writers[number] = pa.ipc.new_stream(str(self._paths[number]), schema, options=options)
        return self._writers[number]

    @property
    def paths(self) -> list[Path]:
        """The files in the order of their ranges; ranges without records have none."""
        return [path for number, path in enumerate(self._paths) if number in self._writers]


def _read(path: Path) -> pa.Table:
    """Return the records of one file, which is not needed any more then."""
    with pa.ipc.open_stream(str(path)) as reader:
        table = reader.read_all()
    path.unlink()
    return table


def _arranged(table: pa.Table, stream: Stream) -> Iterator[pa.Table]:
    """Yield the records of one range: those with a complete key, then those without."""
    complete = None
    for name in stream.key:
        valid = pc.is_valid(table.column(name))
        complete = valid if complete is None else pc.and_(complete, valid)
    rest = None
    if not pc.all(complete).as_py():
        rest = table.filter(pc.invert(complete))
        table = table.filter(complete)
    table = _keyed(table, stream)  # one name for both, so that the unsorted records go
    yield table
    if rest is not None:
        yield _unique(rest, _version(stream), data_columns(rest.schema))


def _keyed(table: pa.Table, stream: Stream) -> pa.Table:
    version = _version(stream)
    return _unique(table, version, version if stream.sync_mode == "incremental" else data_columns(table.schema))


def _version(stream: Stream) -> list[str]:
    """Return the columns that name a version of a record."""
    return [*stream.key, stream.cursor] if stream.cursor else list(stream.key)


def _unique(table: pa.Table, order: Sequence[str], same: Sequence[str]) -> pa.Table:
    """Sort by ``order``, then by what makes two rows the same record, and keep the first extracted of each record."""
    if table.num_rows == 0:
        return table
    table = table.combine_chunks()
    same = [name for name in same if not pa.types.is_nested(table.schema.field(name).type)]
    keys = list(dict.fromkeys([*order, *same, *_FIRST_SEEN]))
    table = table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in keys]))
    repeated = None
    for name in same:
        values = table.column(name)
        equal = _equal(values.slice(1), values.slice(0, len(values) - 1))
        repeated = equal if repeated is None else pc.and_(repeated, equal)
    if repeated is None or not pc.any(repeated).as_py():
        return table
    first = pa.chunked_array([pa.array([True]), *pc.invert(repeated).chunks])
    return table.filter(first)


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Compare values so that a null equals a null."""
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return pc.or_(pc.fill_null(pc.equal(left, right), False), both_null)
