"""Watching a sync to its end: how far it is, when it stands still or takes too long, how it ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lakehouse.airbyte import AirbyteBusy, AirbyteError, ConfigApi, ask
from lakehouse.exceptions import SyncFailed, SyncMisconfigured, SyncStalled, SyncStopped, SyncTimedOut
from lakehouse.sync_jobs import ACTIVE, TakenSync, cancel_sync, has_succeeded, take_sync

if TYPE_CHECKING:
    from airbyte_api import AirbyteAPI

_LOOKS = 4
"""So many looks at least it takes to see that a sync stands still: a machine that slept has not looked meanwhile."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a sync is.

    Args:
        job_id: The job.
        status: Its state, in Airbyte's words; "unknown" while Airbyte does not answer.
        rows: Records read so far, or committed when Airbyte's Config API is not asked.
        bytes: Their size.
        seconds: Since the caller took the job.
    """

    job_id: int
    status: str
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class SyncOutcome:
    """A sync that has succeeded.

    Args:
        job_id: The job.
        status: "succeeded".
        rows: Records that the destination has committed.
        bytes: Their size.
        started_at: When Airbyte created the job, to the second.
        seconds: From taking the job to its end.
        attached: Whether the job was there already.
    """

    job_id: int
    status: str
    rows: int
    bytes: int
    started_at: datetime
    seconds: float
    attached: bool


def run_sync(
    api: AirbyteAPI,
    connection_id: str,
    *,
    config: ConfigApi | None = None,
    after_job: int | None = None,
    poll_seconds: float = 1.0,
    timeout: float = 3600.0,
    stalled_after: float | None = None,
    cancelled: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SyncOutcome:
    """Run one sync of a connection to its end, or wait for the one that runs already.

    Args:
        api: Airbyte's public API, as ``lakehouse.airbyte.public_api`` gives it.
        connection_id: The connection.
        config: Airbyte's Config API, for progress while a sync runs and for the reason of a failure.
        after_job: As for ``take_sync``.
        poll_seconds: Between two looks.
        timeout: Seconds after which the sync is cancelled.
        stalled_after: Seconds without a moving record or byte after which it is cancelled. None: it may stand still.
        cancelled: Set it, from another thread, to cancel the sync.
        progress: Called after every look.

    Returns:
        How the sync went.

    Raises:
        SyncFailed: When it has failed or somebody cancelled it; SyncMisconfigured when Airbyte calls it a config_error.
        SyncStalled: When it stood still.
        SyncTimedOut: When it took too long.
        SyncStopped: When ``cancelled`` was set.
        AirbyteError: When Airbyte refuses to start it, or cannot be reached.
    """
    stop = cancelled or threading.Event()
    deadline = time.monotonic() + timeout
    taken = take_sync(api, connection_id, after_job=after_job, timeout=timeout, cancelled=stop)
    watch = SyncWatch(api, taken, config=config, timeout=deadline - time.monotonic(), stalled_after=stalled_after)
    return watch.wait(poll_seconds, stop, progress)


class SyncWatch:
    """Looks at a job until it is over, and gives it up when it takes too long or stands still.

    Args:
        api: Airbyte's public API.
        taken: The job.
        config: Airbyte's Config API; without it only what the destination has committed counts as progress.
        timeout: Seconds from now on.
        stalled_after: Seconds without a moving record or byte, seen in four looks at least; None: no limit.
    """

    def __init__(
        self,
        api: AirbyteAPI,
        taken: TakenSync,
        *,
        config: ConfigApi | None = None,
        timeout: float,
        stalled_after: float | None = None,
    ) -> None:
        self.taken = taken
        self._api = api
        self._config = config
        self._timeout = timeout
        self._stalled_after = stalled_after
        self._began = self._moved = self._looked = time.monotonic()
        self._last: tuple[Any, ...] = ()
        self.progress = Progress(taken.job_id, "unknown", 0, 0, 0.0)

    def wait(
        self, poll_seconds: float, stop: threading.Event, progress: Callable[[Progress], None] | None = None
    ) -> SyncOutcome:
        """Look until the job is over; arguments, result and errors are those of ``run_sync``."""
        while True:
            outcome = self.look()
            if progress is not None:
                progress(self.progress)
            if outcome is not None:
                return outcome
            if stop.wait(poll_seconds):
                self._give_up(own_only=True)
                raise SyncStopped(f"The sync, Airbyte job {self.taken.job_id}, was given up: the task was killed.")

    def look(self) -> SyncOutcome | None:
        """Look once.

        Returns:
            How the sync went, or None while it goes on. ``progress`` says how far it is.

        Raises:
            SyncFailed, SyncStalled, SyncTimedOut: As for ``run_sync``; what ran on was cancelled.
            AirbyteError: When Airbyte does not know the job.
        """
        try:
            job = ask(self._api.jobs.get_job, job_id=self.taken.job_id).job_response
        except AirbyteBusy as error:
            _log.warning("Airbyte does not say how job %d is: %s", self.taken.job_id, error)
            self._note("unknown", self.progress.rows, self.progress.bytes)
        else:
            if job.status.value not in ACTIVE:
                return self._ended(job)
            self._measure(job)
        self._check_limits()
        return None

    def _measure(self, job: Any) -> None:
        rows, size, seen = job.rows_synced or 0, job.bytes_synced or 0, (job.status.value, job.last_updated_at)
        if self._config is not None:
            try:
                read = self._config.sync_progress(self.taken.connection_id)
            except AirbyteBusy as error:
                _log.warning("Airbyte does not say how far job %d is: %s", self.taken.job_id, error)
            except AirbyteError as error:
                _log.warning("No progress of job %d, and nobody notices if it hangs: %s", self.taken.job_id, error)
                self._config = self._stalled_after = None
            else:
                if read is not None and read.job_id == self.taken.job_id:
                    rows, size, seen = read.rows, read.bytes, (job.status.value, read.attempt)
        if (rows, size, *seen) != self._last:
            self._last, self._moved = (rows, size, *seen), time.monotonic()
        self._note(job.status.value, rows, size)

    def _note(self, status: str, rows: int, size: int) -> None:
        self.progress = Progress(self.taken.job_id, status, rows, size, time.monotonic() - self._began)

    def _ended(self, job: Any) -> SyncOutcome:
        self._note(job.status.value, job.rows_synced or 0, job.bytes_synced or 0)
        if not has_succeeded(job):
            raise self._failure(job.status.value)
        return SyncOutcome(
            job.job_id,
            job.status.value,
            self.progress.rows,
            self.progress.bytes,
            datetime.fromisoformat(job.start_time).astimezone(UTC),
            self.progress.seconds,
            self.taken.attached,
        )

    def _failure(self, status: str) -> SyncFailed:
        text, kind = "", SyncFailed
        if self._config is not None and status == "failed":
            try:
                failure = self._config.failure(self.taken.job_id)
            except AirbyteError as error:
                _log.warning("Airbyte does not say why job %d has failed: %s", self.taken.job_id, error)
            else:
                text = failure.message
                kind = SyncMisconfigured if failure.kind == "config_error" else SyncFailed
        reason = f": {text}" if text else f". Read the log of job {self.taken.job_id} in Airbyte."
        return kind(f"The sync, Airbyte job {self.taken.job_id}, was {status}{reason}")

    def _check_limits(self) -> None:
        now = time.monotonic()
        about = f"The sync, Airbyte job {self.taken.job_id},"
        if self._stalled_after is not None:
            unseen = now - self._looked - self._stalled_after / _LOOKS
            self._moved = min(now, self._moved + max(0.0, unseen))
        self._looked = now
        if self._stalled_after is not None and now - self._moved >= self._stalled_after:
            # A job that hangs is of no use to whoever has started it.
            self._give_up(own_only=False)
            stood = f"{now - self._moved:.0f} s"
            raise SyncStalled(f"{about} stood still at {self.progress.rows:,} records for {stood} and was cancelled.")
        if now - self._began >= self._timeout:
            self._give_up(own_only=True)
            what = "cancelled" if self.taken.own else "left to whoever has started it"
            raise SyncTimedOut(f"{about} was not over after {self._timeout:g} s and was {what}.")

    def _give_up(self, *, own_only: bool) -> None:
        if own_only and not self.taken.own:
            return
        try:
            cancel_sync(self._api, self.taken.job_id)
        except AirbyteError as error:
            # It is found again by the next try, which attaches to it.
            _log.warning("Job %d could not be cancelled: %s", self.taken.job_id, error)
