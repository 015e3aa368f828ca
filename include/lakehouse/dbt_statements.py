"""What a dbt that was killed has left running in Dremio: found by the comment in front of each statement, and ended.

A statement is a job of Dremio's and goes on without who has sent it. dbt would cancel it when it is interrupted, but
dbt-dremio's ``cancel`` raises AttributeError; so dbt is ended at once, and its statements are ended from here: when a
task has failed, and, for a task that could not do it any more, before its next try. Both have to come after dbt: one
that still waits for a job that somebody cancels waits for ever, since dbt-dremio does not know that state.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dremio_provider.hooks.dremio import DremioHook

WAIT_SECONDS = 20.0
"""So long the next try waits until what was cancelled is over."""
_KILLED_SECONDS = 3.0  # Airflow gives a task that it ends five
_POLL_SECONDS = 0.2
_COMMENT = '/* {"app": "dbt", '
_CONN_ID = "dremio_default"

_log = logging.getLogger(__name__)


class StatementsLeft(RuntimeError):
    """Statements of an earlier try are still running."""


@dataclass(frozen=True)
class NothingLeft:
    """A hook for ``pre_execute``: a statement of an earlier try must not get in the way of this one's.

    Both would use the same temporary tables.

    Args:
        ready: What comes first, such as asking for services.
        one_at_a_time: The task, in whichever DAG and run, runs once at a time: whatever it has running was left.
    """

    ready: Callable[[Any], None]
    one_at_a_time: bool = False

    def __call__(self, context: Any) -> None:
        """End what was left; raises StatementsLeft when it cannot be ended."""
        self.ready(context)
        task = context["ti"]
        if self.one_at_a_time:
            end_statements({"task_id": task.task_id}, wait_seconds=WAIT_SECONDS)
        elif task.try_number > 1:
            end_statements(_of(task), wait_seconds=WAIT_SECONDS)


def end_statements_of_task(context: Any) -> None:
    """End what the dbt of a failed task has left: a callback of Airflow's for failures and retries."""
    end_statements(_of(context["ti"]), wait_seconds=_KILLED_SECONDS)


def end_statements(task: dict[str, str], *, wait_seconds: float) -> None:
    """Cancel the statements that dbt has running for a task, and wait until they are over.

    Args:
        task: What the comment in front of a statement says of its Airflow task: ``dag_id``, ``run_id``, ``task_id``, or
            some of them.
        wait_seconds: How long to wait.

    Raises:
        StatementsLeft: When they are not over by then.
        DremioError: When Dremio cannot be asked, or refuses.
    """
    from dremio_provider.hooks.dremio import DremioHook

    deadline = time.monotonic() + wait_seconds
    cancelled: list[str] = []
    with DremioHook(_CONN_ID) as hook:
        while running := _running(hook, task):
            for job in [job for job in running if job not in cancelled]:
                _log.warning("Cancelling Dremio job %s: the dbt that has started it is gone", job)
                hook.cancel_job(job)
                cancelled.append(job)
            if time.monotonic() >= deadline:
                raise StatementsLeft(
                    f"Dremio has not ended {', '.join(running)} within {wait_seconds:g} s of being asked to: what an "
                    "earlier try of this task has left, and writes the same tables. Dremio's list of jobs shows it."
                )
            time.sleep(_POLL_SECONDS)


def _running(hook: DremioHook, task: dict[str, str]) -> list[str]:
    from dremio_provider.protocol import FINAL_JOB_STATES

    table = "sys.jobs" if hook.settings.project_id is None else "sys.project.jobs"
    asked = f"SELECT job_id, query FROM {table} WHERE status NOT IN %s AND query LIKE %s"  # noqa: S608  # one of two
    rows = hook.execute_sql(asked, parameters=[sorted(FINAL_JOB_STATES), f"{_COMMENT}%"], timeout=30).rows
    return [str(row["job_id"]) for row in rows if task.items() <= _task(str(row["query"])).items()]


def _task(statement: str) -> dict[str, Any]:
    """Return what the comment in front of a statement says of its Airflow task (``dbt/macros/query_comment.sql``)."""
    comment = statement.removeprefix("/* ").partition(" */")[0]
    try:
        found = json.loads(comment).get("airflow")
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}  # another project's dbt has a comment of its own


def _of(task: Any) -> dict[str, str]:
    return {"dag_id": task.dag_id, "run_id": task.run_id, "task_id": task.task_id}
