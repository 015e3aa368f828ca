"""Where the charts of a dashboard are, and which of them a filter covers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

ROOT = "ROOT_ID"
_GRID = "GRID_ID"


class Layout:
    """The containers above each chart.

    As in superset-frontend/src/dashboard/actions/hydrate.ts, a chart that belongs to the dashboard and is not placed
    goes into its first tab.

    :param position_json: JSON text of the dashboard.
    :param chart_ids: All charts of the dashboard.
    """

    def __init__(self, position_json: str | None, chart_ids: Iterable[int]) -> None:
        nodes = {key: node for key, node in json.loads(position_json or "{}").items() if isinstance(node, dict)}
        if not nodes:
            nodes = {ROOT: {"type": "ROOT", "children": [_GRID]}, _GRID: {"type": "GRID", "children": []}}
        self._parent_of = {child: key for key, node in nodes.items() for child in node.get("children") or ()}
        self._above: dict[int, frozenset[str]] = {}
        for key, node in nodes.items():
            chart_id = (node.get("meta") or {}).get("chartId")
            if node.get("type") == "CHART" and chart_id is not None:
                # Of a chart that is placed twice, the first place counts.
                self._above.setdefault(int(chart_id), self._containers(key))
        first = self._first_container(nodes)
        for chart_id in chart_ids:
            self._above.setdefault(chart_id, frozenset({first, *self._containers(first)}))

    def in_scope(self, chart_id: int, scope: Mapping[str, Any] | None) -> bool:
        """Whether a filter with this scope covers the chart.

        :param scope: ``{"rootPath": [containers], "excluded": [charts]}``; without one nothing is covered
            (``getChartIdsInFilterScope.ts`` and ``FiltersScope``).
        """
        if not scope or not isinstance(scope.get("excluded"), list) or chart_id in scope["excluded"]:
            return False
        return not self._above.get(chart_id, frozenset()).isdisjoint(scope.get("rootPath") or ())

    def _containers(self, key: str) -> frozenset[str]:
        found: list[str] = []
        current: str | None = self._parent_of.get(key)
        while current is not None and current not in found:
            found.append(current)
            current = self._parent_of.get(current)
        return frozenset(found)

    @staticmethod
    def _first_container(nodes: Mapping[str, Mapping[str, Any]]) -> str:
        children = nodes.get(ROOT, {}).get("children") or [_GRID]
        tabs = nodes.get(children[0], {})
        return str(tabs["children"][0]) if tabs.get("type") == "TABS" and tabs.get("children") else str(children[0])
