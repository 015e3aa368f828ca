"""Trigger that watches reflections until each of them can accelerate, has failed, or the deadline has passed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import TriggerEvent

from dremio_provider.exceptions import DremioNotFoundError
from dremio_provider.hooks.dremio_async import DremioAsyncClient, shared_client
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
from dremio_provider.triggers.polling import DremioPollingTrigger

# Airflow gives a trigger's on_kill little time, and none of its own.
KILL_SECONDS = 20.0


class DremioReflectionsTrigger(DremioPollingTrigger):
    """Wait for many reflections at once, against the baselines taken before their refresh was asked for.

    Fires one event: ``{"status": "done" | "timeout" | "error", "message": str, "results": {..}}``. ``done`` says that
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
        super().__init__(dremio_conn_id, deadline, poll_interval, max_poll_errors)
        self.baselines = list(baselines)
        self.requested_at = requested_at
        self.idle_limit = idle_limit
        self.cancel_on_kill = cancel_on_kill
        self._watches = WatchSet(
            (Baseline(**baseline) for baseline in self.baselines), requested_at, deadline, idle_limit
        )

    def arguments(self) -> dict[str, Any]:
        """The arguments, as another triggerer needs them."""
        return {
            **super().arguments(),
            "baselines": self.baselines,
            "requested_at": self.requested_at,
            "idle_limit": self.idle_limit,
            "cancel_on_kill": self.cancel_on_kill,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the open reflections until none is open; whatever ends it, what is known of each is told."""
        async for event in super().run():
            if event.payload["status"] == "timeout":
                self._watches.expire(time.time())
            yield TriggerEvent({**event.payload, "results": self._watches.results()})

    async def on_kill(self) -> None:
        """Cancel the refreshes that are running, when somebody marks or clears the deferred task. One that Dremio has
        taken but not begun cannot be taken back."""
        if not self.cancel_on_kill:
            return
        async with asyncio.timeout(KILL_SECONDS), shared_client(self.dremio_conn_id) as client:
            rows = await client.execute_sql(RUNNING_REFRESHES_SQL, within=KILL_SECONDS)
            for job_id, reflection_id in refresh_jobs(rows, [b["reflection_id"] for b in self.baselines]):
                self.log.info("Cancelling the Dremio job %s", job_id)
                try:
                    await client.request("POST", cancel_path(job_id, reflection_id), idempotent=True)
                except DremioNotFoundError:
                    await client.cancel_job(job_id)

    async def look(self, client: DremioAsyncClient) -> dict[str, Any] | None:
        """Look at the open reflections.

        :returns: ``done`` or ``timeout`` when none is open any more.
        """
        pending = self._watches.pending()
        seen, failures = await self._bodies(client, pending)
        statuses = [(watch, ReflectionStatus.from_api(body) if body is not None else None) for watch, body in seen]
        asked = [watch.baseline.reflection_id for watch, status in statuses if status and watch.needs_finished(status)]
        finished = await client.finished_times(asked) if asked else {}
        now = time.time()
        for watch, body in seen:
            self._judge(watch, body, finished.get(watch.baseline.reflection_id), now)
        if failures:
            raise failures[0]
        if not self._watches.expire(now):
            return None
        outcomes = {entry["outcome"] for entry in self._watches.results().values()}
        return {"status": "timeout" if "TIMED_OUT" in outcomes else "done", "message": ""}

    @staticmethod
    async def _bodies(
        client: DremioAsyncClient, pending: list[Watch]
    ) -> tuple[list[tuple[Watch, dict[str, Any] | None]], list[BaseException]]:
        """What the server answers for each, and what went wrong for the others."""
        if len(pending) == 1:
            # Without a task of its own: a triggerer has thousands of these.
            return [(pending[0], await client.get_reflection(pending[0].baseline.reflection_id))], []
        bodies = await asyncio.gather(
            *(client.get_reflection(watch.baseline.reflection_id) for watch in pending), return_exceptions=True
        )
        failures = [body for body in bodies if isinstance(body, BaseException)]
        seen = [(w, body) for w, body in zip(pending, bodies, strict=True) if not isinstance(body, BaseException)]
        return seen, failures

    def _judge(self, watch: Watch, body: dict[str, Any] | None, finished: Any, now: float) -> None:
        status = ReflectionStatus.from_api(body, finished) if body is not None else None
        watch.observe(status, now)
        if watch.done:
            self.log.info("%s", watch)
