"""Micro-batches of change data, one after the other: from a commit in the source to the charts that show it.

One task loops for some minutes, since a task of its own for each step would cost a second each. Every step can be done
again: a sync that runs is attached to, a load finds what it has loaded, metadata and charts are simply read anew. So a
loop that was killed anywhere goes on where the next one begins.

The next sync is asked for before the charts are warmed: while Superset and Dremio work, Airbyte reads.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from lakehouse import compaction, history, metadata_store, replication
from lakehouse.airbyte import public_api
from lakehouse.changes import ChangeBatch, load_changes
from lakehouse.config import Source, load_streams
from lakehouse.exceptions import ContractViolation
from lakehouse.lake import Lake
from lakehouse.setup.dremio import LAKE_SOURCE, refresh_bronze_metadata
from lakehouse.sync_watch import SyncOutcome, run_sync

if TYPE_CHECKING:
    from superset_provider.warmer.repeat import RepeatedWarming

FRESH_SECONDS = 60.0
"""The architecture's bound from a change in the source to the live dashboard; what is older is late."""
IDLE_SECONDS = 60.0
"""Charts are warmed so often although nothing has changed: what they call today moves on by itself."""
PAUSE_SECONDS = 1.0
"""Between two syncs when the first of them found nothing."""
SLOT_SECONDS = 60.0
"""How often the replication slot is measured."""
COMPACT_BATCHES = 20
"""After so many micro-batches their files are merged: what a query reads grows with the rows, not with the batches."""
_POLL_SECONDS = 0.2
_OTHER_SECONDS = 60.0  # a loop that was told to end may take so long
_SYNC_TIMEOUT = 900.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MicroBatch:
    """What became of one micro-batch.

    Args:
        source: A source of ``streams.yml``.
        loaded: What it brought to bronze.
        asked_at: When its sync was asked for (UTC).
        shown_at: When its last chart was warm (UTC).
        seconds: What each step took: sync, load, metadata, warm.
        oldest_seconds: How old a change can have been at most when it was shown: as old as the sync before.
    """

    source: str
    loaded: ChangeBatch
    asked_at: datetime
    shown_at: datetime
    seconds: dict[str, float]
    oldest_seconds: float

    @property
    def late(self) -> bool:
        """Whether a change of it may have been older than the architecture allows."""
        return self.oldest_seconds > FRESH_SECONDS


@dataclass
class Summary:
    """What a loop has done.

    Args:
        batches: Micro-batches with changes.
        changes: Changes in them.
        late: Micro-batches that were shown too late.
        worst_seconds: The greatest age of a change when it was shown.
        held: What waits in quarantine, as the last load said it.
    """

    batches: int = 0
    changes: int = 0
    late: int = 0
    worst_seconds: float = 0.0
    held: str = field(default="", repr=False)

    def add(self, batch: MicroBatch) -> None:
        """Count one more."""
        self.batches += 1
        self.changes += batch.loaded.rows
        self.late += batch.late
        self.worst_seconds = max(self.worst_seconds, batch.oldest_seconds)


@dataclass(frozen=True)
class _Synced:
    """A sync that has ended: its outcome, when it was asked for, by both clocks, and what it took."""

    outcome: SyncOutcome
    asked_at: datetime
    asked: float
    seconds: float


def run_micro_batches(
    source: str,
    connection_id: str,
    *,
    seconds: float,
    dashboard: str,
    datasets: Collection[str],
    dag_id: str,
    run_id: str,
) -> Summary:
    """Carry changes to the charts until the time is over; the micro-batch that has begun is brought to its end.

    Args:
        source: A source of ``streams.yml`` whose streams have sync mode cdc.
        connection_id: Its Airbyte connection.
        seconds: After so many no further sync is asked for.
        dashboard: Slug of the dashboard whose charts are warmed.
        datasets: ``schema.table`` of the live datasets among those of the dashboard.
        dag_id: Who is at it, for the history.
        run_id: Its run.

    Returns:
        What was done.

    Raises:
        LockHeld: When another loop is at it.
        LockLost: When another one may be, since the metadata database was away.
        ContractViolation: At the end, when changes of a stream wait in quarantine; the other streams went on.
        AirbyteError, LakeError, DremioError, SupersetError: When a step fails for good; the next loop takes it up.
    """
    summary = Summary()
    declared = load_streams().source(source)
    slot = _SlotWatch(declared.connection)
    with ExitStack() as stack:
        lock = stack.enter_context(metadata_store.exclusive(_lock(source), wait_seconds=_OTHER_SECONDS))
        loop = stack.enter_context(_MicroBatches(declared, connection_id, dashboard, datasets, lock))
        for batch in loop.until(time.monotonic() + seconds, summary):
            summary.add(batch)
            history.record_micro_batch(batch, dag_id, run_id, slot.lag_bytes())
            tell = _log.warning if batch.late else _log.info
            tell(
                "job %d: %d changes, at most %.1f s old when shown (%s)",
                batch.loaded.job_id,
                batch.loaded.rows,
                batch.oldest_seconds,
                ", ".join(f"{name} {taken:.2f} s" for name, taken in batch.seconds.items()),
            )
    if summary.held:
        raise ContractViolation(summary.held, [])
    return summary


def catch_up(source: str, connection_id: str) -> ChangeBatch | None:
    """Bring what has changed to bronze and show it to Dremio, once, without any chart.

    For the nightly run: whether the live loop is paused or not, the replication slot moves on and cold is up to date.

    Args:
        source: A source of ``streams.yml`` whose streams have sync mode cdc.
        connection_id: Its Airbyte connection.

    Returns:
        What was loaded; None when a live loop is at it.

    Raises:
        LockLost: When a live loop may be at it, since the metadata database was away.
        ContractViolation: When changes of a stream wait in quarantine; the other streams are loaded.
        AirbyteError, LakeError, DremioError: When a step fails.
    """
    try:
        with metadata_store.exclusive(_lock(source), wait_seconds=0.0) as lock:
            outcome = run_sync(public_api(), connection_id, timeout=_SYNC_TIMEOUT)
            lock.check()
            try:
                return load_changes(source, outcome.job_id)
            finally:
                refresh_bronze_metadata(source=source)
    except metadata_store.LockHeld:
        return None


def _lock(source: str) -> str:
    """A load of change data allows for one at a time."""
    return f"changes {source}"


class _SlotWatch:
    """Measures the source's replication slot from time to time, and says when it is in danger."""

    def __init__(self, connection: str) -> None:
        self._feed = next(feed for feed in replication.declared() if feed.connection == connection)
        self._measured = -SLOT_SECONDS
        self._bytes = 0

    def lag_bytes(self) -> int:
        """Return how much of its log the source has written that nobody has confirmed, as last measured."""
        if time.monotonic() - self._measured >= SLOT_SECONDS:
            self._measured = time.monotonic()
            lag = replication.measure(self._feed)
            self._bytes = lag.bytes
            if lag.state != "ok":
                _log.error("slot %s is %s: %s", lag.slot, lag.state, lag.message)
        return self._bytes


class _MicroBatches(AbstractContextManager["_MicroBatches"]):
    """The connections that a loop keeps open, and its steps."""

    def __init__(
        self,
        source: Source,
        connection_id: str,
        dashboard: str,
        datasets: Collection[str],
        lock: metadata_store.Lock,
    ) -> None:
        self._lock = lock
        self._source = source
        self._connection_id = connection_id
        self._dashboard = dashboard
        self._datasets = datasets
        self._stack = ExitStack()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        from dremio_provider.hooks.dremio import DremioHook

        with ExitStack() as stack:
            self._airbyte = public_api()
            self._lake = Lake.from_connection()
            # A loop that was killed may have left a compaction half way, and files that Dremio has not seen.
            compaction.compact_day(self._source.name, lake=self._lake)
            refresh_bronze_metadata(source=self._source.name)
            self._dremio = stack.enter_context(DremioHook("dremio_default"))
            self._events = stack.enter_context(asyncio.Runner())
            self._charts = self._events.run(self._open_charts(stack))
            self._reader = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="sync"))
            # Leaving waits for the reader: a loop that is killed, or has failed, must not wait for a sync to end.
            stack.callback(self._ended.set)
            self._stack = stack.pop_all()
        self._warmed = 0.0
        self._batches = 0
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    async def _open_charts(self, stack: ExitStack) -> RepeatedWarming:
        from superset_provider.hooks.superset_async import SupersetAsyncHook
        from superset_provider.warmer.repeat import RepeatedWarming

        hook = await SupersetAsyncHook("superset_default").__aenter__()
        stack.callback(lambda: self._events.run(hook.__aexit__()))
        return await RepeatedWarming.open(hook, self._dashboard, self._datasets)

    def until(self, deadline: float, summary: Summary) -> Any:
        """Yield every micro-batch that had changes, once its charts are warm."""
        waiting: Future[_Synced] | None = self._reader.submit(self._sync)
        before = time.monotonic()
        while waiting is not None:
            synced = waiting.result()
            began = time.monotonic()
            batch = self._load(synced.outcome.job_id, summary)
            loaded = time.monotonic()
            if batch.rows:
                self._show_to_dremio(batch.streams)
            shown = time.monotonic()
            waiting = (
                self._reader.submit(self._sync, 0.0 if batch.rows else PAUSE_SECONDS) if shown < deadline else None
            )
            if batch.rows or shown - self._warmed > IDLE_SECONDS:
                self._events.run(self._charts.warm())
                self._warmed = time.monotonic()
            if batch.rows:
                steps = {
                    "sync": synced.seconds,
                    "load": loaded - began,
                    "metadata": shown - loaded,
                    "warm": self._warmed - shown,
                }
                yield MicroBatch(
                    self._source.name, batch, synced.asked_at, datetime.now(UTC), steps, self._warmed - before
                )
                self._compact()
            before = synced.asked

    def _sync(self, pause: float = 0.0) -> _Synced:
        self._ended.wait(pause)
        asked_at, asked = datetime.now(UTC), time.monotonic()
        outcome = run_sync(
            self._airbyte,
            self._connection_id,
            poll_seconds=_POLL_SECONDS,
            timeout=_SYNC_TIMEOUT,
            cancelled=self._ended,
        )
        return _Synced(outcome, asked_at, asked, time.monotonic() - asked)

    def _load(self, job_id: int, summary: Summary) -> ChangeBatch:
        self._lock.check()
        try:
            batch = load_changes(self._source.name, job_id, lake=self._lake)
        except ContractViolation as violation:
            _log.error("%s", violation)
            summary.held = str(violation)
            return next(load for load in violation.loads if isinstance(load, ChangeBatch))
        summary.held = ""
        return batch

    def _compact(self) -> None:
        """Merge files from time to time, between two loads; nobody but people's own queries read them meanwhile."""
        self._batches += 1
        if self._batches % COMPACT_BATCHES == 0:
            began = time.monotonic()
            self._lock.check()  # two that merge the same files at once would lose rows
            done = compaction.compact_day(self._source.name, lake=self._lake)
            self._show_to_dremio(item.stream for item in done)
            merged = ", ".join(f"{len(item.superseded)} of {item.stream}" for item in done)
            _log.info("compacted files in %.2f s: %s", time.monotonic() - began, merged or "none")

    def _show_to_dremio(self, streams: Iterable[str]) -> None:
        for stream in streams:
            folder = f"{self._source.bronze}/{stream}"
            self._dremio.refresh_metadata([LAKE_SOURCE, self._lake.bucket, *folder.split("/")], options="LAZY UPDATE")
