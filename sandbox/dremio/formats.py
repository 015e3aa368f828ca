"""File formats of promoted datasets: what a file's name and format options mean, and its rows as Parquet."""

from __future__ import annotations

import csv
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sandbox.dremio.errors import DataError, ValidationError

Json = dict[str, Any]

ROWS_PER_BATCH = 50_000
EXTENSIONS = {".parquet": "Parquet", ".json": "JSON", ".jsonl": "JSON", ".csv": "Text", ".tsv": "Text", ".txt": "Text"}

TEXT_DEFAULTS: Json = {
    "type": "Text",
    "fieldDelimiter": ",",
    "lineDelimiter": "\r\n",
    "quote": '"',
    "comment": "#",
    "escape": '"',
    "skipFirstLine": False,
    "extractHeader": False,
    "trimHeader": False,
    "autoGenerateColumnNames": True,
}


def complete(options: Json) -> Json:
    """Return format options with Dremio's defaults filled in.

    Args:
        options: as sent, ``{"type": "Parquet"|"JSON"|"Text", ...}``.

    Raises:
        ValidationError: if the type is not one the sandbox reads.
    """
    kind = str(options.get("type", ""))
    known = {"parquet": "Parquet", "json": "JSON", "text": "Text", "csv": "Text"}.get(kind.lower())
    if known is None:
        raise ValidationError(f"Format type [{kind}] is not implemented in the sandbox: Parquet, JSON and Text are.")
    if known == "Text":
        return {**TEXT_DEFAULTS, **options, "type": "Text"}
    return {"type": known}


def is_data(key: str) -> bool:
    """Return whether an object is data: not a folder marker, nor a name that begins with a dot or an underscore."""
    name = key.rsplit("/", 1)[-1]
    return bool(name) and not name.startswith((".", "_"))


def by_extension(keys: list[str]) -> Json | None:
    """Return the format options that fit the extension of the first known file, None if there is none."""
    for key in keys:
        kind = EXTENSIONS.get(Path(key.lower()).suffix)
        if kind:
            delimiter = {"fieldDelimiter": "\t"} if key.lower().endswith(".tsv") else {}
            return complete({"type": kind, **delimiter})
    return None


def to_parquet(raw: Path, options: Json, where: str) -> Path:
    """Return a Parquet file with the rows of a file.

    Args:
        raw: the file as it is in the object store.
        options: complete format options.
        where: the object's address, for messages.

    Returns:
        Path: ``raw`` itself if it is Parquet, else a new file beside it.

    Raises:
        DataError: if the file is not of that format.
    """
    kind = options["type"]
    if kind == "Parquet":
        try:
            pq.read_metadata(raw)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{where} is not a Parquet file: {error}") from error
        return raw
    target = raw.with_name(raw.name + ".parquet")
    try:
        if kind == "JSON":
            _write(_json_table(raw), target)
        else:
            _write_text(raw, options, target)
    except (pa.ArrowInvalid, ValueError, csv.Error) as error:
        raise DataError(f"{where} cannot be read as {kind}: {error}") from error
    return target


def _write(table: pa.Table, target: Path) -> None:
    pq.write_table(table, target, compression="snappy", row_group_size=1_000_000)


def _json_table(raw: Path) -> pa.Table:
    """Read one JSON array of objects, one object, or an object a line. Strings stay strings, as in Dremio."""
    text = raw.read_text(encoding="utf-8")
    stripped = text.lstrip()
    records = json.loads(text) if stripped.startswith("[") else list(_documents(text))
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("it holds values that are not objects")
    names: dict[str, None] = {}
    for record in records:
        names.update(dict.fromkeys(record))
    return pa.table({name: _array([record.get(name) for record in records]) for name in names})


def _documents(text: str) -> Iterator[Json]:
    decoder = json.JSONDecoder()
    position, length = 0, len(text)
    while position < length:
        while position < length and text[position] in string.whitespace:
            position += 1
        if position < length:
            document, position = decoder.raw_decode(text, position)
            yield document


def _array(values: list[Any]) -> pa.Array:
    """Make a column; values of several types become text, which is what Dremio's mixed columns end as."""
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values])
    if pa.types.is_null(array.type):
        return array.cast(pa.string())
    if pa.types.is_struct(array.type) and array.type.num_fields == 0:
        return pa.array([None if value is None else "{}" for value in values], pa.string())
    return array


def _write_text(raw: Path, options: Json, target: Path) -> None:
    delimiter = str(options["fieldDelimiter"])
    header = bool(options["extractHeader"])
    names = _column_names(raw, delimiter, options)
    schema = pa.schema([(name, pa.string()) for name in names])
    if not names:
        _write(schema.empty_table(), target)
        return
    read = pa_csv.ReadOptions(
        column_names=names, skip_rows=1 if header or options["skipFirstLine"] else 0, block_size=1 << 22
    )
    parse = pa_csv.ParseOptions(
        delimiter=delimiter,
        quote_char=str(options["quote"]) or False,
        double_quote=options["escape"] == options["quote"],
        escape_char=False if options["escape"] == options["quote"] else str(options["escape"]) or False,
        newlines_in_values=True,
    )
    convert = pa_csv.ConvertOptions(column_types=schema, strings_can_be_null=False, check_utf8=True)
    with pq.ParquetWriter(target, schema, compression="snappy") as writer:
        if raw.stat().st_size and _has_rows(raw, 1 if read.skip_rows else 0):
            for batch in pa_csv.open_csv(raw, read, parse, convert):
                writer.write_batch(batch)


def _has_rows(raw: Path, skip: int) -> bool:
    with raw.open(encoding="utf-8-sig") as stream:
        return any(line.strip() for number, line in enumerate(stream) if number >= skip)


def _column_names(raw: Path, delimiter: str, options: Json) -> list[str]:
    """Return the names in the header line, or A, B, C.. as Dremio calls columns without one."""
    with raw.open(encoding="utf-8-sig", newline="") as stream:
        first = next(csv.reader(stream, delimiter=delimiter, quotechar=str(options["quote"]) or None), [])
    if not options["extractHeader"]:
        return [_letters(index) for index in range(len(first))]
    names: list[str] = []
    for index, written in enumerate(first):
        name = (written.strip() if options["trimHeader"] else written) or _letters(index)
        while name.lower() in {taken.lower() for taken in names}:
            name += "0"
        names.append(name)
    return names


def _letters(index: int) -> str:
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = string.ascii_uppercase[rest] + name
    return name


def shape_of(path: Path) -> tuple[pa.Schema, int]:
    """Return schema and number of rows of a local Parquet file."""
    metadata = pq.read_metadata(path)
    return metadata.schema.to_arrow_schema(), metadata.num_rows
