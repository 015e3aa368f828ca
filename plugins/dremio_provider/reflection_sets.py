"""Applying a declared set of reflections: created where missing, updated where really different, else not touched.

Every update makes Dremio rebuild the reflection from nothing, so "different" is decided on what the server stored, not
on how it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

from dremio_provider.exceptions import DremioConfigurationError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import display_path
from dremio_provider.plans import Step, carry_out

_TYPES = {"raw": "RAW", "aggregation": "AGGREGATION"}
_FIELDS = (
    "displayFields",
    "dimensionFields",
    "measureFields",
    "partitionFields",
    "sortFields",
    "distributionFields",
)


def apply_reflections(hook: DremioHook, declared: Sequence[Mapping[str, Any]], **options: bool) -> list[Step]:
    """Make Dremio's reflections as declared; arguments and errors as for :func:`plan_reflections`.

    :returns: What was done, one step per declaration, in order, then the deletions.
    """
    steps = plan_reflections(hook, declared, **options)
    carry_out(steps)
    return steps


def plan_reflections(
    hook: DremioHook,
    declared: Sequence[Mapping[str, Any]],
    *,
    delete_undeclared: bool = False,
    skip_missing: bool = False,
) -> list[Step]:
    """What has to be done so that Dremio's reflections are as declared.

    :param declared: ``{"name", "dataset", "type": "raw" | "aggregation", "display": [..] | "dimensions": [..] +
        "measures": [..], "partition_by"?, "sort_by"?, "distribute_by"?, "enabled"?}``; a dimension is a name or
        ``{"name", "granularity": "DATE" | "NORMAL"}``, a measure ``{"name", "functions": ["SUM", ..]}``.
    :param delete_undeclared: Whether reflections that are not declared, on datasets that are, go away.
    :param skip_missing: Whether a dataset that does not exist is passed over instead of refused.
    :returns: One step per declaration, in order, then the deletions.
    :raises DremioNotFoundError: A dataset does not exist.
    :raises DremioConfigurationError: A declaration does not make sense, or names columns that its dataset lacks.
    """
    _refuse_twins(declared)
    steps: list[Step] = []
    datasets: dict[str, dict[str, Any] | None] = {}
    existing: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in declared:
        body = reflection_body(entry)
        dataset = display_path(entry["dataset"])
        if dataset not in datasets:
            entity = hook.get_dataset(dataset, missing_ok=skip_missing)
            datasets[dataset] = entity
            found = hook.list_reflections_of(str(entity["id"])) if entity else []
            existing[dataset] = {str(reflection["name"]): reflection for reflection in found}
        steps.append(_step(hook, dataset, datasets[dataset], body, existing[dataset].pop(str(entry["name"]), None)))
    if delete_undeclared:
        for dataset, left in existing.items():
            steps += [_deletion(hook, dataset, reflection) for reflection in left.values()]
    return steps


def _refuse_twins(declared: Iterable[Mapping[str, Any]]) -> None:
    seen: set[tuple[str, str]] = set()
    for entry in declared:
        key = (display_path(entry["dataset"]), str(entry["name"]))
        if key in seen:
            raise DremioConfigurationError(
                f"The reflection {key[1]!r} on {key[0]} is declared twice.", check="the declared reflections."
            )
        seen.add(key)


def _step(
    hook: DremioHook,
    dataset: str,
    entity: Mapping[str, Any] | None,
    body: dict[str, Any],
    found: dict[str, Any] | None,
) -> Step:
    label = f"{dataset}.{body['name']}"
    if entity is None:
        return Step("reflection", label, "skipped", (f"dataset {dataset} does not exist yet",))
    _refuse_lost_columns(label, dataset, entity, body)
    if found is None:
        create = partial(hook.create_reflection, {**body, "datasetId": entity["id"]})
        return Step("reflection", label, "created", carry_out=create)
    differences = reflection_differences(body, found)
    if not differences:
        return Step("reflection", label, "unchanged")
    changed = {**body, "datasetId": found["datasetId"], "id": found["id"], "tag": found["tag"]}
    return Step("reflection", label, "updated", tuple(differences), partial(hook.update_reflection, changed))


def _deletion(hook: DremioHook, dataset: str, reflection: Mapping[str, Any]) -> Step:
    delete: Callable[[], Any] = partial(hook.delete_reflection, str(reflection["id"]))
    return Step("reflection", f"{dataset}.{reflection['name']}", "deleted", ("it is not declared",), delete)


def _refuse_lost_columns(label: str, dataset: str, entity: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    lost = lost_columns(entity, body)
    if lost:
        raise DremioConfigurationError(
            f"The reflection {label} names columns that {dataset} does not have: {lost}.",
            check=f"the declaration, and whether a change of {dataset} has taken the columns away; it has "
            f"{', '.join(str(column['name']) for column in entity['fields'])}.",
        )


def lost_columns(entity: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """The columns that a reflection names and its dataset does not have, with those that come near; empty when all are
    there, and where Dremio does not show the columns.

    :param entity: The dataset, as the catalog shows it.
    :param body: The reflection, as the REST API writes it.
    """
    columns = {str(column["name"]).lower(): str(column["name"]) for column in entity.get("fields") or ()}
    named = {str(item["name"]) for key in _FIELDS for item in body.get(key) or ()}
    lost = sorted(name for name in named if name.lower() not in columns) if columns else []
    near = {name: [columns[match] for match in get_close_matches(name.lower(), columns, n=2)] for name in lost}
    return ", ".join(f"{name} (near: {', '.join(near[name])})" if near[name] else name for name in lost)


def reflection_body(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The REST body of a declaration, without ``datasetId``.

    :param entry: As for :func:`plan_reflections`.
    :raises DremioConfigurationError: The type is unknown or the columns are missing.
    """
    where = f"Reflection {entry.get('name')!r} on {entry.get('dataset')!r}"
    kind = _TYPES.get(str(entry.get("type", "")).lower())
    if kind is None:
        raise DremioConfigurationError(
            f"{where} has type {entry.get('type')!r}.", check=f"allowed are {', '.join(_TYPES)}."
        )
    body: dict[str, Any] = {
        "entityType": "reflection",
        "type": kind,
        "name": str(entry["name"]),
        "enabled": bool(entry.get("enabled", True)),
        "arrowCachingEnabled": bool(entry.get("arrow_cache", False)),
        "partitionDistributionStrategy": str(entry.get("partition_strategy") or "CONSOLIDATED").upper(),
    }
    if kind == "RAW":
        body["displayFields"] = _columns(entry.get("display"))
        needed = body["displayFields"]
    else:
        body["dimensionFields"] = [_dimension(item) for item in entry.get("dimensions") or ()]
        body["measureFields"] = [_measure(item) for item in entry.get("measures") or ()]
        needed = body["dimensionFields"] or body["measureFields"]
    if not needed:
        raise DremioConfigurationError(
            f"{where} names no columns.",
            check="a raw reflection needs display, an aggregation dimensions or measures.",
        )
    for key, source in (
        ("partitionFields", "partition_by"),
        ("sortFields", "sort_by"),
        ("distributionFields", "distribute_by"),
    ):
        if entry.get(source):
            body[key] = _columns(entry[source])
    return body


def _columns(items: Sequence[Any] | None) -> list[dict[str, Any]]:
    return [{"name": item} if isinstance(item, str) else dict(item) for item in items or ()]


def _dimension(item: Any) -> dict[str, Any]:
    if isinstance(item, str):
        return {"name": item, "granularity": "DATE"}
    return {"name": item["name"], "granularity": str(item.get("granularity") or "DATE").upper()}


def _measure(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": item["name"], "measureTypeList": [str(name).strip().upper() for name in item["functions"]]}


def reflection_differences(body: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What a stored reflection has otherwise than declared, in words; empty when there is nothing to do.

    The server leaves empty lists out and fills in granularities and partition transforms: that is no difference. The
    order of sort columns and partitions matters, that of displayed columns, dimensions and measures does not.
    """
    differences = [
        f"{key}: {found.get(key)!r} -> {body[key]!r}"
        for key, default in (
            ("type", None),
            ("enabled", True),
            ("arrowCachingEnabled", False),
            ("partitionDistributionStrategy", "CONSOLIDATED"),
        )
        if found.get(key, default) != body[key]
    ]
    for key in _FIELDS:
        before, after = _normal(key, found.get(key)), _normal(key, body.get(key))
        if before != after:
            differences.append(f"{key}: {before!r} -> {after!r}")
    return differences


def _normal(key: str, items: Sequence[Mapping[str, Any]] | None) -> list[Any]:
    normal = [_normal_item(key, item) for item in items or ()]
    return normal if key in ("partitionFields", "sortFields") else sorted(normal)


def _normal_item(key: str, item: Mapping[str, Any]) -> tuple[str, ...]:
    name = str(item["name"])
    if key == "dimensionFields":
        return name, str(item.get("granularity") or "DATE")
    if key == "measureFields":
        return name, ",".join(sorted(item.get("measureTypeList") or ()))
    if key == "partitionFields":
        transform: Mapping[str, Any] = item.get("transform") or {"type": "IDENTITY"}
        bucket = (transform.get("bucketTransform") or {}).get("bucketCount", "")
        truncate = (transform.get("truncateTransform") or {}).get("truncateLength", "")
        return name, str(transform.get("type") or "IDENTITY"), str(bucket), str(truncate)
    return (name,)
