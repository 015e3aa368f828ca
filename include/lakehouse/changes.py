"""Loading change data to bronze: what one sync of a CDC connection landed becomes one object a stream, exactly once.

The steps, and what a kill after each leaves to the next call: the objects are written (they are written again, the
same), what breaks its contract is copied to quarantine (copied again), the manifest is written (the load is committed:
only cleaning up is left), what was taken is deleted (deleted on). What a job has landed and nobody has loaded, the
next load takes; what somebody has loaded, a manifest names. An object is named by the job that landed it, not by the
load that wrote it: whoever finishes a load that was killed writes the same objects, and none is left over.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakehouse import change_files, partition
from lakehouse.change_manifests import ChangeColumns, ChangeManifest, ChangeManifests, ChangeObject, Held, padded
from lakehouse.config import Source, Stream, load_streams
from lakehouse.contracts import Mismatch, contract_schema, describe, is_data
from lakehouse.exceptions import ContractViolation
from lakehouse.lake import Lake
from lakehouse.landing import (
    Delivery,
    LandingObject,
    copy_to_quarantine,
    in_order,
    list_landed,
    quarantine_area,
    quarantine_prefix,
)

__all__ = ["ChangeBatch", "ContractViolation", "load_changes"]

_log = logging.getLogger(__name__)
_REQUESTS = 6  # at a time: to list and to fetch is to wait


@dataclass(frozen=True)
class ChangeBatch:
    """What the load of one job has brought to bronze.

    Args:
        job_id: The sync job.
        streams: Stream -> how many changes; streams without changes are left out.
        objects: Keys of the objects.
        first_lsn: The smallest position in the write-ahead log, a number; None when there are no changes.
        last_lsn: The largest.
        newest_commit: The latest commit, in UTC.
        manifest_key: The manifest; None when nothing had landed, which needs none.
        new_columns: Stream -> columns that are not in its contract.
    """

    job_id: int
    streams: dict[str, int] = field(default_factory=dict)
    objects: tuple[str, ...] = ()
    first_lsn: int | None = None
    last_lsn: int | None = None
    newest_commit: datetime | None = None
    manifest_key: str | None = None
    new_columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many changes of all streams."""
        return sum(self.streams.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain values, for XCom."""
        return {
            **asdict(self),
            "objects": list(self.objects),
            "newest_commit": self.newest_commit.isoformat() if self.newest_commit else None,
            "new_columns": {stream: list(names) for stream, names in self.new_columns.items()},
        }


def load_changes(source: str, job_id: int, *, lake: Lake | None = None) -> ChangeBatch:
    """Load what one CDC sync landed, and what syncs before it have left.

    Safe to call again after a kill at any moment: the objects are the same. One call a source at a time.

    Args:
        source: A source of ``streams.yml`` whose streams have sync mode cdc.
        job_id: The sync job; it has to have ended.
        lake: The lake; the one of the connection ``lake_s3`` when not given. Opening it takes longer than a small
            load, so a loop opens it once.

    Returns:
        What bronze holds of this job now.

    Raises:
        ContractViolation: When what landed of a stream does not fit its contract. The other streams are loaded, the
            batch is the one element of its ``loads``, and the next job takes the stream up again.
        LakeError: When an object is not named as the destination names them, or S3 fails.
    """
    declared = load_streams().source(source)
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="changes") as pool:
        return _Load(lake or Lake.from_connection(), declared, int(job_id), pool).run()


class _Load:
    """One load of one job."""

    def __init__(self, lake: Lake, source: Source, job_id: int, pool: ThreadPoolExecutor) -> None:
        self._lake = lake
        self._source = source
        self._job_id = job_id
        self._pool = pool
        self._manifests = ChangeManifests(lake, source)
        self._columns = ChangeColumns(lake, source)

    def run(self) -> ChangeBatch:
        landed = self._pool.submit(list_landed, self._lake, f"{self._source.landing}/")
        waiting = self._pool.submit(list_landed, self._lake, quarantine_area(self._source), quarantined=True)
        committed = self._manifests.job_ids(self._job_id)
        present = [item for item in (*landed.result(), *waiting.result()) if item.job_id <= self._job_id]
        here = {item.key for item in present}
        if self._job_id in committed:
            return self._finish(self._manifests.read(self._job_id), here)
        if not present:
            return ChangeBatch(self._job_id)
        done = self._taken_before(present, committed)
        manifest = self._write([item for item in present if item.key not in done], done)
        self._manifests.write(manifest)
        return self._finish(manifest, here.union(*(item.objects for item in manifest.held.values())))

    def _taken_before(self, present: Sequence[LandingObject], committed: Sequence[int]) -> set[str]:
        """Return what another load has taken and a kill has left: an older job's, or this one's that a newer took."""
        oldest = min(item.job_id for item in present)
        jobs = committed if oldest == self._job_id else self._manifests.job_ids(oldest)
        return self._manifests.taken((item.key for item in present), jobs)

    def _write(self, present: Iterable[LandingObject], done: Iterable[str]) -> ChangeManifest:
        """Write objects, copy what breaks its contract to quarantine, and return what the manifest has to say."""
        objects: list[ChangeObject] = []
        taken = set(done)
        held: dict[str, Held] = {}
        with tempfile.TemporaryDirectory(prefix="changes-") as folder:
            deliveries = self._deliveries(present)
            columns = self._pool.submit(self._columns.read)
            paths = self._fetch(deliveries, Path(folder))
            uploads = []
            for stream, delivery in deliveries:
                landed: dict[int, list[Path]] = {}
                for item in delivery.objects:
                    landed.setdefault(item.job_id, []).append(paths[item.key])
                try:
                    known = columns.result().get(stream.name, pa.schema([]))
                    files = change_files.build(stream, landed, Path(folder), known)
                except Mismatch as mismatch:
                    held[stream.name] = self._hold(stream, delivery, mismatch)
                    taken.update(set(delivery.keys).difference(held[stream.name].objects))
                    continue
                taken.update(delivery.keys)
                self._remember(stream, known, [path for path, written in files.values() if written.new_columns])
                for job_id, (path, written) in files.items():
                    day = max(item.day for item in delivery.objects if item.job_id == job_id)
                    key = f"{self._source.bronze}/{stream.name}/date={day}/{padded(job_id)}.parquet"
                    size = path.stat().st_size
                    objects.append(ChangeObject(**asdict(written), key=key, stream=stream.name, bytes=size))
                    uploads.append(self._pool.submit(self._lake.upload, path, key, partition.MEDIA_TYPE))
            for upload in uploads:
                upload.result()
        return ChangeManifest(self._source.name, self._job_id, tuple(objects), tuple(sorted(taken)), held)

    def _remember(self, stream: Stream, known: pa.Schema, paths: Iterable[Path]) -> None:
        """Keep the types of columns outside the contract; a second call finds, and keeps, the same."""
        columns = {field.name: field for field in known}
        for path in paths:
            found = partition.look_into(path).schema
            columns |= {
                field.name: field for field in found if is_data(field.name) and field.name not in stream.columns
            }
        if (now := pa.schema(columns.values())) != known:
            self._columns.write(stream.name, now)

    def _deliveries(self, present: Iterable[LandingObject]) -> list[tuple[Stream, Delivery]]:
        """Part objects by stream; of one that a kill left in both places, what is in quarantine counts."""
        found: dict[str, dict[str, LandingObject]] = {}
        surplus: dict[str, list[LandingObject]] = {}
        for item in sorted(present, key=lambda item: not item.quarantined):
            area = quarantine_area(self._source) if item.quarantined else f"{self._source.landing}/"
            stream = item.key.removeprefix(area).partition("/")[0]
            if found.setdefault(stream, {}).setdefault(item.name, item) is not item:
                surplus.setdefault(stream, []).append(item)
        for stream in found.keys() - self._source.streams.keys():
            _log.warning("changes: %s/%s/ is left: streams.yml declares no such stream", self._source.landing, stream)
        return [
            (stream, Delivery(in_order(found[name].values()), tuple(surplus.get(name, ()))))
            for name, stream in self._source.streams.items()
            if name in found
        ]

    def _fetch(self, deliveries: Sequence[tuple[Stream, Delivery]], folder: Path) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        waiting = []
        for stream, delivery in deliveries:
            for item in delivery.objects:
                paths[item.key] = folder / f"{stream.name}-{item.name}"
                waiting.append(self._pool.submit(self._lake.download, item.key, paths[item.key], item.size))
        for download in waiting:
            download.result()
        return paths

    def _hold(self, stream: Stream, delivery: Delivery, mismatch: Mismatch) -> Held:
        # The day that the objects tell, not the clock: a second call finds the same.
        day = max(item.day for item in delivery.objects)
        keys = copy_to_quarantine(self._lake, self._source, stream, day, delivery.objects)
        message = (
            f"Stream {self._source.name}.{stream.name} does not fit its contract: {mismatch.reason}.\n"
            f"  contract: {describe(contract_schema(stream))}\n"
            f"  landed:   {describe(mismatch.landed)}\n"
            f"  kept in:  s3://{self._lake.bucket}/{quarantine_prefix(self._source, stream)} ({len(keys)} objects)\n"
            "  Its changes wait there, those to come too. Correct the contract in include/config/streams.yml, or the "
            "source: the next load takes them up by itself. Delete the objects there if their rows are not wanted."
        )
        return Held(message, keys)

    def _finish(self, manifest: ChangeManifest, here: set[str]) -> ChangeBatch:
        """Delete what a committed load has taken; raise when one of its streams waits in quarantine (still)."""
        self._lake.delete(sorted(here.intersection(manifest.taken)))
        batch = _batch(manifest, self._manifests.key(manifest.job_id))
        for stream, names in batch.new_columns.items():
            _log.warning(
                "changes %s.%s: new column %s is taken; add it to streams.yml to put it under contract",
                self._source.name,
                stream,
                ", ".join(names),
            )
        waiting = [item.message for item in manifest.held.values() if here.intersection(item.objects)]
        if waiting:
            raise ContractViolation("\n".join(waiting), [batch])
        return batch


def _batch(manifest: ChangeManifest, key: str) -> ChangeBatch:
    objects = manifest.objects
    if not objects:
        return ChangeBatch(manifest.job_id, manifest_key=key)
    streams = {item.stream for item in objects}
    commits = [datetime.fromisoformat(item.newest_commit) for item in objects if item.newest_commit]
    return ChangeBatch(
        manifest.job_id,
        {name: sum(item.rows for item in objects if item.stream == name) for name in sorted(streams)},
        tuple(item.key for item in objects),
        min(item.first_lsn for item in objects),
        max(item.last_lsn for item in objects),
        max(commits, default=None),
        key,
        {item.stream: tuple(sorted(item.new_columns)) for item in objects if item.new_columns},
    )
