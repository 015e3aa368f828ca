"""Operators for charts: their numbers for checks and reports, and the repair of what is stored of their queries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from superset_provider.charts import check_chart, find_charts, query_of
from superset_provider.connection import DEFAULT_CONN_ID
from superset_provider.exceptions import SupersetConfigurationError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.lineage import operator_lineage, tables_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class SupersetRepairChartsOperator(BaseOperator):
    """Store for each chart the query that a browser asks for it, where there is none or another one.

    A chart that was made over the API has no query context, and one whose parameters were changed over the API has a
    stale one: Superset's own warm-up, its alerts and ``GET chart/<id>/data`` then fail or show something else than the
    dashboard. Opening and saving each chart by hand does the same as this operator.

    :param charts: Ids, uuids or names.
    :param dashboards: Slugs, uuids or ids of dashboards, all of whose charts are meant.
    :param only_missing: Leave alone what is stored, whatever it says.
    :param superset_conn_id: Airflow connection of type ``superset``, of an owner of the charts or an administrator.
    """

    template_fields: Sequence[str] = ("charts", "dashboards", "superset_conn_id")
    ui_color = "#cfe8d5"

    def __init__(
        self,
        *,
        charts: Sequence[str | int] = (),
        dashboards: Sequence[str | int] = (),
        only_missing: bool = False,
        superset_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.charts = charts
        self.dashboards = dashboards
        self.only_missing = only_missing
        self.superset_conn_id = superset_conn_id

    def execute(self, context: Context) -> dict[str, list[dict[str, Any]]]:
        """Compare, and repair.

        :returns: ``{"repaired": [..], "unrepairable": [..], "right": [..]}``, each ``{"chart", "chart_id", "reason"}``.
        :raises SupersetNotFoundError: There is no such chart or dashboard.
        """
        result: dict[str, list[dict[str, Any]]] = {"repaired": [], "unrepairable": [], "right": []}
        with SupersetHook(self.superset_conn_id) as hook:
            for chart in hook.perform(find_charts(self.charts, self.dashboards)):
                check = check_chart(chart, only_missing=self.only_missing)
                if check.query_context is not None:
                    body = {"query_context": json.dumps(check.query_context), "query_context_generation": True}
                    hook.request("PUT", f"/api/v1/chart/{check.chart_id}", json=body)
                    self.log.info("%s: %s; repaired", check.name, check.reason)
                    result["repaired"].append(check.to_dict())
                elif check.reason:
                    self.log.warning("%s: %s; open it in Superset and save it", check.name, check.reason)
                    result["unrepairable"].append(check.to_dict())
                else:
                    result["right"].append(check.to_dict())
        return result


class SupersetChartDataOperator(BaseOperator):
    """Fetch the numbers of a chart, as the dashboard shows them, for checks and reports.

    :param chart: Id, uuid or name.
    :param filters: What a dashboard's filters would add: ``[{"col": "region", "op": "IN", "val": ["EU"]}]``.
    :param time_range: In Superset's words, for example ``Last week`` or ``2026-01-01 : 2026-02-01``.
    :param row_limit: Rows at most, instead of the chart's own limit.
    :param query: Which one, of a chart with several queries.
    :param force: Ask the database instead of the cache.
    :param path: Parquet file to write, on this machine or on any object storage (``s3://lake_s3@bucket/key.parquet``);
        it is there with all its rows or not at all.
    :param max_xcom_rows: Rows that may go to XCom; more need ``path``.
    :param superset_conn_id: Airflow connection of type ``superset``.
    """

    template_fields: Sequence[str] = ("chart", "filters", "time_range", "path", "superset_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"filters": "json"}
    ui_color = "#cfe8d5"

    def __init__(
        self,
        *,
        chart: str | int,
        filters: Sequence[Mapping[str, Any]] = (),
        time_range: str | None = None,
        row_limit: int | None = None,
        query: int = 0,
        force: bool = False,
        path: str | None = None,
        max_xcom_rows: int = 1000,
        superset_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.chart = chart
        self.filters = filters
        self.time_range = time_range
        self.row_limit = row_limit
        self.query = query
        self.force = force
        self.path = path
        self.max_xcom_rows = max_xcom_rows
        self.superset_conn_id = superset_conn_id
        self._lineage: Any = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Fetch, and write where that was wanted.

        :returns: ``{"chart", "chart_id", "columns", "row_count", "cached", "queried_at", "rows"}``; with ``path``, that
            instead of ``rows``. Times in rows are milliseconds since 1970, UTC, as Superset has them; in Parquet they
            are timestamps.
        :raises SupersetChartDataError: The query failed; names chart, dataset and the database's message.
        :raises SupersetConfigurationError: There are more rows than fit, or a query that the chart does not have.
        """
        with SupersetHook(self.superset_conn_id) as hook:
            [chart] = hook.perform(find_charts([self.chart]))
            body = query_of(chart, filters=self.filters, time_range=self.time_range, row_limit=self.row_limit)
            dataset = hook.get_dataset(int(body["datasource"]["id"]))
            answers = hook.chart_data(
                {**body, "force": self.force},
                form_data={"slice_id": chart["id"]},
                chart=str(chart["slice_name"]),
                dataset=str(dataset["table_name"]),
            )
            tables = hook.perform(tables_of(hook.address, [dataset]))
            self._lineage = (hook.address, tables)
        if not 0 <= self.query < len(answers):
            raise SupersetConfigurationError(
                f"Chart {chart['slice_name']!r} has no query {self.query}.", check=f"0 to {len(answers) - 1} are there."
            )
        answer = answers[self.query]
        return self._result(chart, answer)

    def _result(self, chart: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
        rows = answer.get("data") or []
        told = {
            "chart": chart["slice_name"],
            "chart_id": chart["id"],
            "columns": list(answer.get("colnames") or (rows[0] if rows else ())),
            "row_count": len(rows),
            "cached": answer.get("is_cached") is True,
            "queried_at": answer.get("queried_dttm"),
        }
        self.log.info("%s: %s rows, %s", told["chart"], len(rows), "cached" if told["cached"] else "from the database")
        if self.path is not None:
            from superset_provider.parquet import write_parquet

            write_parquet(self.path, rows, told["columns"], answer.get("coltypes") or ())
            return {**told, "path": self.path}
        if len(rows) > self.max_xcom_rows:
            raise SupersetConfigurationError(
                f"Chart {chart['slice_name']!r} has {len(rows)} rows, and {self.max_xcom_rows} may go to XCom.",
                check="give path, a smaller row_limit, or more max_xcom_rows.",
            )
        return {**told, "rows": rows}

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """The tables behind the chart, and the file; empty when nothing ran."""
        if self._lineage is None:
            return operator_lineage()
        address, tables = self._lineage
        if self.path is None:
            return operator_lineage(address, tables)
        from superset_provider.parquet import file_name

        return operator_lineage(address, tables, files=[file_name(self.path)])
