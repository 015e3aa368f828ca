"""What all triggers that look at one thing of Dremio again and again have in common."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from dremio_provider.exceptions import DremioError, DremioTransientError
from dremio_provider.hooks.dremio_async import DremioAsyncClient, shared_client


class DremioPollingTrigger(BaseTrigger):
    """Look until there is something to report, or until the deadline, which is the trigger's own.

    Fires one event, ``{"status": .., "message": str, ..}``: what :meth:`look` found, or ``timeout``, or ``error`` with
    ``transient`` saying whether a retry may help.

    :param dremio_conn_id: Airflow connection; the trigger itself holds no secret.
    :param deadline: Unix time at which waiting ends. What is ready at the last look counts, however late that is.
    :param poll_interval: Seconds between two looks.
    :param max_poll_errors: So many transient errors in a row end the waiting; single ones do not.
    """

    def __init__(
        self, dremio_conn_id: str, deadline: float, poll_interval: float = 2.0, max_poll_errors: int = 10
    ) -> None:
        super().__init__()
        self.dremio_conn_id = dremio_conn_id
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.max_poll_errors = max_poll_errors

    def arguments(self) -> dict[str, Any]:
        """The arguments that another triggerer builds the same trigger from; JSON-serialisable."""
        return {
            "dremio_conn_id": self.dremio_conn_id,
            "deadline": self.deadline,
            "poll_interval": self.poll_interval,
            "max_poll_errors": self.max_poll_errors,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments()

    def about(self) -> dict[str, Any]:
        """What every event carries, whatever it reports."""
        return {}

    @abstractmethod
    async def look(self, client: DremioAsyncClient) -> dict[str, Any] | None:
        """Look once.

        :returns: The event's payload, or None to look again later.
        """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to report."""
        try:
            async with shared_client(self.dremio_conn_id) as client:
                payload = await self._wait(client)
        except DremioError as error:
            transient = isinstance(error, DremioTransientError)
            payload = {"status": "error", "message": str(error), "transient": transient}
        yield TriggerEvent({**self.about(), **payload})

    async def _wait(self, client: DremioAsyncClient) -> dict[str, Any]:
        errors = 0
        while True:
            try:
                payload = await self.look(client)
                errors = 0
            except DremioTransientError as error:
                errors += 1
                self.log.warning("Poll %s of %s failed: %s", errors, self.max_poll_errors, error)
                if errors >= self.max_poll_errors:
                    raise
                payload = None
            if payload is not None:
                return payload
            left = self.deadline - time.time()
            if left <= 0:
                return {"status": "timeout", "message": "The deadline has passed."}
            await asyncio.sleep(min(self.poll_interval, left))
