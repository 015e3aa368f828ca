"""Runs jobs in threads of their own, cancels them, and cleans up after a server that died."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

from sandbox.airbyte import registry
from sandbox.airbyte.connectors.base import Destination
from sandbox.airbyte.jobs import ACTIVE, Job, Jobs
from sandbox.airbyte.problems import Problem, state_conflict
from sandbox.airbyte.store import Store
from sandbox.airbyte.sync import Sync, failure_summary, remove_staged

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 4.0
"""How long a cancelling request waits for the job's end: less than the five seconds Airflow's hook waits for it."""
STOP_SECONDS = 1.0
"""How long running syncs get to clean up after themselves when the server stops."""


class Runner:
    """Starts and stops jobs.

    Args:
        store: the configuration.
        jobs: the job tables.
        spool: directory for files under construction; emptied at start.
    """

    def __init__(self, store: Store, jobs: Jobs, spool: Path) -> None:
        self._store = store
        self._jobs = jobs
        self._spool = spool
        self._running: dict[int, tuple[Sync, threading.Thread]] = {}
        self._lock = threading.Lock()

    def recover(self) -> None:
        """Fail the jobs that were running when the server died, and remove what they had uploaded."""
        for job in self._jobs.active():
            message = f"Job {job.id} was {job.status} when the server died: failed at restart. Start the sync again."
            self._jobs.log(job.id, "error", "platform", message)
            summary = failure_summary("airbyte_platform", "transient_error", message, retryable=True)
            self._jobs.end(job.id, "failed", summary)
            logger.warning("%s", message)
        for job_id in self._jobs.jobs_with_staged_objects():
            self._remove_leftovers(job_id)
        shutil.rmtree(self._spool, ignore_errors=True)
        self._spool.mkdir(parents=True)

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
        sync = Sync(job, self._store, self._jobs, self._spool)
        thread = threading.Thread(target=self._run, args=(sync,), name=f"job-{job.id}", daemon=True)
        with self._lock:
            self._running[job.id] = (sync, thread)
        thread.start()
        return job

    def clear(self, connection_id: str, job_type: str) -> Job:
        """Forget a connection's state, so that its next sync reads everything; the job ends at once.

        Raises:
            Problem: 404 for an unknown connection, 409 if a job of it is running.
        """
        connection = self._store.connection(connection_id)
        streams = [(entry["namespace"] or "", entry["name"]) for entry in connection.body["configurations"]["streams"]]
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
        sync, thread = running
        # The connection is free again only when its thread no longer touches the bucket. A database forgets a cancel
        # that comes just before its query, so it is said again.
        deadline = time.monotonic() + CANCEL_SECONDS
        while thread.is_alive() and time.monotonic() < deadline:
            sync.cancel()
            thread.join(timeout=0.25)
        return self._jobs.get(job_id)

    def cancel_connection(self, connection_id: str) -> None:
        """Cancel what runs for a connection that is about to be deleted."""
        for job in self._jobs.active(connection_id):
            self.cancel(job.id)

    def scratch(self) -> Path:
        """Return a working directory for a check; nothing is created."""
        return self._spool / "check"

    def stop(self) -> None:
        """Stop all jobs: the server is ending. What does not stop in time is failed at the next start."""
        with self._lock:
            running = list(self._running.values())
        for sync, _ in running:
            sync.interrupted_by_shutdown()
        for _, thread in running:
            thread.join(timeout=STOP_SECONDS / max(len(running), 1))

    def _run(self, sync: Sync) -> None:
        try:
            sync.run()
        finally:
            with self._lock:
                self._running.pop(sync.job.id, None)

    def _remove_leftovers(self, job_id: int) -> None:
        def destination(destination_id: str) -> Destination:
            actor = self._store.actor("destination", destination_id)
            return registry.destination(actor.definition, actor.configuration, self._spool, job_id)

        try:
            remove_staged(self._jobs, job_id, destination)
        except Problem:
            # The destination was deleted in the meantime, and the keys to its bucket with it.
            self._jobs.log(job_id, "warn", "platform", "Uncommitted objects stay: their destination was deleted")
            self._jobs.unstage(job_id)
