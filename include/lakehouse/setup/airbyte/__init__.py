"""Airbyte: the sources, destinations and connections of ``include/airbyte``, through its official client.

Nothing is deleted: what is not declared is nobody's business here. Streams, sync modes and cursors of a connection, and
how it is tuned, come from ``include/config/streams.yml``.
"""

from __future__ import annotations

from lakehouse.airbyte import AirbyteError, every, public_api
from lakehouse.setup.airbyte.declared import read
from lakehouse.setup.airbyte.planning import Planner, Step, by_name
from lakehouse.setup.changes import Change

__all__ = ["Step", "apply", "connection_ids", "plan"]


def plan() -> list[Step]:
    """Compare what is declared with what Airbyte has; nothing is changed.

    Returns:
        One step for each connector definition, source, destination and connection, in the order of applying.

    Raises:
        ConfigError: When a file says something that is not allowed.
        AirbyteError: When Airbyte cannot be reached, or has two objects of one name.
    """
    return Planner(public_api(), read()).steps


def apply() -> list[Change]:
    """Create or change what differs, and only that.

    Returns:
        One change for each object.

    Raises:
        ConfigError: When a file says something that is not allowed. Nothing has been changed then.
        AirbyteError: When Airbyte refuses something.
    """
    steps = plan()
    for step in steps:
        step.carry_out()
    return [step.change for step in steps]


def connection_ids() -> dict[str, str]:
    """Return the ids of the declared connections that are applied.

    Returns:
        Connection name -> connection id.

    Raises:
        AirbyteError: When a declared connection is not there.
    """
    found = by_name(every(public_api().connections.list_connections), "connections")
    names = [connection.name for connection in read().connections]
    missing = [name for name in names if name not in found]
    if missing:
        raise AirbyteError(f"Airbyte has no connection {', '.join(missing)}: run platform_setup first")
    return {name: str(found[name]["connectionId"]) for name in names}
