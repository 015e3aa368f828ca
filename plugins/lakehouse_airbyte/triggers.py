"""Waiting for a sync in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async
from lakehouse.airbyte import AirbyteError, ConfigApi, public_api
from lakehouse.exceptions import SyncError
from lakehouse.sync_jobs import TakenSync, cancel_sync
from lakehouse.sync_watch import SyncWatch

from lakehouse_airbyte.progress import ProgressLog


class AirbyteSyncTrigger(BaseTrigger):
    """Look at a sync until it is over, too late or standing still; the latter two cancel it.

    Fires one event: ``{"outcome": {..}}`` with the fields of ``SyncOutcome``, or ``{"error": <class>, "message": ..}``.
    Every request is made in a thread, so that a slow Airbyte does not hold up the other triggers.

    :param airbyte_conn_id: Airflow connection of Airbyte's public API; the trigger itself holds no secret.
    :param taken: The fields of ``TakenSync``.
    :param deadline: Unix time at which waiting ends.
    :param poll_interval: Seconds between two looks.
    :param stalled_after: Seconds without a moving record or byte; None: no limit.
    :param config_conn_id: Airflow connection of the Config API; None: it is not asked.
    """

    def __init__(
        self,
        airbyte_conn_id: str,
        taken: dict[str, Any],
        deadline: float,
        poll_interval: float,
        stalled_after: float | None = None,
        config_conn_id: str | None = None,
    ) -> None:
        super().__init__()
        self.airbyte_conn_id = airbyte_conn_id
        self.taken = taken
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.stalled_after = stalled_after
        self.config_conn_id = config_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("airbyte_conn_id", "taken", "deadline", "poll_interval", "stalled_after", "config_conn_id")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to report."""
        with ExitStack() as opened:
            try:
                payload = await self._wait(opened)
            except (SyncError, AirbyteError) as error:
                payload = {"error": type(error).__name__, "message": str(error)}
            yield TriggerEvent(payload)

    async def on_kill(self) -> None:
        """Cancel the sync, if it is this task's own."""
        if self.taken["own"]:
            await sync_to_async(self._cancel, thread_sensitive=False)()

    async def _wait(self, opened: ExitStack) -> dict[str, Any]:
        # Not asyncio.to_thread: the connections come over the triggerer's own channel, which needs to know its loop.
        watch = await sync_to_async(self._watch, thread_sensitive=False)(opened)
        shown = ProgressLog(self.log)
        while True:
            outcome = await asyncio.to_thread(watch.look)
            shown(watch.progress)
            if outcome is not None:
                return {"outcome": {**asdict(outcome), "started_at": outcome.started_at.isoformat()}}
            await asyncio.sleep(self.poll_interval)

    def _watch(self, opened: ExitStack) -> SyncWatch:
        config = opened.enter_context(ConfigApi.from_connection(self.config_conn_id)) if self.config_conn_id else None
        return SyncWatch(
            public_api(self.airbyte_conn_id),
            TakenSync(**self.taken),
            config=config,
            timeout=self.deadline - time.time(),
            stalled_after=self.stalled_after,
        )

    def _cancel(self) -> None:
        try:
            cancel_sync(public_api(self.airbyte_conn_id), self.taken["job_id"])
        except AirbyteError as error:
            self.log.warning("Airbyte job %s could not be cancelled: %s", self.taken["job_id"], error)
