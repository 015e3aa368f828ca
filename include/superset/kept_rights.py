"""Superset's security manager, with a memory of a second for what every chart of a page asks anew.

A dashboard asks for all its charts at once, and for each of them Superset asks its metadata database again and again
what the user's roles may, with joins over five tables: four tenths of what a cached chart costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from threading import Lock
from typing import Any

from cachetools import TTLCache, cachedmethod
from flask import g
from sqlalchemy.orm import joinedload
from superset.security import SupersetSecurityManager

KEPT_SECONDS = 1.0
"""So long a right or a row-level rule may act in a worker after it was taken away, or be missing after it was given."""
_MOST_KEPT = 10_000


def _by_permission(_: Any, view_name: str, permission_name: str, role_ids: Sequence[int]) -> tuple[Any, ...]:
    return "roles", view_name, permission_name, frozenset(role_ids)


def _by_public_permission(_: Any, permission_name: str, view_name: str) -> tuple[Any, ...]:
    return "public", view_name, permission_name


class KeptRightsSecurityManager(SupersetSecurityManager):  # type: ignore[misc]  # it is Superset's
    """Keep what roles may and which rows they see, never who somebody is and which roles they have.

    So a user who is deactivated or loses a role is refused at once, and a permission that a role loses, or a rule for
    its rows that changes, acts in every worker after at most ``KEPT_SECONDS``. Within a request a rule does not change:
    the key of a cached answer and the query that fills it have the same one.
    """

    def __init__(self, appbuilder: Any) -> None:
        super().__init__(appbuilder)
        self._kept: TTLCache[Any, Any] = TTLCache(_MOST_KEPT, KEPT_SECONDS)
        self._kept_lock = Lock()

    def get_user_by_id(self, pk: int) -> Any:
        """Return whom a request is of with all roles: one way to the database instead of three."""
        user, group = self.user_model, self.group_model
        roles = (joinedload(user.roles), joinedload(user.groups).joinedload(group.roles))
        return self.session.get(user, pk, options=roles)

    @cachedmethod(attrgetter("_kept"), key=_by_permission, lock=attrgetter("_kept_lock"))
    def exist_permission_on_roles(self, view_name: str, permission_name: str, role_ids: list[int]) -> bool:
        """Return whether one of the roles has the permission."""
        return bool(super().exist_permission_on_roles(view_name, permission_name, role_ids))

    @cachedmethod(attrgetter("_kept"), key=_by_public_permission, lock=attrgetter("_kept_lock"))
    def is_item_public(self, permission_name: str, view_name: str) -> bool:
        """Return whether everybody has the permission, logged in or not."""
        return bool(super().is_item_public(permission_name, view_name))

    def get_rls_filters(self, table: Any) -> list[Any]:
        """Return the row-level rules of the dataset for whom the request is of."""
        if getattr(g, "user", None) is None:
            return []
        roles = frozenset(role.id for role in self.get_user_roles(g.user))
        seen: dict[Any, list[Any]] = g.setdefault("kept_row_level_rules", {})
        if (key := ("rules", table.id, roles)) not in seen:
            seen[key] = self._rules(key, table)
        # Superset sorts what it gets in place.
        return list(seen[key])

    def _rules(self, key: Any, table: Any) -> list[Any]:
        with self._kept_lock:
            kept: list[Any] | None = self._kept.get(key)
        if kept is None:
            kept = super().get_rls_filters(table)
            with self._kept_lock:
                self._kept[key] = kept
        return kept
