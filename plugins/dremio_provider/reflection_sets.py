"""Applying a declared set of reflections: created where missing, updated where really different, else not touched.

Every update makes Dremio rebuild the reflection from nothing, so "different" is decided on what the server stored, not
on how it was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dremio_provider.exceptions import DremioConfigurationError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import display_path

_TYPES = {"raw": "RAW", "aggregation": "AGGREGATION"}
_FIELDS = (
    "displayFields",
    "dimensionFields",
    "measureFields",
    "partitionFields",
    "sortFields",
    "distributionFields",
)


@dataclass(frozen=True)
class ReflectionChange:
    """What was done about one declared reflection."""

    name: str
    dataset: str
    action: str
    reflection_id: str
    differences: list[str] = field(default_factory=list)


def apply_reflections(hook: DremioHook, declared: Sequence[Mapping[str, Any]]) -> list[ReflectionChange]:
    """Make Dremio's reflections as declared. Reflections that are not declared stay as they are.

    :param declared: ``{"name", "dataset", "type": "raw" | "aggregation", "display": [..] | "dimensions": [..] +
        "measures": [..], "partition_by"?, "sort_by"?, "distribute_by"?, "enabled"?}``; a dimension is a name or
        ``{"name", "granularity": "DATE" | "NORMAL"}``, a measure ``{"name", "functions": ["SUM", ..]}``.
    :returns: One change per declaration, in order; ``action`` is created, updated or unchanged.
    :raises DremioNotFoundError: A dataset does not exist.
    :raises DremioConfigurationError: A declaration does not make sense.
    """
    changes: list[ReflectionChange] = []
    existing: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in declared:
        body = reflection_body(entry)
        dataset = display_path(entry["dataset"])
        if dataset not in existing:
            existing[dataset] = {str(found["name"]): found for found in hook.list_reflections(dataset)}
        changes.append(_apply(hook, dataset, body, existing[dataset].get(str(entry["name"]))))
    return changes


def _apply(hook: DremioHook, dataset: str, body: dict[str, Any], found: dict[str, Any] | None) -> ReflectionChange:
    name = str(body["name"])
    if found is None:
        created = hook.create_reflection({**body, "datasetId": hook.dataset_id(dataset)})
        return ReflectionChange(name, dataset, "created", str(created["id"]))
    reflection_id = str(found["id"])
    differences = reflection_differences(body, found)
    if not differences:
        return ReflectionChange(name, dataset, "unchanged", reflection_id)
    hook.update_reflection({**body, "datasetId": found["datasetId"], "id": reflection_id, "tag": found["tag"]})
    return ReflectionChange(name, dataset, "updated", reflection_id, differences)


def reflection_body(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The REST body of a declaration, without ``datasetId``.

    :param entry: As for :func:`apply_reflections`.
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
