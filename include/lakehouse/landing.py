"""What Airbyte landed: which objects a load takes, and which wait in quarantine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

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


def landing_prefix(source: Source, stream: Stream) -> str:
    """Return the key prefix under which a stream lands."""
    return f"{source.landing}/{stream.name}/"


def quarantine_prefix(source: Source, stream: Stream, day: date | None = None) -> str:
    """Return the key prefix of a stream's quarantine, of one day or of all."""
    base = f"bronze/quarantine/{source.name}/{stream.name}/"
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
    landed = [_parse(lake, item.key, item.size, False) for item in lake.list(landing_prefix(source, stream))]
    waiting = [_parse(lake, item.key, item.size, True) for item in lake.list(quarantine_prefix(source, stream))]
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
    return Delivery(tuple(_in_order(objects)), tuple((*older, *twice)))


def quarantine(lake: Lake, source: Source, stream: Stream, day: date, objects: Iterable[LandingObject]) -> str:
    """Put objects aside; those that are in quarantine already stay where they are.

    Args:
        lake: The lake.
        source: The source.
        stream: The stream.
        day: The partition that could not be loaded.
        objects: What did not fit.

    Returns:
        The key prefix that holds them now.
    """
    prefix = quarantine_prefix(source, stream, day)
    moving = [item for item in objects if not item.quarantined]
    for item in moving:
        lake.copy(item.key, prefix + item.name)
    lake.delete(item.key for item in moving)
    return prefix


def _parse(lake: Lake, key: str, size: int, quarantined: bool) -> LandingObject:
    match = _NAME.fullmatch(key.rsplit("/", 1)[-1])
    if match is None:
        raise LakeError(
            f"{lake.address}/{key} is not named as a sync names its objects (<job id>_<epoch ms>_<part>.<extension>). "
            "Check file_name_pattern of the Airbyte destination, or move the object out of the landing area."
        )
    return LandingObject(key, size, int(match["job"]), int(match["at"]), int(match["part"]), quarantined)


def _in_order(objects: Iterable[LandingObject]) -> list[LandingObject]:
    return sorted(objects, key=lambda item: (item.job_id, item.extracted_ms, item.part, item.name))
