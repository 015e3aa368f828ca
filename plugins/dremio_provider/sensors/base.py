"""What the sensors have in common: wait in a worker, or hand over to a trigger."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, conf
from airflow.sdk.exceptions import AirflowSensorTimeout

from dremio_provider.exceptions import DremioTerminalError, DremioTransientError
from dremio_provider.protocol import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from airflow.sdk import Context

    from dremio_provider.triggers.polling import DremioPollingTrigger

# The trigger ends by itself; this only catches a triggerer that is gone.
GRACE_SECONDS = 60.0


class DremioSensor(BaseSensorOperator):
    """Base: a sensor looks once before it defers, and times out as stock sensors do.

    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param deferrable: Wait in the triggerer instead of in a worker.
    :param max_poll_errors: When deferred: so many transient errors in a row end the waiting; single ones do not.
    """

    template_fields: Sequence[str] = ("dremio_conn_id",)
    ui_color = "#d8f0f2"

    def __init__(
        self,
        *,
        dremio_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        max_poll_errors: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dremio_conn_id = dremio_conn_id
        self.deferrable = deferrable
        self.max_poll_errors = max_poll_errors

    @abstractmethod
    def trigger(self, deadline: float, **polling: Any) -> DremioPollingTrigger:
        """The trigger that waits for the same.

        :param deadline: Unix time.
        :param polling: How it polls.
        """

    def execute(self, context: Context) -> Any:
        """Wait.

        :raises AirflowSensorTimeout: It took longer than ``timeout``.
        :raises DremioError: What was waited for cannot come any more.
        """
        if not self.deferrable:
            return super().execute(context)
        deadline = time.time() + self.timeout
        if self.poke(context):
            return None
        return self.defer(
            trigger=self.trigger(deadline, poll_interval=self.poke_interval, max_poll_errors=self.max_poll_errors),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + 2 * self.poke_interval + GRACE_SECONDS),
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Judge what the trigger reported; errors as for :meth:`execute`."""
        if event["status"] == "timeout":
            raise AirflowSensorTimeout(f"{self.task_id} has waited for {self.timeout:g} s without success.")
        if event["status"] == "error":
            kind = DremioTransientError if event["transient"] else DremioTerminalError
            raise kind(f"Waiting for Dremio ended early. {event['message']}", check="Dremio's health.")
        return self.conclude(event)

    def conclude(self, event: dict[str, Any]) -> Any:
        """Judge what :meth:`DremioPollingTrigger.look` found."""
