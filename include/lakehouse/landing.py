"""What Airbyte landed: which objects a load takes, and which wait in quarantine."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from lakehouse.config import Source, Stream
from lakehouse.lake import Lake, LakeError

# file_name_pattern of the destinations: {sync_id}_{timestamp}_{part_number}{format_extension}
_NAME = re.compile(r"(?P<job>\d+)_(?P<at>\d+)_(?P<part>\d+)\.[A-Za-z0-9.]+")


@dataclass(frozen=True)
class LandingObject:
    """One object that a sync wrote.

    Args:
        key: Its key.
        size: Its size in bytes.
        job_id: The sync job that wrote it.
        extracted_ms: When, in milliseconds since 1970.
        part: Its number within the sync.
        quarantined: Whether an earlier load put it into quarantine.
    """

    key: str
    size: int
    job_id: int
    extracted_ms: int
    part: int
    quarantined: bool = False

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rsplit("/", 1)[-1]

    @property
    def day(self) -> date:
        """The day, in UTC, on which it was written."""
        return datetime.fromtimestamp(self.extracted_ms / 1000, UTC).date()


@dataclass(frozen=True)
class Delivery:
    """What one load takes.

    Args:
        objects: The objects to load, in the order in which they were written.
        surplus: Objects that hold nothing more: older snapshots, and the second copy of one that a kill left twice.
    """

    objects: tuple[LandingObject, ...]
    surplus: tuple[LandingObject, ...]

    @property
    def keys(self) -> list[str]:
        """Every key that may go once the load is in place."""
        return [item.key for item in (*self.objects, *self.surplus)]

    def without(self, taken: Collection[str]) -> Delivery:
        """Return the same with objects that were loaded before, and only a kill has left, as surplus.

        Args:
            taken: Keys of loaded objects.
        """
        left = tuple(item for item in self.objects if item.key in taken)
        return Delivery(tuple(item for item in self.objects if item.key not in taken), (*self.surplus, *left))


def landing_prefix(source: Source, stream: Stream) -> str:
    """Return the key prefix under which a stream lands."""
    return f"{source.landing}/{stream.name}/"


def quarantine_area(source: Source) -> str:
    """Return the key prefix of a source's quarantine."""
    return f"bronze/quarantine/{source.name}/"


def quarantine_prefix(source: Source, stream: Stream, day: date | None = None) -> str:
    """Return the key prefix of a stream's quarantine, of one day or of all."""
    base = f"{quarantine_area(source)}{stream.name}/"
    return base if day is None else f"{base}date={day.isoformat()}/"


def collect(lake: Lake, source: Source, stream: Stream, job_id: int) -> Delivery:
    """Find what a load has to take.

    A full refresh takes the snapshot of one job; an incremental stream takes everything there is, because a row that
    landed once does not land again. What waits in quarantine is part of both, so that a corrected contract is all it
    takes to go on.

    Args:
        lake: The lake.
        source: The source.
        stream: One of its streams.
        job_id: The sync job of this run.

    Returns:
        The delivery.

    Raises:
        LakeError: When an object is not named as the destination names them.
    """
    landed = list_landed(lake, landing_prefix(source, stream))
    waiting = list_landed(lake, quarantine_prefix(source, stream), quarantined=True)
    if stream.sync_mode == "full_refresh":
        # An older snapshot that landed is replaced by this one; one in quarantine is evidence and stays.
        older = [item for item in landed if item.job_id < job_id]
        landed = [item for item in landed if item.job_id == job_id]
        waiting = [item for item in waiting if item.job_id == job_id]
    else:
        older = []
    names = {item.name for item in landed}
    twice = [item for item in waiting if item.name in names]
    objects = [*landed, *(item for item in waiting if item.name not in names)]
    return Delivery(in_order(objects), tuple((*older, *twice)))


def collect_day(lake: Lake, source: Source, stream: Stream, day: date, loaded: Collection[int]) -> Delivery:
    """Find what is left of a day: what waits in quarantine for its partition, and what was extracted on it.

    Of a full refresh only what was put into quarantine counts, for that is known to be whole: what lies in the landing
    area may be the part of a snapshot that a failed sync has left.

    Args:
        lake: The lake.
        source: The source.
        stream: One of its streams.
        day: The day.
        loaded: Sync jobs that the partition holds; a snapshot that is no newer than they are is left where it is.

    Returns:
        The delivery.

    Raises:
        LakeError: When an object is not named as the destination names them.
    """
    waiting = list_landed(lake, quarantine_prefix(source, stream, day), quarantined=True)
    landed = list_landed(lake, landing_prefix(source, stream))
    if stream.sync_mode == "full_refresh":
        newest = max((item.job_id for item in waiting if item.job_id > max(loaded, default=0)), default=None)
        waiting = [item for item in waiting if item.job_id == newest]
        landed = [item for item in landed if item.job_id == newest]  # a kill may have stopped it half way
    else:
        landed = [item for item in landed if item.day == day]
    names = {item.name for item in landed}
    twice = [item for item in waiting if item.name in names]
    return Delivery(in_order([*landed, *(item for item in waiting if item.name not in names)]), tuple(twice))


def list_landed(lake: Lake, prefix: str, *, quarantined: bool = False) -> list[LandingObject]:
    """Return the objects that syncs wrote below a prefix.

    Args:
        lake: The lake.
        prefix: Of the landing area, or of the quarantine.
        quarantined: Whether it is the quarantine.

    Raises:
        LakeError: When an object is not named as the destination names them.
    """
    return [_parse(lake, item.key, item.size, quarantined) for item in lake.list(prefix)]


def copy_to_quarantine(
    lake: Lake, source: Source, stream: Stream, day: date, objects: Iterable[LandingObject]
) -> tuple[str, ...]:
    """Copy objects to quarantine; those that are there already stay where they are.

    Args:
        lake: The lake.
        source: The source.
        stream: The stream.
        day: The partition that could not be loaded.
        objects: What did not fit.

    Returns:
        The keys in quarantine, of all the objects. The originals in the landing area are for the caller to delete.
    """
    keys = []
    for item in objects:
        keys.append(item.key if item.quarantined else quarantine_prefix(source, stream, day) + item.name)
        if not item.quarantined:
            lake.copy(item.key, keys[-1])
    return tuple(keys)


def _parse(lake: Lake, key: str, size: int, quarantined: bool) -> LandingObject:
    match = _NAME.fullmatch(key.rsplit("/", 1)[-1])
    if match is None:
        raise LakeError(
            f"{lake.address}/{key} is not named as a sync names its objects (<job id>_<epoch ms>_<part>.<extension>). "
            "Check file_name_pattern of the Airbyte destination, or move the object out of the landing area."
        )
    return LandingObject(key, size, int(match["job"]), int(match["at"]), int(match["part"]), quarantined)


def in_order(objects: Iterable[LandingObject]) -> tuple[LandingObject, ...]:
    """Return objects in the order in which they were written."""
    return tuple(sorted(objects, key=lambda item: (item.job_id, item.extracted_ms, item.part, item.name)))
