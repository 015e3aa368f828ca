"""When a failed attempt is followed by another one of the same job: Airbyte's rule, with a laptop's patience."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sandbox.serving import fail

_PREFIX = "SYNC_JOB_RETRIES_COMPLETE_FAILURES_"


@dataclass(frozen=True)
class Retries:
    """How often and how soon a failed attempt is repeated.

    The settings have the names that a real Airbyte reads from its environment. Its own defaults are 5 attempts, 10 s to
    30 minutes apart: too long to wait for when something on a laptop is wrong. Nothing of a failed attempt is kept
    here, so that every failure is a complete one.

    Attributes:
        max_successive: how many attempts a job has at most.
        min_seconds: how long to wait after the first failure.
        max_seconds: how long to wait at most.
        base: by how much the waiting grows from failure to failure.
    """

    max_successive: int = 3
    min_seconds: float = 1.0
    max_seconds: float = 60.0
    base: float = 3.0

    @classmethod
    def from_environment(cls) -> Retries:
        """Read the settings; what is not set has its default.

        Raises:
            SystemExit: with code 2 and one line that names the variable, if a value is not a number above zero.
        """
        return cls(
            int(_number("MAX_SUCCESSIVE", cls.max_successive)),
            _number("BACKOFF_MIN_INTERVAL_S", cls.min_seconds),
            _number("BACKOFF_MAX_INTERVAL_S", cls.max_seconds),
            _number("BACKOFF_BASE", cls.base),
        )

    def delay(self, failures: int, failure_type: str) -> float | None:
        """Return the seconds to wait for the next attempt, None if there is none.

        Args:
            failures: how many attempts have failed.
            failure_type: how the last one failed; a ``config_error`` fails again until somebody changes something.
        """
        if failures >= self.max_successive or failure_type == "config_error":
            return None
        return min(self.min_seconds * self.base ** (failures - 1), self.max_seconds)


def _number(name: str, default: float) -> float:
    raw = os.environ.get(_PREFIX + name, "") or str(default)
    try:
        value = float(raw)
    except ValueError:
        value = 0.0
    if value <= 0:
        fail(f"{_PREFIX}{name}={raw!r} is not a number above zero.")
    return value
