"""What survives a restart: catalog objects, wikis and tags, reflections, jobs the publication journal, in SQLite."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entities (id TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS collaboration (
    entity_id TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (entity_id, kind));
CREATE TABLE IF NOT EXISTS reflections (id TEXT PRIMARY KEY, dataset_id TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS materializations (
    id TEXT PRIMARY KEY, reflection_id TEXT NOT NULL, created INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, started INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_started ON jobs (started);
CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """A SQLite file with one connection, used by all threads in turn.

    Args:
        path: the database file; created if missing, readable by the owner only since it holds source credentials.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600, exist_ok=True)
        path.chmod(0o600)
        self.lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # WAL with NORMAL never corrupts; only an operating system crash can lose the last commits.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything written inside the block one atomic change; blocks may nest."""
        with self.lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    def _write(self, statement: str, *values: Any) -> int:
        with self.lock:
            return self._connection.execute(statement, values).lastrowid or 0

    def _read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.lock:
            return self._connection.execute(statement, values).fetchall()

    # -- catalog

    def entities(self) -> list[tuple[str, Json]]:
        """Return kind and body of every catalog object."""
        return [(kind, json.loads(body)) for kind, body in self._read("SELECT kind, body FROM entities")]

    def put_entity(self, identifier: str, kind: str, body: Json) -> None:
        """Write a catalog object, new or changed."""
        self._write("INSERT OR REPLACE INTO entities VALUES (?, ?, ?)", identifier, kind, json.dumps(body))

    def delete_entity(self, identifier: str) -> None:
        """Delete a catalog object with its wiki and tags."""
        with self.transaction():
            self._write("DELETE FROM entities WHERE id = ?", identifier)
            self._write("DELETE FROM collaboration WHERE entity_id = ?", identifier)

    def collaboration(self, identifier: str, kind: str) -> Json | None:
        """Return the ``wiki`` or ``tag`` document of an object, None if there is none."""
        rows = self._read("SELECT body FROM collaboration WHERE entity_id = ? AND kind = ?", identifier, kind)
        return json.loads(rows[0][0]) if rows else None

    def put_collaboration(self, identifier: str, kind: str, body: Json) -> None:
        """Write the ``wiki`` or ``tag`` document of an object."""
        self._write("INSERT OR REPLACE INTO collaboration VALUES (?, ?, ?)", identifier, kind, json.dumps(body))

    # -- reflections

    def reflections(self) -> list[Json]:
        """Return all reflections."""
        return [json.loads(body) for (body,) in self._read("SELECT body FROM reflections")]

    def put_reflection(self, identifier: str, dataset_id: str, body: Json) -> None:
        """Write a reflection, new or changed."""
        self._write("INSERT OR REPLACE INTO reflections VALUES (?, ?, ?)", identifier, dataset_id, json.dumps(body))

    def delete_reflection(self, identifier: str) -> None:
        """Delete a reflection; its materializations stay in the history."""
        self._write("DELETE FROM reflections WHERE id = ?", identifier)

    def materializations(self) -> list[Json]:
        """Return all materializations, oldest first."""
        return [json.loads(body) for (body,) in self._read("SELECT body FROM materializations ORDER BY created")]

    def put_materialization(self, identifier: str, reflection_id: str, created: int, body: Json) -> None:
        """Write a materialization, new or changed."""
        self._write(
            "INSERT OR REPLACE INTO materializations VALUES (?, ?, ?, ?)",
            identifier,
            reflection_id,
            created,
            json.dumps(body),
        )

    def delete_materialization(self, identifier: str) -> None:
        """Forget a materialization."""
        self._write("DELETE FROM materializations WHERE id = ?", identifier)

    # -- jobs

    def jobs(self, limit: int) -> list[Json]:
        """Return the newest jobs, newest first.

        Args:
            limit: how many at most.
        """
        rows = self._read("SELECT body FROM jobs ORDER BY started DESC LIMIT ?", limit)
        return [json.loads(body) for (body,) in rows]

    def put_job(self, identifier: str, started: int, body: Json) -> None:
        """Write a job, new or changed."""
        self._write("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", identifier, started, json.dumps(body))

    def prune_jobs(self, before: int) -> list[str]:
        """Delete jobs that started before ``before`` (milliseconds since 1970) and return their identifiers."""
        with self.transaction():
            gone = [identifier for (identifier,) in self._read("SELECT id FROM jobs WHERE started < ?", before)]
            self._write("DELETE FROM jobs WHERE started < ?", before)
        return gone

    # -- journal

    def journal(self) -> list[tuple[int, Json]]:
        """Return the entries of the publication journal, oldest first."""
        return [(number, json.loads(body)) for number, body in self._read("SELECT id, body FROM journal ORDER BY id")]

    def put_journal(self, body: Json) -> int:
        """Append an entry to the publication journal and return its number."""
        return self._write("INSERT INTO journal (body) VALUES (?)", json.dumps(body))

    def update_journal(self, number: int, body: Json) -> None:
        """Replace an entry of the publication journal."""
        self._write("UPDATE journal SET body = ? WHERE id = ?", json.dumps(body), number)

    def delete_journal(self, number: int) -> None:
        """Remove a finished entry from the publication journal."""
        self._write("DELETE FROM journal WHERE id = ?", number)

    # -- settings

    def setting(self, name: str) -> str | None:
        """Return a remembered value."""
        rows = self._read("SELECT value FROM settings WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def put_setting(self, name: str, value: str) -> None:
        """Remember a value."""
        self._write("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)
