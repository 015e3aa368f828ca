"""One sync: read every stream, write it aside, publish all of it, remember how far it came."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.airbyte import catalog, registry
from sandbox.airbyte.configuration import Redactor, secret_values
from sandbox.airbyte.connectors.base import (
    CancelledSync,
    ChangeSource,
    ConnectorError,
    Destination,
    Log,
    PlannedStream,
    Source,
)
from sandbox.airbyte.database import now
from sandbox.airbyte.jobs import Job, Jobs, StreamCounts, StreamId
from sandbox.airbyte.store import Actor, Connection, Store

logger = logging.getLogger(__name__)

PROGRESS_RECORDS = 100_000
"""How many records pass between two progress lines."""


class Sync:
    """Runs one attempt of a sync job in the calling thread.

    Publishing is all or nothing: the destination shows records only after everything has been read, and the state
    moves forward in the same commit that stops counting them as leftovers. A sync that fails, is cancelled or dies
    before that commit leaves the destination and the state as they were; the server removes what it had published.

    Args:
        job: the job.
        store: the configuration.
        jobs: the job tables.
        spool: directory for files under construction.
    """

    def __init__(self, job: Job, store: Store, jobs: Jobs, spool: Path) -> None:
        self.job = job
        self._store = store
        self._jobs = jobs
        self._spool = spool
        self._cancelled = threading.Event()
        self._shutdown = False
        self._source: Source | None = None
        self._redact = Redactor([])

    def cancel(self) -> None:
        """Ask the sync to stop; called from another thread."""
        self._cancelled.set()
        if self._source is not None:
            with suppress(Exception):  # the read may end in this very moment; the flag stops it anyway
                self._source.interrupt()

    def interrupted_by_shutdown(self) -> None:
        """Ask the sync to stop because the server ends: it fails, nobody cancelled it."""
        self._shutdown = True
        self.cancel()

    def run(self) -> None:
        """Run to the end and record how it ended; never raises. A failed attempt leaves the job incomplete."""
        try:
            self._jobs.start(self.job.id)
            self._run()
        except CancelledSync:
            self._stopped()
        except ConnectorError as error:
            if self._cancelled.is_set():  # an interrupted read fails in whatever way its driver likes
                self._stopped()
                return
            self._log("error", error.origin, error.message)
            self._fail(error.origin, error.failure_type, error.message, retryable=error.retryable)
        except Exception as error:
            logger.exception("job %d: unexpected fault", self.job.id)
            message = f"Unexpected fault in job {self.job.id}: {type(error).__name__}: {error}"
            self._log("error", "platform", message)
            self._fail("airbyte_platform", "system_error", message)

    def _run(self) -> None:
        connection = self._store.connection(self.job.connection_id)
        source = self._store.actor("source", connection.source_id)
        destination = self._store.actor("destination", connection.destination_id)
        secrets = [secret for actor in (source, destination) for secret in _secrets(actor)]
        self._redact = Redactor(secrets)
        self._log("info", "platform", f"Job {self.job.id}: connection {connection.name!r} ({connection.id})")
        self._source = registry.source(source.definition, source.configuration)
        spool = self._spool / f"job-{self.job.id}"
        writer = registry.destination(destination.definition, destination.configuration, spool, self.job.id)
        # A destination that is down should be known before an hour of reading.
        writer.check()
        image = destination.definition.docker_repository
        self._log("info", "destination", f"{image} writes to {writer.address}")
        try:
            states = self._transfer(connection, source, writer, spool)
            self._publish(connection, destination, writer, states)
        except BaseException:
            remove_staged(self._jobs, self.job.id, lambda _: writer)
            raise
        finally:
            if isinstance(self._source, ChangeSource):
                self._source.close()
            writer.close()

    def _transfer(
        self, connection: Connection, source: Actor, writer: Destination, spool: Path
    ) -> dict[StreamId, dict[str, Any]]:
        states: dict[StreamId, dict[str, Any]] = {}
        log: Log = lambda level, text: self._log(level, "source", text)  # noqa: E731  # two lines for one argument
        self._log("info", "source", f"{source.definition.docker_repository or source.name} reads {source.name!r}")
        plans = self._plans(connection)
        if isinstance(self._source, ChangeSource):
            self._source.begin(plans, self._jobs.shared_state(connection.id), spool, log)
        for plan in plans:
            state = self._read_stream(connection, plan, writer, log)
            if state is not None:
                states[_stream_id(plan)] = state
        return states

    def _plans(self, connection: Connection) -> list[PlannedStream]:
        body = connection.body
        saved = self._jobs.states(connection.id)
        plans = []
        for configured in catalog.configured(body["catalog"], body["configurations"]["streams"]):
            stream_id = (configured.stream.namespace or "", configured.stream.name)
            state = saved.get(stream_id) if configured.incremental else None
            generation = self._jobs.generation(connection.id, stream_id, next_one=configured.overwrite)
            plans.append(PlannedStream(configured, state, generation))
        return plans

    def _read_stream(
        self, connection: Connection, plan: PlannedStream, writer: Destination, log: Log
    ) -> dict[str, Any] | None:
        source = self._source
        assert source is not None
        stream, stream_id = plan.configured.stream, _stream_id(plan)
        self._check_cancelled()
        began = now()
        namespace = _destination_namespace(connection.body, stream.namespace)
        name = f"{connection.body.get('prefix') or ''}{stream.name}"
        reader = source.read(plan.configured, plan.state, log)
        writer.open(plan.configured, name, namespace, plan.generation)
        counts = StreamCounts()
        reported = 0
        for batch in reader.batches():
            self._check_cancelled()
            counts.bytes_emitted += writer.write(batch)
            counts.records_emitted += len(batch)
            if counts.records_emitted - reported >= PROGRESS_RECORDS:
                reported = counts.records_emitted
                self._jobs.save_counts(self.job.id, stream_id, counts)
                self._jobs.touch(self.job.id)
                self._log("info", "source", f"Records read from {stream.name}: {counts.records_emitted}")
        writer.finish_stream()
        self._jobs.save_counts(self.job.id, stream_id, counts)
        seconds = now() - began
        size = f"{counts.records_emitted} records, {counts.bytes_emitted} bytes"
        self._log("info", "source", f"Stream {stream.name} read: {size} in {seconds:.2f} s")
        return reader.state()

    def _publish(
        self,
        connection: Connection,
        destination: Actor,
        writer: Destination,
        states: dict[StreamId, dict[str, Any]],
    ) -> None:
        keys: list[str] = []

        def record(key: str) -> None:
            self._jobs.stage(self.job.id, destination.id, key)
            keys.append(key)

        previous = writer.publish(record, self._check_cancelled)
        shared = self._source.shared_state() if isinstance(self._source, ChangeSource) else None
        with self._jobs.database.transaction():
            self._jobs.save_states(connection.id, states, shared)
            # From here on the sync counts, and what is left over is what it replaced.
            self._jobs.complete_attempt(self.job.id)
            self._jobs.unstage(self.job.id)
            for key in previous:
                self._jobs.stage(self.job.id, destination.id, key)
            for stream_id, counts in self._jobs.counts(self.job.id).items():
                counts.records_committed, counts.bytes_committed = counts.records_emitted, counts.bytes_emitted
                self._jobs.save_counts(self.job.id, stream_id, counts)
        self._log("info", "destination", f"{len(keys)} objects written to {writer.address}")
        self._confirm()
        if previous:
            self._log("info", "destination", f"Removing {len(previous)} objects of earlier generations")
            remove_staged(self._jobs, self.job.id, lambda _: writer)
        self._log("info", "platform", f"Job {self.job.id} succeeded")
        self._jobs.end(self.job.id, "succeeded")

    def _confirm(self) -> None:
        if isinstance(self._source, ChangeSource):
            try:
                self._source.committed()
            except ConnectorError as error:
                text = f"What this sync has read is confirmed to the log by the next one: {error.message}"
                self._log("warn", "source", text)

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise CancelledSync

    def _log(self, level: str, source: str, message: str) -> None:
        self._jobs.log(self.job.id, level, source, self._redact(message))

    def _stopped(self) -> None:
        if self._shutdown:
            message = f"Job {self.job.id} was running when the server stopped: this attempt ends here."
            self._log("error", "platform", message)
            self._fail("airbyte_platform", "transient_error", message, retryable=True)
            return
        self._log("warn", "platform", f"Job {self.job.id} was cancelled. Nothing of it is kept.")
        summary = failure_summary("airbyte_platform", "manual_cancellation", f"Job {self.job.id} was cancelled.")
        self._jobs.end(self.job.id, "cancelled", summary)

    def _fail(self, origin: str, kind: str, message: str, *, retryable: bool = False) -> None:
        summary = failure_summary(origin, kind, self._redact(message), retryable=retryable)
        self._jobs.fail_attempt(self.job.id, summary)


def failure_summary(origin: str, kind: str, message: str, *, retryable: bool = False) -> dict[str, Any]:
    """Return an attempt's failure summary in Airbyte's form."""
    failure = {
        "failureOrigin": origin,
        "failureType": kind,
        "externalMessage": message,
        "internalMessage": message,
        "retryable": retryable,
        "timestamp": int(now() * 1000),
    }
    return {"failures": [failure], "partialSuccess": False}


def remove_staged(jobs: Jobs, job_id: int, destination: Callable[[str], Destination]) -> None:
    """Remove what a job has to remove: what it published without committing it, or what its commit replaced.

    What cannot be removed now is tried again at the next start.
    """
    staged = jobs.staged(job_id)
    try:
        for destination_id in {identifier for identifier, _ in staged}:
            keys = [key for identifier, key in staged if identifier == destination_id]
            destination(destination_id).remove(keys)
    except ConnectorError as error:
        jobs.log(job_id, "warn", "platform", f"{len(staged)} objects are left for now: {error.message}")
    else:
        jobs.unstage(job_id)


def _stream_id(plan: PlannedStream) -> StreamId:
    return plan.configured.stream.namespace or "", plan.configured.stream.name


def _secrets(actor: Actor) -> list[str]:
    return list(secret_values(actor.configuration, actor.definition.specification))


def _destination_namespace(body: dict[str, Any], namespace: str | None) -> str | None:
    definition = body.get("namespaceDefinition")
    if definition == "source":
        return namespace
    if definition == "custom_format":
        return str(body.get("namespaceFormat") or "").replace("${SOURCE_NAMESPACE}", namespace or "") or None
    return None
