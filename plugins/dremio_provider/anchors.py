"""Which reflections are meant, and which tables have to be refreshed for them, found by asking a running Dremio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from dremio_provider.exceptions import DremioConfigurationError, DremioNotFoundError, DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import display_path, parse_path, sql_literal
from dremio_provider.reflections import FINISHED_SQL, Baseline, ReflectionStatus


@dataclass(frozen=True)
class Target:
    """A reflection to refresh."""

    reflection_id: str
    name: str
    dataset: str
    dataset_id: str
    dataset_type: str


def find_targets(
    hook: DremioHook,
    reflections: Sequence[str | Mapping[str, str]] | None,
    datasets: Sequence[str] | None,
) -> list[Target]:
    """Resolve names to reflections.

    :param reflections: Names, unique in this Dremio, or ``{"dataset", "name"}``.
    :param datasets: Paths; every enabled reflection on them is meant.
    :returns: Each reflection once, in the order given.
    :raises DremioNotFoundError: Names which names and datasets do not exist, all of them at once.
    :raises DremioConfigurationError: A bare name stands for several reflections.
    """
    targets: dict[str, Target] = {}
    missing: list[str] = []
    bare = [item for item in reflections or () if isinstance(item, str)]
    by_name = _by_name(hook, bare) if bare else {}
    for item in reflections or ():
        if isinstance(item, str):
            found = by_name.get(item, [])
            if len(found) > 1:
                raise DremioConfigurationError(
                    f"The reflection name {item!r} stands for {len(found)} reflections: "
                    + ", ".join(sorted(target.dataset for target in found))
                    + ".",
                    address=hook.address,
                    check='name the dataset as well: {"dataset": .., "name": ..}.',
                )
        else:
            found = [t for t in _on_dataset(hook, item["dataset"], only_enabled=False) if t.name == item["name"]]
        if not found:
            missing.append(item if isinstance(item, str) else f"{item['dataset']}.{item['name']}")
        targets.update({target.reflection_id: target for target in found})
    for dataset in datasets or ():
        targets.update({target.reflection_id: target for target in _on_dataset(hook, dataset, only_enabled=True)})
    if missing:
        raise DremioNotFoundError(
            f"Dremio has no reflection {', '.join(missing)}.",
            address=hook.address,
            status_code=404,
            check=f"the names{_near(hook, missing)}, and whether the declared reflections have been applied to this "
            "Dremio.",
        )
    return list(targets.values())


def _near(hook: DremioHook, missing: Sequence[str]) -> str:
    rows = hook.execute_sql("SELECT reflection_name FROM sys.reflections").rows
    names = {str(row["reflection_name"]).lower(): str(row["reflection_name"]) for row in rows}
    found = {names[name] for item in missing for name in get_close_matches(item.rpartition(".")[2].lower(), names)}
    return f" (near: {', '.join(sorted(found))})" if found else ""


def _by_name(hook: DremioHook, names: Sequence[str]) -> dict[str, list[Target]]:
    literals = ", ".join(sql_literal(name) for name in sorted(set(names)))
    rows = hook.execute_sql(
        f"SELECT reflection_id, reflection_name FROM sys.reflections WHERE reflection_name IN ({literals})"  # noqa: S608  # literals are quoted above; REST takes no parameters
    ).rows
    found: dict[str, list[Target]] = {}
    for row in rows:
        reflection = hook.get_reflection(str(row["reflection_id"]))
        entity = hook.get_catalog_entity_by_id(str(reflection["datasetId"]))
        if entity is not None:
            found.setdefault(str(row["reflection_name"]), []).append(_target(reflection, entity))
    return found


def _on_dataset(hook: DremioHook, dataset: str, *, only_enabled: bool) -> list[Target]:
    entity = hook.get_dataset(dataset)
    return [
        _target(reflection, entity)
        for reflection in hook.list_reflections_of(str(entity["id"]))
        if reflection.get("enabled", True) or not only_enabled
    ]


def _target(reflection: Mapping[str, Any], entity: Mapping[str, Any]) -> Target:
    return Target(
        reflection_id=str(reflection["id"]),
        name=str(reflection["name"]),
        dataset=display_path(entity["path"]),
        dataset_id=str(entity["id"]),
        dataset_type=str(entity.get("type", "")),
    )


def find_anchors(hook: DremioHook, targets: Sequence[Target]) -> dict[str, dict[str, str]]:
    """The tables whose refresh refreshes these reflections (community edition).

    A reflection on a table is anchored on it. One on a view is anchored on the tables that Dremio recorded when it
    built it, followed through other reflections (``sys.reflection_dependencies``). Before its first refresh a
    reflection has no record, and needs none: Dremio starts the first refresh by itself.

    :returns: ``{reflection id: {table id: path}}``; empty for a reflection without a record.
    :raises DremioTerminalError: All tables recorded for a reflection are gone.
    """
    dependencies = _dependencies(hook) if any(t.dataset_type != "PHYSICAL_DATASET" for t in targets) else {}
    known: dict[tuple[str, str], dict[str, Any] | None] = {}
    anchors: dict[str, dict[str, str]] = {}
    gone: set[str] = set()
    for target in targets:
        if target.dataset_type == "PHYSICAL_DATASET":
            anchors[target.reflection_id] = {target.dataset_id: target.dataset}
            continue
        recorded = _tables_below(target.reflection_id, dependencies)
        for table in recorded - known.keys():
            known[table] = _find_table(hook, *table)
        found = [e for table in sorted(recorded) if (e := known[table]) and e.get("type") != "VIRTUAL_DATASET"]
        anchors[target.reflection_id] = {str(entity["id"]): display_path(entity["path"]) for entity in found}
        if recorded and not found:
            gone.update(path or table_id for table_id, path in recorded)
    if gone:
        raise DremioTerminalError(
            f"The tables these reflections were built from are gone: {', '.join(sorted(gone))}.",
            address=hook.address,
            check="whether the run that creates them succeeded; or name their successors as anchors of the operator.",
        )
    return anchors


def _find_table(hook: DremioHook, table_id: str, path: str) -> dict[str, Any] | None:
    entity = hook.get_catalog_entity_by_id(table_id)
    # A table that was dropped and created again has a new id at the old path.
    return hook.get_catalog_entity(path) if entity is None and path else entity


def _dependencies(hook: DremioHook) -> dict[str, list[dict[str, Any]]]:
    rows = hook.execute_sql(
        "SELECT reflection_id, dependency_id, dependency_type, dependency_path FROM sys.reflection_dependencies"
    ).rows
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(str(row["reflection_id"]), []).append(row)
    return grouped


def _tables_below(reflection_id: str, dependencies: Mapping[str, Sequence[Mapping[str, Any]]]) -> set[tuple[str, str]]:
    tables: set[tuple[str, str]] = set()
    seen: set[str] = set()
    todo = [reflection_id]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for row in dependencies.get(current, ()):
            if str(row["dependency_type"]).upper() == "REFLECTION":
                todo.append(str(row["dependency_id"]))
            else:
                tables.add((str(row["dependency_id"]), _written_path(row.get("dependency_path"))))
    return tables


def _written_path(value: Any) -> str:
    # Dremio writes the path dotted and quoted; some versions hand out the list of parts.
    if isinstance(value, list | tuple):
        return display_path([str(part) for part in value])
    text = str(value or "").strip()
    if text.startswith("[") and text.endswith("]"):
        return display_path([part.strip() for part in text[1:-1].split(",")])
    return display_path(parse_path(text)) if text else ""


def take_baselines(hook: DremioHook, targets: Sequence[Target]) -> tuple[list[Baseline], list[str]]:
    """Remember the state of the reflections before a refresh.

    :returns: The baselines, and the labels of those that are being refreshed at this moment.
    """
    statuses = {t.reflection_id: hook.get_reflection(t.reflection_id) for t in targets}
    without = [rid for rid, body in statuses.items() if not (body.get("status") or {}).get("lastRefreshFinished")]
    finished = finished_times(hook, without)
    baselines: list[Baseline] = []
    active: list[str] = []
    for target in targets:
        status = ReflectionStatus.from_api(statuses[target.reflection_id], finished.get(target.reflection_id))
        baseline = Baseline.take(target.reflection_id, target.name, target.dataset, status)
        baselines.append(baseline)
        if status.active and not baseline.dead_end:
            active.append(baseline.label)
    return baselines, active


def finished_times(hook: DremioHook, reflection_ids: Sequence[str]) -> dict[str, Any]:
    """When each reflection's newest materialization was finished, from ``sys.materializations``."""
    if not reflection_ids:
        return {}
    rows = hook.execute_sql(finished_sql(reflection_ids)).rows
    return {str(row["reflection_id"]): row["last_refresh_finished"] for row in rows}


def finished_sql(reflection_ids: Sequence[str]) -> str:
    """The query behind :func:`finished_times`."""
    return FINISHED_SQL.format(ids=", ".join(sql_literal(rid) for rid in reflection_ids))
