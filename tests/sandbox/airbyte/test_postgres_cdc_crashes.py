"""A sync of change data that dies at every step of its way, one after the other, and is finished by the next server."""

from __future__ import annotations

import functools
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.airbyte.connectors.postgres_cdc.capture import Capture
from sandbox.airbyte.connectors.postgres_cdc.slot import Slot
from sandbox.airbyte.connectors.s3_destination import S3Destination
from sandbox.airbyte.jobs import Jobs
from sandbox.airbyte.state import State
from tests.sandbox.airbyte.change_data import ChangeData
from tests.sandbox.airbyte.services import S3, Airbyte, Postgres

DIED, FORK = 9, multiprocessing.get_context("fork")
STEPS: list[tuple[Any, str]] = [
    (Capture, "_changes"),
    (S3Destination, "finish_stream"),
    (S3Destination, "_upload"),
    (Jobs, "save_states"),
    (Jobs, "complete_attempt"),
    (Slot, "advance"),
    (Jobs, "end"),
]
"""What a sync does, in this order; a file and an upload for every table; the slot is moved before the first too."""


@pytest.fixture
def cdc(own_airbyte: Airbyte, postgres: Postgres, lake: S3) -> Iterator[ChangeData]:
    data = ChangeData(postgres, lake, own_airbyte.client())
    yield data
    data.drop()


def server(var: Path, connection: str | None, die_at: int) -> None:
    """Run a server without its APIs: start a sync, or go on with what a dead one left, until no job is active.

    Args:
        var: the server's directory.
        connection: what to sync, None to go on.
        die_at: end the process, as a kill would, at this moment; before and after every step is one. 0 for never.
    """
    moments = 0

    def moment() -> None:
        nonlocal moments
        moments += 1
        if moments == die_at:
            os._exit(DIED)

    def watched(step: Any) -> Any:
        @functools.wraps(step)
        def call(*arguments: Any, **named: Any) -> Any:
            moment()
            result = step(*arguments, **named)
            moment()
            return result

        return call

    # A failed attempt is followed by the next one at once.
    os.environ["SYNC_JOB_RETRIES_COMPLETE_FAILURES_BACKOFF_MIN_INTERVAL_S"] = "0.01"
    for owner, name in STEPS if die_at else []:
        setattr(owner, name, watched(getattr(owner, name)))
    state = State.open(var / "airbyte", "client", "secret")
    if connection is not None:
        state.runner.sync(connection)
    while state.jobs.active():
        time.sleep(0.01)
    os._exit(0)


def run(var: Path, connection: str | None = None, die_at: int = 0) -> int | None:
    process = FORK.Process(target=server, args=(var, connection, die_at))
    process.start()
    process.join(60)
    assert process.exitcode is not None, "the sync hangs"
    return process.exitcode


def test_a_kill_at_any_step_loses_and_doubles_nothing(cdc: ChangeData, own_airbyte: Airbyte) -> None:
    cdc.create(
        "create table a (id int primary key, at int)",
        "create table b (id int primary key, at int)",
        "insert into a values (0, 0)",
    )
    cdc.connect("a", "b")
    cdc.sync()
    own_airbyte.stop()
    died = die_at = 0
    while True:
        die_at += 1
        change = f"insert into {{}} values ({die_at}, 0)"
        cdc.execute(change.format("a"), change.format("b"), f"update a set at = {die_at} where id = {die_at - 1}")
        ended = run(own_airbyte.var, cdc.connection, die_at)
        if ended == DIED:
            died += 1
            # What was written since belongs to the same sync or to the next one, and to one of them only.
            cdc.execute(f"insert into b values (-{die_at}, 0)")
            assert run(own_airbyte.var) == 0
        else:
            assert ended == 0
            break
    assert run(own_airbyte.var, cdc.connection) == 0
    assert died == 2 * (len(STEPS) + 3)
    for table in ("a", "b"):
        landed = [(record["id"], record["at"]) for record in cdc.landed(table)]
        assert len(landed) == len(set(landed))
        rows = {key: (row["id"], row["at"]) for key, row in cdc.current(table, "id").items()}
        assert sorted(rows.values()) == cdc.rows(f"select id, at from {table} order by id")
    assert len(cdc.landed("a")) == 1 + 2 * die_at
    assert len(cdc.landed("b")) == die_at + died
    positions = [record["_ab_cdc_lsn"] for record in cdc.landed("a")]
    assert positions == sorted(positions)
