"""What has run: jobs, attempts, counts, logs, and the state that incremental syncs continue from."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from sandbox.airbyte.database import Database, now
from sandbox.airbyte.problems import not_found, try_again_later

ACTIVE = ("pending", "running", "incomplete")
"""``incomplete``: an attempt has failed, another one follows."""
TERMINAL = ("succeeded", "failed", "cancelled")
StreamId = tuple[str, str]
"""Namespace (empty if none) and name."""
_LATEST = "(select max(number) from attempt where job_id = ?)"


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        id: number of the job.
        connection_id: the connection it runs.
        type: ``sync``, ``reset`` or ``clear``.
        status: pending, running, incomplete, succeeded, failed or cancelled.
        streams: the streams it was started with, as (namespace, name).
        created_at: epoch seconds.
        started_at: epoch seconds, or None.
        updated_at: epoch seconds.
    """

    id: int
    connection_id: str
    type: str
    status: str
    streams: list[StreamId]
    created_at: float
    started_at: float | None
    updated_at: float


@dataclass
class StreamCounts:
    """Records and bytes of one stream in one attempt."""

    records_emitted: int = 0
    bytes_emitted: int = 0
    records_committed: int = 0
    bytes_committed: int = 0


class Jobs:
    """Reads and writes the job tables.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, connection_id: str, job_type: str, streams: list[StreamId]) -> Job:
        """Create a pending job with its first attempt.

        Raises:
            Problem: 409 if a job of this connection has not ended.
        """
        moment = now()
        try:
            with self.database.transaction():
                job_id = self.database.execute(
                    "insert into job (connection_id, type, status, streams, created_at, updated_at) "
                    "values (?, ?, 'pending', ?, ?, ?)",
                    (connection_id, job_type, json.dumps(streams), moment, moment),
                )
                self.database.execute(
                    "insert into attempt values (?, 0, 'running', ?, ?, null, null)", (job_id, moment, moment)
                )
        except sqlite3.IntegrityError as error:
            raise try_again_later(f"A sync is already running for: {connection_id}") from error
        return self.get(job_id)

    def get(self, job_id: int) -> Job:
        """Return a job.

        Raises:
            Problem: 404 if there is none with this number.
        """
        row = self.database.row("select * from job where id = ?", (job_id,))
        if row is None:
            raise not_found("JOB", str(job_id))
        return _job(row)

    def find(
        self, where: list[str], parameters: list[Any], order_by: str, limit: int, offset: int
    ) -> tuple[list[Job], int]:
        """Return a page of jobs and how many match.

        Args:
            where: SQL conditions, written by this server.
            parameters: their values.
            order_by: ``created_at`` or ``updated_at`` with ``asc`` or ``desc``.
            limit: size of the page.
            offset: jobs to skip.
        """
        condition = " and ".join(where) or "1 = 1"
        count = self.database.row(f"select count(*) from job where {condition}", parameters)  # noqa: S608  # no user text
        rows = self.database.rows(
            f"select * from job where {condition} order by {order_by}, id desc limit ? offset ?",  # noqa: S608
            [*parameters, limit, offset],
        )
        return [_job(row) for row in rows], int(count[0]) if count else 0

    def active(self, connection_id: str | None = None) -> list[Job]:
        """Return the jobs that have not ended, of one connection or of all."""
        where, parameters = ["status in ('pending', 'running', 'incomplete')"], []
        if connection_id is not None:
            where.append("connection_id = ?")
            parameters.append(connection_id)
        return self.find(where, parameters, "created_at asc", 1_000_000, 0)[0]

    def start(self, job_id: int) -> None:
        """Mark a pending job as running."""
        moment = now()
        self.database.execute(
            "update job set status = 'running', started_at = ?, updated_at = ? where id = ? and status = 'pending'",
            (moment, moment, job_id),
        )

    def fail_attempt(self, job_id: int, failure: dict[str, Any]) -> None:
        """End the attempt that runs: the job is incomplete until another one begins or it is ended.

        Args:
            job_id: the job.
            failure: the attempt's failure summary.
        """
        moment = now()
        with self.database.transaction():
            self._end_attempt(job_id, "failed", failure, moment)
            self.database.execute(
                "update job set status = 'incomplete', updated_at = ? "
                "where id = ? and status in ('pending', 'running')",
                (moment, job_id),
            )

    def complete_attempt(self, job_id: int) -> None:
        """Note that the attempt that runs has committed: whatever happens now, its job succeeds."""
        self._end_attempt(job_id, "succeeded", None, now())

    def next_attempt(self, job_id: int) -> None:
        """Begin another attempt of an incomplete job."""
        moment = now()
        with self.database.transaction():
            self.database.execute(
                "insert into attempt select job_id, max(number) + 1, 'running', ?, ?, null, null from attempt "
                "where job_id = ?",
                (moment, moment, job_id),
            )
            self.database.execute("update job set status = 'running', updated_at = ? where id = ?", (moment, job_id))

    def touch(self, job_id: int) -> None:
        """Note that a job is alive."""
        self.database.execute("update job set updated_at = ? where id = ?", (now(), job_id))

    def end(self, job_id: int, status: str, failure: dict[str, Any] | None = None) -> bool:
        """End an active job.

        Args:
            job_id: the job.
            status: succeeded, failed or cancelled.
            failure: the failure summary of the attempt that runs, if one does.

        Returns:
            False if the job had ended before; nothing is changed then.
        """
        moment = now()
        with self.database.transaction():
            if self.get(job_id).status not in ACTIVE:
                return False
            self.database.execute("update job set status = ?, updated_at = ? where id = ?", (status, moment, job_id))
            self._end_attempt(job_id, "succeeded" if status == "succeeded" else "failed", failure, moment)
        return True

    def _end_attempt(self, job_id: int, status: str, failure: dict[str, Any] | None, moment: float) -> None:
        self.database.execute(
            "update attempt set status = ?, updated_at = ?, ended_at = ?, failure = ? "
            "where job_id = ? and status = 'running'",
            (status, moment, moment, json.dumps(failure) if failure else None, job_id),
        )

    def attempts(self, job_id: int) -> list[dict[str, Any]]:
        """Return a job's attempts as stored rows, ``failure`` decoded."""
        rows = self.database.rows("select * from attempt where job_id = ? order by number", (job_id,))
        return [{**dict(row), "failure": json.loads(row["failure"]) if row["failure"] else None} for row in rows]

    # Counts

    def save_counts(self, job_id: int, stream: StreamId, counts: StreamCounts) -> None:
        """Store a stream's counts in the job's latest attempt."""
        self.database.execute(
            f"insert or replace into stream_stats values (?, {_LATEST}, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # no user text
            (
                job_id,
                job_id,
                *stream,
                counts.records_emitted,
                counts.bytes_emitted,
                counts.records_committed,
                counts.bytes_committed,
            ),
        )

    def counts(self, job_id: int, attempt: int | None = None) -> dict[StreamId, StreamCounts]:
        """Return the counts of the streams in one attempt of a job, the latest if none is named."""
        rows = self.database.rows(
            f"select * from stream_stats where job_id = ? and attempt = coalesce(?, {_LATEST}) order by rowid",  # noqa: S608
            (job_id, attempt, job_id),
        )
        return {
            (row["namespace"], row["name"]): StreamCounts(
                row["records_emitted"], row["bytes_emitted"], row["records_committed"], row["bytes_committed"]
            )
            for row in rows
        }

    # Logs

    def log(self, job_id: int, level: str, source: str, message: str) -> None:
        """Append a line to the log of a job's latest attempt.

        Args:
            job_id: the job.
            level: debug, info, warn or error.
            source: ``source``, ``destination`` or ``platform``.
            message: the line, without secrets.
        """
        self.database.execute(
            "insert into log_event (job_id, attempt, timestamp, level, source, message) "  # noqa: S608  # no user text
            f"values (?, {_LATEST}, ?, ?, ?, ?)",
            (job_id, job_id, int(now() * 1000), level, source, message),
        )

    def log_events(self, job_id: int, attempt: int) -> list[dict[str, Any]]:
        """Return an attempt's log in Airbyte's structured form."""
        rows = self.database.rows(
            "select timestamp, level, source, message from log_event where job_id = ? and attempt = ? order by id",
            (job_id, attempt),
        )
        return [
            {
                "timestamp": row["timestamp"],
                "message": row["message"],
                "level": row["level"],
                "logSource": row["source"],
            }
            for row in rows
        ]

    # State and generations

    def states(self, connection_id: str) -> dict[StreamId, dict[str, Any]]:
        """Return the saved state of a connection's streams."""
        rows = self.database.rows(
            "select namespace, name, state from stream_state where connection_id = ? order by rowid", (connection_id,)
        )
        return {(row["namespace"], row["name"]): json.loads(row["state"]) for row in rows}

    def shared_state(self, connection_id: str) -> dict[str, Any] | None:
        """Return what the streams of a connection have in common, None if each has a state of its own."""
        row = self.database.row("select state from shared_state where connection_id = ?", (connection_id,))
        return json.loads(row["state"]) if row else None

    def save_states(
        self, connection_id: str, states: dict[StreamId, dict[str, Any]], shared: dict[str, Any] | None = None
    ) -> None:
        """Store the state of some streams.

        Args:
            connection_id: the connection.
            states: the streams' own states.
            shared: what they have in common: it moves on without the other streams, so those are forgotten and begin
                a new generation. None if there is nothing in common: the other streams stay as they are.
        """
        moment = now()
        with self.database.transaction():
            for stream in (self.states(connection_id).keys() - states.keys()) if shared is not None else ():
                self.database.execute(
                    "delete from stream_state where connection_id = ? and namespace = ? and name = ?",
                    (connection_id, *stream),
                )
                self.generation(connection_id, stream, next_one=True)
            self.database.execute_many(
                "insert or replace into stream_state values (?, ?, ?, ?, ?)",
                [(connection_id, *stream, json.dumps(state), moment) for stream, state in states.items()],
            )
            self.database.execute("delete from shared_state where connection_id = ?", (connection_id,))
            if shared is not None:
                row = (connection_id, json.dumps(shared), moment)
                self.database.execute("insert into shared_state values (?, ?, ?)", row)

    def clear_states(self, connection_id: str) -> None:
        """Forget all state of a connection."""
        with self.database.transaction():
            self.database.execute("delete from stream_state where connection_id = ?", (connection_id,))
            self.database.execute("delete from shared_state where connection_id = ?", (connection_id,))

    def generation(self, connection_id: str, stream: StreamId, *, next_one: bool) -> int:
        """Return the generation of a stream, after beginning a new one if ``next_one``.

        An overwriting full refresh begins a generation with every sync; appended records stay in the current one.
        """
        with self.database.transaction():
            row = self.database.row(
                "select generation_id from generation where connection_id = ? and namespace = ? and name = ?",
                (connection_id, *stream),
            )
            generation_id = (row["generation_id"] if row else 0) + (1 if next_one else 0)
            self.database.execute(
                "insert or replace into generation values (?, ?, ?, ?)", (connection_id, *stream, generation_id)
            )
        return generation_id

    # Objects written but not yet promised to anybody

    def stage(self, job_id: int, destination_id: str, key: str) -> None:
        """Note that a job is about to write an object."""
        self.database.execute("insert or replace into staged_object values (?, ?, ?)", (job_id, destination_id, key))

    def staged(self, job_id: int) -> list[tuple[str, str]]:
        """Return (destination id, key) of the objects a job wrote without committing them."""
        rows = self.database.rows("select destination_id, key from staged_object where job_id = ?", (job_id,))
        return [(row["destination_id"], row["key"]) for row in rows]

    def unstage(self, job_id: int) -> None:
        """Forget a job's staged objects: they are committed, or gone."""
        self.database.execute("delete from staged_object where job_id = ?", (job_id,))

    def jobs_with_staged_objects(self) -> list[int]:
        """Return the jobs that a crash left objects of."""
        return [row["job_id"] for row in self.database.rows("select distinct job_id from staged_object")]


def _job(row: Any) -> Job:
    streams = [(namespace, name) for namespace, name in json.loads(row["streams"])]
    return Job(
        row["id"],
        row["connection_id"],
        row["type"],
        row["status"],
        streams,
        row["created_at"],
        row["started_at"],
        row["updated_at"],
    )
