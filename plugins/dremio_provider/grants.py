"""Applying declared grants (Enterprise edition)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from dremio_provider.exceptions import DremioConfigurationError, DremioNotFoundError, DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import display_path
from dremio_provider.plans import Step

# Of a grantee in one object: ``{("ROLE", id): {"SELECT", ..}}``.
_Held = dict[tuple[str, str], set[str]]


def refuse_community(hook: DremioHook) -> None:
    """Grants are a matter of the Enterprise edition.

    :raises DremioTerminalError: This Dremio is of the community edition.
    """
    if hook.edition == "community":
        raise DremioTerminalError(
            "Grants exist only in Dremio's Enterprise edition, and this Dremio is of the community edition.",
            asked="GET /api/v3/catalog/{id}/grants",
            address=hook.address,
            check=f"edition of the Airflow connection {hook.settings.conn_id!r}; or let the task be skipped there "
            "(skip_on_community).",
        )


def plan_grants(
    hook: DremioHook, declared: Mapping[str, Sequence[Mapping[str, Any]]], *, revoke_undeclared: bool = False
) -> list[Step]:
    """What has to be done so that the grants are as declared.

    :param declared: ``{path: [{"role" or "user": name, "privileges": ["SELECT", ..]}, ..]}``.
    :param revoke_undeclared: Whether privileges on these objects that are not declared are taken away.
    :returns: One step for each object.
    :raises DremioNotFoundError: There is no such object, user or role.
    """
    refuse_community(hook)
    ids: dict[tuple[str, str], str] = {}
    return [_step(hook, path, wanted, ids, revoke_undeclared) for path, wanted in declared.items()]


def _step(
    hook: DremioHook,
    path: str,
    wanted: Sequence[Mapping[str, Any]],
    ids: dict[tuple[str, str], str],
    revoke_undeclared: bool,
) -> Step:
    entity = hook.get_catalog_entity(path) or hook.get_dataset(path)
    address = f"/api/v3/catalog/{quote(str(entity['id']), safe='')}/grants"
    answer = hook.request("GET", address)
    held: _Held = {
        (str(grant["granteeType"]), str(grant["id"])): set(grant["privileges"]) for grant in answer.get("grants", [])
    }
    names = {(str(g["granteeType"]), str(g["id"])): str(g.get("name") or g["id"]) for g in answer.get("grants", [])}
    declared: _Held = {}
    for entry in wanted:
        kind, name = _grantee(path, entry)
        if (kind, name) not in ids:
            ids[kind, name] = _id(hook, kind, name)
        grantee = (kind, ids[kind, name])
        names[grantee] = name
        declared.setdefault(grantee, set()).update(str(p).upper() for p in entry["privileges"])
    _refuse_unknown(path, declared, answer.get("availablePrivileges"))
    after = declared if revoke_undeclared else {g: held.get(g, set()) | declared.get(g, set()) for g in held | declared}
    differences = [
        f"{kind.lower()} {names[kind, gid]}: {word} {', '.join(sorted(privileges))}"
        for kind, gid in sorted(held.keys() | after.keys())
        for word, privileges in (
            ("grant", after.get((kind, gid), set()) - held.get((kind, gid), set())),
            ("revoke", held.get((kind, gid), set()) - after.get((kind, gid), set())),
        )
        if privileges
    ]
    if not differences:
        return Step("grants", display_path(path), "unchanged")
    body = [{"granteeType": k, "id": gid, "privileges": sorted(p)} for (k, gid), p in sorted(after.items()) if p]
    send = partial(hook.request, "PUT", address, json={"grants": body})
    return Step("grants", display_path(path), "updated", tuple(differences), send)


def _grantee(path: str, entry: Mapping[str, Any]) -> tuple[str, str]:
    kinds = [kind for kind in ("role", "user") if entry.get(kind)]
    if len(kinds) != 1 or not entry.get("privileges"):
        raise DremioConfigurationError(
            f"A grant on {path} is incomplete.", check='write it as {"role" or "user": name, "privileges": [..]}.'
        )
    return kinds[0].upper(), str(entry[kinds[0]])


def _id(hook: DremioHook, kind: str, name: str) -> str:
    try:
        return str(hook.request("GET", f"/api/v3/{kind.lower()}/by-name/{quote(name, safe='')}")["id"])
    except DremioNotFoundError as error:
        raise DremioNotFoundError(
            f"Dremio has no {kind.lower()} {name}.",
            **{**error.attrs(), "check": "its spelling, and that it exists before it is granted something."},
        ) from error


def _refuse_unknown(path: str, declared: _Held, available: Sequence[str] | None) -> None:
    unknown = sorted(set().union(*declared.values()) - set(available)) if available and declared else []
    if unknown:
        raise DremioConfigurationError(
            f"{', '.join(unknown)} cannot be granted on {path}.", check=f"allowed are {', '.join(available or ())}."
        )
