"""Superset's log of events, run in Superset's own environment with a database that is watched."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = REPOSITORY / ".venv/superset/bin/python"
PROGRAM = """
import json, sys, types
import superset
from flask import Flask
from sqlalchemy.exc import DataError, OperationalError

class Session:
    def bulk_insert_mappings(self, model, rows):
        if sys.argv[1] == "down":
            print("refused", flush=True)
            raise OperationalError("insert", {}, ConnectionRefusedError())
        if any(row["action"] == "rubbish" for row in rows):
            raise DataError("insert", {}, ValueError("a NUL in a text"))
        self.taken = rows
    def commit(self):
        print(json.dumps([row["action"] for row in self.taken]), flush=True)
    def rollback(self):
        self.taken = []

superset.db = type("Database", (), {"session": Session()})
# The models want an application that is set up; of them only the name of the table is needed.
sys.modules["superset.models.core"] = types.SimpleNamespace(Log="logs")
sys.path.append("include/superset")
from event_log import QueuedEventLogger

logger = QueuedEventLogger()
with Flask("superset").app_context():
    for number in range(700):
        action = "rubbish" if number == 300 else f"event {number}"
        logger.log(1, action, None, 5, None, None, records=[{"number": number}])
# The process ends at once: what waits is written on the way out.
"""


def log_events(database: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SUPERSET_SECRET_KEY": "only-for-this-process", "PYTHONPATH": str(REPOSITORY)}
    command = [str(PYTHON), "-c", PROGRAM, database]
    run = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run


def test_one_event_of_rubbish_costs_no_other_and_the_end_of_a_worker_none() -> None:
    run = log_events("up")
    batches = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]
    written = [action for batch in batches for action in batch]
    assert written == [f"event {number}" for number in range(700) if number != 300]
    assert "Not written to the table logs: 1 events, rubbish" in run.stderr
    assert len(batches) < 30, "many with each commit"


def test_without_a_database_the_events_are_counted_and_the_worker_ends() -> None:
    run = log_events("down")
    assert run.stdout.count("refused") == 2, "once for every 500, not once for each"
    assert "Not written to the table logs: 500 events" in run.stderr
    assert "Not written to the table logs: 200 events" in run.stderr
