"""The normal form of a dashboard: its layout and metadata, without the ids that charts have on one instance.

In files a chart's id is a number made from its uuid: Superset's importer wants numbers, and replaces them
(superset/commands/dashboard/importers/v1/utils.py: update_id_refs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# Computed by the frontend when a dashboard is opened or saved, partly from the data that was shown.
_COMPUTED = (
    "color_scheme_domain",
    "import_time",
    "map_label_colors",
    "positions",
    "remote_id",
    "shared_label_colors",
    "show_native_filters",
)
_EVERYWHERE = {"rootPath": ["ROOT_ID"], "excluded": []}
# The row that Superset's exporter makes for charts that no layout holds; its name is a new one each time.
_EXPORTED_ROW = re.compile(r"ROW-N-[A-Z0-9]{8}$")

Position = dict[str, Any]


def stable_id(chart_uuid: str) -> int:
    """The number that stands for a chart in files: 28 bits of its uuid."""
    return int(chart_uuid.replace("-", "")[:7], 16)


def chart_components(position: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every chart of a layout, as its component."""
    for component in position.values():
        if isinstance(component, dict) and component.get("type") == "CHART":
            yield component


def normal_dashboard(body: dict[str, Any], charts: Mapping[int, str]) -> dict[str, Any]:
    """A dashboard without what belongs to one instance.

    :param body: What a file or an export holds; is changed.
    :param charts: Ids of charts and their uuids, for layouts that name a chart by its id only.
    """
    position = body.get("position")
    ids: dict[int, int] = {}
    if isinstance(position, dict):
        for component in chart_components(position):
            meta = component.setdefault("meta", {})
            chart_uuid = meta.get("uuid") or charts.get(meta.get("chartId"))
            if chart_uuid:
                meta["uuid"] = str(chart_uuid)
                ids[meta.get("chartId")] = stable_id(meta["uuid"])
                meta["chartId"] = ids[meta["chartId"]] if "chartId" in meta else stable_id(meta["uuid"])
            meta.pop("sliceName", None)
        body["position"] = _normal_position(position)
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        body["metadata"] = _normal_metadata(metadata, ids)
    return body


def with_titles(position: Position, title: str, charts: Mapping[str, str]) -> Position:
    """A layout with the copies of titles that Superset keeps in it.

    :param position: A normal layout; is changed.
    :param title: Title of the dashboard.
    :param charts: Names of charts by uuid.
    """
    for component in chart_components(position):
        if component["meta"].get("uuid") in charts:
            component["meta"]["sliceName"] = charts[component["meta"]["uuid"]]
    if "HEADER_ID" in position:
        position["HEADER_ID"]["meta"] = {"text": title}
    return position


def _normal_position(position: Position) -> Position:
    position = _with_lasting_names(position)
    if isinstance(position.get("HEADER_ID"), dict):
        position["HEADER_ID"].pop("meta", None)
    _set_parents(position, "ROOT_ID", [])
    return position


def _with_lasting_names(position: Position) -> Position:
    """Give charts that no layout holds a lasting name; leave out those that a layout holds after all.

    Superset's exporter adds the charts of a dashboard that it does not find in the layout, under new names each time,
    and in a row of their own where there is a grid (superset/commands/dashboard/export.py: append_charts).
    """
    rows = [key for key in position if _EXPORTED_ROW.match(key)]
    for row in rows:
        del position[row]
    components = [component for component in position.values() if isinstance(component, dict)]
    for component in components:
        if component.get("children"):
            component["children"] = [child for child in component["children"] if child not in rows]
    held = {child for component in components for child in component.get("children") or ()}
    placed = {c["meta"].get("uuid") for c in chart_components(position) if c.get("id") in held}
    names = []
    for component in list(chart_components(position)):
        if component.get("id") in held:
            continue
        del position[component["id"]]
        chart_uuid = component["meta"].get("uuid")
        if chart_uuid and chart_uuid not in placed:
            names.append(f"CHART-{stable_id(chart_uuid)}")
            position[names[-1]] = {**component, "id": names[-1]}
    if rows and names:
        position["ROW-N-unplaced"] = {
            "children": sorted(names),
            "id": "ROW-N-unplaced",
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
            "type": "ROW",
        }
        position["GRID_ID"]["children"].append("ROW-N-unplaced")
    return position


def _set_parents(position: Position, name: str, parents: list[str]) -> None:
    """Write to every component what holds it: the scope of filters is found by it, and it follows from the rest."""
    component = position.get(name)
    if not isinstance(component, dict) or name in parents:
        return
    if parents:
        component["parents"] = parents
    for child in component.get("children") or ():
        _set_parents(position, child, [*parents, name])


def _normal_metadata(metadata: dict[str, Any], ids: Mapping[int, int]) -> dict[str, Any]:
    filters = metadata.get("native_filter_configuration")
    if isinstance(filters, list):
        for entry in filters:
            entry.pop("chartsInScope", None)
            entry.pop("tabsInScope", None)
            _excluded(entry.get("scope"), ids)
    if isinstance(metadata.get("global_chart_configuration"), dict):
        whole = metadata["global_chart_configuration"]
        whole.pop("chartsInScope", None)
        _excluded(whole.get("scope"), ids)
        if whole == {"scope": _EVERYWHERE}:
            del metadata["global_chart_configuration"]
    if isinstance(metadata.get("chart_configuration"), dict):
        metadata["chart_configuration"] = _cross_filters(metadata["chart_configuration"], ids)
    if isinstance(metadata.get("timed_refresh_immune_slices"), list):
        metadata["timed_refresh_immune_slices"] = _mapped(metadata["timed_refresh_immune_slices"], ids)
    for key in ("expanded_slices", "filter_scopes"):
        if isinstance(metadata.get(key), dict):
            metadata[key] = _renamed(metadata[key], ids)
    if isinstance(metadata.get("default_filters"), str):
        legacy = _renamed(json.loads(metadata["default_filters"] or "{}"), ids)
        metadata["default_filters"] = json.dumps(legacy, sort_keys=True) if legacy else None
    return {key: metadata[key] for key in metadata if key not in _COMPUTED and metadata[key] not in (None, "", [], {})}


def _excluded(scope: Any, ids: Mapping[int, int]) -> None:
    if isinstance(scope, dict) and isinstance(scope.get("excluded"), list):
        scope["excluded"] = _mapped(scope["excluded"], ids)


def _cross_filters(configuration: Mapping[str, Any], ids: Mapping[int, int]) -> dict[str, Any]:
    """Keep what a person chose: the frontend writes an entry for every chart, which says no more than "as usual"."""
    kept = {}
    for key, entry in _renamed(configuration, ids).items():
        crossed = entry.get("crossFilters") or {}
        crossed.pop("chartsInScope", None)
        if crossed.get("scope") == "global" and not entry.keys() - {"id", "crossFilters"}:
            continue
        _excluded(crossed.get("scope"), ids)
        kept[key] = {**entry, "id": int(key)}
    return kept


def _mapped(numbers: list[int], ids: Mapping[int, int]) -> list[int]:
    # What names a chart that is gone would make the importer fail.
    return sorted(ids[number] for number in numbers if number in ids)


def _renamed(entries: Mapping[str, Any], ids: Mapping[int, int]) -> dict[str, Any]:
    return {str(ids[int(key)]): entry for key, entry in entries.items() if key.isdigit() and int(key) in ids}
