"""Runs jobs in threads of their own, attempt after attempt, cancels them, and goes on after a server that died."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.airbyte import registry
from sandbox.airbyte.connectors.base import Destination
from sandbox.airbyte.jobs import ACTIVE, Job, Jobs
from sandbox.airbyte.problems import Problem, state_conflict
from sandbox.airbyte.retries import Retries
from sandbox.airbyte.store import Store
from sandbox.airbyte.sync import Sync, failure_summary, remove_staged

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 4.0
"""How long a cancelling request waits for the job's end: less than the five seconds Airflow's hook waits for it."""
STOP_SECONDS = 1.0
"""How long running syncs get to clean up after themselves when the server stops."""


class _Run:
    """One job on its way, attempt after attempt.

    Args:
        job: the job.
        new_attempt: makes what runs one attempt.
        jobs: the job tables.
        retries: when a failed attempt is repeated.
    """

    thread: threading.Thread

    def __init__(self, job: Job, new_attempt: Callable[[], Sync], jobs: Jobs, retries: Retries) -> None:
        self.job = job
        self._new_attempt = new_attempt
        self._jobs = jobs
        self._retries = retries
        self._sync: Sync | None = None
        self._stopping = threading.Event()
        self._shutdown = False

    def cancel(self) -> None:
        """Ask the job to stop; called from another thread."""
        self._stopping.set()
        if self._sync is not None:
            self._sync.cancel()

    def shut_down(self) -> None:
        """Ask the job to pause because the server ends."""
        self._shutdown = True
        self._stopping.set()
        if self._sync is not None:
            self._sync.interrupted_by_shutdown()

    def to_the_end(self) -> None:
        """Run attempts until the job has ended, or the server ends."""
        while True:
            if self._jobs.get(self.job.id).status == "incomplete" and not self._another_attempt():
                return
            self._sync = self._new_attempt()
            if self._shutdown:
                self._sync.interrupted_by_shutdown()
            elif self._stopping.is_set():
                self._sync.cancel()
            self._sync.run()
            if self._jobs.get(self.job.id).status not in ACTIVE:
                return

    def _another_attempt(self) -> bool:
        """Wait for the next attempt and begin it; False if there is none (any more)."""
        attempts = self._jobs.attempts(self.job.id)
        delay = self._retries.delay(len(attempts), attempts[-1]["failure"]["failures"][0]["failureType"])
        if delay is None:
            if len(attempts) > 1:
                self._jobs.log(self.job.id, "error", "platform", f"Job {self.job.id}: {len(attempts)} attempts failed")
            self._jobs.end(self.job.id, "failed")
            return False
        self._jobs.log(self.job.id, "warn", "platform", f"Job {self.job.id}: next attempt in {delay:g} s")
        if self._stopping.wait(delay):
            if not self._shutdown:
                self._jobs.log(self.job.id, "warn", "platform", f"Job {self.job.id} was cancelled between attempts.")
                self._jobs.end(self.job.id, "cancelled")
            return False
        self._jobs.next_attempt(self.job.id)
        return True


class Runner:
    """Starts and stops jobs.

    Args:
        store: the configuration.
        jobs: the job tables.
        spool: directory for files under construction; emptied at start.
        retries: when a failed attempt is repeated.
    """

    def __init__(self, store: Store, jobs: Jobs, spool: Path, retries: Retries) -> None:
        self._store = store
        self._jobs = jobs
        self._spool = spool
        self._retries = retries
        self._running: dict[int, _Run] = {}
        self._lock = threading.Lock()

    def recover(self) -> None:
        """Go on with the jobs that had not ended when the server died, after removing what they had published.

        As in Airbyte, whose workflows outlive its workers: the attempt has failed, the job has its next one.
        """
        for job_id in self._jobs.jobs_with_staged_objects():
            self._remove_leftovers(job_id)
        shutil.rmtree(self._spool, ignore_errors=True)
        self._spool.mkdir(parents=True)
        for job in self._jobs.active():
            if self._jobs.attempts(job.id)[-1]["status"] == "succeeded":
                self._jobs.log(job.id, "info", "platform", f"Job {job.id} had committed when the server died")
                self._jobs.end(job.id, "succeeded")
                continue
            if job.status != "incomplete":
                message = f"Job {job.id} was {job.status} when the server died: this attempt has failed."
                self._jobs.log(job.id, "error", "platform", message)
                summary = failure_summary("airbyte_platform", "transient_error", message, retryable=True)
                self._jobs.fail_attempt(job.id, summary)
                logger.warning("%s", message)
            self._begin(job)

    def sync(self, connection_id: str) -> Job:
        """Start a sync and return its job at once.

        Raises:
            Problem: 404 for an unknown connection, 409 if it is not active or a sync of it is running.
        """
        connection = self._store.connection(connection_id)
        if connection.body["status"] != "active":
            raise state_conflict("Could not fulfill request")
        streams = [(entry["namespace"] or "", entry["name"]) for entry in connection.body["configurations"]["streams"]]
        job = self._jobs.create(connection_id, "sync", streams)
        self._begin(job)
        return job

    def clear(self, connection_id: str, job_type: str) -> Job:
        """Forget a connection's state, so that its next sync reads everything; the job ends at once.

        Raises:
            Problem: 404 for an unknown connection, 409 if a job of it is running.
        """
        connection = self._store.connection(connection_id)
        streams = [(entry["namespace"] or "", entry["name"]) for entry in connection.body["configurations"]["streams"]]
        with self._jobs.database.transaction():
            job = self._jobs.create(connection_id, job_type, streams)
            self._jobs.start(job.id)
            self._jobs.clear_states(connection_id)
            for stream in streams:
                self._jobs.generation(connection_id, stream, next_one=True)
            self._jobs.log(job.id, "info", "platform", f"State of {len(streams)} streams cleared")
            self._jobs.end(job.id, "succeeded")
        return self._jobs.get(job.id)

    def cancel(self, job_id: int) -> Job:
        """Cancel a job; it counts as cancelled at once, its thread stops at the next batch.

        Raises:
            Problem: 404 for an unknown job, 409 if it is not running.
        """
        job = self._jobs.get(job_id)
        with self._lock:
            running = self._running.get(job_id)
        if job.status not in ACTIVE or running is None:
            raise state_conflict("Job is not currently running")
        # The connection is free again only when its thread no longer touches the bucket. A database forgets a cancel
        # that comes just before its query, so it is said again.
        deadline = time.monotonic() + CANCEL_SECONDS
        while running.thread.is_alive() and time.monotonic() < deadline:
            running.cancel()
            running.thread.join(timeout=0.25)
        return self._jobs.get(job_id)

    def cancel_connection(self, connection_id: str) -> None:
        """Cancel what runs for a connection that is about to be deleted."""
        for job in self._jobs.active(connection_id):
            self.cancel(job.id)

    def scratch(self) -> Path:
        """Return a working directory for a check; nothing is created."""
        return self._spool / "check"

    def stop(self) -> None:
        """Stop all jobs: the server is ending. They have their next attempt when it starts again."""
        with self._lock:
            running = list(self._running.values())
        for run in running:
            run.shut_down()
        for run in running:
            run.thread.join(timeout=STOP_SECONDS / max(len(running), 1))

    def _begin(self, job: Job) -> None:
        run = _Run(job, lambda: Sync(job, self._store, self._jobs, self._spool), self._jobs, self._retries)
        run.thread = threading.Thread(target=self._follow, args=(run,), name=f"job-{job.id}", daemon=True)
        with self._lock:
            self._running[job.id] = run
        run.thread.start()

    def _follow(self, run: _Run) -> None:
        try:
            run.to_the_end()
        finally:
            with self._lock:
                self._running.pop(run.job.id, None)

    def _remove_leftovers(self, job_id: int) -> None:
        def destination(destination_id: str) -> Destination:
            actor = self._store.actor("destination", destination_id)
            return registry.destination(actor.definition, actor.configuration, self._spool, job_id)

        try:
            remove_staged(self._jobs, job_id, destination)
        except Problem:
            # The destination was deleted in the meantime, and the keys to its bucket with it.
            self._jobs.log(
                job_id, "warn", "platform", "Objects stay that should be removed: their destination was deleted"
            )
            self._jobs.unstage(job_id)
