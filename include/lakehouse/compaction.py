"""Compaction: the change files of a day that is over become one, and the manifests of its jobs go.

A micro-batch every few seconds makes tens of thousands of small files a day, and every reader pays for each. The rows
are not touched: same rows, same order, one file. The steps, and what a kill after each leaves: the file is written
(not named by a record: deleted and written again), the record is written (the compaction is committed), the small
files and the manifests are deleted (deleted on). A reader that looks in between sees rows twice, with the same position
in the log, which a view of the latest version takes for one.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa

from lakehouse import partition
from lakehouse.change_manifests import ChangeManifests
from lakehouse.config import Source, Stream, load_streams
from lakehouse.contracts import convert
from lakehouse.lake import Lake, StoredObject
from lakehouse.landing import list_landed, quarantine_area

__all__ = ["Compaction", "compact_changes"]

_log = logging.getLogger(__name__)
_REQUESTS = 8  # at a time


@dataclass(frozen=True)
class Compaction:
    """What became of the change files of one stream and day; also the record in the lake.

    Args:
        stream: The stream.
        date: The day, "YYYY-MM-DD".
        object_key: The one object.
        rows: How many changes it holds.
        superseded: Keys of the objects whose rows it holds.
    """

    stream: str
    date: str
    object_key: str
    rows: int
    superseded: tuple[str, ...]


def compact_changes(source: str, *, before: date | None = None, lake: Lake | None = None) -> list[Compaction]:
    """Compact the change files of every day that is over.

    Only objects that a manifest names are taken: one that a killed load has left is written again under its name when
    the load is finished, and would then be there twice.

    Args:
        source: A source of ``streams.yml`` whose streams have sync mode cdc.
        before: The days before this one are over; today, in UTC, when not given.
        lake: The lake; the one of the connection ``lake_s3`` when not given.

    Returns:
        What was compacted: nothing of days that are compact already.

    Raises:
        LakeError: When S3 fails.
    """
    declared = load_streams().source(source)
    store = lake or Lake.from_connection()
    end = before or datetime.now(UTC).date()
    manifests = ChangeManifests(store, declared)
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="compaction") as pool:
        named = list(pool.map(manifests.read, manifests.job_ids(0)))
        committed = {item.key for manifest in named for item in manifest.objects}
        done = []
        for stream in declared.streams.values():
            for day, objects in _days(store, declared, stream, end).items():
                compaction = _Day(store, declared, stream, day, pool).compact(objects, committed)
                done += [compaction] if compaction else []
        # A manifest is needed as long as something it has taken, or holds back, is where it was.
        areas = ((f"{declared.landing}/", False), (quarantine_area(declared), True))
        present = {item.key for prefix, held in areas for item in list_landed(store, prefix, quarantined=held)}
        old = [
            manifest
            for manifest in named
            if all(_day_of(item.key) < end.isoformat() for item in manifest.objects)
            and present.isdisjoint(manifest.taken)
            and present.isdisjoint(key for held in manifest.held.values() for key in held.objects)
        ]
    # The newest is kept: it says to whoever looks how far the log has been loaded.
    store.delete(manifests.key(manifest.job_id) for manifest in old if manifest is not named[-1])
    return done


class _Day:
    """The change files of one stream and day."""

    def __init__(self, lake: Lake, source: Source, stream: Stream, day: str, pool: ThreadPoolExecutor) -> None:
        self._lake = lake
        self._stream = stream
        self._day = day
        self._pool = pool
        self._folder = f"{source.bronze}/{stream.name}/date={day}/"
        self._record = f"{source.bronze}/_compacted/{stream.name}/date={day}.json"

    def compact(self, objects: Sequence[StoredObject], committed: set[str]) -> Compaction | None:
        kept = self._lake.find(self._record)
        record = _record(self._lake.get(self._record)) if kept else None
        # What a killed compaction has left: small files that a record supersedes, a large one that no record names.
        gone = {
            item.key
            for item in objects
            if (record and item.key in record.superseded)
            or ("-" in item.name and (record is None or item.key != record.object_key))
        }
        self._lake.delete(sorted(gone))
        taken = committed | ({record.object_key} if record else set())
        inputs = [item for item in objects if item.key in taken and item.key not in gone]
        if len(inputs) < 2:
            return None
        first, last = inputs[0].name.removesuffix(".parquet"), inputs[-1].name.removesuffix(".parquet")
        key = f"{self._folder}{first.partition('-')[0]}-{last.rpartition('-')[2]}.parquet"
        with tempfile.TemporaryDirectory(prefix="compaction-") as folder:
            try:
                path, rows = self._merged(inputs, Path(folder))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                _log.warning(
                    "%s stays in %d objects: their columns do not fit together: %s", self._folder, len(inputs), error
                )
                return None
            self._lake.upload(path, key, partition.MEDIA_TYPE)
        superseded = tuple(item.key for item in inputs if item.key != key)
        compaction = Compaction(self._stream.name, self._day, key, rows, superseded)
        self._lake.put(self._record, (json.dumps(asdict(compaction)) + "\n").encode(), "application/json")
        self._lake.delete(superseded)
        return compaction

    def _merged(self, inputs: Sequence[StoredObject], folder: Path) -> tuple[Path, int]:
        """Write the rows of all inputs, in the order of the jobs, to one file."""
        paths = [folder / item.name for item in inputs]
        list(self._pool.map(lambda item: self._lake.download(item.key, folder / item.name, item.size), inputs))
        files = [partition.look_into(path) for path in paths]
        schema = pa.unify_schemas([file.schema for file in files], promote_options="permissive")
        target = folder / "compacted.parquet"
        pieces = (_widened(pa.Table.from_batches([batch]), schema) for batch in partition.batches(files))
        return target, partition.write(pieces, schema, target)


def _days(lake: Lake, source: Source, stream: Stream, end: date) -> Mapping[str, list[StoredObject]]:
    """Return the objects of each day that is over, in the order of their jobs."""
    days: dict[str, list[StoredObject]] = {}
    for item in lake.list(f"{source.bronze}/{stream.name}/date="):
        if _day_of(item.key) < end.isoformat():
            days.setdefault(_day_of(item.key), []).append(item)
    return days


def _day_of(key: str) -> str:
    """Return the day in the key of a bronze object."""
    return key.partition("/date=")[2].partition("/")[0]


def _record(body: bytes) -> Compaction:
    values = json.loads(body)
    return Compaction(**{**values, "superseded": tuple(values["superseded"])})


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows with all columns of the schema; one that is not there is null."""
    columns: Iterable[pa.ChunkedArray] = (
        convert(table.column(field.name), field.type)
        if field.name in table.column_names
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema
    )
    return pa.Table.from_arrays(list(columns), schema=schema)
