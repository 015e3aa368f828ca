"""The files that destination-s3 writes: Parquet with Airbyte's columns, or JSON lines without flattening."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sandbox.airbyte.connectors import envelope
from sandbox.airbyte.connectors.arrow_types import to_arrow
from sandbox.airbyte.connectors.base import Batch, Stream

ROW_GROUP_BYTES = 16 * 1024 * 1024
"""Upper bound of a row group in memory, whatever ``block_size_mb`` says: several syncs share one machine."""
DICTIONARY_SAMPLE_ROWS = 20_000
INTEGER_DIGITS = 18
"""Precision up to which Parquet has decimals as integers."""


class PartWriter(Protocol):
    """Writes one part after the other of one stream."""

    @property
    def is_open(self) -> bool:
        """Whether a part is being written."""
        ...

    @property
    def file_bytes(self) -> int:
        """Size of the part written so far, in bytes."""
        ...

    def open(self, path: Path) -> None:
        """Begin a part."""
        ...

    def takes(self, batch: Batch) -> bool:
        """Return whether records fit into the open part: a part has one schema."""
        ...

    def write(self, batch: Batch) -> int:
        """Write records into the open part; returns their size in bytes, without Airbyte's own columns."""
        ...

    def close(self) -> None:
        """End the part; nothing happens if none is open."""
        ...


def writer_for(form: dict[str, Any], stream: Stream, generation_id: int, sync_id: int) -> PartWriter:
    """Return the writer for a destination's ``format``."""
    if form["format_type"] == "Parquet":
        return ParquetWriter(form, stream, generation_id, sync_id)
    compressed = form.get("compression", {}).get("compression_type", "No Compression") == "GZIP"
    return JsonLinesWriter(compressed, stream, generation_id, sync_id)


class ParquetWriter:
    """Parquet parts; row groups are cut by size.

    Args:
        form: the destination's ``format`` object.
        stream: the stream; its JSON schema types records that come as JSON.
        generation_id: the stream's generation.
        sync_id: the job's id.
    """

    def __init__(self, form: dict[str, Any], stream: Stream, generation_id: int, sync_id: int) -> None:
        codec = form.get("compression_codec", "UNCOMPRESSED")
        self._options: dict[str, Any] = {
            "compression": "none" if codec == "UNCOMPRESSED" else codec.lower(),
            "data_page_size": form.get("page_size_kb", 1024) * 1024,
            "dictionary_pagesize_limit": form.get("dictionary_page_size_kb", 1024) * 1024,
        }
        self._dictionary = form.get("dictionary_encoding", True)
        self._group_bytes = min(form.get("block_size_mb", 128) * 1024 * 1024, ROW_GROUP_BYTES)
        self._stream = stream
        self._generation_id = generation_id
        self._sync_id = sync_id
        self._schema: Any = None
        self._sink: Any = None
        self._writer: Any = None
        self._group_rows = 0

    @property
    def is_open(self) -> bool:
        """Whether a part is being written."""
        return self._sink is not None

    @property
    def file_bytes(self) -> int:
        """Bytes written to the part; the row group still in memory does not count."""
        return int(self._sink.tell()) if self._sink is not None else 0

    def open(self, path: Path) -> None:
        """Begin a part."""
        self._sink = pa.OSFile(str(path), "wb")
        self._schema = None

    def takes(self, batch: Batch) -> bool:
        """Return whether the records have the columns of the part."""
        return isinstance(batch, list) or self._schema is None or self._schema == _schema(batch)

    def write(self, batch: Batch) -> int:
        """Encode records; a full row group goes to the file."""
        if isinstance(batch, list):
            batch = to_arrow(batch, self._stream.json_schema, self._stream.name)
        if self._schema is None:
            self._schema = _schema(batch)
        added = envelope.columns(batch.num_rows, time.time_ns() // 1_000_000, self._generation_id, self._sync_id)
        whole = pa.RecordBatch.from_arrays([*added, *batch.columns], schema=self._schema)
        if self._writer is None:
            options = {**self._options, **encodings(whole, dictionary=self._dictionary)}
            self._writer = pq.ParquetWriter(self._sink, self._schema, **options)
            self._group_rows = max(self._group_bytes * whole.num_rows // whole.nbytes, 1)
        self._writer.write_batch(whole, row_group_size=self._group_rows)
        return int(batch.nbytes)

    def close(self) -> None:
        """Write the last row group and the footer."""
        if self._sink is None:
            return
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._sink.close()
            self._sink = self._writer = None


def encodings(batch: pa.RecordBatch, *, dictionary: bool = True) -> dict[str, Any]:
    """Return how to encode the columns of a file, as options of pyarrow's ``ParquetWriter``.

    Whole numbers, dates, times, and decimals of at most 18 digits, which are stored as whole numbers, are written as
    their differences (``DELTA_BINARY_PACKED``): there is less to compress, so that both writing and reading are faster,
    and files are smaller. Of the others those have a dictionary for which it pays: of unique values it is built, found
    too large and thrown away.

    Args:
        batch: the file's first records.
        dictionary: whether there may be dictionaries.
    """
    sample = batch.slice(0, DICTIONARY_SAMPLE_ROWS)
    differences = {field.name: "DELTA_BINARY_PACKED" for field in sample.schema if _is_whole(field.type)}
    repetitive = [
        field.name
        for field, values in zip(sample.schema, sample.columns, strict=True)
        if dictionary and field.name not in differences and not pa.types.is_nested(field.type)
        if 2 * pc.count_distinct(values).as_py() <= sample.num_rows
    ]
    return {"use_dictionary": repetitive, "column_encoding": differences, "store_decimal_as_integer": True}


def _is_whole(kind: pa.DataType) -> bool:
    if pa.types.is_decimal128(kind):
        return bool(kind.precision <= INTEGER_DIGITS)
    return bool(pa.types.is_integer(kind) or pa.types.is_temporal(kind))


def _schema(batch: pa.RecordBatch) -> pa.Schema:
    # The driver notes PostgreSQL's types on the fields; the real connector's files do not carry them.
    return pa.schema([*envelope.FIELDS, *(field.remove_metadata() for field in batch.schema)])


class JsonLinesWriter:
    """JSON lines parts, one object a line with the record under ``_airbyte_data``.

    Args:
        compressed: whether the parts are gzip files.
        stream: the stream.
        generation_id: the stream's generation.
        sync_id: the job's id.
    """

    def __init__(self, compressed: bool, stream: Stream, generation_id: int, sync_id: int) -> None:
        self._compressed = compressed
        self._stream = stream
        self._generation_id = generation_id
        self._sync_id = sync_id
        self._file: Any = None
        self._written = 0

    @property
    def is_open(self) -> bool:
        """Whether a part is being written."""
        return self._file is not None

    @property
    def file_bytes(self) -> int:
        """Bytes written to the part, before compression."""
        return self._written

    def open(self, path: Path) -> None:
        """Begin a part."""
        self._file = gzip.GzipFile(path, "wb") if self._compressed else path.open("wb")
        self._written = 0

    def takes(self, batch: Batch) -> bool:
        """Return True: every line says its fields."""
        return True

    def write(self, batch: Batch) -> int:
        """Write records."""
        records = batch if isinstance(batch, list) else batch.to_pylist()
        extracted = time.time_ns() // 1_000_000
        total = 0
        for line, size in envelope.json_lines(records, extracted, self._generation_id, self._sync_id):
            self._file.write(line)
            self._written += len(line)
            total += size
        return total

    def close(self) -> None:
        """End the part."""
        if self._file is not None:
            self._file.close()
            self._file = None
