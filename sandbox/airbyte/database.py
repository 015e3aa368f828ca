"""The server's memory: one SQLite file in WAL mode, shared by all threads behind one lock."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
create table if not exists definition (
    id text primary key, name text not null, manifest text not null, version integer not null,
    created_at integer not null);
create table if not exists actor (
    id text primary key, kind text not null, name text not null, definition_id text not null,
    configuration text not null, created_at integer not null);
create table if not exists connection (
    id text primary key, name text not null, source_id text not null, destination_id text not null,
    body text not null, created_at integer not null);
create table if not exists job (
    id integer primary key autoincrement, connection_id text not null, type text not null, status text not null,
    streams text not null, created_at real not null, started_at real, updated_at real not null);
drop index if exists job_one_active;
create unique index if not exists job_active on job (connection_id)
    where status in ('pending', 'running', 'incomplete');
create table if not exists attempt (
    job_id integer not null, number integer not null, status text not null, created_at real not null,
    updated_at real not null, ended_at real, failure text, primary key (job_id, number));
create table if not exists stream_stats (
    job_id integer not null, attempt integer not null, namespace text not null, name text not null,
    records_emitted integer not null, bytes_emitted integer not null,
    records_committed integer not null, bytes_committed integer not null,
    primary key (job_id, attempt, namespace, name));
create table if not exists log_event (
    id integer primary key autoincrement, job_id integer not null, attempt integer not null,
    timestamp integer not null, level text not null, source text not null, message text not null);
create index if not exists log_event_job on log_event (job_id, attempt, id);
create table if not exists stream_state (
    connection_id text not null, namespace text not null, name text not null, state text not null,
    updated_at real not null, primary key (connection_id, namespace, name));
create table if not exists shared_state (
    connection_id text primary key, state text not null, updated_at real not null);
create table if not exists generation (
    connection_id text not null, namespace text not null, name text not null, generation_id integer not null,
    primary key (connection_id, namespace, name));
create table if not exists staged_object (
    job_id integer not null, destination_id text not null, key text not null, primary key (job_id, key));
"""


class Database:
    """A thread-safe handle on the SQLite file.

    Args:
        path: the file; created with its tables if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("pragma journal_mode = wal")
        # A commit must survive a power cut as well as a kill: "landed" is promised to others.
        self._connection.execute("pragma synchronous = full")
        self._connection.executescript(SCHEMA)
        path.chmod(0o600)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement and return the id of the row it inserted (0 if none).

        Raises:
            sqlite3.IntegrityError: if a constraint refuses it.
        """
        with self._lock:
            return self._connection.execute(sql, parameters).lastrowid or 0

    def execute_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Run one statement for every row of parameters, in one transaction."""
        with self.transaction():
            self._connection.executemany(sql, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside one commit; an exception rolls it back. Nested use joins the outer transaction."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def close(self) -> None:
        """Close the file; later calls fail."""
        with self._lock:
            self._connection.close()


def now() -> float:
    """Return the current time in epoch seconds."""
    return time.time()
