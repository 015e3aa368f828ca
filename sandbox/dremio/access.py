"""Users, roles and privileges, which only the Enterprise Edition has; nothing is enforced, the one login may do all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import Any

from sandbox.dremio.catalog import Catalog
from sandbox.dremio.entities import Entity, Folder, Source, Space, Table, View, new_id
from sandbox.dremio.errors import ValidationError
from sandbox.dremio.store import Store

Json = dict[str, Any]

SETTING = "access"
ROLE, USER = "ROLE", "USER"
_DATASET = ("ALTER", "ALTER_REFLECTION", "MANAGE_GRANTS", "SELECT", "VIEW_REFLECTION")
_WRITES = ("DELETE", "DROP", "INSERT", "TRUNCATE", "UPDATE")
_CONTAINER = (*_DATASET, *_WRITES, "CREATE_FOLDER", "CREATE_TABLE", "CREATE_VIEW", "EXTERNAL_QUERY", "MODIFY")


def available(entity: Entity) -> tuple[str, ...]:
    """Return the privileges that can be granted on an object."""
    if isinstance(entity, View):
        return _DATASET
    return tuple(sorted((*_DATASET, *_WRITES) if isinstance(entity, Table) else _CONTAINER))


class Access:
    """Who exists and who was granted what.

    Args:
        store: keeps everything over a restart.
        catalog: holds what privileges are granted on.
        user: the user who logs in.
    """

    def __init__(self, store: Store, catalog: Catalog, user: str) -> None:
        self._store = store
        self._catalog = catalog
        self._lock = threading.RLock()
        saved = store.setting(SETTING)
        state: Json = json.loads(saved) if saved else {}
        self._named: dict[str, dict[str, str]] = state.get("named", {USER: {}, ROLE: {}})
        self._members: list[list[str]] = state.get("members", [])
        self._grants: dict[str, list[list[str]]] = state.get("grants", {})
        self._named[USER].setdefault(user, new_id())
        self._named[ROLE].setdefault("PUBLIC", new_id())
        catalog.on_delete(self._forget)

    def _save(self) -> None:
        state = {"named": self._named, "members": self._members, "grants": self._grants}
        self._store.put_setting(SETTING, json.dumps(state))

    def _forget(self, entity: Entity) -> None:
        with self._lock:
            if self._grants.pop(entity.id, None) is not None:
                self._save()

    # -- users and roles

    def create(self, kind: str, name: str) -> str:
        """Create a user or a role and return its identifier.

        Raises:
            ValidationError: if there is one of that name.
        """
        with self._lock:
            if name in self._named[kind]:
                raise ValidationError(f"{kind.capitalize()} [{name}] already exists.")
            self._named[kind][name] = new_id()
            self._save()
            return self._named[kind][name]

    def drop(self, kind: str, name: str) -> None:
        """Delete a user or a role with everything granted to it.

        Raises:
            ValidationError: if there is none.
        """
        with self._lock:
            self.identifier(kind, name)
            del self._named[kind][name]
            self._members = [m for m in self._members if m[:2] != [kind, name] and (kind != ROLE or m[2] != name)]
            for entity, grants in self._grants.items():
                self._grants[entity] = [grant for grant in grants if grant[:2] != [kind, name]]
            self._save()

    def identifier(self, kind: str, name: str) -> str:
        """Return the identifier of a user or role.

        Raises:
            ValidationError: if there is none of that name.
        """
        found = self._named[kind].get(name)
        if found is None:
            raise ValidationError(f"{kind.capitalize()} {name} does not exist.")
        return found

    def name(self, kind: str, identifier: str) -> str | None:
        """Return the name that belongs to an identifier, None if it is unknown."""
        return next((name for name, known in self._named.get(kind, {}).items() if known == identifier), None)

    def set_member(self, role: str, kind: str, name: str, *, member: bool) -> None:
        """Make a user or role a member of a role, or end that.

        Raises:
            ValidationError: if one of them does not exist.
        """
        with self._lock:
            self.identifier(ROLE, role)
            self.identifier(kind, name)
            self._members = [m for m in self._members if m != [kind, name, role]]
            if member:
                self._members.append([kind, name, role])
            self._save()

    # -- privileges

    def grant(self, entities: Iterable[Entity], privileges: Iterable[str], kind: str, name: str) -> None:
        """Grant privileges on objects.

        Raises:
            ValidationError: if the grantee does not exist or an object has no such privilege.
        """
        with self._lock:
            try:
                self.identifier(kind, name)
            except ValidationError as error:
                raise ValidationError(f"Grant on catalog entity failed. {error.message}") from error
            for entity in entities:
                for privilege in self._expanded(entity, privileges):
                    entry = [kind, name, privilege]
                    if entry not in self._grants.setdefault(entity.id, []):
                        self._grants[entity.id].append(entry)
            self._save()

    def revoke(self, entities: Iterable[Entity], privileges: Iterable[str], kind: str, name: str) -> None:
        """Take privileges back; one that was not granted is no error.

        Raises:
            ValidationError: if the grantee does not exist.
        """
        with self._lock:
            self.identifier(kind, name)
            for entity in entities:
                gone = [[kind, name, privilege] for privilege in self._expanded(entity, privileges)]
                self._grants[entity.id] = [g for g in self._grants.get(entity.id, []) if g not in gone]
            self._save()

    def _expanded(self, entity: Entity, privileges: Iterable[str]) -> list[str]:
        possible = available(entity)
        wanted = list(privileges)
        if "ALL" in wanted:
            return list(possible)
        for privilege in wanted:
            if privilege not in possible:
                raise ValidationError(f"Privilege [{privilege}] cannot be granted on [{'.'.join(entity.path)}].")
        return wanted

    def of(self, entity: Entity) -> list[Json]:
        """Return the grants on an object as the REST API lists them, one for each grantee."""
        grouped: dict[tuple[str, str], list[str]] = {}
        for kind, name, privilege in self._grants.get(entity.id, []):
            grouped.setdefault((kind, name), []).append(privilege)
        return [
            {"privileges": privileges, "granteeType": kind, "id": self._named[kind][name], "name": name}
            for (kind, name), privileges in grouped.items()
        ]

    def replace(self, entity: Entity, grants: list[tuple[list[str], str, str]]) -> None:
        """Give an object these grants and no others.

        Args:
            entity: the object.
            grants: privileges, kind of grantee and name of grantee.

        Raises:
            ValidationError: if a grantee does not exist or the object has no such privilege; nothing is changed then.
        """
        with self._lock:
            before = self._grants.pop(entity.id, [])
            try:
                for privileges, kind, name in grants:
                    self.grant([entity], privileges, kind, name)
            except ValidationError:
                self._grants[entity.id] = before
                raise
            self._save()

    # -- system tables

    def privilege_rows(self) -> list[Json]:
        """Return the rows of sys.privileges."""
        rows = []
        for identifier, grants in self._grants.items():
            entity = self._catalog.by_id(identifier)
            if entity is None:
                continue
            place = {"object_id": ".".join(entity.path), "object_type": _object_type(entity)}
            rows += [
                {"grantee_id": name, "grantee_type": kind.lower(), "privilege": privilege, **place}
                for kind, name, privilege in grants
            ]
        return rows

    def role_rows(self) -> list[Json]:
        """Return the rows of sys.roles."""
        return [
            {"role_id": identifier, "role_name": name, "role_type": "SYSTEM" if name == "PUBLIC" else "INTERNAL"}
            for name, identifier in self._named[ROLE].items()
        ]

    def member_rows(self) -> list[Json]:
        """Return the rows of sys.membership."""
        return [
            {"role_name": role, "member_name": name, "member_type": kind.lower()} for kind, name, role in self._members
        ]


def _object_type(entity: Entity) -> str:
    if isinstance(entity, View | Table):
        return "VDS" if isinstance(entity, View) else "PDS"
    return {Source: "SOURCE", Space: "SPACE", Folder: "FOLDER"}[type(entity)]
