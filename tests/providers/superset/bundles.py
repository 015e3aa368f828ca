"""A bundle as a person would write it: a database, two datasets, three charts, a dashboard with tabs and a filter."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import yaml
from superset_provider.hooks.superset import SupersetHook

Files = dict[str, Any]


def identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def small_bundle(database_uri: str, slug: str) -> Files:
    """Files by path; everything is found by ``slug``, so that two tests do not meet."""
    database = identity(f"{slug}/database")
    sales, people = identity(f"{slug}/sales"), identity(f"{slug}/people")
    totals, table, count = (identity(f"{slug}/{name}") for name in ("totals", "table", "count"))
    return {
        "metadata.yaml": {"version": "1.0.0", "type": "assets"},
        "databases/source.yaml": {
            "database_name": slug,
            "sqlalchemy_uri": database_uri,
            "uuid": database,
            "version": "1.0.0",
        },
        "datasets/source/sales.yaml": {
            "table_name": f"{slug} sales",
            "description": "What was sold.",
            "sql": "select 'EU' as region, 10 as amount\nunion all\nselect 'US', 20",
            "database_uuid": database,
            "metrics": [
                {"metric_name": "revenue", "expression": "SUM(amount)", "d3format": ",d"},
                {"metric_name": "orders", "expression": "COUNT(*)"},
            ],
            "columns": [
                {"column_name": "region", "type": "STRING", "description": "Where."},
                {"column_name": "amount", "type": "INTEGER", "groupby": False},
            ],
            "uuid": sales,
            "version": "1.0.0",
        },
        "datasets/source/people.yaml": {
            "table_name": f"{slug} people",
            "sql": "select 'Ada' as name",
            "database_uuid": database,
            "metrics": [{"metric_name": "people", "expression": "COUNT(*)"}],
            "columns": [{"column_name": "name", "type": "STRING"}],
            "uuid": people,
            "version": "1.0.0",
        },
        "charts/totals.yaml": _chart("Totals", totals, sales, ["region"], ["revenue"]),
        "charts/table.yaml": _chart("Table", table, sales, ["region"], ["orders"]),
        "charts/people.yaml": _chart("People", count, people, ["name"], ["people"]),
        "dashboards/small.yaml": {
            "dashboard_title": f"Small {slug}",
            "slug": slug,
            "published": True,
            "metadata": {
                "cross_filters_enabled": True,
                "refresh_frequency": 0,
                "timed_refresh_immune_slices": [2],
                "expanded_slices": {"1": True},
                "chart_configuration": {
                    "1": {
                        "id": 1,
                        "crossFilters": {"scope": {"rootPath": ["ROOT_ID"], "excluded": [2]}, "chartsInScope": [3]},
                    },
                    "2": {"id": 2, "crossFilters": {"scope": "global", "chartsInScope": [1, 3]}},
                },
                "native_filter_configuration": [
                    {
                        "id": "NATIVE_FILTER-region",
                        "name": "Region",
                        "type": "NATIVE_FILTER",
                        "filterType": "filter_select",
                        "targets": [{"datasetUuid": sales, "column": {"name": "region"}}],
                        "defaultDataMask": {"extraFormData": {}, "filterState": {}},
                        "scope": {"rootPath": ["ROOT_ID"], "excluded": [3]},
                        "controlValues": {"multiSelect": True},
                        "cascadeParentIds": [],
                    }
                ],
            },
            "position": {
                "DASHBOARD_VERSION_KEY": "v2",
                "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["TABS-1"]},
                "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": []},
                "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID"},
                "TABS-1": {"type": "TABS", "id": "TABS-1", "children": ["TAB-1", "TAB-2"], "meta": {}},
                "TAB-1": {"type": "TAB", "id": "TAB-1", "children": ["ROW-1"], "meta": {"text": "Sales"}},
                "TAB-2": {"type": "TAB", "id": "TAB-2", "children": ["ROW-2"], "meta": {"text": "People"}},
                "ROW-1": {"type": "ROW", "id": "ROW-1", "children": ["CHART-1", "CHART-2"], "meta": {}},
                "ROW-2": {"type": "ROW", "id": "ROW-2", "children": ["CHART-3"], "meta": {}},
                "CHART-1": _place("CHART-1", 1, totals),
                "CHART-2": _place("CHART-2", 2, table),
                "CHART-3": _place("CHART-3", 3, count),
            },
            "uuid": identity(f"{slug}/dashboard"),
            "version": "1.0.0",
        },
    }


def _place(name: str, number: int, chart: str) -> dict[str, Any]:
    return {"type": "CHART", "id": name, "children": [], "meta": {"chartId": number, "uuid": chart, "width": 4}}


def _chart(name: str, chart: str, dataset: str, groupby: list[str], metrics: list[str]) -> dict[str, Any]:
    query = {
        "filters": [],
        "extras": {"having": "", "where": ""},
        "columns": groupby,
        "metrics": metrics,
        "orderby": [[metrics[0], False]],
        "annotation_layers": [],
        "row_limit": 100,
        "order_desc": True,
    }
    return {
        "slice_name": name,
        "viz_type": "table",
        "dataset_uuid": dataset,
        "params": {"groupby": groupby, "metrics": metrics, "row_limit": 100, "query_mode": "aggregate"},
        "query_context": json.dumps({"queries": [query], "result_format": "json", "result_type": "full"}),
        "uuid": chart,
        "version": "1.0.0",
    }


def write_folder(files: Files, folder: Path) -> Path:
    """The same as files on disk."""
    for path, body in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(yaml.safe_dump(body, sort_keys=False), encoding="utf-8")
    return folder


def remove_bundle(hook: SupersetHook, files: Files) -> None:
    """Remove from Superset what the files declare."""
    uuids = {body["uuid"] for body in files.values() if "uuid" in body}
    for kind in ("dashboard", "chart", "dataset"):
        found = [entry["id"] for entry in getattr(hook, f"list_{kind}s")() if entry["uuid"] in uuids]
        if found:
            hook.request("DELETE", f"/api/v1/{kind}/", params={"q": f"!({','.join(map(str, found))})"})
    for database in hook.list_databases():
        if database["uuid"] in uuids:
            hook.request("DELETE", f"/api/v1/database/{database['id']}")
