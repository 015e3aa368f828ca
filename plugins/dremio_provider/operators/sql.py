"""Operator that runs SQL on Dremio."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, conf

from dremio_provider.exceptions import (
    DremioConfigurationError,
    DremioJobFailedError,
    DremioNotFoundError,
    DremioTerminalError,
    DremioTransientError,
)
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.links import DremioJobLink
from dremio_provider.parameters import Parameters, bind
from dremio_provider.protocol import (
    DEFAULT_CONN_ID,
    FINAL_JOB_STATES,
    MAX_PAGE_ROWS,
    error_from_job,
    job_page,
    job_timeout,
)
from dremio_provider.triggers.jobs import DremioJobTrigger

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

# Renaming it would make tasks that wait during an upgrade run their statements a second time.
STATE_KEY = "dremio_run_sql"


class DremioRunSqlOperator(BaseOperator):
    """Run statements one after the other, each as a job and to its end. The first failure ends the task.

    A retry after a lost worker, or after Dremio could not be reached, attaches to the job that still runs and goes on
    behind the statements that are done; after a failed statement it begins with the first. Killing the task cancels
    the running job.

    Each statement begins with a comment that names the task. Dremio's job list shows it, and by it a retry finds the
    job of a worker that was lost before it could store the job's id.

    :param sql: Statements with semicolons between them, a list of statements, or the name of a ``.sql`` file.
    :param parameters: Values for ``%s`` or ``%(name)s`` in each statement.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param sql_context: Path that unqualified names are looked up in; by default the connection's.
    :param timeout: Seconds each statement may take; afterwards its job is cancelled.
    :param poll_interval: Seconds between two looks at a job.
    :param fetch_rows: So many rows of the last statement go to XCom, 500 at most.
    :param deferrable: Wait in the triggerer instead of in a worker.
    """

    template_fields: Sequence[str] = ("sql", "parameters", "sql_context", "dremio_conn_id")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json"}
    ui_color = "#d8f0f2"
    operator_extra_links = (DremioJobLink(),)

    def __init__(
        self,
        *,
        sql: str | list[str],
        parameters: Parameters | None = None,
        dremio_conn_id: str = DEFAULT_CONN_ID,
        sql_context: list[str] | None = None,
        timeout: float = 600.0,
        poll_interval: float = 2.0,
        fetch_rows: int = 0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.parameters = parameters
        self.dremio_conn_id = dremio_conn_id
        self.sql_context = sql_context
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.fetch_rows = fetch_rows
        self.deferrable = deferrable
        self._running: tuple[DremioHook, str] | None = None
        self._finished: list[tuple[str, str | None]] = []

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the statements.

        :returns: ``{"job_ids": [..]}`` in the statements' order; with ``fetch_rows`` also ``columns`` (names), ``rows``
            (a list of values each) and ``row_count`` (of the whole result) of the last statement.
        :raises DremioError: A statement failed; later ones were not sent.
        """
        statements = self._statements()
        with self._hook() as hook:
            jobs, attached = self._stored_jobs(context, hook, statements)
            return self._go_on(context, hook, statements, jobs, attached)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Judge what the trigger reported and go on with the next statement; otherwise as :meth:`execute`."""
        statements = self._statements()
        job_ids = list(event["job_ids"])
        job_id, sql = job_ids[-1], statements[len(job_ids) - 1]
        self._finished = list(zip(statements, job_ids[:-1], strict=False))
        if event["status"] == "error":
            kind = DremioTransientError if event["transient"] else DremioTerminalError
            raise kind(
                f"Waiting for the Dremio job {job_id} ended early. {event['message']}",
                check="Dremio's health; a retry attaches to the job.",
                details={"job_id": job_id},
            )
        with self._hook() as hook:
            if event["status"] == "timeout":
                hook.cancel_job(job_id)
                self._forget(context)
                raise job_timeout(job_id, "running", self.timeout, hook.settings, sql)
            self._judge(context, hook, job_id, event["job"], sql)
            return self._go_on(context, hook, statements, job_ids, attached=False)

    def on_kill(self) -> None:
        """Cancel the running job."""
        if self._running is not None:
            hook, job_id = self._running
            self._running = None
            self.log.info("Cancelling the Dremio job %s", job_id)
            # A signal may have come in the middle of a request: its connections must not be used here.
            with hook.clone() as other:
                other.cancel_job(job_id)

    def _hook(self) -> DremioHook:
        return DremioHook(self.dremio_conn_id, poll_interval=self.poll_interval)

    def _statements(self) -> list[str]:
        statements = _split(self.sql) if isinstance(self.sql, str) else list(self.sql)
        if not statements or not all(statement.strip() for statement in statements):
            raise DremioConfigurationError(f"Task {self.task_id!r} has an empty statement.", check="the argument sql.")
        if not 0 <= self.fetch_rows <= MAX_PAGE_ROWS:
            raise DremioConfigurationError(
                f"Task {self.task_id!r} has fetch_rows {self.fetch_rows}.",
                check=f"0 to {MAX_PAGE_ROWS}: XCom is not for data; read large results with DremioHook.",
            )
        return [bind(statement, self.parameters) for statement in statements]

    def _go_on(
        self, context: Context, hook: DremioHook, statements: list[str], jobs: list[str], attached: bool
    ) -> dict[str, Any]:
        """Run what is not done yet.

        :param jobs: Jobs of the statements that are done.
        :param attached: The last of ``jobs`` still runs.
        """
        done = len(jobs) - attached
        self._finished = list(zip(statements, jobs[:done], strict=False))
        for sql in statements[done:]:
            if not attached:
                jobs = [*jobs, self._submit(context, hook, sql, len(jobs))]
                self._store(context, statements, jobs)
            attached = False
            self._wait(context, hook, sql, jobs)
            self._finished.append((sql, jobs[-1]))
        self._forget(context)
        result: dict[str, Any] = {"job_ids": jobs}
        if self.fetch_rows:
            columns, rows = hook.read_rows(jobs[-1], self.fetch_rows)
            result["columns"] = [column["name"] for column in columns]
            result["rows"] = [[row.get(name) for name in result["columns"]] for row in rows]
            result["row_count"] = hook.get_job(jobs[-1]).get("rowCount")
        return result

    def _submit(self, context: Context, hook: DremioHook, sql: str, position: int) -> str:
        """Start a statement, unless an earlier try started it and was lost before it could store the job.

        :param position: Of the statement among the task's.
        :returns: Id of the job.
        """
        marked = _mark(context, position) + sql
        if getattr(context["ti"], "try_number", 1) > 1 and marked != sql:
            table = "sys.jobs_recent" if hook.settings.project_id is None else "sys.project.jobs_recent"
            query = f"SELECT job_id FROM {table} WHERE query = %s AND status NOT IN %s"  # noqa: S608  # one of two names
            try:
                rows = hook.execute_sql(query, parameters=[marked, sorted(FINAL_JOB_STATES)]).rows
            except DremioTerminalError as error:
                self.log.warning("Whether an earlier try left a job is not known: %s", error)
                rows = []
            if rows:
                self.log.info("Going on with the Dremio job %s of an earlier try", rows[0]["job_id"])
                return str(rows[0]["job_id"])
        return hook.submit_sql(marked, context=self.sql_context)

    def _wait(self, context: Context, hook: DremioHook, sql: str, jobs: list[str]) -> None:
        job_id = jobs[-1]
        self._running = (hook, job_id)
        DremioJobLink.persist(context, job_page(hook.settings, job_id))
        if self.deferrable:
            job = hook.get_job(job_id)
            if job.get("jobState") not in FINAL_JOB_STATES:
                self._defer(jobs)
            self._judge(context, hook, job_id, job, sql)
        else:
            try:
                hook.wait_for_job(job_id, timeout=self.timeout, sql=sql, resumable=True)
            except DremioJobFailedError:
                self._forget(context)
                raise
        self._running = None

    def _defer(self, jobs: list[str]) -> None:
        self._running = None
        self.defer(
            trigger=DremioJobTrigger(
                self.dremio_conn_id,
                jobs[-1],
                time.time() + self.timeout,
                cancel_on_kill=True,
                earlier_job_ids=jobs[:-1],
                poll_interval=self.poll_interval,
            ),
            method_name="execute_complete",
            # The trigger ends by itself; this only catches a triggerer that is gone.
            timeout=timedelta(seconds=self.timeout + 2 * self.poll_interval + 60),
        )

    def _judge(self, context: Context, hook: DremioHook, job_id: str, job: dict[str, Any], sql: str) -> None:
        if job["jobState"] != "COMPLETED":
            self._forget(context)
            raise error_from_job(job_id, job, hook.settings, sql)

    def _stored_jobs(self, context: Context, hook: DremioHook, statements: list[str]) -> tuple[list[str], bool]:
        store = context.get("task_state_store")
        stored = store.get(STATE_KEY) if store is not None else None
        if not isinstance(stored, dict) or stored["statements"] != _fingerprint(statements):
            return [], False
        jobs = [str(job_id) for job_id in stored["job_ids"]]
        try:
            state = hook.get_job(jobs[-1]).get("jobState")
        except DremioNotFoundError:
            state = "unknown"
        if state == "COMPLETED" or state not in {*FINAL_JOB_STATES, "unknown"}:
            self.log.info("Going on with the Dremio job %s, which is %s", jobs[-1], state)
            return jobs, state != "COMPLETED"
        self.log.info("The Dremio job %s of an earlier try is %s: beginning anew", jobs[-1], state)
        return [], False

    def _store(self, context: Context, statements: list[str], jobs: list[str]) -> None:
        if (store := context.get("task_state_store")) is not None:
            store.set(STATE_KEY, {"statements": _fingerprint(statements), "job_ids": jobs})

    def _forget(self, context: Context) -> None:
        # A task that is cleared after its end is to run again, not to find its old jobs done.
        if (store := context.get("task_state_store")) is not None:
            store.delete(STATE_KEY)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage | None:
        """The datasets that the finished statements read and wrote; empty when none ran."""
        from dremio_provider.lineage import lineage_of

        return lineage_of(self._finished, self._hook().settings, self.sql_context)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage | None:
        """As on completion, for the statements that had finished before the failure."""
        return self.get_openlineage_facets_on_complete(task_instance)


def _split(text: str) -> list[str]:
    """The statements of a text. A single one stays as it is written, comments and hints included."""
    statements = DremioHook.split_sql_string(text, strip_semicolon=True)
    return statements if len(statements) > 1 else [text]


def _mark(context: Context, position: int) -> str:
    """A comment that names the running task, empty where none runs."""
    ti = context["ti"]
    names = ("dag_id", "task_id", "run_id", "map_index")
    if not all(hasattr(ti, name) for name in names):
        return ""
    told = json.dumps({**{name: getattr(ti, name) for name in names}, "statement": position})
    # Nothing in it may end the comment.
    return f"/* airflow {told.replace('*', '')} */ "


def _fingerprint(statements: list[str]) -> str:
    return hashlib.sha256(json.dumps(statements).encode()).hexdigest()
