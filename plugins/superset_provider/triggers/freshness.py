"""Trigger that waits until dashboards show data that is new enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from superset_provider.exceptions import SupersetError, SupersetTransientError
from superset_provider.freshness import FreshnessRequest, FreshnessWatch
from superset_provider.hooks.superset_async import shared_hook


class SupersetDashboardFreshnessTrigger(BaseTrigger):
    """Look until all is fresh, or until the deadline, which is the trigger's own.

    Fires one event, ``{"status": "fresh" | "timeout" | "error", "message": str, "stale": [..], "transient": bool}``.

    :param superset_conn_id: Airflow connection; the trigger itself holds no secret.
    :param request: :meth:`FreshnessRequest.to_dict`.
    :param deadline: Unix time at which waiting ends. What is fresh at the last look counts, however late that is.
    :param poll_interval: Seconds between two looks.
    :param max_poll_errors: So many transient errors in a row end the waiting; single ones do not.
    """

    def __init__(
        self,
        superset_conn_id: str,
        request: Mapping[str, Any],
        deadline: float,
        poll_interval: float = 60.0,
        max_poll_errors: int = 10,
    ) -> None:
        super().__init__()
        self.superset_conn_id = superset_conn_id
        self.request = dict(request)
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.max_poll_errors = max_poll_errors

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "superset_conn_id": self.superset_conn_id,
            "request": self.request,
            "deadline": self.deadline,
            "poll_interval": self.poll_interval,
            "max_poll_errors": self.max_poll_errors,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to report."""
        event: dict[str, Any] = {"status": "fresh", "message": "", "stale": [], "transient": False}
        try:
            async with shared_hook(self.superset_conn_id) as hook:
                stale = await self._wait(FreshnessWatch(hook, FreshnessRequest(**self.request)))
            if stale:
                event.update(status="timeout", message="The deadline has passed.", stale=stale)
        except SupersetError as error:
            event.update(status="error", message=str(error), transient=isinstance(error, SupersetTransientError))
        yield TriggerEvent(event)

    async def _wait(self, watch: FreshnessWatch) -> list[str]:
        """Look again and again.

        :returns: What is too old at the deadline; empty when all is fresh.
        """
        errors = 0
        stale = ["nothing could be read"]
        while True:
            try:
                stale = await watch.look()
                errors = 0
            except SupersetTransientError as error:
                errors += 1
                self.log.warning("Look %s of %s failed: %s", errors, self.max_poll_errors, error)
                if errors >= self.max_poll_errors:
                    raise
            left = self.deadline - time.time()
            if not stale or left <= 0:
                return stale
            await asyncio.sleep(min(self.poll_interval, left))
