"""Trigger that watches reflections until each of them can accelerate, has failed, or the deadline has passed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from dremio_provider.exceptions import DremioError, DremioNotFoundError, DremioTransientError
from dremio_provider.hooks.dremio_async import DremioAsyncClient
from dremio_provider.protocol import FINAL_JOB_STATES, MAX_PAGE_ROWS, error_from_job
from dremio_provider.reflections import (
    IDLE_WAKE_UPS,
    RUNNING_REFRESHES_SQL,
    WAKE_UP_SECONDS,
    Baseline,
    ReflectionStatus,
    Watch,
    WatchSet,
    refresh_jobs,
)
from dremio_provider.refresh import cancel_path

# Airflow gives a trigger's on_kill little time, and none of its own.
KILL_SECONDS = 20.0


class DremioReflectionsTrigger(BaseTrigger):
    """Wait for many reflections at once, against the baselines taken before their refresh was asked for.

    Fires one event: ``{"status": "done" | "timeout" | "error", "results": {..}, "message": str}``. ``done`` says that
    every reflection has a verdict, not that every verdict is good.

    :param dremio_conn_id: Airflow connection; the trigger itself holds no secret.
    :param baselines: :meth:`Baseline.to_dict` of each reflection.
    :param requested_at: Unix time at which the refresh was asked for.
    :param deadline: Unix time at which waiting ends.
    :param poll_interval: Seconds between two looks.
    :param max_poll_errors: So many transient errors in a row end the waiting; single ones do not.
    :param idle_limit: Seconds a reflection may sit idle with old data before that means "nothing to do"; None waits for
        newer data until the deadline.
    :param cancel_on_kill: Whether killing the task cancels the refreshes that are running: not for who only watches.
    """

    def __init__(
        self,
        dremio_conn_id: str,
        baselines: Sequence[dict[str, Any]],
        requested_at: float,
        deadline: float,
        poll_interval: float = 2.0,
        max_poll_errors: int = 10,
        idle_limit: float | None = WAKE_UP_SECONDS * IDLE_WAKE_UPS,
        cancel_on_kill: bool = True,
    ) -> None:
        super().__init__()
        self.dremio_conn_id = dremio_conn_id
        self.baselines = list(baselines)
        self.requested_at = requested_at
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.max_poll_errors = max_poll_errors
        self.idle_limit = idle_limit
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, from which another triggerer builds the same trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "dremio_conn_id": self.dremio_conn_id,
                "baselines": self.baselines,
                "requested_at": self.requested_at,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "max_poll_errors": self.max_poll_errors,
                "idle_limit": self.idle_limit,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the open reflections until none is open."""
        watches = WatchSet(
            (Baseline(**baseline) for baseline in self.baselines), self.requested_at, self.deadline, self.idle_limit
        )
        try:
            async with await DremioAsyncClient.connect(self.dremio_conn_id) as client:
                await self._wait(client, watches)
        except DremioError as error:
            yield TriggerEvent({"status": "error", "message": str(error), "results": watches.results()})
            return
        timed_out = any(entry["outcome"] == "TIMED_OUT" for entry in watches.results().values())
        yield TriggerEvent({"status": "timeout" if timed_out else "done", "message": "", "results": watches.results()})

    async def on_kill(self) -> None:
        """Cancel the refreshes that are running, when somebody marks or clears the deferred task. One that Dremio has
        taken but not begun cannot be taken back."""
        if not self.cancel_on_kill:
            return
        async with asyncio.timeout(KILL_SECONDS), await DremioAsyncClient.connect(self.dremio_conn_id) as client:
            rows = await _rows(client, RUNNING_REFRESHES_SQL)
            for job_id, reflection_id in refresh_jobs(rows, [b["reflection_id"] for b in self.baselines]):
                self.log.info("Cancelling the Dremio job %s", job_id)
                try:
                    await client.request("POST", cancel_path(job_id, reflection_id))
                except DremioNotFoundError:
                    await client.request("POST", f"/api/v3/job/{job_id}/cancel")

    async def _wait(self, client: DremioAsyncClient, watches: WatchSet) -> None:
        errors = 0
        while True:
            try:
                await self._look(client, watches)
                errors = 0
            except DremioTransientError as error:
                errors += 1
                self.log.warning("Poll %s of %s failed: %s", errors, self.max_poll_errors, error)
                if errors >= self.max_poll_errors:
                    raise
            if watches.expire(time.time()):
                return
            await asyncio.sleep(self.poll_interval)

    async def _look(self, client: DremioAsyncClient, watches: WatchSet) -> None:
        pending = watches.pending()
        bodies = await asyncio.gather(
            *(client.get_reflection(watch.baseline.reflection_id) for watch in pending), return_exceptions=True
        )
        failures = [body for body in bodies if isinstance(body, BaseException)]
        seen = [(w, body) for w, body in zip(pending, bodies, strict=True) if not isinstance(body, BaseException)]
        statuses = [(watch, ReflectionStatus.from_api(body) if body is not None else None) for watch, body in seen]
        asked = [watch.baseline.reflection_id for watch, status in statuses if status and watch.needs_finished(status)]
        finished = await client.finished_times(asked) if asked else {}
        now = time.time()
        for watch, body in seen:
            self._judge(watch, body, finished.get(watch.baseline.reflection_id), now)
        if failures:
            raise failures[0]

    def _judge(self, watch: Watch, body: dict[str, Any] | None, finished: Any, now: float) -> None:
        status = ReflectionStatus.from_api(body, finished) if body is not None else None
        watch.observe(status, now)
        if watch.done:
            self.log.info("%s", watch)


async def _rows(client: DremioAsyncClient, sql: str) -> list[dict[str, Any]]:
    """The first page of a small query; the caller bounds the time."""
    job_id = (await client.request("POST", "/api/v3/sql", json={"sql": sql, "context": None}))["id"]
    job: dict[str, Any] = {}
    while job.get("jobState") not in FINAL_JOB_STATES:
        job = await client.request("GET", f"/api/v3/job/{job_id}")
        await asyncio.sleep(0.05)
    if job["jobState"] != "COMPLETED":
        raise error_from_job(job_id, job, client.settings, sql)
    page = await client.request("GET", f"/api/v3/job/{job_id}/results", params={"offset": 0, "limit": MAX_PAGE_ROWS})
    return list(page["rows"])
