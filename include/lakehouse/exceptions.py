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
