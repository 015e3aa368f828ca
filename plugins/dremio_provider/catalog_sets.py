"""Applying a declared catalog: sources, spaces, folders, promoted tables and views, each only where it differs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from dremio_provider.exceptions import DremioConfigurationError, DremioError, DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import display_path, parse_path
from dremio_provider.plans import Action, Step, value_differences
from dremio_provider.sources import source_error

Kind = Literal["sources", "spaces", "folders", "tables", "views"]
# The order in which they can be created: what stands on something else comes after it.
KINDS: tuple[Kind, ...] = ("sources", "spaces", "folders", "tables", "views")
_ALLOWED: dict[str, frozenset[str]] = {
    "spaces": frozenset({"name", "description"}),
    "folders": frozenset({"path", "description"}),
    "tables": frozenset({"path", "format", "description"}),
    "views": frozenset({"path", "sql", "sql_context", "description"}),
}


def plan_catalog(
    hook: DremioHook,
    declared: Mapping[str, Sequence[Any]],
    *,
    resend_sources: Collection[str] = (),
) -> list[Step]:
    """What has to be done so that Dremio's catalog is as declared. What is not declared stays as it is.

    :param declared: ``sources``: the REST entity (``name``, ``type``, ``config``, ``metadataPolicy``, ..), where a
        value ``{"from_connection": "lake_s3.password"}`` is taken from an Airflow connection when it is sent;
        ``spaces``: ``{"name", "description"?}`` or a name; ``folders``: ``{"path", "description"?}`` or a path;
        ``tables``: ``{"path", "format": {"type": "Parquet"}, "description"?}``, a file or folder of a source that is to
        be a table; ``views``: ``{"path", "sql", "sql_context"?, "description"?}``.
    :param resend_sources: Names of sources whose secrets have changed: Dremio does not show secrets, so this cannot be
        found by comparing.
    :returns: One step for each object, in the order in which they can be created.
    :raises DremioConfigurationError: A declaration does not make sense.
    """
    unknown = sorted(set(declared) - set(KINDS))
    if unknown:
        raise DremioConfigurationError(
            f"The declared catalog has {', '.join(unknown)}.", check=f"allowed are {', '.join(KINDS)}."
        )
    steps: list[Step] = []
    for kind in KINDS:
        for item in declared.get(kind) or ():
            entry = _checked(kind, item)
            if kind == "sources":
                steps.append(_source(hook, entry, resend=str(entry["name"]) in resend_sources))
            else:
                steps.append(_PLANNERS[kind](hook, entry))
    return steps


def _checked(kind: str, item: Any) -> Mapping[str, Any]:
    key = "name" if kind in ("sources", "spaces") else "path"
    entry: Mapping[str, Any] = item if isinstance(item, Mapping) else {key: item}
    allowed = _ALLOWED.get(kind)
    odd = sorted(set(entry) - allowed) if allowed else []
    needed = {"sources": ("name", "type", "config"), "tables": ("path", "format"), "views": ("path", "sql")}
    missing = [name for name in needed.get(kind, (key,)) if not entry.get(name)]
    if odd or missing:
        said = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(odd)}"
        raise DremioConfigurationError(
            f"The entry {entry.get(key)!r} of the declared {kind} {said}.",
            check=f"allowed are {', '.join(sorted(allowed))}." if allowed and odd else "the declared catalog.",
        )
    return entry


def _source(hook: DremioHook, declared: Mapping[str, Any], *, resend: bool) -> Step:
    name = str(declared["name"])
    body = {"entityType": "source", **_resolved(declared)}
    found = hook.get_catalog_entity([name])
    if found is None:
        return Step("source", name, "created", carry_out=partial(_send_source, hook.create_catalog_entity, body))
    differences = value_differences(body, found)
    if not differences and not resend:
        return Step("source", name, "unchanged")
    changed = {**body, "id": found["id"], "tag": found.get("tag")}
    why = tuple(differences) or ("a value that Dremio does not show",)
    return Step("source", name, "updated", why, partial(_send_source, hook.update_catalog_entity, changed))


def _send_source(send: Callable[[Mapping[str, Any]], Any], body: Mapping[str, Any]) -> None:
    try:
        send(body)
    except DremioTerminalError as error:
        # Dremio connects before it answers, and tells the reason why it could not.
        raise source_error(str(body["name"]), error) from error


def _resolved(value: Any) -> Any:
    """Put the values of Airflow connections in the places of their references."""
    if isinstance(value, list | tuple):
        return [_resolved(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"from_connection"}:
        return _of_connection(str(value["from_connection"]))
    return {key: _resolved(item) for key, item in value.items()}


def _of_connection(reference: str) -> Any:
    from airflow.sdk import BaseHook
    from airflow.sdk.log import mask_secret

    conn_id, _, attribute = reference.partition(".")
    connection = BaseHook.get_connection(conn_id)
    if attribute.startswith("extra."):
        value = connection.extra_dejson.get(attribute.removeprefix("extra."))
    else:
        value = getattr(connection, attribute, None) if attribute in _ATTRIBUTES else None
    if value is None:
        raise DremioConfigurationError(
            f"The reference {reference!r} of the declared catalog has no value.",
            check=f"write it as <connection>.<attribute> with one of {', '.join(_ATTRIBUTES)} or extra.<name>, and "
            f"that the Airflow connection {conn_id!r} has it.",
        )
    mask_secret(value)
    return value


_ATTRIBUTES = ("host", "port", "login", "password", "schema")


def _space(hook: DremioHook, declared: Mapping[str, Any]) -> Step:
    body = {"entityType": "space", "name": str(declared["name"])}
    return _container(hook, [str(declared["name"])], body, declared)


def _folder(hook: DremioHook, declared: Mapping[str, Any]) -> Step:
    path = list(parse_path(declared["path"]))
    return _container(hook, path, {"entityType": "folder", "path": path}, declared)


def _container(hook: DremioHook, path: list[str], body: dict[str, Any], declared: Mapping[str, Any]) -> Step:
    found = hook.get_catalog_entity(path)
    kind = str(body["entityType"])
    if found is not None and found.get("entityType") != kind:
        raise _in_the_way(path, kind, found)
    create = partial(hook.create_catalog_entity, body) if found is None else None
    return _described(hook, kind, path, found, declared, (), create)


def _table(hook: DremioHook, declared: Mapping[str, Any]) -> Step:
    path = list(parse_path(declared["path"]))
    found = hook.get_catalog_entity(path)
    if found is None or found.get("entityType") != "dataset":
        promote = partial(hook.promote_dataset, path, declared["format"])
        return _described(hook, "table", path, None, declared, (), promote)
    if found.get("type") == "VIRTUAL_DATASET":
        raise _in_the_way(path, "table", {"entityType": "view"})
    differences = tuple(value_differences({"format": declared["format"]}, found))
    changed = {**found, "format": dict(declared["format"])}
    update = partial(hook.update_catalog_entity, changed) if differences else None
    return _described(hook, "table", path, found, declared, differences, update)


def _view(hook: DremioHook, declared: Mapping[str, Any]) -> Step:
    path = list(parse_path(declared["path"]))
    sql, context = str(declared["sql"]).strip().rstrip(";").rstrip(), list(declared.get("sql_context") or [])
    found = hook.get_catalog_entity(path)
    body: dict[str, Any] = {"entityType": "dataset", "type": "VIRTUAL_DATASET", "path": path, "sql": sql}
    body |= {"sqlContext": context} if context else {}
    if found is None:
        return _described(hook, "view", path, None, declared, (), partial(hook.create_catalog_entity, body))
    if found.get("type") != "VIRTUAL_DATASET":
        raise _in_the_way(path, "view", found)
    differences: tuple[str, ...] = () if str(found.get("sql") or "").split() == sql.split() else ("sql",)
    if context and context != list(found.get("sqlContext") or []):
        differences += ("sql_context",)
    changed = {**body, "id": found["id"], "tag": found.get("tag")}
    update = partial(hook.update_catalog_entity, changed) if differences else None
    return _described(hook, "view", path, found, declared, differences, update)


def _in_the_way(path: Sequence[str], kind: str, found: Mapping[str, Any]) -> DremioError:
    what = "table" if found.get("entityType") == "dataset" else found.get("entityType")
    return DremioConfigurationError(
        f"{display_path(path)} is declared as a {kind}, and in Dremio it is a {what}.",
        check="the declaration; what is in the way has to be removed by hand.",
    )


def _described(
    hook: DremioHook,
    kind: str,
    path: Sequence[str],
    found: Mapping[str, Any] | None,
    declared: Mapping[str, Any],
    differences: tuple[str, ...],
    change: Callable[[], Any] | None,
) -> Step:
    """The step for an object and its description (its wiki)."""
    text = str(declared.get("description") or "")
    describe = bool(text) and (found is None or hook.get_wiki(str(found["id"]))[0] != text)
    if describe and found is not None:
        differences = (*differences, "description")
    action: Action = "created" if found is None else "updated" if differences else "unchanged"

    def carry_out() -> None:
        entity = (change() if change else None) or found
        if describe:
            assert entity is not None
            hook.set_wiki(str(entity["id"]), text)

    return Step(kind, display_path(path), action, differences, None if action == "unchanged" else carry_out)


_PLANNERS: dict[str, Callable[[DremioHook, Mapping[str, Any]], Step]] = {
    "spaces": _space,
    "folders": _folder,
    "tables": _table,
    "views": _view,
}
