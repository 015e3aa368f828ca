"""The stock Airbyte operator, made to survive its own death and a sync that hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from lakehouse import exceptions
from lakehouse.airbyte import AirbyteError, ConfigApi, public_api
from lakehouse.sync_jobs import TakenSync, cancel_sync, newest_job, take_sync
from lakehouse.sync_watch import SyncWatch

from lakehouse_airbyte.progress import ProgressLog
from lakehouse_airbyte.triggers import AirbyteSyncTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

_STATE_KEY = "airbyte_sync"
_REPLACED_SECONDS = 2.0


class AirbyteRunSyncOperator(AirbyteTriggerSyncOperator):
    """Run a sync of an Airbyte connection exactly once, whatever dies on the way.

    As the stock operator, with the same arguments, and in addition:

    - A try that follows a crash waits for the sync that the crashed one has started, or takes its result; it neither
      starts a second one nor fails because one runs. Clearing the task asks for a new sync.
    - A sync of the connection that somebody else has started is waited for, not fought over.
    - Killing the task and either timeout cancel the sync, in deferrable mode too; a sync that somebody else has started
      is left alone. So is the sync of a try that outlives its scheduler, once Airflow has replaced it by another.
    - A sync whose records and bytes stand still is cancelled.
    - The number of the job, its rows and bytes go to XCom (``job_id`` at once; ``rows``, ``bytes`` at the end), and the
      number is what the task returns, in every mode.

    :param wait_seconds: Seconds between two looks, in deferrable mode too.
    :param timeout: Seconds after which the sync is cancelled.
    :param stalled_after: Seconds without a moving record or byte after which it is cancelled; None: no limit. Without
        ``config_conn_id`` only what the destination has committed moves: choose more than the time between two commits.
    :param config_conn_id: Airflow connection of Airbyte's Config API, for the progress of a running sync and for the
        reason of a failure; None: it is not asked.
    """

    template_fields: Sequence[str] = (*AirbyteTriggerSyncOperator.template_fields, "config_conn_id")

    def __init__(
        self, *, stalled_after: float | None = None, config_conn_id: str | None = None, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.stalled_after = stalled_after
        self.config_conn_id = config_conn_id
        self._killed = threading.Event()
        self._taken: TakenSync | None = None
        self._store: Any = None

    def execute(self, context: Context) -> int:
        """Run the sync, or wait for the one that is there; returns the number of its job.

        :raises SyncError: It did not succeed; see ``lakehouse.exceptions`` for the kinds.
        :raises AirbyteError: Airbyte cannot be reached or refuses.
        """
        deadline = time.time() + self.timeout
        api, self._api_for_kill = public_api(self.airbyte_conn_id), public_api(self.airbyte_conn_id)
        self._store = context.get("task_state_store")
        asked = self._asked_first(api, context["ti"].max_tries)
        taken = take_sync(
            api, self.connection_id, after_job=asked["after_job"], timeout=self.timeout, cancelled=self._killed
        )
        self._taken, self.job_id = taken, taken.job_id
        if taken.own and self._store is not None:
            self._store.set(_STATE_KEY, {**asked, "job_id": taken.job_id})
        context["ti"].xcom_push(key="job_id", value=taken.job_id)
        what = "Waiting for the sync that is there" if taken.attached else "Started a sync"
        self.log.info("%s: Airbyte job %d of connection %s", what, taken.job_id, self.connection_id)
        if self.asynchronous:
            return taken.job_id
        if self.deferrable:
            self._defer(taken, deadline)
        with ExitStack() as opened:
            config = (
                opened.enter_context(ConfigApi.from_connection(self.config_conn_id)) if self.config_conn_id else None
            )
            watch = SyncWatch(
                api, taken, config=config, timeout=deadline - time.time(), stalled_after=self.stalled_after
            )
            outcome = watch.wait(self.wait_seconds, self._killed, ProgressLog(self.log))
        return self._report(context, asdict(outcome))

    def execute_complete(self, context: Context, event: Any = None) -> int:
        """Judge what the trigger reported; result and errors as for :meth:`execute`."""
        if "error" in event:
            kinds: dict[str, type[Exception]] = {**vars(exceptions), "AirbyteError": AirbyteError}
            raise kinds.get(event["error"], AirbyteError)(event["message"])
        return self._report(context, event["outcome"])

    def on_kill(self) -> None:
        """End the waiting and cancel the sync, if it is this task's own and no other try waits for it."""
        own = self._taken is not None and self._taken.own
        if own and self._replaced():
            # Airflow ends this process in a moment, whatever it does; until then it looks on.
            self.log.info("Another try of this task takes over Airbyte job %d", self.job_id)
            return
        # A signal handler calls this in the thread that may hold the event's lock just now.
        threading.Thread(target=self._killed.set, daemon=True).start()
        if own:
            # Its own client: the signal may have come in the middle of a request of the other.
            self._cancel(self._api_for_kill, self.job_id)

    def _cancel(self, api: Any, job_id: int) -> None:
        self.log.info("Cancelling Airbyte job %d", job_id)
        try:
            cancel_sync(api, job_id)
        except AirbyteError as error:
            self.log.warning("Airbyte job %d could not be cancelled: %s", job_id, error)

    def _replaced(self) -> bool:
        """Tell whether this try is history: then Airflow finds no state for it, though it has kept some.

        A scheduler that takes over from a dead one starts its tasks anew, while they may be running still.
        """
        if self._store is None:
            return False
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # In a thread: the signal may have come in the middle of another request to Airflow.
        threading.Thread(target=lambda: answers.put(self._store.get(_STATE_KEY)), daemon=True).start()
        try:
            return answers.get(timeout=_REPLACED_SECONDS) is None
        except queue.Empty:
            return False

    def _asked_first(self, api: Any, max_tries: int) -> dict[str, Any]:
        """Return what was kept when this task first asked for the sync, for the tries that follow a crash.

        Its ``after_job`` is the newest job from before. Clearing a task raises ``max_tries``: what it has asked for
        before counts no more, and is cancelled if it runs still.
        """
        kept: Any = self._store.get(_STATE_KEY) if self._store is not None else None
        asked = {"connection_id": self.connection_id, "max_tries": max_tries}
        if isinstance(kept, dict) and {**kept, **asked} == kept:
            return kept
        if isinstance(kept, dict) and "job_id" in kept:
            self._cancel(api, kept["job_id"])
        asked["after_job"] = newest_job(api, self.connection_id)
        if self._store is not None:
            self._store.set(_STATE_KEY, asked)
        return asked

    def _defer(self, taken: TakenSync, deadline: float) -> None:
        if self.execution_timeout is not None:
            deadline = min(deadline, time.time() + self.execution_timeout.total_seconds())
        self.defer(
            trigger=AirbyteSyncTrigger(
                airbyte_conn_id=self.airbyte_conn_id,
                taken=asdict(taken),
                deadline=deadline,
                poll_interval=self.wait_seconds,
                stalled_after=self.stalled_after,
                config_conn_id=self.config_conn_id,
            ),
            method_name="execute_complete",
            # The trigger ends by itself; this only catches a triggerer that is gone.
            timeout=timedelta(seconds=max(0.0, deadline - time.time()) + 2 * self.wait_seconds + 60),
        )

    def _report(self, context: Context, outcome: dict[str, Any]) -> int:
        for name in ("rows", "bytes"):
            context["ti"].xcom_push(key=name, value=outcome[name])
        self.log.info(
            "Airbyte job %d: %s records, %.1f MB in %.1f s",
            outcome["job_id"],
            f"{outcome['rows']:,}",
            outcome["bytes"] / 1e6,
            outcome["seconds"],
        )
        return int(outcome["job_id"])
