"""One date partition of bronze: from landing files to the one canonical Parquet file."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.config import Stream
from lakehouse.contracts import Mismatch, conform, contract_schema, data_columns, target_schema
from lakehouse.ordering import sample_of, sorted_records

MEDIA_TYPE = "application/vnd.apache.parquet"
ROW_GROUP_ROWS = 1_000_000
_PAGE_BYTES = 1024 * 1024
_BLOCK_ROWS = 125_000  # divides the row group
READ_ROWS = 65_536


@dataclass(frozen=True)
class Written:
    """A partition file on local disk: its rows, the columns the contract does not know, and all when it is Parquet."""

    rows: int
    new_columns: tuple[str, ...]
    schema: pa.Schema | None = None


def build(
    stream: Stream,
    inputs: Iterable[Path],
    target: Path,
    work: Path,
    *,
    before: Path | None = None,
    known: pa.Schema | None = None,
) -> Written:
    """Merge landing files, and the partition so far, into one partition file.

    Args:
        stream: The stream and its contract.
        inputs: Parquet files as they landed; the order does not matter.
        target: The file to write.
        work: An empty folder for intermediate files.
        before: The partition so far; a column that the contract has got since is null in its rows.
        known: Columns that other partitions of the stream have, whose types are kept.

    Returns:
        What was written.

    Raises:
        Mismatch: When a file does not fit the contract.
    """
    files = [look_into(path) for path in inputs]
    landed = [file.schema for file in files]
    if before is not None:
        files.append(look_into(before))
        landed.append(_completed(files[-1].schema, stream))
        known = pa.schema([*landed[-1], *(field for field in known or () if field.name not in landed[-1].names)])
    schema, new = target_schema(stream, landed, known)
    total = sum(file.metadata.num_rows for file in files)
    picked = sample(files, stream, schema)
    pieces = (conform(pa.Table.from_batches([batch]), schema, stream) for batch in batches(files))
    rows = write(sorted_records(pieces, total, picked, stream, work), schema, target)
    return Written(rows, tuple(new), schema)


def _completed(before: pa.Schema, stream: Stream) -> pa.Schema:
    """Return the schema of a partition with what the contract has that it lacks."""
    fields = [field for field in contract_schema(stream) if field.name not in before.names]
    return pa.schema([*before, *fields])


@dataclass(frozen=True)
class ParquetInput:
    """A Parquet file to read: its path and what its footer says. It is not open: an open one keeps what it has read."""

    path: Path
    metadata: pq.FileMetaData
    schema: pa.Schema


def look_into(path: Path) -> ParquetInput:
    """Read the footer of a Parquet file; raises Mismatch when it is none."""
    try:
        with pq.ParquetFile(path) as file:
            return ParquetInput(path, file.metadata, file.schema_arrow)
    except pa.ArrowInvalid as error:
        raise Mismatch(f"{path.name} cannot be read as Parquet: {error}", pa.schema([])) from error


def batches(files: Iterable[ParquetInput], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of files, one file after the other, in pieces of a bounded size.

    Args:
        files: The files.
        columns: The columns; all when not given.
    """
    for found in files:
        with pq.ParquetFile(found.path, metadata=found.metadata) as file:
            yield from file.iter_batches(batch_size=READ_ROWS, columns=columns)


def count_rows(path: Path) -> int:
    """Return how many rows a Parquet file has; raises Mismatch when it is none."""
    return int(look_into(path).metadata.num_rows)


def sample(files: Iterable[ParquetInput], stream: Stream, schema: pa.Schema) -> pa.ChunkedArray:
    """Return some values of the first key column, in the type of the contract; raises Mismatch when they have none."""
    leading = stream.key[0]
    kind = schema.field(leading).type
    chunks: list[pa.Array] = []
    for file in files:
        for batch in batches([file], [leading]):
            picked = pa.Table.from_arrays([sample_of(pa.chunked_array([batch.column(0)]))], names=[leading])
            try:
                chunks += picked.cast(pa.schema([(leading, kind)])).column(0).chunks
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise Mismatch(f"column {leading} does not become {kind}: {error}", file.schema) from error
    return pa.chunked_array(chunks, type=kind)


def write(pieces: Iterable[pa.Table], schema: pa.Schema, target: Path) -> int:
    """Write a partition file with the settings every bronze partition has.

    The result is that of ``pq.write_table`` with row_group_size=1000000, of which it holds one row group at a time.

    Args:
        pieces: The rows in their final order.
        schema: Their schema.
        target: The file.

    Returns:
        How many rows were written.
    """
    rows = 0
    with pq.ParquetWriter(
        target,
        schema,
        compression="snappy",
        use_dictionary=True,
        data_page_size=_PAGE_BYTES,
        write_statistics=True,
    ) as writer:
        for group in row_groups(pieces):
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            rows += group.num_rows
            del group  # or it stays in memory until the next one is complete
    return rows


def row_groups(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut a stream of tables into tables of one row group each; only the last is smaller.

    Args:
        pieces: Tables of one schema.

    Yields:
        Tables in chunks of a fixed length: the bytes of a Parquet file depend on where chunks end.
    """
    group: list[pa.Table] = []
    for block in _blocks(pieces):
        group.append(block)
        if len(group) * _BLOCK_ROWS == ROW_GROUP_ROWS:
            yield pa.concat_tables(group)
            group = []
    if group:
        yield pa.concat_tables(group)


def _blocks(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.num_rows
        while count >= _BLOCK_ROWS:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, _BLOCK_ROWS).combine_chunks()
            waiting = [joined.slice(_BLOCK_ROWS)]
            count -= _BLOCK_ROWS
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def same_content(left: Path, right: Path, *, ignore_airbyte: bool) -> bool:
    """Compare two partition files row group by row group.

    Args:
        left: One file.
        right: The other.
        ignore_airbyte: Whether the columns that Airbyte adds may differ.

    Returns:
        Whether they hold the same rows in the same order.
    """
    if left.stat().st_size == right.stat().st_size and filecmp.cmp(left, right, shallow=False):
        return True
    with pq.ParquetFile(left) as one, pq.ParquetFile(right) as two:
        if not one.schema_arrow.equals(two.schema_arrow) or one.metadata.num_rows != two.metadata.num_rows:
            return False
        if _row_group_sizes(one) != _row_group_sizes(two):
            return False
        columns = data_columns(one.schema_arrow) if ignore_airbyte else one.schema_arrow.names
        # A column of a row group at a time, to hold as little as possible.
        return all(
            one.read_row_group(number, columns=[name]).equals(two.read_row_group(number, columns=[name]))
            for number in range(one.num_row_groups)
            for name in columns
        )


def _row_group_sizes(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
