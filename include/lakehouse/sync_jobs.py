"""One sync of an Airbyte connection, and not two: found again after a crash, watched, cancelled when it is given up.

Airbyte runs one job of a connection at a time and numbers its jobs upwards. A caller that remembers the newest number
from before it began (``newest_job``) recognises its own job afterwards by a greater one, whoever died in between, and
needs no clock for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from lakehouse.airbyte import AirbyteBusy, AirbyteError, ConfigApi, ask
from lakehouse.exceptions import SyncFailed, SyncMisconfigured, SyncStalled, SyncStopped, SyncTimedOut

if TYPE_CHECKING:
    from airbyte_api import AirbyteAPI

ACTIVE = ("pending", "queued", "running", "incomplete")
"""States of a job that goes on; "incomplete": an attempt failed and Airbyte tries again."""
_PAGE = 20
_REACH_SECONDS = 30.0
_CANCEL_SECONDS = 10.0
_CONFLICTS = 5

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


@dataclass(frozen=True)
class TakenSync:
    """The job that a caller waits for.

    Args:
        job_id: The job.
        connection_id: Its connection.
        attached: Whether it was there already.
        own: Whether the caller has started it, now or before a crash: only then is it the caller's to cancel.
    """

    job_id: int
    connection_id: str
    attached: bool
    own: bool


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
        after_job: Newest job of the connection before the caller first asked for this sync: a later one that has
            succeeded is taken for it. None: what has ended is not looked at.
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


def newest_job(api: AirbyteAPI, connection_id: str) -> int:
    """Return the number of a connection's newest job, 0 when it has none; raises AirbyteError."""
    return max((job.job_id for job in _jobs(api, connection_id)), default=0)


def take_sync(
    api: AirbyteAPI,
    connection_id: str,
    *,
    after_job: int | None = None,
    timeout: float = 3600.0,
    cancelled: threading.Event | None = None,
) -> TakenSync:
    """Find the sync to wait for, or start one.

    Args:
        api: Airbyte's public API.
        connection_id: The connection.
        after_job: As for ``run_sync``.
        timeout: Seconds to wait for another job of the connection, such as a clear, to end.
        cancelled: Set it to give up.

    Returns:
        The job.

    Raises:
        SyncTimedOut: When another job of the connection does not end.
        SyncStopped: When ``cancelled`` was set.
        AirbyteError: When Airbyte refuses to start a sync, or cannot be reached.
    """
    stop = cancelled or threading.Event()
    deadline = time.monotonic() + timeout
    attached, conflicts = True, 0
    while not stop.is_set():
        jobs = _jobs(api, connection_id)
        if after_job is None:
            after_job = max((job.job_id for job in jobs), default=0)
        running = next((job for job in jobs if job.status.value in ACTIVE), None)
        syncs = [job for job in jobs if job.job_type.value == "sync"]
        found = next((job for job in syncs if job is running or (job.job_id > after_job and _succeeded(job))), None)
        if found is not None:
            return TakenSync(found.job_id, connection_id, attached, own=found.job_id > after_job)
        if running is None:
            try:
                started = ask(api.jobs.create_job, connection_id=connection_id, job_type="sync").job_response
                return TakenSync(started.job_id, connection_id, attached=False, own=True)
            except AirbyteError as error:
                # Busy: it may have started it all the same. 409: somebody else was faster, or has just ended.
                conflicts += 1
                if not (isinstance(error, AirbyteBusy) or error.status == 409) or conflicts >= _CONFLICTS:
                    raise
                attached = attached and not isinstance(error, AirbyteBusy)
                _log.warning("Looking whether a sync of connection %s has started: %s", connection_id, error)
        elif time.monotonic() >= deadline:
            raise SyncTimedOut(
                f"Job {running.job_id} ({running.job_type.value}) of connection {connection_id} did not end within "
                f"{timeout:g} s, and Airbyte runs one at a time."
            )
        stop.wait(1.0 if running else 0.2 * conflicts)
    raise SyncStopped(f"No sync of connection {connection_id} was started: the task was killed.")


def cancel_sync(api: AirbyteAPI, job_id: int) -> None:
    """Cancel a job; one that is over already stays as it is.

    Args:
        api: Airbyte's public API.
        job_id: The job.

    Raises:
        AirbyteError: When Airbyte cannot be reached for ten seconds, or refuses.
    """
    try:
        _patiently(_CANCEL_SECONDS, ask, api.jobs.cancel_job, job_id=job_id)
    except AirbyteError as error:
        if error.status not in (404, 409):
            raise


class SyncWatch:
    """Looks at a job until it is over, and gives it up when it takes too long or stands still.

    Args:
        api: Airbyte's public API.
        taken: The job.
        config: Airbyte's Config API; without it only what the destination has committed counts as progress.
        timeout: Seconds from now on.
        stalled_after: Seconds without a moving record or byte; None: no limit.
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
        self._began = self._moved = time.monotonic()
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
        if not _succeeded(job):
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


def _succeeded(job: Any) -> bool:
    return bool(job.status.value == "succeeded")


def _jobs(api: AirbyteAPI, connection_id: str) -> list[Any]:
    """Return the newest jobs of a connection, the newest first."""
    response = _patiently(
        _REACH_SECONDS,
        ask,
        api.jobs.list_jobs,
        connection_id=connection_id,
        limit=_PAGE,
        order_by="createdAt|DESC",
    )
    jobs = [job for job in response.jobs_response.data if job.connection_id == connection_id]
    return sorted(jobs, key=lambda job: job.job_id, reverse=True)


def _patiently(seconds: float, operation: Callable[..., Any], *arguments: Any, **request: Any) -> Any:
    attempts = Retrying(
        retry=retry_if_exception_type(AirbyteBusy),
        stop=stop_after_delay(seconds),
        wait=wait_exponential(multiplier=0.1, max=2.0),
        reraise=True,
    )
    return attempts(operation, *arguments, **request)
