"""Loading to bronze: what a sync landed becomes the one canonical object that everything later reads.

For every stream: count the landing rows against what Airbyte says it has committed, check them against the contract,
write the object, write the manifest that says what it is made of, and only then delete what was taken. Killed between
any two of these steps, the next run ends in the same place.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

from lakehouse.airbyte import ConfigApi
from lakehouse.config import Source, Stream, load_streams
from lakehouse.exceptions import ContractViolation, RowCountMismatch
from lakehouse.lake import Lake
from lakehouse.landing import quarantine_prefix
from lakehouse.loading import StreamLoad, StreamLoader
from lakehouse.manifests import PartitionManifests
from lakehouse.reconciliation import SyncedRows, synced_rows

__all__ = ["ContractViolation", "RowCountMismatch", "StreamLoad", "load_sync", "load_to_bronze", "reload_bronze"]

_log = logging.getLogger(__name__)
_PARALLEL_STREAMS = 2  # Parquet is written on one thread a file; more at a time costs memory, not less time


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
        loaders = [StreamLoader(store, declared, stream, day, int(job_id), synced) for stream in chosen]
        return _reported(list(pool.map(StreamLoader.run, loaders)))


def reload_bronze(
    source: str, first: date, last: date, *, streams: Sequence[str] | None = None, lake: Lake | None = None
) -> list[StreamLoad]:
    """Load days of the past anew: from landing and bronze, never from the source.

    What is left of a day in the landing area or in quarantine joins its partition; a Parquet partition is brought to
    what the contract says today. A day that bronze has nothing of stays so.

    Args:
        source: A source of ``streams.yml``.
        first: The first day.
        last: The last day, loaded as well.
        streams: Names of the streams; all of the source when not given.
        lake: The lake; the one of the connection ``lake_s3`` when not given.

    Returns:
        What was done with each stream on each day: "written" where something has changed.

    Raises:
        ContractViolation: When what is there of a stream does not fit its contract. The others are loaded first.
        ValueError: When the last day is before the first or not over yet (in UTC), when the retention of a stream has
            removed a day, or when the source is one of change data, whose loads go on by themselves where they stopped.
    """
    declared = load_streams().source(source)
    if last < first:
        raise ValueError(f"the last day, {last}, is before the first, {first}")
    if last >= datetime.now(UTC).date():
        raise ValueError(
            f"{last} is not over: what lands on it is loaded by the batch; clear its task to load it again"
        )
    if declared.frequency == "live":
        raise ValueError(f"source {source!r} has change data: its next load takes up what waits by itself")
    chosen = [declared.stream(name) for name in (streams or declared.streams)]
    store = lake or Lake.from_connection()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    for stream in chosen:
        _check_kept(store, declared, stream, days)
    loaders = [StreamLoader(store, declared, stream, day) for day in days for stream in chosen]
    with ThreadPoolExecutor(_PARALLEL_STREAMS, thread_name_prefix="bronze") as pool:
        return _reported(list(pool.map(StreamLoader.run, loaders)))


def _check_kept(lake: Lake, source: Source, stream: Stream, days: Sequence[date]) -> None:
    """Raise ValueError when retention has removed a day, which a reload would leave out without a word."""
    retention = source.keeps(stream)
    kept = retention.first_day("bronze", datetime.now(UTC).date())
    if kept is None or days[0] >= kept:
        return
    there = set(PartitionManifests(lake, source, stream).days())
    gone = [
        day
        for day in days
        if day < kept and day not in there and next(lake.list(quarantine_prefix(source, stream, day)), None) is None
    ]
    if gone:
        raise ValueError(
            f"{source.name}.{stream.name}: nothing is left of {len(gone)} days, {gone[0]} to {gone[-1]}: bronze keeps "
            f"{retention.bronze} days (retention in include/config/streams.yml), {kept} is the first of them. Ask for "
            "days from then on, or leave the stream out."
        )


def _reported(outcomes: Sequence[tuple[StreamLoad, Exception | None]]) -> list[StreamLoad]:
    """Log what was done, and raise what was wrong once everything else is loaded."""
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
