"""The position in the log as Airbyte saves it: in the shared part of a global state, as Debezium's offset.

The form is source-postgres's: https://github.com/airbytehq/airbyte/issues/26492
"""

from __future__ import annotations

import json
from typing import Any


def state(database: str, lsn: int) -> dict[str, Any]:
    """Return the shared state for a position.

    Args:
        database: name of the database, which Debezium knows a server by.
        lsn: the position.
    """
    server = json.dumps([database, {"server": database}], separators=(",", ":"))
    return {"state": {server: json.dumps({"transaction_id": None, "lsn": lsn}, separators=(",", ":"))}}


def position(shared: dict[str, Any] | None) -> int | None:
    """Return the position that a shared state holds, None if there is no state.

    Raises:
        ValueError: if it is not one of source-postgres.
    """
    if not shared:
        return None
    try:
        (text,) = shared["state"].values()
        return int(json.loads(text)["lsn"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it needs one offset of Debezium's with lsn, not {sorted(shared)}") from error
