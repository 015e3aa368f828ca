"""Change data capture at the source: publication and slot, how far the slot is behind, and starting over.

A replication slot keeps the source's log until its consumer has confirmed it. One that nobody reads fills the source's
disk, or, where ``max_slot_wal_keep_size`` bounds it, is lost: then changes are missing, and the tables have to be read
again. So the slots are created here, measured here, and made anew here.
"""

from __future__ import annotations

from lakehouse.replication.feeds import Feed, ReplicationError, declared
from lakehouse.replication.lag import SlotLag, measure
from lakehouse.replication.slots import apply, resnapshot, set_up
from lakehouse.replication.watch import SlotAlarm, watch

__all__ = [
    "Feed", "ReplicationError", "SlotAlarm", "SlotLag", "apply", "declared", "measure", "resnapshot", "set_up", "watch",
]  # fmt: skip
