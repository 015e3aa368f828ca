"""What the two APIs share while the server runs."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sandbox.airbyte.database import Database
from sandbox.airbyte.jobs import Jobs
from sandbox.airbyte.retries import Retries
from sandbox.airbyte.runner import Runner
from sandbox.airbyte.store import Store
from sandbox.airbyte.tokens import Tokens
from sandbox.serving import fail


@dataclass(frozen=True)
class State:
    """The parts of a running server.

    Attributes:
        store: the configuration.
        jobs: the job tables.
        runner: what runs.
        tokens: access to the public API.
        database: the file behind them.
        lock: held as long as the server lives.
    """

    store: Store
    jobs: Jobs
    runner: Runner
    tokens: Tokens
    database: Database
    lock: IO[str]

    @classmethod
    def open(cls, directory: Path, client_id: str, client_secret: str) -> State:
        """Open the server's state directory and clean up after a crash.

        Args:
            directory: holds ``airbyte.db`` and the spool.
            client_id: the application's id.
            client_secret: the application's secret.

        Raises:
            SystemExit: with code 2 if another server uses the directory; this one would fail its running jobs.
        """
        lock = _exclusive(directory / "lock")
        database = Database(directory / "airbyte.db")
        store, jobs = Store(database), Jobs(database)
        runner = Runner(store, jobs, directory / "spool", Retries.from_environment())
        runner.recover()
        return cls(store, jobs, runner, Tokens(client_id, client_secret), database, lock)

    def close(self) -> None:
        """Stop the jobs and close the file."""
        self.runner.stop()


def _exclusive(path: Path) -> IO[str]:
    handle = path.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        fail(f"airbyte: {path.parent} is used by another Airbyte server. Stop it first, or set SANDBOX_VAR.")
    return handle
