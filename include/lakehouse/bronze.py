"""Loading to bronze: what a sync landed becomes the one canonical object that everything later reads.

For every stream: count the landing rows against what Airbyte says it has committed, check them against the contract,
write the object, write the manifest that says what it is made of, and only then delete what was taken. Killed between
any two of these steps, the next run ends in the same place.
"""

from __future__ import annotations

import filecmp
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from lakehouse import answers, partition, tables
from lakehouse.airbyte import ConfigApi
from lakehouse.config import Source, Stream, load_plan, load_streams
from lakehouse.contracts import Mismatch, contract_schema, describe
from lakehouse.exceptions import ContractViolation, RowCountMismatch
from lakehouse.lake import Lake, LakeError
from lakehouse.landing import Delivery, collect, copy_to_quarantine, landing_prefix, quarantine_prefix
from lakehouse.manifests import PartitionManifest, PartitionManifests, PartitionObject, described
from lakehouse.reconciliation import SyncedRows, synced_rows

__all__ = ["ContractViolation", "RowCountMismatch", "StreamLoad", "load_sync", "load_to_bronze"]

_log = logging.getLogger(__name__)
_PARALLEL_STREAMS = 2  # Parquet is written on one thread a file; more at a time costs memory, not less time
_LARGE_BYTES = 128 * 1024 * 1024  # landed; of such streams one is built at a time, whatever else is
_one_large = Lock()
Action = Literal["written", "unchanged", "empty", "quarantined", "refused"]
_Built = tuple[tuple[PartitionObject, ...], partition.Written, bool]
"""The objects, what is in them, and whether they were there already."""


@dataclass(frozen=True)
class StreamLoad:
    """What a load did with one stream.

    Args:
        source: Name of the source.
        stream: Name of the stream.
        action: "written"; "unchanged" (bronze held exactly this already); "empty" (nothing landed and bronze has
            nothing); "quarantined" (what landed does not fit the contract); "refused" (another number of rows landed
            than Airbyte says).
        object_key: The object, or for several files the prefix they share.
        rows: Rows that the objects hold.
        bytes: Size of the objects in bytes.
        objects: Keys of the objects.
        new_columns: Columns that arrived and are not in the contract.
        landing_objects: How many landing objects were taken.
        seconds: How long it took.
    """

    source: str
    stream: str
    action: Action
    object_key: str
    rows: int = 0
    bytes: int = 0
    objects: tuple[str, ...] = ()
    new_columns: tuple[str, ...] = ()
    landing_objects: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain values, for XCom."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def load_sync(source: str, job_id: int, partition_date: date | str, *, lake: Lake | None = None) -> list[StreamLoad]:
    """Load what one sync landed, and hold it against what Airbyte (connection ``airbyte_config``) says of the job.

    Args:
        source: A source of ``streams.yml``.
        job_id: The sync job.
        partition_date: The date of the partition.
        lake: The lake; the one of the connection ``lake_s3`` when not given.

    Returns:
        What was done with each stream.

    Raises:
        ContractViolation: When what landed of a stream does not fit its contract.
        RowCountMismatch: When what landed is not what Airbyte says it has committed.
        AirbyteError: When Airbyte cannot be asked or does not know the job.
    """
    with ConfigApi.from_connection() as api:
        synced = synced_rows(api.job(int(job_id)))
    return load_to_bronze(source, job_id, partition_date, lake=lake, synced=synced)


def load_to_bronze(
    source: str,
    job_id: int,
    partition_date: date | str,
    *,
    streams: Sequence[str] | None = None,
    lake: Lake | None = None,
    synced: SyncedRows | None = None,
) -> list[StreamLoad]:
    """Load what has landed.

    Args:
        source: A source of ``streams.yml``.
        job_id: The sync job of this run, whose objects are the snapshot of full-refresh streams.
        partition_date: The date of the partition, a date or "YYYY-MM-DD".
        streams: Names of the streams to load; all of the source when not given.
        lake: The lake; the one of the connection ``lake_s3`` when not given.
        synced: What Airbyte says of the job; nothing is counted when not given.

    Returns:
        What was done with each stream, in the order of ``streams.yml``.

    Raises:
        ContractViolation: When what landed of a stream does not fit its contract. The other streams are loaded first.
        RowCountMismatch: When what landed is not what Airbyte says. The other streams are loaded first.
    """
    declared = load_streams().source(source)
    chosen = [declared.stream(name) for name in (streams or declared.streams)]
    day = date.fromisoformat(partition_date) if isinstance(partition_date, str) else partition_date
    store = lake or Lake.from_connection()
    with ThreadPoolExecutor(_PARALLEL_STREAMS, thread_name_prefix="bronze") as pool:
        outcomes = list(pool.map(lambda stream: _Load(store, declared, stream, int(job_id), day, synced).run(), chosen))
    loads = [load for load, _ in outcomes]
    for load in loads:
        _log.info("bronze %s.%s: %s", load.source, load.stream, load.to_dict())
        if load.new_columns:
            _log.warning(
                "bronze %s.%s: new column %s is taken; add it to streams.yml to put it under contract",
                load.source,
                load.stream,
                ", ".join(load.new_columns),
            )
    faults = [fault for _, fault in outcomes if fault]
    message = "\n".join(str(fault) for fault in faults)
    if any(isinstance(fault, RowCountMismatch) for fault in faults):
        raise RowCountMismatch(message)
    if faults:
        raise ContractViolation(message, loads)
    return loads


class _Load:
    """Loads one stream for one partition date."""

    def __init__(
        self, lake: Lake, source: Source, stream: Stream, job_id: int, day: date, synced: SyncedRows | None
    ) -> None:
        self._lake = lake
        self._source = source
        self._stream = stream
        self._job_id = job_id
        self._day = day
        self._synced = synced
        self._manifests = PartitionManifests(lake, source, stream)

    def run(self) -> tuple[StreamLoad, Exception | None]:
        started = time.monotonic()
        days = self._manifests.days()
        before = self._manifests.read(self._day) if self._day in days else None
        others = [day for day in days if day != self._day]
        newest = self._manifests.read(others[-1]) if others else None
        taken = {key for record in (before, newest) if record for key in record.taken}
        delivery = collect(self._lake, self._source, self._stream, self._job_id).without(taken)
        fault: Exception | None = None
        large = sum(item.size for item in delivery.objects) > _LARGE_BYTES
        with tempfile.TemporaryDirectory(prefix="bronze-") as name, _one_large if large else nullcontext():
            try:
                load = self._load(delivery, before, newest, Path(name))
            except Mismatch as mismatch:
                load, fault = self._put_aside(delivery, mismatch)
            except RowCountMismatch as mismatch:
                load, fault = self._outcome("refused", landing_prefix(self._source, self._stream)), mismatch
            else:
                self._lake.delete(delivery.keys)
        elapsed = round(time.monotonic() - started, 3)
        return replace(load, landing_objects=len(delivery.objects), seconds=elapsed), fault

    def _load(
        self,
        delivery: Delivery,
        before: PartitionManifest | None,
        newest: PartitionManifest | None,
        folder: Path,
    ) -> StreamLoad:
        """Build the objects and the manifest of what landed."""
        inputs = self._fetch(delivery, folder)
        jobs = self._rows_by_job(delivery, inputs)
        if self._synced and not (before and self._job_id in before.jobs):
            where = f"s3://{self._lake.bucket}/{landing_prefix(self._source, self._stream)}"
            self._synced.check(self._stream.name, jobs.get(self._job_id, 0), where)
        if not delivery.objects:
            action: Action = "unchanged" if before else "empty"
            return self._outcome(action, self._place_of(before), before)
        build = {"parquet": self._partition, "jsonl": self._answer, "csv": self._files}[self._source.format]
        objects, written, unchanged = build(inputs, folder, newest)
        if self._stream.sync_mode == "incremental" and before:
            jobs = {**before.jobs, **jobs}
        manifest = PartitionManifest(
            self._source.name,
            self._stream.name,
            self._day.isoformat(),
            jobs,
            objects,
            tuple(delivery.keys),
            new_columns=written.new_columns,
            **(described(written.schema) if written.schema is not None else {}),
        )
        self._manifests.write(manifest)
        return self._outcome("unchanged" if unchanged else "written", self._place_of(manifest), manifest)

    def _rows_by_job(self, delivery: Delivery, inputs: Sequence[Path]) -> dict[int, int]:
        count = answers.count_landed if self._source.format == "jsonl" else partition.count_rows
        rows: Counter[int] = Counter()
        for item, path in zip(delivery.objects, inputs, strict=True):
            rows[item.job_id] += count(path)
        return dict(rows)

    def _partition(self, inputs: Sequence[Path], folder: Path, newest: PartitionManifest | None) -> _Built:
        key = f"{self._source.bronze}/{self._stream.name}/date={self._day.isoformat()}/data.parquet"
        incremental = self._stream.sync_mode == "incremental"
        target = folder / "data.parquet"
        before: Path | None = None
        if existing := self._lake.find(key):
            before = folder / "before.parquet"
            self._lake.download(key, before, existing.size)
            self._check_readable(before, key)
        built = partition.build(
            self._stream,
            inputs,
            target,
            _subfolder(folder, "work"),
            before=before if incremental else None,
            known=newest.schema() if newest else None,
        )
        same = before is not None and partition.same_content(before, target, ignore_airbyte=not incremental)
        if before is not None and same:
            return (PartitionObject(key, built.rows, before.stat().st_size),), built, True
        self._lake.upload(target, key, partition.MEDIA_TYPE)
        return (PartitionObject(key, built.rows, target.stat().st_size),), built, False

    def _check_readable(self, path: Path, key: str) -> None:
        try:
            partition.count_rows(path)
        except Mismatch as error:
            raise LakeError(
                f"{self._lake.address}/{key}: {error.reason}. Restore the object, or delete it; then clear this task: "
                "it is built anew from what lands."
            ) from error

    def _answer(self, inputs: Sequence[Path], folder: Path, _: PartitionManifest | None) -> _Built:
        at = f"{self._day:%Y%m%d}_{load_plan().start_time:%H%M%S}"
        key = f"{self._source.bronze}/{self._stream.name}/timestamp={at}/response.json"
        target = folder / "response.json"
        built = answers.build(self._stream, inputs, target, _subfolder(folder, "work"))
        same = self._place(target, key, "application/json")
        return (PartitionObject(key, built.rows, target.stat().st_size),), built, same

    def _files(self, inputs: Sequence[Path], folder: Path, _: PartitionManifest | None) -> _Built:
        out = _subfolder(folder, "out")
        rows, new = tables.build(self._stream, inputs, out, _subfolder(folder, "work"))
        keys = {name: f"{self._source.bronze}/{name}" for name in sorted(rows)}
        # A list, not a generator: every file is put in place, however many are the same.
        same = all([self._place(out / name, key, "text/csv; charset=utf-8") for name, key in keys.items()])
        objects = tuple(PartitionObject(key, rows[name], (out / name).stat().st_size) for name, key in keys.items())
        return objects, partition.Written(sum(rows.values()), new), same

    def _place(self, path: Path, key: str, content_type: str) -> bool:
        """Put a text object in place; tell whether it was there already, byte for byte."""
        existing = self._lake.find(key)
        if existing and existing.size == path.stat().st_size:
            before = path.with_name(path.name + ".before")
            self._lake.download(key, before, existing.size)
            same = filecmp.cmp(before, path, shallow=False)
            before.unlink()
            if same:
                return True
        self._lake.upload(path, key, content_type)
        return False

    def _place_of(self, record: PartitionManifest | None) -> str:
        """Return the key of the one object, or the prefix that several share or would."""
        if record and len(record.objects) == 1 and self._source.format != "csv":
            return record.objects[0].key
        return (
            f"{self._source.bronze}/" if self._source.format == "csv" else f"{self._source.bronze}/{self._stream.name}/"
        )

    def _outcome(self, action: Action, object_key: str, record: PartitionManifest | None = None) -> StreamLoad:
        if record is None:
            return StreamLoad(self._source.name, self._stream.name, action, object_key)
        return StreamLoad(
            self._source.name,
            self._stream.name,
            action,
            object_key,
            sum(item.rows for item in record.objects),
            sum(item.bytes for item in record.objects),
            tuple(item.key for item in record.objects),
            record.new_columns,
        )

    def _fetch(self, delivery: Delivery, folder: Path) -> list[Path]:
        landed = _subfolder(folder, "landed")
        paths = []
        for item in delivery.objects:
            paths.append(landed / item.name)
            self._lake.download(item.key, paths[-1], item.size)
        return paths

    def _put_aside(self, delivery: Delivery, mismatch: Mismatch) -> tuple[StreamLoad, ContractViolation]:
        prefix = quarantine_prefix(self._source, self._stream, self._day)
        copy_to_quarantine(self._lake, self._source, self._stream, self._day, delivery.objects)
        self._lake.delete(item.key for item in delivery.objects if not item.quarantined)
        message = (
            f"Stream {self._source.name}.{self._stream.name} does not fit its contract: {mismatch.reason}.\n"
            f"  contract: {describe(contract_schema(self._stream))}\n"
            f"  landed:   {describe(mismatch.landed)}\n"
            f"  kept in:  s3://{self._lake.bucket}/{prefix} ({len(delivery.objects)} objects)\n"
            "  Correct the source, or the contract in include/config/streams.yml; then clear this task: it takes the "
            "objects out of quarantine by itself. Delete them there if their rows are not wanted."
        )
        return self._outcome("quarantined", prefix), ContractViolation(message)


def _subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path
