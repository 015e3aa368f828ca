"""Answers of an API: landing JSON lines become one raw JSON document."""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from lakehouse.config import Stream
from lakehouse.contracts import Mismatch, always_fits, arrow_type, convert
from lakehouse.partition import Written

RUN_RECORDS = 200_000  # records that are sorted in memory at a time
_CHECK_RECORDS = 10_000
_Keyed = tuple[tuple[tuple[bool, str], ...], str]


def build(stream: Stream, inputs: Iterable[Path], target: Path, work: Path) -> Written:
    """Write the records of landing files as one JSON array, one record a line.

    The records are the source's own (``_airbyte_data``), untouched, in the order of their key; a record delivered
    twice is kept once.

    Args:
        stream: The stream and its contract.
        inputs: JSON Lines files as Airbyte writes them, plain or gzip.
        target: The file to write.
        work: An empty folder for intermediate files.

    Returns:
        What was written.

    Raises:
        Mismatch: When the records do not fit the contract.
    """
    check = _Contract(stream)
    runs = _sorted_runs(check.passing(_records(inputs)), stream, work)
    rows = 0
    with target.open("wb") as out:
        out.write(b"[")
        for text in _without_repeats(heapq.merge(*(_read_run(path) for path in runs))):
            out.write(b"\n" if rows == 0 else b",\n")
            out.write(text.encode())
            rows += 1
        out.write(b"\n]\n")
    return Written(rows, tuple(sorted(check.new)))


def count_landed(path: Path) -> int:
    """Return how many records a landing file has."""
    with _open(path) as lines:
        return sum(1 for line in lines if line.strip())


class _Contract:
    """Checks records against a contract while they pass by, a batch at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._seen: set[str] = set()
        self.new: set[str] = set()

    def passing(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        count = 0
        batch: list[dict[str, Any]] = []
        for record in records:
            batch.append(record)
            count += 1
            if len(batch) == _CHECK_RECORDS:
                self._check(batch)
                yield from batch
                batch = []
        self._check(batch)
        missing = [name for name in self._stream.columns if name not in self._seen]
        if count and missing:
            raise Mismatch(f"field {', '.join(missing)} vanished", self._landed(batch))
        yield from batch

    def _check(self, batch: list[dict[str, Any]]) -> None:
        for record in batch:
            self._seen.update(record)
        self.new = self._seen - set(self._stream.columns)
        if self.new and self._stream.on_new_column == "refuse":
            reason = f"field {', '.join(sorted(self.new))} is new, and on_new_column is refuse"
            raise Mismatch(reason, self._landed(batch))
        for name, column in self._stream.columns.items():
            values = [record.get(name) for record in batch]
            wanted = arrow_type(column.type)
            try:
                arrived = pa.array(values)
                convert(pa.chunked_array([arrived]), wanted)
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
                raise Mismatch(f"field {name} does not become {column.type}: {error}", self._landed(batch)) from error
            if self._stream.on_type_change == "refuse" and not always_fits(arrived.type, wanted):
                reason = f"field {name} arrived as {arrived.type} instead of {wanted}, and on_type_change is refuse"
                raise Mismatch(reason, self._landed(batch))
            if not column.nullable and None in values:
                raise Mismatch(f"field {name} is null; the contract allows no null", self._landed(batch))

    def _landed(self, batch: list[dict[str, Any]]) -> pa.Schema:
        fields = []
        for name in sorted(self._seen):
            kinds = {type(record[name]).__name__ for record in batch if record.get(name) is not None}
            fields.append(
                pa.field(name, _JSON_TYPES.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.null())
            )
        return pa.schema(fields)


_JSON_TYPES = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string()}


def _records(inputs: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in inputs:
        with _open(path) as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)["_airbyte_data"]


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as head:
        packed = head.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]  # GzipFile reads like one


def _sorted_runs(records: Iterable[dict[str, Any]], stream: Stream, work: Path) -> list[Path]:
    paths: list[Path] = []
    batch: list[_Keyed] = []
    for record in records:
        batch.append((_sort_key(record, stream), json.dumps(record, ensure_ascii=False, separators=(",", ":"))))
        if len(batch) == RUN_RECORDS:
            paths.append(_write_run(batch, work / f"run-{len(paths)}.jsonl"))
            batch = []
    paths.append(_write_run(batch, work / f"run-{len(paths)}.jsonl"))
    return paths


def _sort_key(record: dict[str, Any], stream: Stream) -> tuple[tuple[bool, str], ...]:
    return tuple((record.get(name) is None, _sortable(record.get(name))) for name in stream.key)


def _sortable(value: Any) -> str:
    """Return text that sorts numbers by size and everything else by its characters."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value + 10**19:020d}"
    return str(value)


def _write_run(batch: list[_Keyed], path: Path) -> Path:
    batch.sort()
    with path.open("w", encoding="utf-8") as out:
        for key, text in batch:
            out.write(json.dumps([key, text]) + "\n")
    return path


def _read_run(path: Path) -> Iterator[_Keyed]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            key, text = json.loads(line)
            yield tuple((bool(empty), str(value)) for empty, value in key), text


def _without_repeats(records: Iterable[_Keyed]) -> Iterator[str]:
    last: _Keyed | None = None
    for record in records:
        if record != last:
            yield record[1]
        last = record
