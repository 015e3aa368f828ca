"""Triggers that wait for a job, and for what a query answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from dremio_provider.exceptions import DremioError
from dremio_provider.hooks.dremio_async import DremioAsyncClient, shared_client
from dremio_provider.protocol import FINAL_JOB_STATES
from dremio_provider.triggers.polling import DremioPollingTrigger

KILL_SECONDS = 10.0


class DremioJobTrigger(DremioPollingTrigger):
    """Wait until a job is over. The event is ``{"status": "done", "job": {"jobState", "errorMessage",
    "cancellationReason"}}``: it says that the job is over, not that it went well. Every event has ``job_ids``: the
    earlier ones and the job.

    :param job_id: The job.
    :param cancel_on_kill: Whether killing the waiting task cancels the job.
    :param earlier_job_ids: What the waiting task has done before. It comes back in the event and not in the arguments
        of ``defer``, which ``dag.test()`` of Airflow 3.3 drops.
    """

    def __init__(
        self,
        dremio_conn_id: str,
        job_id: str,
        deadline: float,
        *,
        cancel_on_kill: bool = False,
        earlier_job_ids: Sequence[str] = (),
        **polling: Any,
    ) -> None:
        super().__init__(dremio_conn_id, deadline, **polling)
        self.job_id = job_id
        self.cancel_on_kill = cancel_on_kill
        self.earlier_job_ids = list(earlier_job_ids)

    def arguments(self) -> dict[str, Any]:
        """As in the base, with the job."""
        return {
            **super().arguments(),
            "job_id": self.job_id,
            "cancel_on_kill": self.cancel_on_kill,
            "earlier_job_ids": self.earlier_job_ids,
        }

    def about(self) -> dict[str, Any]:
        """The jobs so far."""
        return {"job_ids": [*self.earlier_job_ids, self.job_id]}

    async def look(self, client: DremioAsyncClient) -> dict[str, Any] | None:
        """Ask for the job's state; any that is not final is on its way, whatever it is called."""
        job = await client.get_job(self.job_id)
        if job.get("jobState") not in FINAL_JOB_STATES:
            return None
        kept = {name: job[name] for name in ("jobState", "errorMessage", "cancellationReason") if job.get(name)}
        return {"status": "done", "message": "", "job": kept}

    async def on_kill(self) -> None:
        """Cancel the job, if that was asked for."""
        if not self.cancel_on_kill:
            return
        try:
            async with asyncio.timeout(KILL_SECONDS), shared_client(self.dremio_conn_id) as client:
                await client.cancel_job(self.job_id)
        except (DremioError, TimeoutError) as error:
            self.log.warning("The Dremio job %s could not be cancelled: %s", self.job_id, error)


class DremioQueryResultTrigger(DremioPollingTrigger):
    """Ask a query again and again until its answer is one to go on with, see :func:`is_met`. The event is
    ``{"status": "done"}``, or ``empty`` where that is to end the waiting. Killing the task cancels a query that runs.

    :param sql: The query, its parameters already bound.
    :param sql_context: Path that unqualified names are looked up in.
    :param fail_on_empty: Whether an answer without rows ends the waiting.
    :param query_timeout: Seconds one query may take.
    """

    def __init__(
        self,
        dremio_conn_id: str,
        sql: str,
        deadline: float,
        *,
        sql_context: Sequence[str] | None = None,
        fail_on_empty: bool = False,
        query_timeout: float = 60.0,
        **polling: Any,
    ) -> None:
        super().__init__(dremio_conn_id, deadline, **polling)
        self.sql = sql
        self.sql_context = list(sql_context) if sql_context else None
        self.fail_on_empty = fail_on_empty
        self.query_timeout = query_timeout

    def arguments(self) -> dict[str, Any]:
        """As in the base, with the query."""
        return {
            **super().arguments(),
            "sql": self.sql,
            "sql_context": self.sql_context,
            "fail_on_empty": self.fail_on_empty,
            "query_timeout": self.query_timeout,
        }

    async def look(self, client: DremioAsyncClient) -> dict[str, Any] | None:
        """Run the query and judge the first row."""
        rows = await client.execute_sql(self.sql, context=self.sql_context, within=self.query_timeout, max_rows=1)
        if not rows and self.fail_on_empty:
            return {"status": "empty", "message": "The query returned no rows."}
        return {"status": "done", "message": ""} if is_met(rows) else None


def is_met(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an answer is one to go on with: the first cell is there, and neither false, zero nor empty.

    :param rows: As REST answers them: numbers may come as texts.
    """
    cell = next(iter(rows[0].values()), None) if rows else None
    if cell is None or isinstance(cell, bool):
        return bool(cell)
    text = str(cell).strip()
    try:
        return Decimal(text) != 0
    except InvalidOperation:
        return text.lower() not in ("", "false")
