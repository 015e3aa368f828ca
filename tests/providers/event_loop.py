"""How long an event loop is held up, measured so that only what holds it up counts."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

BOUND = 0.050
# The machine itself can stall a process for longer than that; it does not do so each time, and a blocking call does.
SITTINGS = 3


def kept_waiting() -> float:
    """Seconds that this thread was ready to run and other processes had the processor (Linux; elsewhere zero)."""
    try:
        return int(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


class LagProbe:
    """How late the event loop comes back to a task that asks to be woken every few milliseconds, without the time that
    other processes took."""

    PERIOD = 0.005

    def __init__(self) -> None:
        self.worst = 0.0

    async def run(self) -> None:
        while True:
            asked, stolen = time.perf_counter(), kept_waiting()
            await asyncio.sleep(self.PERIOD)
            late = time.perf_counter() - asked - self.PERIOD
            self.worst = max(self.worst, late - (kept_waiting() - stolen))
