"""Results of jobs on disk, as Arrow files, from which pages are read."""

from __future__ import annotations

import base64
import datetime
import decimal
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from sandbox.dremio.entities import Column
from sandbox.dremio.types import rest_type

Json = dict[str, Any]


class Results:
    """A folder with one Arrow file a job.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def _path(self, job_id: str) -> Path:
        return self._root / f"{uuid.UUID(job_id)}.arrow"

    def write(self, job_id: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Write a job's rows and return how many there are.

        Args:
            job_id: the job.
            batches: the rows, at least one batch; consumed one by one.
        """
        path = self._path(job_id)
        partial = path.with_suffix(".partial")
        iterator = iter(batches)
        rows: int = 0
        try:
            first = next(iterator)
            with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
                writer.write_batch(first)
                rows = int(first.num_rows)
                for batch in iterator:
                    writer.write_batch(batch)
                    rows += int(batch.num_rows)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return rows

    def page(self, job_id: str, columns: Iterable[Column], offset: int, limit: int) -> Json:
        """Return a page of a job's rows as the REST API sends it.

        Args:
            job_id: the job.
            columns: the job's columns.
            offset: number of rows to skip.
            limit: number of rows at most.

        Raises:
            FileNotFoundError: if the result was pruned.
        """
        kinds = list(columns)
        rows: list[Json] = []
        total = 0
        with pa.memory_map(str(self._path(job_id))) as stream:
            reader = pa.ipc.open_file(stream)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                start = max(0, offset - total)
                wanted = limit - len(rows)
                if wanted > 0 and start < batch.num_rows:
                    rows += _json_rows(batch.slice(start, wanted), kinds)
                total += batch.num_rows
        schema = [{"name": column.name, "type": rest_type(column.type)} for column in kinds]
        return {"rowCount": total, "schema": schema, "rows": rows}

    def remove(self, job_ids: Iterable[str]) -> None:
        """Delete the results of jobs."""
        for job_id in job_ids:
            self._path(job_id).unlink(missing_ok=True)

    def sweep(self, keep: set[str]) -> None:
        """Delete every file that belongs to no job of ``keep``: what a crash left behind."""
        for entry in os.scandir(self._root):
            if Path(entry.name).stem not in keep or entry.name.endswith(".partial"):
                Path(entry.path).unlink(missing_ok=True)


def _json_rows(batch: pa.RecordBatch, columns: list[Column]) -> Iterator[Json]:
    names = [column.name for column in columns]
    lists = [[_json_value(value) for value in array.to_pylist()] for array in batch.columns]
    return (dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True))


def _json_value(value: Any) -> Any:  # noqa: C901  # one branch for each type Dremio writes its own way
    """Return a value as Dremio's JSON has it: decimals as text, times without zone and with milliseconds."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if value != value:
            return "NaN"
        return value if abs(value) != float("inf") else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03d}"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return value.strftime("%H:%M:%S.") + f"{value.microsecond // 1000:03d}"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        return {name: _json_value(item) for name, item in value.items()}
    return str(value)
