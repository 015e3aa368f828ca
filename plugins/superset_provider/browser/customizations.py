"""Chart customizations of a dashboard: a grain, a time column or dimensions that it gives to its charts.

Follows getFormDataWithExtraFilters.ts and chartTypeLimitations.ts in superset-frontend/src/dashboard/util/charts of
Superset 6.1.0. Unlike filters they change the chart's own parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from superset_provider.browser.form_data import merge_extra_form_data
from superset_provider.browser.query_object import as_list

_DIMENSIONS = "chart_customization_dynamic_groupby"
_WITHOUT_DIMENSIONS = (
    "big_number", "big_number_total", "pop_kpi", "cal_heatmap", "country_map", "gantt", "world_map", "chord",
)  # fmt: skip
_WITH_ONE_DIMENSION = ("heatmap", "heatmap_v2", "waterfall")
# Where a kind of chart keeps its dimensions, where not in "groupby".
_PLACES: Mapping[str, tuple[str, ...]] = {
    "word_cloud": ("series",),
    "graph_chart": ("source", "target"),
    "sankey_v2": ("source", "target"),
    "bubble_v2": ("series", "entity"),
}
_EMPTIED = ("word_cloud", "bubble_v2", "sunburst_v2")
_LISTS: Mapping[str, str] = {"sunburst_v2": "columns", "pivot_table_v2": "groupbyColumns"}


@dataclass(frozen=True)
class Customization:
    """One entry of ``json_metadata.chart_customization_config``."""

    kind: str
    dataset_id: str
    mask: Mapping[str, Any]
    values: Sequence[str]
    scope: Mapping[str, Any] | None
    controls: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: Mapping[str, Any], chosen: Mapping[str, Any] | None = None) -> Customization:
        """Read it.

        :param chosen: What a permalink's ``dataMask`` has for it.
        """
        target: Mapping[str, Any] = next(iter(raw.get("targets") or ()), {}) or {}
        mask = {**(raw.get("defaultDataMask") or {}), **(chosen or {})}
        values = as_list((mask.get("filterState") or {}).get("value"))
        return cls(
            kind=str(raw.get("filterType") or ""),
            dataset_id=str(target.get("datasetId") or ""),
            mask=mask.get("extraFormData") or {},
            values=[value for value in values if isinstance(value, str) and value],
            scope=raw.get("scope"),
            controls=raw.get("controlValues") or {},
        )


def parse_customizations(metadata: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> list[Customization]:
    """All of a dashboard that are in use, dividers left out.

    :param metadata: ``json_metadata``, decoded.
    :param chosen: A permalink's ``dataMask``.
    """
    return [
        Customization.parse(raw, chosen.get(str(raw.get("id"))))
        for raw in metadata.get("chart_customization_config") or ()
        if str(raw.get("type", "")).endswith("CUSTOMIZATION") and not raw.get("removed")
    ]


def customize(
    form_data: Mapping[str, Any], viz_type: str, dataset_id: int | None, items: Sequence[Customization]
) -> dict[str, Any]:
    """What changes in a chart's form data.

    :param items: Those that cover the chart.
    """
    dimensions = [item for item in items if item.kind == _DIMENSIONS and item.dataset_id == str(dataset_id)]
    return {
        **_dimensions(form_data, viz_type, dimensions),
        **merge_extra_form_data(item.mask for item in items),
    }


def _dimensions(form_data: Mapping[str, Any], viz_type: str, items: Sequence[Customization]) -> dict[str, Any]:
    if not items or viz_type in _WITHOUT_DIMENSIONS or viz_type.startswith("deck_"):
        return {}
    taken = _taken(form_data, viz_type)
    columns: list[str] = []
    changed: dict[str, Any] = {}
    for item in items:
        free = [value for value in item.values if value not in taken]
        if not free:
            continue
        columns.extend(value for value in free if value not in columns)
        if item.controls.get("sortMetric"):
            order = [item.controls["sortMetric"], not item.controls.get("sortAscending")]
            changed["order_by_cols"] = [json.dumps(order, separators=(",", ":"))]
    return {**_placed(form_data, viz_type, columns), **changed} if columns else changed


def _placed(form_data: Mapping[str, Any], viz_type: str, columns: list[str]) -> dict[str, Any]:
    if viz_type in _WITH_ONE_DIMENSION:
        return {"groupby": columns[:1]}
    if viz_type.startswith(("echarts_timeseries", "echarts_area")):
        others = [column for column in columns if column != form_data.get("x_axis")]
        return {"groupby": others or as_list(form_data.get("groupby"))}
    emptied: dict[str, Any] = {"groupby": []} if viz_type in _EMPTIED else {}
    if viz_type in _PLACES:
        return {**dict(zip(_PLACES[viz_type], columns, strict=False)), **emptied}
    return {_LISTS.get(viz_type, "groupby"): columns, **emptied}


def _taken(form_data: Mapping[str, Any], viz_type: str) -> set[str]:
    """Columns that the chart uses otherwise."""
    used = [form_data.get(name) for name in ("series", "entity", "target")]
    if viz_type not in ("heatmap", "heatmap_v2"):
        used.append(form_data.get("x_axis"))
    for metric in form_data.get("metrics") or ():
        column = metric.get("column") if isinstance(metric, Mapping) else metric
        used.append(column.get("column_name") if isinstance(column, Mapping) else column)
    lists = {"box_plot": "columns", "pivot_table_v2": "groupbyColumns"}
    if viz_type in lists:
        columns = form_data.get(lists[viz_type])
        used.extend(column.get("column_name") if isinstance(column, Mapping) else column for column in columns or ())
    return {column for column in used if isinstance(column, str)}
