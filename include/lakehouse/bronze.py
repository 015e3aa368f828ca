"""Loading to bronze: what a sync landed becomes the one canonical object that everything later reads.

For every stream: take the landing objects, check them against the contract, write the object, and only then delete
what was taken. Killed between any two of these steps, the next run ends in the same place.
"""

from __future__ import annotations

import filecmp
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from lakehouse import answers, partition, tables
from lakehouse.config import Source, Stream, load_plan, load_streams
from lakehouse.contracts import Mismatch, contract_schema, describe
from lakehouse.exceptions import ContractViolation
from lakehouse.lake import Lake, LakeError, StoredObject
from lakehouse.landing import Delivery, collect, copy_to_quarantine, quarantine_prefix

__all__ = ["ContractViolation", "StreamLoad", "load_to_bronze"]

_log = logging.getLogger(__name__)
_PARALLEL_STREAMS = 2  # Parquet is written on one thread a file; more at a time costs memory, not less time
Action = Literal["written", "unchanged", "empty", "quarantined"]


@dataclass(frozen=True)
class StreamLoad:
    """What a load did with one stream.

    Args:
        source: Name of the source.
        stream: Name of the stream.
        action: "written"; "unchanged" (bronze held exactly this already); "empty" (nothing landed and bronze has
            nothing); "quarantined" (what landed does not fit the contract).
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


def load_to_bronze(
    source: str,
    job_id: int,
    partition_date: date | str,
    *,
    streams: Sequence[str] | None = None,
    lake: Lake | None = None,
) -> list[StreamLoad]:
    """Load what one sync landed.

    Args:
        source: A source of ``streams.yml``.
        job_id: The sync job of this run, whose objects are the snapshot of full-refresh streams.
        partition_date: The date of the partition, a date or "YYYY-MM-DD".
        streams: Names of the streams to load; all of the source when not given.
        lake: The lake; the one of the connection ``lake_s3`` when not given.

    Returns:
        What was done with each stream, in the order of ``streams.yml``.

    Raises:
        ContractViolation: When what landed of a stream does not fit its contract. The other streams are loaded first.
    """
    declared = load_streams().source(source)
    chosen = [declared.stream(name) for name in (streams or declared.streams)]
    day = date.fromisoformat(partition_date) if isinstance(partition_date, str) else partition_date
    store = lake or Lake.from_connection()
    loader = _Loader(store, declared, int(job_id), day)
    with ThreadPoolExecutor(_PARALLEL_STREAMS, thread_name_prefix="bronze") as pool:
        outcomes = list(pool.map(loader.load, chosen))
    loads = [load for load, _ in outcomes]
    faults = [fault for _, fault in outcomes if fault]
    for load in loads:
        _log.info("bronze %s.%s: %s", load.source, load.stream, load.to_dict())
        if load.new_columns:
            _log.warning(
                "bronze %s.%s: new column %s is taken; add it to streams.yml to put it under contract",
                load.source,
                load.stream,
                ", ".join(load.new_columns),
            )
    if faults:
        raise ContractViolation("\n".join(faults), loads)
    return loads


class _Loader:
    """Loads the streams of one source for one partition date."""

    def __init__(self, lake: Lake, source: Source, job_id: int, day: date) -> None:
        self._lake = lake
        self._source = source
        self._job_id = job_id
        self._day = day

    def load(self, stream: Stream) -> tuple[StreamLoad, str | None]:
        started = time.monotonic()
        delivery = collect(self._lake, self._source, stream, self._job_id)
        build: dict[str, Callable[[Stream, Delivery, Path], StreamLoad]] = {
            "parquet": self._partition,
            "jsonl": self._answer,
            "csv": self._files,
        }
        fault = None
        with tempfile.TemporaryDirectory(prefix="bronze-") as folder:
            try:
                load = build[self._source.format](stream, delivery, Path(folder))
            except Mismatch as mismatch:
                load, fault = self._put_aside(stream, delivery, mismatch)
            else:
                self._lake.delete(delivery.keys)
        elapsed = round(time.monotonic() - started, 3)
        return replace(load, landing_objects=len(delivery.objects), seconds=elapsed), fault

    def _partition(self, stream: Stream, delivery: Delivery, folder: Path) -> StreamLoad:
        key = f"{self._source.bronze}/{stream.name}/date={self._day.isoformat()}/data.parquet"
        existing = self._lake.find(key)
        if not delivery.objects:
            return self._nothing_landed(stream, key, [existing] if existing else [], folder, partition.count_rows)
        inputs = self._fetch(delivery, folder)
        before = folder / "before.parquet"
        incremental = stream.sync_mode == "incremental"
        if existing:
            self._lake.download(key, before)
            self._check_readable(before, key)
        built = partition.build(
            stream,
            [*inputs, before] if existing and incremental else inputs,
            folder / "data.parquet",
            _subfolder(folder, "work"),
        )
        same = bool(existing) and partition.same_content(
            before, folder / "data.parquet", ignore_airbyte=not incremental
        )
        if not same:
            self._lake.upload(folder / "data.parquet", key, partition.MEDIA_TYPE)
        return StreamLoad(
            self._source.name,
            stream.name,
            "unchanged" if same else "written",
            key,
            built.rows,
            (before if same else folder / "data.parquet").stat().st_size,
            (key,),
            built.new_columns,
        )

    def _check_readable(self, path: Path, key: str) -> None:
        try:
            partition.count_rows(path)
        except Mismatch as error:
            raise LakeError(
                f"{self._lake.address}/{key}: {error.reason}. Restore the object, or delete it; then clear this task: "
                "it is built anew from what lands."
            ) from error

    def _answer(self, stream: Stream, delivery: Delivery, folder: Path) -> StreamLoad:
        at = f"{self._day:%Y%m%d}_{load_plan().start_time:%H%M%S}"
        key = f"{self._source.bronze}/{stream.name}/timestamp={at}/response.json"
        existing = self._lake.find(key)
        if not delivery.objects:
            return self._nothing_landed(stream, key, [existing] if existing else [], folder, answers.count_rows)
        target = folder / "response.json"
        built = answers.build(stream, self._fetch(delivery, folder), target, _subfolder(folder, "work"))
        action = self._place(target, key, existing, "application/json")
        size = target.stat().st_size
        return StreamLoad(self._source.name, stream.name, action, key, built.rows, size, (key,), built.new_columns)

    def _files(self, stream: Stream, delivery: Delivery, folder: Path) -> StreamLoad:
        prefix = f"{self._source.bronze}/"
        existing = {item.key: item for item in self._lake.list(prefix)}
        if not delivery.objects:
            return self._nothing_landed(stream, prefix, list(existing.values()), folder, tables.count_rows)
        out = _subfolder(folder, "out")
        rows, new = tables.build(stream, self._fetch(delivery, folder), out, _subfolder(folder, "work"))
        actions = {
            self._place(out / name, prefix + name, existing.get(prefix + name), "text/csv; charset=utf-8")
            for name in rows
        }
        return StreamLoad(
            self._source.name,
            stream.name,
            "written" if "written" in actions else "unchanged",
            prefix,
            sum(rows.values()),
            sum((out / name).stat().st_size for name in rows),
            tuple(prefix + name for name in sorted(rows)),
            new,
        )

    def _place(self, path: Path, key: str, existing: StoredObject | None, content_type: str) -> Action:
        """Put a text object in place unless it is there already, byte for byte."""
        if existing and existing.size == path.stat().st_size:
            before = path.with_name(path.name + ".before")
            self._lake.download(key, before)
            same = filecmp.cmp(before, path, shallow=False)
            before.unlink()
            if same:
                return "unchanged"
        self._lake.upload(path, key, content_type)
        return "written"

    def _nothing_landed(
        self,
        stream: Stream,
        key: str,
        existing: Sequence[StoredObject],
        folder: Path,
        count_rows: Callable[[Path], int],
    ) -> StreamLoad:
        rows = 0
        for item in existing:
            self._lake.download(item.key, folder / item.name)
            rows += count_rows(folder / item.name)
        size = sum(item.size for item in existing)
        action: Action = "unchanged" if existing else "empty"
        return StreamLoad(self._source.name, stream.name, action, key, rows, size, tuple(item.key for item in existing))

    def _fetch(self, delivery: Delivery, folder: Path) -> list[Path]:
        landed = _subfolder(folder, "landed")
        paths = []
        for item in delivery.objects:
            paths.append(landed / item.name)
            self._lake.download(item.key, paths[-1])
        return paths

    def _put_aside(self, stream: Stream, delivery: Delivery, mismatch: Mismatch) -> tuple[StreamLoad, str]:
        prefix = quarantine_prefix(self._source, stream, self._day)
        copy_to_quarantine(self._lake, self._source, stream, self._day, delivery.objects)
        self._lake.delete(item.key for item in delivery.objects if not item.quarantined)
        load = StreamLoad(self._source.name, stream.name, "quarantined", prefix)
        return load, (
            f"Stream {self._source.name}.{stream.name} does not fit its contract: {mismatch.reason}.\n"
            f"  contract: {describe(contract_schema(stream))}\n"
            f"  landed:   {describe(mismatch.landed)}\n"
            f"  kept in:  s3://{self._lake.bucket}/{prefix} ({len(delivery.objects)} objects)\n"
            "  Correct the source, or the contract in include/config/streams.yml; then clear this task: it takes the "
            "objects out of quarantine by itself. Delete them there if their rows are not wanted."
        )


def _subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path
