"""How far a replication slot is behind its source, measured before the disk fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lakehouse import metadata_store
from lakehouse.replication.feeds import Feed, find_slot, session

BEHIND_SECONDS = 60.0
"""The architecture's bound from a change in the source to the live dashboard."""
BEHIND_SHARE = 0.5
"""Share of ``max_slot_wal_keep_size`` from which on a slot is in danger."""
UNBOUNDED_BYTES = 1024**3
"""How much log a slot may retain where the server sets no bound: its disk is the bound."""
_HISTORY_DAYS = 7

_RECORD = """
INSERT INTO replication_slot_history (connection, slot, wal_status, wal_position, confirmed_position, retained_bytes)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (connection, recorded_at) DO NOTHING
"""
_BEHIND_SINCE = """
SELECT extract(epoch FROM now() - min(recorded_at))::float8 FROM replication_slot_history
WHERE connection = %s AND slot = %s AND wal_position > %s::pg_lsn
"""


@dataclass(frozen=True)
class SlotLag:
    """How far a slot is behind its source.

    Args:
        connection: Name of the Airbyte connection.
        slot: Name of the slot.
        state: "ok", "behind" (beyond a threshold), "lost" (the log it needs is gone) or "missing".
        bytes: Log that was written since the position that Airbyte confirmed.
        retained_bytes: Log that the server keeps for the slot.
        limit_bytes: Log beyond which the slot is in danger.
        seconds: For how long at least there has been log that Airbyte has not confirmed, by the earlier measurements.
        message: What this means and what to do; empty if the state is "ok".
    """

    connection: str
    slot: str
    state: Literal["ok", "behind", "lost", "missing"]
    bytes: int = 0
    retained_bytes: int = 0
    limit_bytes: int = 0
    seconds: float = 0.0
    message: str = ""


def measure(feed: Feed, *, seconds: float = BEHIND_SECONDS, share: float = BEHIND_SHARE) -> SlotLag:
    """Measure one slot and note it in ``replication_slot_history``.

    Args:
        feed: Whose slot.
        seconds: From which age of unconfirmed log on the slot is behind.
        share: From which share of ``max_slot_wal_keep_size`` on it is.

    Returns:
        The lag, with a message if something has to be done.

    Raises:
        MetadataStoreError: When the source or the platform's database cannot be reached.
    """
    with session(feed) as cursor:
        found = find_slot(cursor, feed)
    start_over = (
        f"python -m lakehouse.replication resnapshot {feed.connection} makes it anew and loads the tables again"
    )
    if found is None:
        return SlotLag(feed.connection, feed.slot, "missing", message=f"slot {feed.slot} does not exist: {start_over}")
    _, _, wal_status, position, confirmed, behind, retained, keep = found
    with metadata_store.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(_RECORD, (feed.connection, feed.slot, wal_status, position, confirmed, retained))
        cursor.execute(
            "DELETE FROM replication_slot_history WHERE recorded_at < now() - make_interval(days => %s)",
            (_HISTORY_DAYS,),
        )
        cursor.execute(_BEHIND_SINCE, (feed.connection, feed.slot, confirmed or "0/0"))
        row = cursor.fetchone()
    since = float(row[0]) if row and row[0] is not None else 0.0
    limit = int(keep * share) if keep > 0 else UNBOUNDED_BYTES
    lag = SlotLag(feed.connection, feed.slot, "ok", int(behind or 0), int(retained or 0), limit, since)
    if wal_status == "lost":
        message = f"slot {feed.slot} is lost, changes are missing: {start_over}"
        return SlotLag(feed.connection, feed.slot, "lost", limit_bytes=limit, seconds=since, message=message)
    if lag.retained_bytes > limit or wal_status == "unreserved":
        bound = f"of {keep / 1e6:,.0f} MB after which the slot is lost" if keep > 0 else "without a bound but the disk"
        what = f"keeps {lag.retained_bytes / 1e6:,.0f} MB of the source's log, {bound}"
    elif since > seconds:
        what = f"has not been confirmed for {since:,.0f} s ({lag.bytes / 1e6:,.1f} MB)"
    else:
        return lag
    message = f"slot {feed.slot} {what}: see whether Airbyte connection {feed.connection} is synced, and how fast"
    return SlotLag(feed.connection, feed.slot, "behind", lag.bytes, lag.retained_bytes, limit, since, message)
