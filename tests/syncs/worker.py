"""Executes the operator in child processes that a test may kill: ``python -m tests.syncs.worker``.

A line on stdin is a try, as JSON: ``{"connection", "state", "deferrable"}``. The answer is the child's number and, when
it is over, its exit code. What Airflow keeps of a task between its tries is a file here: written before the call
returns, as Airflow's database is.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import TaskDeferred
from lakehouse_airbyte.operators import AirbyteRunSyncOperator


class Durable:
    """A task's state and its XComs, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.max_tries = 1000

    def get(self, key: str) -> Any:
        try:
            return json.loads((self.folder / key).read_text())
        except FileNotFoundError:
            return None

    def set(self, key: str, value: Any) -> None:
        new = self.folder / f".{key}"
        new.write_text(json.dumps(value))
        new.replace(self.folder / key)

    def xcom_push(self, key: str, value: Any) -> None:
        self.set(f"xcom-{key}", value)


def attempt(order: dict[str, Any]) -> None:
    """One try of the task; in deferrable mode with the trigger's part of it."""
    state = Durable(Path(order["state"]))
    context: Any = {"ti": state, "task_state_store": state}
    task = AirbyteRunSyncOperator(
        task_id="sync",
        connection_id=order["connection"],
        wait_seconds=0.02,
        timeout=60,
        deferrable=order["deferrable"],
        config_conn_id="airbyte_config",
    )
    try:
        job = task.execute(context)
    except TaskDeferred as deferred:
        job = task.execute_complete(context, asyncio.run(_first(deferred.trigger)))
    state.xcom_push("return_value", job)


async def _first(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload


def main() -> None:
    # What Airflow logs goes elsewhere: a child that is killed leaves half a line.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    child = 0
    for line in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if child == 0:
            try:
                attempt(json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(child, file=answers, flush=True)
        # Its number stays its own until the next line comes: who kills it late kills nobody else.
        over = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert over is not None
        print(over.si_status if over.si_code == os.CLD_EXITED else -over.si_status, file=answers, flush=True)


if __name__ == "__main__":
    main()
