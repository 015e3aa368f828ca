"""Killing what writes to the lake between any two of its steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lakehouse.lake import Lake


class Killed(BaseException):
    """The process is gone: nothing catches this, as nothing catches SIGKILL."""


class DyingLake(Lake):
    """A lake whose user dies before the n-th change of the bucket; a deletion of several may stop half way."""

    def __init__(self, lake: Lake, survive: int) -> None:
        super().__init__(lake._client, lake.bucket)
        self._left = survive
        self._lock = threading.Lock()

    def _step(self) -> None:
        with self._lock:
            if self._left <= 0:
                raise Killed
            self._left -= 1

    def upload(self, path: Path, key: str, content_type: str = "application/octet-stream") -> None:
        if path.stat().st_size > 1 << 23:  # a smaller one is a put
            self._step()
        super().upload(path, key, content_type)

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        self._step()
        super().put(key, body, content_type)

    def copy(self, source: str, target: str) -> None:
        self._step()
        super().copy(source, target)

    def delete(self, doomed: Iterable[str]) -> int:
        count = 0
        for key in doomed:
            self._step()
            count += super().delete([key])
        return count


def rerun_after_every_kill(make: Callable[[], Lake], work: Callable[[Lake], Any], state: Callable[[Lake], Any]) -> int:
    """Kill at every step in turn, run again to the end, and compare with the run that nobody killed.

    Returns:
        How many steps there are.
    """
    undisturbed = make()
    work(undisturbed)
    steps = 0
    while True:
        lake = make()
        try:
            work(DyingLake(lake, steps))
        except Killed:
            work(lake)
            assert state(lake) == state(undisturbed), f"killed at step {steps}"
            steps += 1
        else:
            return steps
