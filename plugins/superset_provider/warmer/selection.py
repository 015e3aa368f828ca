"""Which dashboards a warm-up is about: by name, by tag, by owner, or everything on some datasets."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from superset_provider.exceptions import SupersetConfigurationError, SupersetError, SupersetNotFoundError
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.warmer.request import PageAddress

_PERMALINK = re.compile(r"(?:.*/)?p/([^/?#]+)/?(?:[?#].*)?$")
SHOWN_NAMES = 10


@dataclass(frozen=True)
class Selection:
    """What to look for. Tags, owners and datasets narrow each other; within one of them any match is enough. Dashboards
    and permalinks come on top.

    :param dashboards: Slugs, uuids or ids.
    :param permalinks: Addresses (``.../superset/dashboard/p/<key>/``) or keys of permalinks.
    :param tags: Names of tags.
    :param owners: E-mail addresses, full names or ids of owners.
    :param datasets: ``schema.table`` or ``database.schema.table``, uuids or ids.
    """

    dashboards: Sequence[str | int] = ()
    permalinks: Sequence[str] = ()
    tags: Sequence[str] = ()
    owners: Sequence[str | int] = ()
    datasets: Sequence[str | int] = ()

    @property
    def empty(self) -> bool:
        """Whether it names nothing."""
        return not (self.dashboards or self.permalinks or self.searches)

    @property
    def searches(self) -> bool:
        """Whether dashboards are looked for, not named."""
        return bool(self.tags or self.owners or self.datasets)


@dataclass(frozen=True)
class Selected:
    """What was found.

    :param url: Address of the first dashboard.
    :param dashboards: By their ids, those that had to be read for it.
    """

    pages: tuple[PageAddress, ...]
    url: str
    dashboards: Mapping[int, Mapping[str, Any]]


async def select(hook: SupersetAsyncHook, selection: Selection) -> Selected:
    """Find the dashboards.

    :raises SupersetNotFoundError: Something that was named does not exist, or nothing was found.
    """
    named = list(await asyncio.gather(*(hook.get_dashboard(name) for name in selection.dashboards)))
    paths = [str(entry.get("url") or f"/superset/dashboard/{entry['id']}/") for entry in named]
    pages = [PageAddress(int(entry["id"])) for entry in named]
    for address in selection.permalinks:
        key = permalink_key(address)
        named.append(await hook.get_dashboard((await _permalink(hook, key))["dashboardId"]))
        pages.append(PageAddress(int(named[-1]["id"]), key))
        paths.append(f"/superset/dashboard/p/{key}/")
    if selection.searches:
        for entry in await _search(hook, selection):
            pages.append(PageAddress(int(entry["id"])))
            paths.append(str(entry.get("url") or f"/superset/dashboard/{entry['id']}/"))
    dashboards = {int(entry["id"]): entry for entry in named}
    return Selected(tuple(dict.fromkeys(pages)), hook.address + paths[0], dashboards)


def permalink_key(address: str) -> str:
    """The key of a permalink.

    :param address: The key, or an address that ends in ``/p/<key>/``.
    :raises SupersetConfigurationError: It is another address.
    """
    found = _PERMALINK.match(address)
    if found:
        return found[1]
    if "/" in address or not address:
        raise SupersetConfigurationError(
            f"{address!r} is no permalink of a dashboard.", check="an address that ends in /p/<key>/, or the key alone."
        )
    return address


async def _permalink(hook: SupersetAsyncHook, key: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = await hook.request("GET", f"/api/v1/dashboard/permalink/{key}")
    except SupersetError as error:
        # A key that is none of its own makes Superset 6.1.0 answer 500 (DashboardPermalinkGetFailedError).
        if error.status_code not in (404, 500):
            raise
        raise SupersetNotFoundError(
            f"Superset has no permalink {key!r}.",
            asked=error.asked,
            address=hook.address,
            received=error.received,
            check="the address that 'Share > Copy permalink' gives; an edited key is none.",
        ) from error
    return found


async def _search(hook: SupersetAsyncHook, selection: Selection) -> list[dict[str, Any]]:
    """The published dashboards that match; a draft is nobody's morning."""
    candidates = [entry for entry in await hook.list_dashboards() if entry.get("published")]
    if selection.tags:
        known = {str(tag["name"]) for entry in candidates for tag in entry.get("tags") or ()}
        _refuse_unknown("tag", selection.tags, known)
        candidates = [e for e in candidates if {str(tag["name"]) for tag in e.get("tags") or ()} & {*selection.tags}]
    if selection.owners:
        wanted = {str(owner).strip().lower() for owner in selection.owners}
        known = {name for entry in candidates for owner in entry.get("owners") or () for name in owner_names(owner)}
        _refuse_unknown("owner", sorted(wanted), known)
        candidates = [e for e in candidates if any(wanted & owner_names(owner) for owner in e.get("owners") or ())]
    if selection.datasets:
        ids = match_datasets(await hook.list_datasets(), selection.datasets)
        related = await asyncio.gather(
            *(hook.request("GET", f"/api/v1/dataset/{dataset_id}/related_objects") for dataset_id in ids)
        )
        on_them = {int(found["id"]) for entry in related for found in entry["dashboards"]["result"]}
        candidates = [entry for entry in candidates if int(entry["id"]) in on_them]
    if not candidates and not (selection.dashboards or selection.permalinks):
        raise SupersetNotFoundError(
            "No published dashboard matches.",
            address=hook.address,
            check=f"{_described(selection)}; drafts are warmed only when they are named.",
        )
    return candidates


def _described(selection: Selection) -> str:
    parts = (("tags", selection.tags), ("owners", selection.owners), ("datasets", selection.datasets))
    return " and ".join(f"{name} {list(values)!r}" for name, values in parts if values)


def owner_names(owner: Mapping[str, Any]) -> set[str]:
    """What an owner may be called, in lower case."""
    full = f"{owner.get('first_name') or ''} {owner.get('last_name') or ''}".strip()
    return {str(name).lower() for name in (owner.get("id"), owner.get("email"), full) if name}


def _refuse_unknown(kind: str, wanted: Iterable[str], known: Collection[str]) -> None:
    for name in wanted:
        if name not in known:
            raise SupersetNotFoundError(
                f"No published dashboard has the {kind} {name!r}.",
                check=f"the {kind}; {_near(name, known)}.",
            )


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3) or sorted(known)[:SHOWN_NAMES]
    return f"there are {', '.join(map(repr, near))}" if near else "there is none at all"


def match_datasets(datasets: Sequence[Mapping[str, Any]], wanted: Sequence[str | int]) -> list[int]:
    """Ids of the datasets that are meant.

    :param datasets: ``GET /api/v1/dataset/``.
    :param wanted: ``table``, ``schema.table``, ``database.schema.table``, uuids or ids; a short name must be the only
        one of its kind.
    :raises SupersetNotFoundError: There is none, with those that come near.
    :raises SupersetConfigurationError: The name means several datasets.
    """
    by_name: dict[str, set[int]] = {}
    for entry in datasets:
        for name in _dataset_names(entry):
            by_name.setdefault(name.lower(), set()).add(int(entry["id"]))
    found: list[int] = []
    for name in map(str, wanted):
        ids = by_name.get(name.strip().lower(), set())
        if not ids:
            full = {_dataset_names(entry)[-1].lower() for entry in datasets}
            raise SupersetNotFoundError(
                f"Superset has no dataset {name!r}, or this user may not see it.",
                check=f"the name (schema.table or database.schema.table); {_near(name.lower(), full)}.",
            )
        if len(ids) > 1:
            several = sorted(_dataset_names(entry)[-1] for entry in datasets if int(entry["id"]) in ids)
            raise SupersetConfigurationError(
                f"The dataset name {name!r} means {len(ids)} datasets.", check=f"one of {', '.join(several)}."
            )
        found.extend(ids)
    return list(dict.fromkeys(found))


def _dataset_names(entry: Mapping[str, Any]) -> list[str]:
    """Id, uuid, and the table's name with ever more in front of it; the last is the full one."""
    parts = [
        str(part)
        for part in ((entry.get("database") or {}).get("database_name"), entry.get("catalog"), entry.get("schema"))
        if part
    ]
    path = [*parts, str(entry["table_name"])]
    without_catalog = [".".join([parts[0], *path[2:]])] if entry.get("catalog") and parts else []
    tails = [".".join(path[start:]) for start in range(len(path) - 1, -1, -1)]
    return [str(entry["id"]), str(entry.get("uuid")), *without_catalog, *tails]
