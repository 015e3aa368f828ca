"""Applying what is declared under ``include`` to the systems of the platform, as often as one likes.

One module for each system; each has an ``apply`` that creates what is missing, changes what differs, leaves the rest
alone and says what it did.
"""

from __future__ import annotations

from importlib import import_module

from lakehouse.setup.changes import Change, summary

__all__ = ["SYSTEMS", "Change", "apply", "summary"]

# In this order: PostgreSQL keeps the fingerprints of what is applied to the others.
SYSTEMS = ("postgres", "elasticsearch", "airbyte", "dremio", "superset")


def apply(system: str) -> list[Change]:
    """Apply everything that is declared for one system.

    Args:
        system: One of ``SYSTEMS``.

    Returns:
        What was done, object by object.

    Raises:
        ValueError: When there is no such system.
    """
    if system not in SYSTEMS:
        raise ValueError(f"there is no system {system!r}; allowed: {', '.join(SYSTEMS)}")
    changes: list[Change] = import_module(f"lakehouse.setup.{system}").apply()
    return changes
