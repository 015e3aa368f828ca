"""What a DAG's retry policy has to know by name; importable without pyarrow, as every task parses its DAG first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ContractViolation(ValueError):
    """What landed does not fit its contract; it waits in quarantine.

    Args:
        message: What happened to which stream, and what to do.
        loads: What was done with every stream of the source, as ``lakehouse.bronze`` reports it.
    """

    def __init__(self, message: str, loads: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.loads = tuple(loads)


class RowCountMismatch(RuntimeError):
    """Fewer rows have landed than Airbyte says it has committed, or more than can be explained."""


class SyncError(RuntimeError):
    """A sync did not succeed."""


class SyncFailed(SyncError):
    """Airbyte says that the sync has failed, or somebody has cancelled it there."""


class SyncMisconfigured(SyncFailed):
    """The sync has failed because of what is configured (Airbyte's config_error): trying again does not help."""


class SyncStalled(SyncError):
    """No record and no byte has moved for too long."""


class SyncTimedOut(SyncError):
    """The sync took longer than it may."""


class SyncStopped(SyncError):
    """The caller has given the sync up."""
