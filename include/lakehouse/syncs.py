"""What is kept of a sync once it is over: its log and where the connection now stands."""

from __future__ import annotations

from typing import Any

from lakehouse.airbyte import ConfigApi
from lakehouse.history import record_airbyte_state
from lakehouse.logs import ship_sync_logs
from lakehouse.setup.airbyte import connection_ids


def record_latest_sync(connection: str) -> dict[str, Any]:
    """Ship the log of a connection's newest sync, whether it went well or not, and keep the connection's state.

    Args:
        connection: Name of the Airbyte connection, one that ``include/airbyte`` declares.

    Returns:
        connection, connection_id, job_id (None when it never ran), lines, object_key, state_changed.

    Raises:
        AirbyteError: When Airbyte cannot be asked or does not know the connection.
        LogShippingError: When Elasticsearch does not take the lines.
        MetadataStoreError: When PostgreSQL cannot be reached.
    """
    connection_id = connection_ids()[connection]
    with ConfigApi.from_connection() as api:
        newest = api.sync_progress(connection_id)
    if newest is None:
        return {"connection": connection, "connection_id": connection_id, "job_id": None, "lines": 0}
    changed = record_airbyte_state(connection_id)
    shipped = ship_sync_logs(newest.job_id, connection_id)
    return {
        "connection": connection,
        "connection_id": connection_id,
        "state_changed": changed,
        **shipped.to_dict(),
    }
