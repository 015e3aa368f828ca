"""What applying the declared configuration did, and fingerprints of what cannot be read back."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lakehouse import metadata_store

Action = Literal["created", "updated", "unchanged", "skipped"]
_ITERATIONS = 100_000


@dataclass(frozen=True)
class Change:
    """What happened to one declared object.

    Args:
        system: "postgres", "elasticsearch", "airbyte", "dremio" or "superset".
        kind: What it is, such as "table" or "connection".
        name: Its name.
        action: "created", "updated", "unchanged", or "skipped" (cannot be applied yet).
        detail: What differed, or why it was skipped.
    """

    system: str
    kind: str
    name: str
    action: Action
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain values, for XCom."""
        return asdict(self)


def summary(changes: Sequence[Change]) -> str:
    """Return in words what was changed.

    Args:
        changes: What applying returned.
    """
    counts = Counter(change.action for change in changes)
    lines = [
        f"{change.action} {change.system} {change.kind} {change.name}{f': {change.detail}' if change.detail else ''}"
        for change in changes
        if change.action != "unchanged"
    ]
    if not counts["created"] and not counts["updated"]:
        head = f"nothing to change: {counts['unchanged']} objects are as declared"
    else:
        head = f"{counts['created']} created, {counts['updated']} updated, {counts['unchanged']} unchanged"
    return "\n".join([head + (f", {counts['skipped']} skipped" if counts["skipped"] else ""), *lines])


def same_as_applied(system: str, kind: str, name: str, value: Any) -> bool:
    """Tell whether a value is the one that was last applied.

    Args:
        system: The system it was applied to.
        kind: Kind of the object.
        name: Its name.
        value: The whole declared value, secrets included.
    """
    with metadata_store.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT fingerprint FROM applied_configuration WHERE system = %s AND kind = %s AND name = %s",
            (system, kind, name),
        )
        row = cursor.fetchone()
    if row is None:
        return False
    salt, _, kept = str(row[0]).partition(":")
    return hmac.compare_digest(kept, _salted(value, salt))


def remember_applied(system: str, kind: str, name: str, value: Any) -> None:
    """Keep the fingerprint of a value that was applied: a slow, salted one, because passwords are part of it.

    Args:
        system: The system it was applied to.
        kind: Kind of the object.
        name: Its name.
        value: The whole declared value, secrets included.
    """
    salt = os.urandom(16).hex()
    with metadata_store.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO applied_configuration (system, kind, name, fingerprint, applied_at) "
            "VALUES (%s, %s, %s, %s, NOW()) ON CONFLICT (system, kind, name) "
            "DO UPDATE SET fingerprint = EXCLUDED.fingerprint, applied_at = EXCLUDED.applied_at",
            (system, kind, name, f"{salt}:{_salted(value, salt)}"),
        )


def _salted(value: Any, salt: str) -> str:
    text = json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.pbkdf2_hmac("sha256", text, bytes.fromhex(salt), _ITERATIONS).hex()
