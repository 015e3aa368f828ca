"""Writing a table's rows as Parquet files on local disk, one file or more for each partition."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sandbox.dremio.errors import ValidationError

ROWS_PER_GROUP = 1_000_000
ROWS_PER_FILE = 4 * ROWS_PER_GROUP
PAGE_BYTES = 1 << 20
CODECS = {"snappy": "snappy", "zstd": "zstd", "gzip": "gzip", "none": "none", "uncompressed": "none"}
CODEC_PROPERTY = "write.parquet.compression-codec"
UNDER_WAY = 4
"""How many partitions may be held in memory at once, waiting for a thread that writes them."""


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Args:
        label: the partition's folder, or whatever else the rows were labelled with.
        path: where the file lies.
        rows: number of rows.
    """

    label: str
    path: Path
    rows: int


def codec_of(properties: dict[str, str]) -> str:
    """Return pyarrow's name of the codec that TBLPROPERTIES ask for; Dremio's default is snappy.

    Raises:
        ValidationError: if it is not one that Dremio writes.
    """
    wanted = properties.get(CODEC_PROPERTY, "snappy")
    if wanted.lower() not in CODECS:
        raise ValidationError(f"Invalid value '{wanted}' for {CODEC_PROPERTY}: {', '.join(sorted(CODECS))} are valid.")
    return CODECS[wanted.lower()]


def labelled(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Cut batches whose last column is a label into runs of equal label; rows must be ordered by it.

    Yields:
        tuple: the label and the rows that carry it, without the label column.
    """
    for batch in batches:
        if not batch.num_rows:
            continue
        labels = pc.run_end_encode(batch.column(batch.num_columns - 1))
        rows = batch.select(range(batch.num_columns - 1))
        start = 0
        for label, end in zip(labels.values.to_pylist(), labels.run_ends.to_pylist(), strict=True):
            yield label, rows.slice(start, end - start)
            start = end


class TableWriter:
    """Writes labelled runs of rows into files below a folder.

    Args:
        folder: where the files go.
        schema: columns of the files.
        codec: pyarrow's name of the compression.
        pool: threads that encode; DuckDB keeps computing meanwhile.
    """

    def __init__(self, folder: Path, schema: pa.Schema, codec: str, pool: ThreadPoolExecutor) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._schema = schema
        self._codec = codec
        self._pool = pool
        self._room = threading.BoundedSemaphore(UNDER_WAY)
        self._count = 0

    def write(
        self, runs: Iterator[tuple[str, pa.RecordBatch]], check: Callable[[], None] = lambda: None
    ) -> list[Written]:
        """Write all rows and return the files in the order of their labels.

        Args:
            runs: labels and rows; equal labels follow each other.
            check: called between batches; may raise to stop.
        """
        futures: list[Future[Written]] = []
        label: str | None = None
        chunk: list[pa.RecordBatch] = []
        rows = 0
        writer: _FileWriter | None = None
        for current, batch in runs:
            check()
            if current != label:
                if label is not None:
                    futures.append(self._finish(label, chunk, writer))
                label, chunk, rows, writer = current, [], 0, None
            chunk.append(batch)
            rows += batch.num_rows
            while rows >= ROWS_PER_GROUP:
                if writer is None:
                    writer = self._open()
                chunk, rows = self._flush(writer, chunk)
                if writer.rows >= ROWS_PER_FILE:
                    futures.append(_done(writer.close(label)))
                    writer = None
        if label is not None and (rows or writer is not None):
            futures.append(self._finish(label, chunk, writer))
        return [future.result() for future in futures]

    def _open(self) -> _FileWriter:
        self._count += 1
        return _FileWriter(self._folder / f"{self._count}.parquet", self._schema, self._codec)

    def _flush(self, writer: _FileWriter, chunk: list[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], int]:
        table = pa.Table.from_batches(chunk, schema=self._schema)
        writer.write(table.slice(0, ROWS_PER_GROUP))
        rest = table.slice(ROWS_PER_GROUP)
        return rest.to_batches(), rest.num_rows

    def _finish(self, label: str, chunk: list[pa.RecordBatch], writer: _FileWriter | None) -> Future[Written]:
        """Hand the last rows of a label to a thread; a file begun in this thread is finished here."""
        table = pa.Table.from_batches(chunk, schema=self._schema)
        if writer is not None:
            if table.num_rows:
                writer.write(table)
            return _done(writer.close(label))
        fresh = self._open()
        self._room.acquire()
        return self._pool.submit(self._encode, fresh, table, label)

    def _encode(self, writer: _FileWriter, table: pa.Table, label: str) -> Written:
        try:
            writer.write(table)
            return writer.close(label)
        finally:
            self._room.release()


class _FileWriter:
    def __init__(self, path: Path, schema: pa.Schema, codec: str) -> None:
        self.path = path
        self.rows = 0
        self._writer = pq.ParquetWriter(
            path, schema, compression=codec, use_dictionary=True, data_page_size=PAGE_BYTES, write_statistics=True
        )

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        self.rows += table.num_rows

    def close(self, label: str) -> Written:
        self._writer.close()
        return Written(label, self.path, self.rows)


def _done(written: Written) -> Future[Written]:
    future: Future[Written] = Future()
    future.set_result(written)
    return future
