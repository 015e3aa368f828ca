"""Which edition of Dremio the server is: Enterprise does what the community edition refuses."""

from __future__ import annotations

import os

VARIABLE = "SANDBOX_DREMIO_EDITION"
EDITIONS = ("community", "enterprise")


def is_enterprise() -> bool:
    """Return whether ``SANDBOX_DREMIO_EDITION`` asks for the Enterprise Edition; the default is community.

    Raises:
        ValueError: if it names neither.
    """
    edition = os.environ.get(VARIABLE) or "community"
    if edition not in EDITIONS:
        raise ValueError(f"{VARIABLE} is [{edition}]: {', '.join(EDITIONS)} are valid.")
    return edition == "enterprise"
