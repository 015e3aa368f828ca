"""Files from partners: landing Parquet becomes the CSV files it was read from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from lakehouse import partition
from lakehouse.config import Stream
from lakehouse.contracts import Mismatch, conform, data_columns, target_schema
from lakehouse.ordering import sorted_records

SOURCE_FILE = "_ab_source_file_url"


def build(stream: Stream, inputs: Iterable[Path], target: Path, work: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Write one CSV file for each file the source read, in UTF-8 with a header line.

    Args:
        stream: The stream and its contract.
        inputs: Landing Parquet files.
        target: Folder for the CSV files.
        work: An empty folder for intermediate files.

    Returns:
        File name -> rows, and the columns the contract does not know.

    Raises:
        Mismatch: When a file does not fit the contract, or two source files have one name.
    """
    paths = list(inputs)
    landed = [pq.read_schema(path) for path in paths]
    schema, new = target_schema(stream, landed)
    for found in landed:
        if SOURCE_FILE not in found.names:
            raise Mismatch(f"column {SOURCE_FILE}, which says what file a row is from, is missing", found)
    rows: dict[str, int] = {}
    for name, url in _names(paths, landed[0]).items() if landed else ():
        rows[name] = _write(stream, paths, schema, url, target / name, work)
    return rows, tuple(new)


def _names(paths: Iterable[Path], landed: pa.Schema) -> dict[str, str]:
    urls: set[str] = set()
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[SOURCE_FILE]):
                urls.update(pc.unique(batch.column(0)).to_pylist())
    names: dict[str, str] = {}
    for url in sorted(urls):
        name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
        if name in names:
            raise Mismatch(f"files {names[name]} and {url} have the same name; bronze keeps files by name", landed)
        names[name] = url
    return names


def _write(stream: Stream, paths: Iterable[Path], schema: pa.Schema, url: str, target: Path, work: Path) -> int:
    files = [partition.look_into(path) for path in paths]
    total = sum(_mask(batch, url).sum().as_py() or 0 for batch in partition.batches(files, [SOURCE_FILE]))
    pieces = (
        conform(pa.Table.from_batches([batch.filter(_mask(batch, url))]), schema, stream)
        for batch in partition.batches(files)
    )
    sample = partition.sample(files, stream, schema)
    columns = data_columns(schema)
    options = pc_csv.WriteOptions(include_header=False, quoting_style="needed")
    rows = 0
    with target.open("wb") as out:
        # A bare header, as the partners send it: no reader takes the quotes for part of a name.
        out.write((",".join(columns) + "\n").encode())
        for piece in sorted_records(pieces, total, sample, stream, work):
            if piece.num_rows:
                pc_csv.write_csv(piece.select(columns), out, options)
            rows += piece.num_rows
    return rows


def _mask(batch: pa.RecordBatch, url: str) -> pa.Array:
    """Tell which rows are from one file."""
    return pc.equal(batch.column(SOURCE_FILE), url)
