"""How long the lake keeps what a stream brings, as ``streams.yml`` says it; ``lakehouse.expiry`` acts on it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

SyncMode = Literal["full_refresh", "incremental", "cdc"]
Days = int | Literal["forever"]
HOT_DAYS = 7
"""So many days of change data the hot views show: ``vars: hot_days`` of ``dbt_project.yml``."""
_MOST = 36_500


class Retention(BaseModel):
    """Days that the objects of one stream are kept; what is not given is as its sync mode has it.

    Args:
        landing: What a sync landed and no load has taken, since it was extracted.
        bronze: Partitions with their manifests, or change files, since the day they belong to. The newest partition
            stays, and so do change files that hot or cold need.
        quarantine: What does not fit the contract, since it was extracted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    landing: Days | None = None
    bronze: Days | None = None
    quarantine: Days | None = None

    @field_validator("landing", "bronze", "quarantine", mode="before")
    @classmethod
    def _days(cls, value: object) -> object:
        if value == "forever" or (type(value) is int and 1 <= value <= _MOST):
            return value
        raise ValueError(f"is no retention; allowed: a number of days from 1 to {_MOST}, or forever")

    def resolved(self, sync_mode: SyncMode) -> Retention:
        """Return the same with every value given.

        Args:
            sync_mode: Of the stream.

        Raises:
            ValueError: When a value would lose rows that are nowhere else.
        """
        given = {name: value for name, value in self if value is not None}
        for name, value in given.items():
            reason, allowed = _bound(sync_mode, name)
            if reason and value != "forever" and (not allowed or value < allowed):
                also = f"{allowed} days or more, " if allowed else ""
                raise ValueError(f"retention.{name} {value!r} of a stream of sync mode {sync_mode}: {reason}; "
                                 f"allowed: {also}forever")  # fmt: skip
        return Retention(**{**_DEFAULTS[sync_mode], **given})

    def first_day(self, area: Literal["landing", "bronze", "quarantine"], today: date) -> date | None:
        """Return the first day that is kept; None: all are.

        Args:
            area: Which of the three.
            today: The day that is counted from.
        """
        days = getattr(self, area)
        return today - timedelta(days=days) if isinstance(days, int) else None


_DEFAULTS: dict[SyncMode, dict[str, Days]] = {
    # Each sync is the whole; what is older is there to look back.
    "full_refresh": {"landing": 30, "bronze": 90, "quarantine": 90},
    "incremental": {"landing": "forever", "bronze": "forever", "quarantine": "forever"},
    "cdc": {"landing": "forever", "bronze": HOT_DAYS, "quarantine": "forever"},
}


def _bound(sync_mode: SyncMode, name: str) -> tuple[str, int]:
    """Return why a value must not be small, and the least it may be; 0: there is none."""
    if sync_mode == "incremental" and name == "bronze":
        return "a row that did not change since is in the partition of its day only", 0
    if sync_mode == "cdc" and name != "bronze":
        return "a change that waits there is nowhere else, and the log has moved on", 0
    if sync_mode == "cdc":
        return "the hot views show hot_days of dbt_project.yml", HOT_DAYS
    return "", 0
