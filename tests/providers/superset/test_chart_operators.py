"""A chart's numbers, and the repair of its stored query, against a real Superset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from superset_provider.charts import check_chart
from superset_provider.exceptions import (
    SupersetChartDataError,
    SupersetConfigurationError,
    SupersetNotFoundError,
    SupersetTerminalError,
)
from superset_provider.operators.charts import SupersetChartDataOperator, SupersetRepairChartsOperator

from tests.providers.superset.workshop import Workshop

DAYS = (
    "select 'EU' as region, 10 as amount, '2026-01-01 00:00:00' as day union all "
    "select 'US', 20, '2026-01-02 00:00:00' union all select null, 40, '2026-01-03 00:00:00'"
)


@pytest.fixture
def chart(workshop: Workshop) -> int:
    return workshop.chart(workshop.dataset(workshop.database()))


def _numbers(chart: Any, **arguments: Any) -> dict[str, Any]:
    return SupersetChartDataOperator(task_id="numbers", chart=chart, **arguments).execute({})


def test_the_numbers_of_a_chart_come_by_id_uuid_and_name(chart: int, workshop: Workshop) -> None:
    found = workshop.hook.get_chart(chart)
    told = [_numbers(name) for name in (chart, found["uuid"], found["slice_name"])]
    assert {row["region"]: row["total"] for row in told[0]["rows"]} == {"EU": 10, "US": 20, "ASIA": 40}
    assert told[0]["columns"] == ["region", "total"]
    assert (told[0]["row_count"], told[0]["chart_id"], told[0]["chart"]) == (3, chart, found["slice_name"])
    assert [entry["cached"] for entry in told] == [False, True, True]
    assert _numbers(chart, force=True)["cached"] is False


def test_filters_and_limits_are_those_of_a_dashboard(chart: int) -> None:
    told = _numbers(chart, filters=[{"col": "region", "op": "IN", "val": ["EU", "US"]}])
    assert {row["region"] for row in told["rows"]} == {"EU", "US"}
    assert _numbers(chart, row_limit=1)["rows"] == [{"region": "ASIA", "total": 40}]


def test_too_many_rows_for_xcom_are_refused(chart: int) -> None:
    with pytest.raises(SupersetConfigurationError, match="has 3 rows, and 2 may go to XCom"):
        _numbers(chart, max_xcom_rows=2)


def test_parquet_has_the_rows_with_their_types(workshop: Workshop, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    dataset = workshop.dataset(workshop.database(), DAYS)
    columns = workshop.hook.get_dataset(dataset)["columns"]
    known = ("id", "column_name", "type")
    changed = [{**{key: column[key] for key in known}, "is_dttm": column["column_name"] == "day"} for column in columns]
    workshop.hook.request("PUT", f"/api/v1/dataset/{dataset}", json={"columns": changed})
    params = {"viz_type": "table", "query_mode": "raw", "all_columns": ["region", "amount", "day"], "row_limit": 100}
    chart = workshop.chart(dataset, params=json.dumps(params), query_context=None)
    path = tmp_path / "deep" / "numbers.parquet"
    told = _numbers(chart, path=str(path))
    assert "rows" not in told
    table = pq.read_table(told["path"])
    assert table.column_names == ["region", "amount", "day"]
    assert table.column("region").to_pylist() == ["EU", "US", None]
    assert table.column("amount").to_pylist() == [10, 20, 40]
    assert pa.types.is_timestamp(table.schema.field("day").type)
    assert str(table.column("day")[1].as_py()) == "2026-01-02 00:00:00+00:00"
    assert [entry.name for entry in path.parent.iterdir()] == ["numbers.parquet"]


def test_parquet_goes_to_any_object_storage(chart: int) -> None:
    from airflow.sdk import ObjectStoragePath

    told = _numbers(chart, path="memory://reports/numbers.parquet")
    assert ObjectStoragePath(told["path"]).read_bytes().startswith(b"PAR1")


def test_a_failed_query_leaves_the_old_file(chart: int, workshop: Workshop, tmp_path: Path) -> None:
    path = tmp_path / "numbers.parquet"
    path.write_bytes(b"old")
    context = json.loads(workshop.hook.get_chart(chart)["query_context"])
    context["queries"][0]["columns"] = ["no_such_column"]
    workshop.hook.request("PUT", f"/api/v1/chart/{chart}", json={"query_context": json.dumps(context)})
    with pytest.raises(SupersetChartDataError, match="no_such_column"):
        _numbers(chart, path=str(path))
    assert path.read_bytes() == b"old"


def test_an_unknown_chart_is_answered_with_near_names(chart: int, workshop: Workshop) -> None:
    name = workshop.hook.get_chart(chart)["slice_name"]
    with pytest.raises(SupersetNotFoundError, match=name):
        _numbers(f"{name}x")


def test_a_name_that_two_charts_have_is_refused(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    first = workshop.chart(dataset)
    name = workshop.hook.get_chart(first)["slice_name"]
    second = workshop.chart(dataset, slice_name=name)
    with pytest.raises(
        SupersetConfigurationError, match=rf"2 charts have the name.*{first}, {second}|{second}, {first}"
    ):
        _numbers(name)


def test_lineage_has_the_tables_and_the_file(chart: int, tmp_path: Path) -> None:
    operator = SupersetChartDataOperator(task_id="numbers", chart=chart, path=f"{tmp_path}/numbers.parquet")
    operator.execute({})
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert [(entry.namespace, entry.name) for entry in lineage.outputs] == [("file", f"{tmp_path}/numbers.parquet")]


def test_charts_made_over_the_api_are_repaired(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    missing = workshop.chart(dataset, query_context=None)
    right = workshop.chart(dataset, query_context=None)
    SupersetRepairChartsOperator(task_id="repair", charts=[right]).execute({})
    strange = workshop.chart(dataset, viz_type="country_map", query_context=None)
    dashboard = workshop.dashboard([missing, right, strange])
    path = f"/api/v1/chart/{missing}/data/"
    with pytest.raises(SupersetTerminalError, match="no query context"):
        workshop.hook.request("GET", path)
    operator = SupersetRepairChartsOperator(task_id="repair", dashboards=[dashboard])
    told = operator.execute({})
    assert [(entry["chart_id"], entry["reason"]) for entry in told["repaired"]] == [
        (missing, "it has no query context")
    ]
    assert [entry["chart_id"] for entry in told["right"]] == [right]
    assert [entry["chart_id"] for entry in told["unrepairable"]] == [strange]
    assert "country_map" in told["unrepairable"][0]["reason"]
    assert len(workshop.hook.request("GET", path)["result"][0]["data"]) == 3
    assert operator.execute({})["repaired"] == []


def test_a_stale_query_is_repaired_unless_only_missing_ones_are_meant(workshop: Workshop) -> None:
    chart = workshop.chart(workshop.dataset(workshop.database()), query_context=None)
    repair = SupersetRepairChartsOperator(task_id="repair", charts=[chart])
    repair.execute({})
    stored = workshop.hook.get_chart(chart)
    params = {**json.loads(stored["params"]), "row_limit": 2}
    workshop.hook.request("PUT", f"/api/v1/chart/{chart}", json={"params": json.dumps(params)})
    only_missing = SupersetRepairChartsOperator(task_id="repair", charts=[chart], only_missing=True)
    assert only_missing.execute({})["repaired"] == []
    [told] = repair.execute({})["repaired"]
    assert told["reason"] == "its query context is not what a browser asks"
    assert json.loads(workshop.hook.get_chart(chart)["query_context"])["queries"][0]["row_limit"] == 2
    assert check_chart({**workshop.hook.get_chart(chart), "id": chart}).reason is None
