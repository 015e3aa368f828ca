"""How far a sync is, in the log of the task."""

from __future__ import annotations

import time
from typing import Any

from lakehouse.sync_watch import Progress

EVERY_SECONDS = 10.0


class ProgressLog:
    """Logs the progress of a sync: every change of its state, and at most every ten seconds what has moved.

    :param log: The task's or the trigger's logger.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._status = ""
        self._rows = -1
        self._at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Log it, if it says something new."""
        now = time.monotonic()
        moved = progress.rows != self._rows and now - self._at >= EVERY_SECONDS
        if progress.status == self._status and not moved:
            return
        self._status, self._rows, self._at = progress.status, progress.rows, now
        rate = progress.rows / progress.seconds if progress.seconds >= 1 else 0
        self._log.info(
            "Airbyte job %d is %s: %s records, %.1f MB after %.0f s%s",
            progress.job_id,
            progress.status,
            f"{progress.rows:,}",
            progress.bytes / 1e6,
            progress.seconds,
            f" ({rate:,.0f} records/s)" if rate else "",
        )
