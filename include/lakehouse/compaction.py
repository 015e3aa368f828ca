"""Compaction: small change files become large ones while the day goes on, one when it is over; then its manifests go.

A micro-batch every few seconds makes tens of thousands of small files a day, and every reader pays for each. The rows
are not touched: same rows, same order, fewer files. The steps, and what a kill after each leaves: the file is written
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
from typing import Any

import pyarrow as pa

from lakehouse import partition
from lakehouse.change_manifests import ChangeManifests, padded
from lakehouse.config import Source, Stream, load_streams
from lakehouse.contracts import convert
from lakehouse.lake import Lake, StoredObject
from lakehouse.landing import list_landed, quarantine_area

__all__ = ["Compaction", "compact_changes", "compact_day"]

FULL_BYTES = 32 * 1024 * 1024
"""A file of the day that goes on is not made larger: so long, at most, the live loop waits for a compaction."""
_log = logging.getLogger(__name__)
_REQUESTS = 8  # at a time


@dataclass(frozen=True)
class Compaction:
    """What became of the change files of one stream and day; also the record in the lake.

    Args:
        stream: The stream.
        date: The day, "YYYY-MM-DD".
        object_key: The new object.
        rows: How many changes it holds.
        superseded: Keys of the objects whose rows it holds.
        others: Keys of the day's other objects that a compaction has made; none when the day is over.
    """

    stream: str
    date: str
    object_key: str
    rows: int
    superseded: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def made(self) -> set[str]:
        """Keys of all objects of the day that a compaction has made."""
        return {self.object_key, *self.others}


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
        # The manifests come first: of what a load takes meanwhile, nothing is known, and nothing touched.
        job_ids = manifests.job_ids(0)
        days = [(stream, _days(store, declared, stream, end)) for stream in declared.streams.values()]
        files = {item.key for _, found in days for objects in found.values() for item in objects}
        # A manifest is needed as long as something it has taken, or holds back, is where it was.
        areas = ((f"{declared.landing}/", False), (quarantine_area(declared), True))
        present = {item.key for prefix, held in areas for item in list_landed(store, prefix, quarantined=held)}
        committed: set[str] = set()
        old = []
        # One after the other: there may be as many as a day has seconds.
        for manifest in pool.map(manifests.read, job_ids):
            committed.update(files.intersection(item.key for item in manifest.objects))
            if (
                all(day_of(item.key) < end.isoformat() for item in manifest.objects)
                and present.isdisjoint(manifest.taken)
                and present.isdisjoint(key for held in manifest.held.values() for key in held.objects)
            ):
                old.append(manifest.job_id)
        done = []
        for stream, found in days:
            for day, objects in found.items():
                folder = _Day(store, declared, stream, day, pool)
                here = folder.clean_up(objects)
                taken = committed | folder.made
                compaction = folder.compact([item for item in here if item.key in taken])
                done += [compaction] if compaction else []
    # The newest is kept: it says to whoever looks how far the log has been loaded.
    store.delete(manifests.key(job_id) for job_id in old if job_id != job_ids[-1])
    return done


def compact_day(source: str, *, day: date | None = None, lake: Lake | None = None) -> list[Compaction]:
    """Compact the newest change files of a day that goes on: what the loop that writes them does between two loads.

    Each file is merged with those before it that are no larger than what is merged so far, up to ``FULL_BYTES``. So a
    day has few files at any time, and a row is written again a few times only, however many micro-batches there are.

    Args:
        source: A source of ``streams.yml`` whose streams have sync mode cdc.
        day: The day; today, in UTC, when not given.
        lake: The lake; the one of the connection ``lake_s3`` when not given.

    Returns:
        What was compacted.

    Raises:
        LakeError: When S3 fails.
    """
    declared = load_streams().source(source)
    store = lake or Lake.from_connection()
    name = (day or datetime.now(UTC).date()).isoformat()
    manifests = ChangeManifests(store, declared)
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="compaction") as pool:
        done = []
        for stream in declared.streams.values():
            folder = _Day(store, declared, stream, name, pool)
            here = folder.clean_up(list(store.list(f"{declared.bronze}/{stream.name}/date={name}/")))
            compaction = folder.compact(folder.newest(here, manifests))
            done += [compaction] if compaction else []
    return done


class _Day:
    """The change files of one stream and day."""

    def __init__(self, lake: Lake, source: Source, stream: Stream, day: str, pool: ThreadPoolExecutor) -> None:
        self._lake = lake
        self._stream = stream
        self._day = day
        self._pool = pool
        self._folder = f"{source.bronze}/{stream.name}/date={day}/"
        self._record = record_key(source, stream, f"{day}.json")
        record = _record(lake.get(self._record)) if lake.find(self._record) else None
        self.made = record.made if record else set()
        self._superseded = set(record.superseded if record else ())

    def clean_up(self, objects: Sequence[StoredObject]) -> list[StoredObject]:
        """Delete what a killed compaction has left: small files it superseded, large ones that no record names."""
        gone = {
            item.key
            for item in objects
            if item.key in self._superseded or ("-" in item.name and item.key not in self.made)
        }
        self._lake.delete(sorted(gone))
        return [item for item in objects if item.key not in gone]

    def newest(self, objects: Sequence[StoredObject], manifests: ChangeManifests) -> list[StoredObject]:
        """Return the files since the last compaction that a manifest names, and those before that they outweigh."""
        large = [number for number, item in enumerate(objects) if item.key in self.made]
        small = objects[large[-1] + 1 if large else 0 :]
        before = [objects[number] for number in reversed(large)]
        # A lone file may lie there all day: what could not be merged anyway is not asked for.
        if len(_with_outweighed(small, before)) < 2:
            return []
        committed = self._committed(small, manifests)
        return _with_outweighed([item for item in small if item.key in committed], before)

    def _committed(self, small: Sequence[StoredObject], manifests: ChangeManifests) -> set[str]:
        """Return which files a manifest names: that of their own job, or of a later one that has loaded them."""
        own = {jobs_of(item.key)[0] for item in small}
        after = manifests.job_ids(min(own))
        keys = {item.key for item in small}
        committed: set[str] = set()
        for jobs in ([job for job in after if job in own], [job for job in after if job not in own]):
            if not keys <= committed:
                named = self._pool.map(manifests.read, jobs)
                committed |= keys.intersection(item.key for manifest in named for item in manifest.objects)
        return committed

    def compact(self, inputs: Sequence[StoredObject]) -> Compaction | None:
        """Make one file of several; None when there is nothing to do, or their columns do not fit together."""
        if len(inputs) < 2:
            return None
        jobs = [jobs_of(item.key) for item in inputs]
        first, last = min(first for first, _ in jobs), max(last for _, last in jobs)
        key = f"{self._folder}{padded(first)}-{padded(last)}.parquet"
        if any(item.key == key for item in inputs):
            return None  # what came late for the middle of a large file stays beside it: none is written in place
        with tempfile.TemporaryDirectory(prefix="compaction-") as folder:
            try:
                path, rows = self._merged(inputs, Path(folder))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                _log.warning(
                    "%s stays in %d objects: their columns do not fit together: %s", self._folder, len(inputs), error
                )
                return None
            self._lake.upload(path, key, partition.MEDIA_TYPE)
        superseded = tuple(item.key for item in inputs)
        others = tuple(sorted(self.made.difference(superseded)))
        compaction = Compaction(self._stream.name, self._day, key, rows, superseded, others)
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


def _with_outweighed(small: Sequence[StoredObject], before: Iterable[StoredObject]) -> list[StoredObject]:
    """Return files with those before them, the newest first, that are no larger than what is there so far."""
    chosen = list(small)
    weight = sum(item.size for item in chosen)
    for item in before:
        if item.size > min(weight, FULL_BYTES - weight):
            break
        chosen.insert(0, item)
        weight += item.size
    return chosen


def _days(lake: Lake, source: Source, stream: Stream, end: date) -> Mapping[str, list[StoredObject]]:
    """Return the objects of each day that is over, in the order of their jobs."""
    days: dict[str, list[StoredObject]] = {}
    for item in lake.list(f"{source.bronze}/{stream.name}/date="):
        if day_of(item.key) < end.isoformat():
            days.setdefault(day_of(item.key), []).append(item)
    return days


def day_of(key: str) -> str:
    """Return the day in the key of a bronze object."""
    return key.partition("/date=")[2].partition("/")[0]


def jobs_of(key: str) -> tuple[int, int]:
    """Return the first and the last sync job whose changes an object of bronze holds, as its key says."""
    first, _, last = key.rsplit("/", 1)[-1].removesuffix(".parquet").partition("-")
    return int(first), int(last or first)


def record_key(source: Source, stream: Stream, name: str) -> str:
    """Return the key of the record of a day's compaction ("YYYY-MM-DD.json"), or the prefix of all without a name."""
    return f"{source.bronze}/_compacted/{stream.name}/date={name}"


def _record(body: bytes) -> Compaction:
    values: dict[str, Any] = json.loads(body)
    lists = {name: tuple(values.get(name, ())) for name in ("superseded", "others")}
    return Compaction(**{**values, **lists})


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows with all columns of the schema; one that is not there is null."""
    columns: Iterable[pa.ChunkedArray] = (
        convert(table.column(field.name), field.type)
        if field.name in table.column_names
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema
    )
    return pa.Table.from_arrays(list(columns), schema=schema)
