"""A dashboard with charts of every kind, made over REST without a query context, and filters of every kind."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.providers.superset.workshop import TOTAL, Workshop

UPPER = {"expressionType": "SQL", "sqlExpression": "UPPER(city)", "label": "City"}
BIG = {"expressionType": "SIMPLE", "clause": "WHERE", "subject": "amount", "operator": ">", "comparator": 1}
NAMED = {"expressionType": "SQL", "clause": "WHERE", "sqlExpression": "city is not null -- no unknown city"}
FEW = {"expressionType": "SQL", "clause": "HAVING", "sqlExpression": "COUNT(*) < 5000"}
LAST_YEAR = {
    "expressionType": "SIMPLE",
    "clause": "WHERE",
    "subject": "day",
    "operator": "TEMPORAL_RANGE",
    "comparator": "Last year",
}
TEMPORAL = {"temporal_columns_lookup": {"day": True, "shipped": True}}
_SERIES: dict[str, Any] = {"x_axis": "day", "time_grain_sqla": "P1D", "metrics": [TOTAL], "adhoc_filters": [LAST_YEAR]}

# Kinds and parameters by tab.
CHARTS: Mapping[str, Sequence[tuple[str, dict[str, Any]]]] = {
    "Overview": (
        ("big_number_total", {"metric": TOTAL, "adhoc_filters": [BIG]}),
        ("big_number", {"metric": TOTAL, "x_axis": "day", "time_grain_sqla": "P1D", "aggregation": "raw"}),
        ("echarts_timeseries_line", {**_SERIES, "groupby": ["region"], "rolling_type": "cumsum"}),
        ("echarts_timeseries_bar", {**_SERIES, "time_compare": ["1 week ago"], "comparison_type": "difference"}),
        ("mixed_timeseries", {**_SERIES, "metrics_b": ["count"], "time_compare_b": ["1 week ago"]}),
        ("table", {"query_mode": "aggregate", "groupby": ["day", "region"], "metrics": ["count"], **TEMPORAL}),
        ("pivot_table_v2", {"groupbyRows": ["day"], "groupbyColumns": ["region"], "metrics": [TOTAL], **TEMPORAL}),
    ),
    "Plots": (
        ("pie", {"metric": TOTAL, "groupby": ["region"]}),
        ("box_plot", {"columns": ["day"], "metrics": [TOTAL], "time_grain_sqla": "P1W", **TEMPORAL}),
        ("heatmap_v2", {"x_axis": "region", "groupby": "status", "metric": TOTAL, "sort_x_axis": "alpha_asc"}),
        ("table", {"query_mode": "raw", "all_columns": ["day", "amount"], "order_by_cols": ['["day", false]']}),
    ),
    "Pages": (
        (
            "table",
            {
                "query_mode": "aggregate",
                "groupby": [UPPER, "region"],
                "metrics": [TOTAL],
                "percent_metrics": ["count"],
                "percent_metric_calculation": "all_records",
                "show_totals": True,
                "server_pagination": True,
                "server_page_length": 10,
                "adhoc_filters": [NAMED, FEW],
            },
        ),
    ),
}


def rows_as_sql(today: datetime, condition: str = "1 = 1") -> str:
    """Some rows a day until tomorrow, as a query that any database answers."""
    rows = []
    for number in range(100):
        day = today + timedelta(days=1 - number // 3)
        region, status = ("EU", "US", "ASIA")[number % 3], ("lost", *["open", "paid", "sent"] * 2)[number % 7]
        city = ("'Bonn'", "'Rome'", "'Reno'", "'Ulm'", "null")[number % 5]
        values = (
            f"'{day:%Y-%m-%d} 00:00:00'", f"'{day + timedelta(days=2):%Y-%m-%d} 00:00:00'", f"'{region}'", city,
            f"'{status}'", ("'FRA'", "'USA'")[number % 2], str(number * 1.5), str(number % 11),
        )  # fmt: skip
        names = ("day", "shipped", "region", "city", "status", "country", "amount", "quantity")
        rows.append("select " + ", ".join(f"{value} as {name}" for value, name in zip(values, names, strict=True)))
    return f"select * from ({' union all '.join(rows)}) sales where {condition}"


class RichDashboard:
    """Makes everything in a Superset.

    :param workshop: Logged in as an administrator.
    """

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        today = datetime.now(UTC).replace(tzinfo=None)
        self.database = workshop.database()
        self.dataset = self._dataset(rows_as_sql(today))
        template = "country = '{{ url_param(\"country\") or \"FRA\" }}' and '{{ current_username() }}' <> ''"
        self.templated = self._dataset(rows_as_sql(today, template))
        self.tabs = {tab: [self._chart(self.dataset, *chart) for chart in charts] for tab, charts in CHARTS.items()}
        self.tabs["Overview"].append(self._chart(self.templated, "pie", {"metric": "count", "groupby": ["region"]}))
        self.charts = [chart for charts in self.tabs.values() for chart in charts]
        layout, metadata = json.dumps(self._layout()), json.dumps(self._metadata())
        self.id = workshop.dashboard(self.charts, position_json=layout, json_metadata=metadata)
        self.path = f"/superset/dashboard/{self.id}/"

    def flush(self) -> None:
        """Leave nothing of it in the cache: a changed dataset changes all its keys."""
        for dataset in (self.dataset, self.templated):
            body = {"description": uuid.uuid4().hex}
            self.workshop.hook.request("PUT", f"/api/v1/dataset/{dataset}", json=body)

    def _dataset(self, sql: str) -> int:
        dataset = self.workshop.dataset(self.database, sql)
        columns = self.workshop.hook.request("GET", f"/api/v1/dataset/{dataset}")["result"]["columns"]
        kept = ("id", "column_name", "filterable", "groupby", "is_active")
        temporal = {"is_dttm": True, "type": "DATETIME"}
        changed = [
            {**{key: column[key] for key in kept}, **(temporal if column["column_name"] in ("day", "shipped") else {})}
            for column in columns
        ]
        self.workshop.hook.request("PUT", f"/api/v1/dataset/{dataset}", json={"columns": changed})
        return dataset

    def _chart(self, dataset: int, kind: str, params: Mapping[str, Any]) -> int:
        body = {
            "slice_name": self.workshop.named(kind),
            "viz_type": kind,
            "datasource_id": dataset,
            "datasource_type": "table",
            "params": json.dumps({**params, "viz_type": kind}),
        }
        return self.workshop.make("chart", body)

    def _layout(self) -> dict[str, Any]:
        layout: dict[str, Any] = {"DASHBOARD_VERSION_KEY": "v2"}
        _node(layout, "ROOT_ID", "ROOT", None)
        _node(layout, "TABS-1", "TABS", "ROOT_ID")
        for name in ("Overview", "Details"):
            _node(layout, f"TAB-{name}", "TAB", "TABS-1", text=name)
        _node(layout, "TABS-2", "TABS", "TAB-Details")
        for name in ("Plots", "Pages"):
            _node(layout, f"TAB-{name}", "TAB", "TABS-2", text=name)
        for tab, charts in self.tabs.items():
            for number, chart in enumerate(charts):
                row = f"ROW-{tab}-{number // 4}"
                if row not in layout:
                    _node(layout, row, "ROW", f"TAB-{tab}", background="BACKGROUND_TRANSPARENT")
                _node(layout, f"CHART-{chart}", "CHART", row, chartId=chart, width=3, height=25)
        return layout

    def _metadata(self) -> dict[str, Any]:
        return {
            "native_filter_configuration": self._filters(),
            "label_colors": {"EU": "#ff0000"},
            "color_scheme": "supersetColors",
            "cross_filters_enabled": True,
        }

    def _filters(self) -> list[dict[str, Any]]:
        first = {"defaultToFirstItem": True, "multiSelect": False}
        everywhere, details = _scope("ROOT_ID"), _scope("TAB-Details")
        but_one = _scope("ROOT_ID", self.charts[0])
        divider = {"id": "NATIVE_FILTER-Rule", "type": "DIVIDER", "title": "", "targets": [{}], "scope": everywhere}
        last_year = {"time_range": "Last year", "granularity_sqla": "day", "adhoc_filters": [BIG]}
        return [
            self._filter("Region", "region", value=["EU", "US"], scope=but_one),
            divider,
            self._filter("Status", "status", value=["lost"], controls={"inverseSelection": True, "multiSelect": False}),
            self._filter("City", "city", parents=["Region"], sortMetric="count", controls={"sortAscending": False}),
            self._filter("Country", "country", controls=first, requiredFirst=True, scope=details),
            self._filter("Town", "city", controls=first, requiredFirst=True, parents=["Country"], scope=_scope("none")),
            self._filter("Late", "quantity", controls=first),
            self._filter("Time", None, kind="filter_time", value="Last month"),
            self._filter("Grain", None, kind="filter_timegrain", value=["P1W"], scope=_scope("TAB-Overview")),
            self._filter("Time column", None, kind="filter_timecolumn", value=["shipped"], scope=details),
            self._filter("Amount", "amount", kind="filter_range", value=[3, 120]),
            self._filter("Prefiltered", "quantity", controls={"searchAllOptions": True}, **last_year),
            self._filter("Needed", "status", controls={"enableEmptyFilter": True}),
            self._filter("Templated", "region", dataset=self.templated, value=[None, "EU", "US", "ASIA"]),
        ]

    def _filter(
        self,
        name: str,
        column: str | None,
        *,
        kind: str = "filter_select",
        value: Any = None,
        scope: Mapping[str, Any] | None = None,
        parents: Sequence[str] = (),
        controls: Mapping[str, Any] | None = None,
        dataset: int | None = None,
        **further: Any,
    ) -> dict[str, Any]:
        target: dict[str, Any] = {} if kind == "filter_time" else {"datasetId": dataset or self.dataset}
        if column:
            target["column"] = {"name": column}
        control_values = {"enableEmptyFilter": False, **(controls or {})}
        mask = (
            {}
            if value is None
            else {"extraFormData": _mask(kind, column, value, control_values), "filterState": {"value": value}}
        )
        return {
            "id": f"NATIVE_FILTER-{name}",
            "name": name,
            "type": "NATIVE_FILTER",
            "filterType": kind,
            "targets": [target],
            "defaultDataMask": mask,
            "scope": scope or _scope("ROOT_ID"),
            "controlValues": control_values,
            "cascadeParentIds": [f"NATIVE_FILTER-{parent}" for parent in parents],
            "description": "",
            **further,
        }


def _scope(container: str, *excluded: int) -> dict[str, Any]:
    return {"rootPath": [container], "excluded": list(excluded)}


def _mask(kind: str, column: str | None, value: Any, controls: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "filter_time":
        return {"time_range": value}
    if kind == "filter_timegrain":
        return {"time_grain_sqla": value[0]}
    if kind == "filter_timecolumn":
        return {"granularity_sqla": value[0]}
    if kind == "filter_range":
        return {"filters": [{"col": column, "op": ">=", "val": value[0]}, {"col": column, "op": "<=", "val": value[1]}]}
    operator = "NOT IN" if controls.get("inverseSelection") else "IN"
    return {"filters": [{"col": column, "op": operator, "val": value}]}


def _node(layout: dict[str, Any], key: str, kind: str, parent: str | None, **meta: Any) -> None:
    parents = [*layout[parent]["parents"], parent] if parent else []
    layout[key] = {"id": key, "type": kind, "children": [], "parents": parents, "meta": meta}
    if parent:
        layout[parent]["children"].append(key)
