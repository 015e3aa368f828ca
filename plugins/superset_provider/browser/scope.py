"""Where the charts of a dashboard are, and which filters apply to them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

ROOT = "ROOT_ID"


def layout_parents(position_json: str | None) -> dict[int, set[str]]:
    """For each chart the ids of all containers above it.

    :param position_json: JSON text of the dashboard.
    """
    layout = json.loads(position_json or "{}")
    above: dict[int, set[str]] = {}
    nodes = {key: node for key, node in layout.items() if isinstance(node, dict)}
    parent_of = {child: key for key, node in nodes.items() for child in node.get("children") or ()}
    for key, node in nodes.items():
        chart_id = (node.get("meta") or {}).get("chartId")
        if node.get("type") != "CHART" or chart_id is None:
            continue
        current: str | None = key
        parents = above.setdefault(int(chart_id), set())
        while (current := parent_of.get(current or "")) is not None and current not in parents:
            parents.add(current)
    return above


def in_scope(
    chart_id: int, root_path: Collection[str], excluded: Collection[int], parents: Mapping[int, set[str]]
) -> bool:
    """Whether a filter applies to a chart.

    :param root_path: Containers that the filter covers.
    :param excluded: Charts that it leaves out.
    :param parents: Result of :func:`layout_parents`.
    """
    if chart_id in excluded:
        return False
    if ROOT in root_path:
        return True
    return bool(parents.get(chart_id, set()) & set(root_path))
