"""Watching the slots: an alarm while there is time, and starting over when there is none."""

from __future__ import annotations

import logging

from lakehouse.replication.feeds import ReplicationError, declared
from lakehouse.replication.lag import SlotLag, measure
from lakehouse.replication.slots import resnapshot
from lakehouse.setup.changes import summary

_log = logging.getLogger(__name__)


class SlotAlarm(ReplicationError):
    """A slot is in danger of being lost, or lost."""


def watch(*, start_over: bool = False) -> list[SlotLag]:
    """Measure every declared slot; how fresh the charts are is not asked here, only whether the slot can keep up.

    Args:
        start_over: Make a lost or missing slot anew and have its tables loaded again, instead of an alarm.

    Returns:
        The lag of every slot.

    Raises:
        SlotAlarm: Naming every slot that is not well, and what to do.
        MetadataStoreError: When a source or the platform's database cannot be reached.
        AirbyteError: When a slot is to be started over and Airbyte refuses.
    """
    lags, alarms = [], []
    for feed in declared():
        lag = measure(feed, seconds=float("inf"))
        lags.append(lag)
        if start_over and lag.state in ("lost", "missing"):
            _log.warning("%s. Starting over:\n%s", lag.message, summary(resnapshot(feed)))
        elif lag.state != "ok":
            alarms.append(lag.message)
        else:
            _log.info("%s: %d bytes behind, %d bytes kept", lag.slot, lag.bytes, lag.retained_bytes)
    if alarms:
        raise SlotAlarm("; ".join(alarms))
    return lags
