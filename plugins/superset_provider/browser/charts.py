"""The charts of a dashboard: what each of them asks under the filters that cover it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from superset_provider.browser.customizations import Customization, customize
from superset_provider.browser.form_data import apply_to_query, with_time_range
from superset_provider.browser.query_context import LEGACY, build_query_context, is_known

# Kinds whose values nobody can click on to filter the other charts.
_NOT_INTERACTIVE = (
    "big_number",
    "big_number_total",
    "bubble_v2",
    "handlebars",
    "heatmap_v2",
    "histogram_v2",
    "tree_chart",
    "waterfall",
    *LEGACY,
)


@dataclass(frozen=True)
class DashboardChart:
    """A chart.

    :param form_data: Its parameters as the page gets them.
    :param saved: Its saved query context, None without one.
    """

    chart_id: int
    name: str
    viz_type: str
    dataset_id: int | None
    form_data: Mapping[str, Any] = field(repr=False)
    saved: Mapping[str, Any] | None = field(repr=False)

    @classmethod
    def parse(cls, chart: Mapping[str, Any]) -> DashboardChart:
        """Read ``GET /api/v1/chart/<id>``, with ``form_data`` of ``GET /api/v1/dashboard/<id>/charts`` if there."""
        chart_id = int(chart["id"])
        saved = json.loads(chart["query_context"]) if chart.get("query_context") else None
        given = chart.get("form_data")
        # The server sends what it has in the order of the names.
        form_data = dict(sorted((given or with_time_range(json.loads(chart.get("params") or "{}"))).items()))
        dataset = str(form_data.get("datasource") or "").partition("__")[0]
        if not dataset.isdecimal():
            dataset = str(((saved or {}).get("datasource") or {}).get("id") or "")
        return cls(
            chart_id=chart_id,
            name=str(chart.get("slice_name") or chart_id),
            viz_type=str(chart.get("viz_type") or form_data.get("viz_type") or ""),
            dataset_id=int(dataset) if dataset.isdecimal() else None,
            form_data=form_data,
            saved=saved,
        )

    @property
    def filters_others(self) -> bool:
        """Whether a click on it filters the other charts."""
        return self.viz_type not in _NOT_INTERACTIVE

    def problem(self) -> str | None:
        """Why its query cannot be known, and what to do; None when it can."""
        if self.viz_type in LEGACY:
            return (
                f"charts of the kind {self.viz_type!r} ask Superset's old address explore_json, which has a cache of "
                "its own: choose another kind of chart, or leave this one out."
            )
        if self.form_data.get("matrixify_enable"):
            return "it is a matrix of charts, which ask one by one: switch the matrix off, or leave this chart out."
        if is_known(self.viz_type) and self.dataset_id is not None:
            try:
                self.query_context(None, dashboard_id=0, url_params={})
            except (ValueError, TypeError, AttributeError) as error:
                return f"its parameters contradict themselves ({error}): open, correct and save it in Superset."
            return None
        if self.saved is None:
            return (
                "it has no query context, so what it asks is unknown: open and save it in Superset, or declare "
                '"query_context" for it in the imported bundle.'
            )
        return None

    def query_context(
        self,
        extra_form_data: Mapping[str, Any] | None,
        *,
        dashboard_id: int,
        url_params: Mapping[str, str],
        customizations: Sequence[Customization] = (),
    ) -> dict[str, Any]:
        """The body of ``POST /api/v1/chart/data``, without ``force``.

        :param extra_form_data: Joined masks of the filters that cover it, None when none does.
        :param customizations: Those that cover it.
        """
        # As getFormDataWithExtraFilters.ts: what the filters say replaces what the chart was saved with.
        further: dict[str, Any] = {"url_params": {**(self.form_data.get("url_params") or {}), **url_params}}
        if extra_form_data is not None:
            further["extra_form_data"] = dict(extra_form_data)
        further |= {"slice_id": self.chart_id, "chart_id": self.chart_id, "dashboardId": dashboard_id}
        further |= customize(self.form_data, self.viz_type, self.dataset_id, customizations)
        if is_known(self.viz_type) and self.dataset_id is not None:
            body = build_query_context(
                {**self.form_data, **further}, dataset_id=self.dataset_id, viz_type=self.viz_type
            )
        else:
            body = self._from_saved(further)
        del body["force"]
        return body

    def _from_saved(self, further: Mapping[str, Any]) -> dict[str, Any]:
        saved: dict[str, Any] = dict(self.saved or {})
        queries = saved.get("queries") or ()
        return {
            **saved,
            "force": False,
            "queries": [apply_to_query(query, further.get("extra_form_data") or {}) for query in queries],
            "form_data": {**(saved.get("form_data") or {}), **further},
            "result_format": "json",
            "result_type": "full",
        }
