"""Jobs: every statement is one, from its submission to its result."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from sandbox.dremio.answers import Outcome
from sandbox.dremio.engine import Engine, Running
from sandbox.dremio.entities import Column, new_id, now_millis
from sandbox.dremio.errors import ApiError, CancelledError, StatementError
from sandbox.dremio.explain import explained
from sandbox.dremio.results import Results
from sandbox.dremio.statements import Statements
from sandbox.dremio.store import Store

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Path = tuple[str, ...]

FINAL = ("COMPLETED", "CANCELED", "FAILED")
KEPT_MILLIS = 7 * 86_400_000
RESULT_MILLIS = 86_400_000
LISTED = 5000
PAGE_LIMIT = 500
AT_ONCE = 12
GONE_SECONDS = 0.2
SYSTEM_USER = "$dremio$"


def iso(millis: int | None) -> str | None:
    """Return a moment as Dremio's JSON has it, e.g. ``2026-01-02T03:04:05.678Z``."""
    if millis is None:
        return None
    moment = datetime.fromtimestamp(millis / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{millis % 1000:03d}Z"


@dataclass
class Job:
    """One statement.

    Args:
        sql: its text.
        user: who sent it.
        query_type: ``REST``, ``FLIGHT`` or ``ACCELERATOR_CREATE``.
        context: the current schema.
    """

    sql: str
    user: str
    query_type: str
    context: Path = ()
    id: str = field(default_factory=new_id)
    state: str = "PENDING"
    started_at: int = field(default_factory=now_millis)
    ended_at: int | None = None
    rows: int | None = None
    error: str | None = None
    columns: tuple[Column, ...] = ()
    queried: list[list[str]] = field(default_factory=list)
    scanned: list[list[str]] = field(default_factory=list)
    relationships: list[Json] = field(default_factory=list)
    running: Running | None = field(default=None, repr=False)
    finished: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def accelerated(self) -> bool:
        """Whether a reflection answered it, or a part of it."""
        return any(entry["relationship"] == "CHOSEN" for entry in self.relationships)

    def stored(self) -> Json:
        """Return what is kept of the job over a restart."""
        return {
            "id": self.id, "sql": self.sql, "user": self.user, "query_type": self.query_type,
            "context": list(self.context), "state": self.state, "started_at": self.started_at,
            "ended_at": self.ended_at, "rows": self.rows, "error": self.error, "queried": self.queried,
            "scanned": self.scanned, "relationships": self.relationships,
            "columns": [[column.name, column.type] for column in self.columns],
        }  # fmt: skip

    @classmethod
    def restore(cls, body: Json) -> Job:
        """Build the job that :meth:`stored` described."""
        data = {**body, "context": tuple(body["context"]), "columns": tuple(Column(*c) for c in body["columns"])}
        job = cls(**data)
        job.finished.set()
        return job

    def as_rest(self) -> Json:
        """Return the job as GET /api/v3/job/{id} does; what is unknown is absent."""
        body: Json = {
            "jobState": self.state,
            "rowCount": self.rows,
            "errorMessage": self.error if self.error is not None else "",
            "startedAt": iso(self.started_at),
            "endedAt": iso(self.ended_at),
            "queryType": self.query_type,
            "queueName": "SMALL",
            "queueId": "SMALL",
            "resourceSchedulingStartedAt": iso(self.started_at),
            "resourceSchedulingEndedAt": iso(self.started_at),
            "cancellationReason": "Query cancelled by user" if self.state == "CANCELED" else "",
            "acceleration": {"reflectionRelationships": self.relationships},
        }
        return {name: value for name, value in body.items() if value is not None}


class Jobs:
    """All jobs, running and past.

    Args:
        engine: runs queries.
        statements: runs statements.
        store: keeps jobs over a restart.
        results: keeps their rows.
    """

    def __init__(self, engine: Engine, statements: Statements, store: Store, results: Results) -> None:
        self._engine = engine
        self._statements = statements
        self._store = store
        self._results = results
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="job")
        self._jobs: dict[str, Job] = {}
        for body in reversed(store.jobs(LISTED)):
            job = Job.restore(body)
            if job.state not in FINAL:
                job.state, job.error, job.ended_at = "FAILED", "The server was stopped while the job ran.", now_millis()
                store.put_job(job.id, job.started_at, job.stored())
            self._jobs[job.id] = job
        results.sweep(set(self._jobs))

    def close(self) -> None:
        """Cancel what runs and end the threads."""
        for job in self.list():
            if job.state not in FINAL and job.running is not None:
                job.running.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def list(self) -> list[Job]:
        """Return all jobs, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            ApiError: 404 if there is none.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise ApiError(404, f"Could not find a job with id [{job_id}]")
        return job

    def _begin(self, sql: str, user: str, query_type: str, context: Path) -> Job:
        job = Job(sql, user, query_type, context)
        job.running = Running(self._engine)
        with self._lock:
            self._jobs[job.id] = job
        return job

    def submit(self, sql: str, user: str, context: Path = ()) -> Job:
        """Start a statement whose result is fetched later, page by page.

        Args:
            sql: the statement.
            user: who sent it.
            context: the current schema.
        """
        job = self._begin(sql, user, "REST", context)
        self._store.put_job(job.id, job.started_at, job.stored())
        self._pool.submit(self._work, job)
        return job

    def _work(self, job: Job) -> None:
        with self._recorded(job):
            job.rows = self._results.write(job.id, self._start(job).batches)

    def _start(self, job: Job) -> Outcome:
        assert job.running is not None
        job.running.check()
        job.state = "RUNNING"
        outcome = self._statements.run(job.running, job.sql, job.context)
        job.columns = outcome.columns
        job.queried = [list(path) for path in outcome.queried]
        job.scanned = [list(path) for path in outcome.scanned]
        job.relationships = outcome.relationships
        return outcome

    def _recorded(self, job: Job) -> _Recorded:
        return _Recorded(job, self._store)

    def stream(
        self, sql: str, user: str, context: Path = (), gone: Callable[[], bool] = lambda: False
    ) -> Iterator[pa.RecordBatch]:
        """Run a statement and yield its rows while it runs; the job ends with the last of them.

        Args:
            sql: the statement.
            user: who sent it.
            context: the current schema.
            gone: whether the client has hung up; the job is cancelled then. Not called after the last row.

        Raises:
            StatementError: if it fails.
            CancelledError: if it was cancelled.
        """
        job = self._begin(sql, user, "FLIGHT", context)
        rows = 0
        with self._recorded(job) as recorded, _cancelled_if(gone, job):
            for batch in self._start(job).batches:
                rows += batch.num_rows
                yield batch
            job.rows = rows
        if recorded.error is not None:
            raise recorded.error

    @contextmanager
    def internal(self, sql: str) -> Iterator[Job]:
        """Show work of the server itself as a job for the duration of the block.

        Args:
            sql: how the work is described.

        Raises:
            StatementError: what the block raised.
        """
        job = self._begin(sql, SYSTEM_USER, "ACCELERATOR_CREATE", ())
        job.state = "RUNNING"
        with self._recorded(job) as recorded:
            yield job
        if recorded.error is not None:
            raise recorded.error

    def cancel(self, job_id: str) -> None:
        """Cancel a job; one that has ended stays as it is.

        Raises:
            ApiError: 404 if there is none.
        """
        job = self.get(job_id)
        if job.state in FINAL:
            return
        job.state = "CANCELLATION_REQUESTED"
        assert job.running is not None
        job.running.cancel()

    def page(self, job_id: str, offset: int, limit: int) -> Json:
        """Return a page of a job's rows.

        Raises:
            ApiError: 404 for an unknown job, 400 if the limit is too high or the job has no rows (yet).
        """
        job = self.get(job_id)
        if limit > PAGE_LIMIT:
            raise ApiError(400, f"limit can not exceed {PAGE_LIMIT} rows")
        if limit < 0 or offset < 0:
            raise ApiError(400, "limit and offset can not be negative")
        if job.state != "COMPLETED":
            raise ApiError(400, f"Can not fetch details for a job that is in [{job.state}] state.")
        try:
            return self._results.page(job_id, job.columns, offset, limit)
        except FileNotFoundError as error:
            raise ApiError(400, f"The results of job [{job_id}] are no longer kept: run the query again.") from error

    def prune(self) -> None:
        """Forget old jobs and old results."""
        moment = now_millis()
        gone = self._store.prune_jobs(moment - KEPT_MILLIS)
        with self._lock:
            for job_id in gone:
                self._jobs.pop(job_id, None)
            stale = [job.id for job in self._jobs.values() if (job.ended_at or moment) < moment - RESULT_MILLIS]
        self._results.remove([*gone, *stale])


@contextmanager
def _cancelled_if(gone: Callable[[], bool], job: Job) -> Iterator[None]:
    """Cancel a job as soon as its client has hung up while the block runs."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(GONE_SECONDS):
            if gone() and job.running is not None:
                job.running.cancel()
                return

    watcher = threading.Thread(target=watch, name="client", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


class _Recorded:
    """Ends a job the way its block ends: completed, cancelled or failed; nothing is raised but bugs."""

    def __init__(self, job: Job, store: Store) -> None:
        self._job = job
        self._store = store
        self.error: Exception | None = None

    def __enter__(self) -> _Recorded:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        job = self._job
        cancelled = job.running is not None and job.running.cancelled
        job.ended_at = now_millis()
        known = isinstance(error, StatementError | CancelledError | pa.ArrowInvalid | GeneratorExit)
        if error is None:
            job.state = "COMPLETED"
        elif cancelled or isinstance(error, CancelledError | GeneratorExit):
            job.state, job.error = "CANCELED", "Query cancelled by user"
        else:
            job.state = "FAILED"
            job.error = _message(error)
        if error is not None and not known:
            logger.error("job %s failed unexpectedly", job.id, exc_info=error)
        self.error = error if isinstance(error, Exception) else None
        job.running = None
        self._store.put_job(job.id, job.started_at, job.stored())
        job.finished.set()
        return not isinstance(error, GeneratorExit) if error is not None else False


def _message(error: BaseException) -> str:
    if isinstance(error, StatementError):
        return error.message
    if isinstance(error, pa.ArrowInvalid):
        try:
            with explained():
                raise error
        except StatementError as translated:
            return translated.message
    return f"SYSTEM ERROR: {type(error).__name__}: {error}"
