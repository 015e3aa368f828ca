"""Expiry: what is older than its stream's retention leaves the lake.

Every step can be done again: objects go before what names them, so that whoever comes after a kill finds the rest. Of
bronze the newest partition stays, whatever its age. A change file goes when it is older than what is hot and its cold
table has merged all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from lakehouse.compaction import day_of, jobs_of, record_key
from lakehouse.config import Source, Stream, load_streams
from lakehouse.lake import Lake, StoredObject
from lakehouse.landing import landing_prefix, list_landed, quarantine_prefix
from lakehouse.manifests import PartitionManifests

_log = logging.getLogger(__name__)
Area = Literal["landing", "bronze", "quarantine"]


@dataclass(frozen=True)
class Expired:
    """What has left the lake, or would, of one stream and area.

    Args:
        source: The source.
        stream: The stream.
        area: "landing", "bronze" or "quarantine".
        objects: How many objects.
        bytes: Their size.
        before: The first day that is kept, "YYYY-MM-DD".
    """

    source: str
    stream: str
    area: Area
    objects: int
    bytes: int
    before: str


def expire(
    source: str,
    merged_up_to: Callable[[str], int | None],
    *,
    today: date | None = None,
    dry_run: bool = False,
    lake: Lake | None = None,
) -> list[Expired]:
    """Delete what the retention of a source's streams lets go.

    Args:
        source: A source of ``streams.yml``.
        merged_up_to: Cold table -> the sync up to which it has everything, None when there is none.
        today: The day that is counted from; today, in UTC, when not given.
        dry_run: Only say what would go.
        lake: The lake; the one of the connection ``lake_s3`` when not given.

    Returns:
        What has gone, or would; nothing of streams of which all is kept.

    Raises:
        LakeError: When an object is not named as a sync names its objects, or S3 fails.
    """
    declared = load_streams().source(source)
    store = lake or Lake.from_connection()
    day = today or datetime.now(UTC).date()
    done = []
    for stream in declared.streams.values():
        expiry = _Expiry(store, declared, stream, day, dry_run)
        done += expiry.waiting("landing", landing_prefix(declared, stream))
        done += expiry.waiting("quarantine", quarantine_prefix(declared, stream))
        done += expiry.changes(merged_up_to) if stream.sync_mode == "cdc" else expiry.partitions()
    for item in done:
        _log.info("%s %s", "would expire" if dry_run else "expired", item)
    return done


class _Expiry:
    """The expiry of one stream."""

    def __init__(self, lake: Lake, source: Source, stream: Stream, today: date, dry_run: bool) -> None:
        self._lake = lake
        self._source = source
        self._stream = stream
        self._today = today
        self._dry_run = dry_run

    def waiting(self, area: Area, prefix: str) -> list[Expired]:
        """What waits in the landing area or in quarantine, by the day it was extracted."""
        first = self._first_day(area)
        if first is None:
            return []
        landed = list_landed(self._lake, prefix, quarantined=area == "quarantine")
        old = [StoredObject(item.key, item.size) for item in landed if item.day < first]
        return self._delete(area, first, old)

    def partitions(self) -> list[Expired]:
        """Partitions, each before its manifest."""
        first = self._first_day("bronze")
        if first is None:
            return []
        manifests = PartitionManifests(self._lake, self._source, self._stream)
        old = [manifests.read(day) for day in manifests.days()[:-1] if day < first]
        objects = [StoredObject(item.key, item.bytes) for manifest in old for item in manifest.objects]
        names = [manifests.key(date.fromisoformat(manifest.date)) for manifest in old]
        return self._delete("bronze", first, objects, names)

    def changes(self, merged_up_to: Callable[[str], int | None]) -> list[Expired]:
        """Change files that are neither hot nor missing in cold, each day's before the record of its compaction."""
        first = self._first_day("bronze")
        merged = merged_up_to(self._stream.cold) if self._stream.cold else None
        if first is None or merged is None:
            return []
        present = list(self._lake.list(f"{self._source.bronze}/{self._stream.name}/date="))
        # The newest stays: from it Dremio knows the columns.
        old = [item for item in present[:-1] if day_of(item.key) < first.isoformat() and jobs_of(item.key)[1] < merged]
        kept = {day_of(item.key) for item in set(present).difference(old)}
        records = self._lake.list(record_key(self._source, self._stream, ""))
        over = [item.key for item in records if item.name.removesuffix(".json").partition("=")[2] not in kept]
        return self._delete("bronze", first, old, over)

    def _first_day(self, area: Area) -> date | None:
        return self._source.keeps(self._stream).first_day(area, self._today)

    def _delete(
        self, area: Area, first: date, objects: Sequence[StoredObject], names: Collection[str] = ()
    ) -> list[Expired]:
        if not self._dry_run:
            self._lake.delete(item.key for item in objects)
            self._lake.delete(names)
        size = sum(item.size for item in objects)
        found = Expired(self._source.name, self._stream.name, area, len(objects), size, first.isoformat())
        return [found] if objects else []
