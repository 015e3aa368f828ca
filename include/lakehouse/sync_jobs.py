"""One sync of an Airbyte connection, and not two: found again after a crash, started if there is none, cancelled.

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
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from lakehouse.airbyte import AirbyteBusy, AirbyteError, ask
from lakehouse.exceptions import SyncStopped, SyncTimedOut

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
        after_job: Newest job of the connection before the caller first asked for this sync: a later one that has
            succeeded is taken for it. None: what has ended is not looked at.
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
        found = next((job for job in syncs if job is running or (job.job_id > after_job and has_succeeded(job))), None)
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


def has_succeeded(job: Any) -> bool:
    """Tell whether a job, as the public API describes it, has ended well."""
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
