"""Warming against a real Superset; whether something is warm is asked again by a reader of its own."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from superset_provider.exceptions import (
    SupersetNotFoundError,
    SupersetTransientError,
    SupersetWarmingError,
)
from superset_provider.hooks.superset import SupersetHook
from superset_provider.operators.warm_dashboard import RESULT_KEY, SupersetWarmDashboardOperator

from tests.providers.superset.real import RealSuperset
from tests.providers.superset.workshop import Workshop, query_context

REGION = {"col": "region", "op": "IN", "val": ["EU", "US"]}


def native_filter(dataset: int, column: str = "region", **changes: Any) -> dict[str, Any]:
    """A select filter whose default is EU and US."""
    return {
        "id": f"NATIVE_FILTER-{column}",
        "name": column.title(),
        "type": "NATIVE_FILTER",
        "filterType": "filter_select",
        "targets": [{"datasetId": dataset, "column": {"name": column}}],
        "defaultDataMask": {
            "extraFormData": {"filters": [{**REGION, "col": column}]},
            "filterState": {"value": ["EU", "US"]},
        },
        "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
        "controlValues": {"multiSelect": True, "enableEmptyFilter": False},
        "cascadeParentIds": [],
        **changes,
    }


class Sales:
    """A dashboard with one filter and one chart, which nobody changes."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.database = workshop.database()
        self.dataset = workshop.dataset(self.database)
        self.chart = workshop.saved_chart(self.dataset)
        self.id = workshop.dashboard([self.chart], [native_filter(self.dataset)])
        found = workshop.hook.get_dashboard(self.id)
        self.slug, self.uuid = str(found["slug"]), str(found["uuid"])
        self.dataset_name = str(workshop.hook.get_dataset(self.dataset)["table_name"])

    def touch(self) -> None:
        """Give every query of the dashboard another key, under which nothing is cached."""
        body = {"description": f"changed at {time.time_ns()}"}
        self.workshop.hook.request("PUT", f"/api/v1/dataset/{self.dataset}", json=body)


@pytest.fixture(scope="module")
def sales(hook: SupersetHook, real_superset: RealSuperset) -> Iterator[Sales]:
    made = Workshop(hook, real_superset)
    yield Sales(made)
    made.remove()


def reasons(context: Any) -> dict[str, str]:
    """``{chart: reason}``, as a failed task left it in XCom."""
    charts = context["ti"].pushed[RESULT_KEY]["charts"]
    return {chart["chart"]: chart["reason"] for chart in charts if chart["reason"]}


def is_warm(hook: SupersetHook, dataset: int, **query: Any) -> bool:
    """Whether a reader of its own gets a browser's question answered from the cache."""
    return hook.chart_data(query_context(dataset, **query))[0]["is_cached"] is True


def slow_query(workshop: Workshop, database: int, seconds: int) -> tuple[int, dict[str, Any]]:
    """A dataset, and a question to it that takes some seconds; making the dataset takes none."""
    dataset = workshop.dataset(database, "select 'EU' as region, 1 as amount")
    metric = {"expressionType": "SQL", "sqlExpression": f"COUNT(pg_sleep({seconds}))", "label": "slept"}
    return dataset, query_context(dataset, metrics=[metric], orderby=[])


def permalink(sales: Sales, value: list[str]) -> str:
    mask = {
        "NATIVE_FILTER-region": {
            "id": "NATIVE_FILTER-region",
            "extraFormData": {"filters": [{**REGION, "val": value}]},
            "filterState": {"value": value},
        }
    }
    path = f"/api/v1/dashboard/{sales.id}/permalink"
    return str(sales.workshop.hook.request("POST", path, json={"dataMask": mask})["url"])


def tag(sales: Sales) -> str:
    name = f"{sales.workshop.name}-tag"
    properties = {"properties": {"tags": [name]}}
    sales.workshop.hook.request("POST", f"/api/v1/tag/3/{sales.id}/", json=properties)
    return name


SELECTIONS: dict[str, Callable[[Sales], dict[str, Any]]] = {
    "id": lambda sales: {"dashboards": [sales.id]},
    "slug": lambda sales: {"dashboards": [sales.slug]},
    "uuid": lambda sales: {"dashboards": [sales.uuid]},
    "tag": lambda sales: {"tags": [tag(sales)]},
    "owner": lambda sales: {"owners": ["admin@localhost"], "datasets": [sales.dataset]},
    "dataset": lambda sales: {"datasets": [f"{sales.dataset_name}"]},
}


def test_what_was_cold_is_warm_afterwards(sales: Sales, warm: Any) -> None:
    sales.touch()
    assert not is_warm(sales.workshop.hook, sales.dataset, filters=[REGION], row_limit=999)
    result = warm(dashboards=[sales.id])
    assert (result["queries"], result["warm"], result["already_warm"]) == (2, 2, 0)
    assert is_warm(sales.workshop.hook, sales.dataset, filters=[REGION])
    chart = next(chart for chart in result["charts"] if chart["kind"] == "chart")
    assert (chart["rows"], chart["hit"], chart["dataset"]) == (2, True, sales.dataset_name)
    assert chart["cold_ms"] > 0 < chart["warm_ms"]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_dashboards_are_found_by(selection: str, sales: Sales, warm: Any, context: Any) -> None:
    result = warm(**SELECTIONS[selection](sales), only_stale=True)
    assert (result["queries"], result["warm"]) == (2, 2)
    assert {chart["dashboard"] for chart in result["charts"]} == {sales.slug}
    assert context["ti"].pushed["_link_SupersetDashboardLink"].endswith(f"/superset/dashboard/{sales.slug}/")


def test_a_permalink_is_warmed_with_its_own_filter_values(
    sales: Sales, warm: Any, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sales.touch()
    address = permalink(sales, ["ASIA"])
    assert warm(permalinks=[address])["failed"] == 0
    assert is_warm(sales.workshop.hook, sales.dataset, filters=[{**REGION, "val": ["ASIA"]}])
    assert context["ti"].pushed["_link_SupersetDashboardLink"].endswith(f"/superset/dashboard/p/{address[-12:-1]}/")
    # Superset answers 500, which is asked again.
    monkeypatch.setattr("superset_provider.hooks.rest._pause", lambda state: 0.0)
    with pytest.raises(SupersetNotFoundError, match="no permalink 'nobody-made-it'"):
        warm(permalinks=["nobody-made-it"])


@pytest.mark.parametrize(
    ("selection", "named"),
    [
        ({"tags": ["no-such-tag"]}, "No published dashboard has the tag 'no-such-tag'"),
        ({"owners": ["nobody@example.org"]}, "has the owner 'nobody@example.org'.*admin"),
        ({"datasets": ["no_such_table"]}, "no dataset 'no_such_table'"),
        ({"dashboards": ["no-such-dashboard"]}, "no dashboard 'no-such-dashboard'"),
    ],
)
def test_what_does_not_exist_is_named(selection: Any, named: str, sales: Sales, warm: Any) -> None:
    with pytest.raises(SupersetNotFoundError, match=named):
        warm(**selection)


def test_a_draft_is_warmed_only_when_it_is_named(workshop: Workshop, warm: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    draft = workshop.dashboard([workshop.saved_chart(dataset)], published=False)
    with pytest.raises(SupersetNotFoundError, match="No published dashboard matches"):
        warm(datasets=[dataset])
    assert warm(dashboards=[draft])["warm"] == 1


def test_only_what_is_stale_is_asked(sales: Sales, warm: Any) -> None:
    sales.touch()
    assert warm(dashboards=[sales.id], only_stale=True)["already_warm"] == 0
    again = warm(dashboards=[sales.id], only_stale=True)
    assert (again["warm"], again["already_warm"]) == (2, 2)
    # A dataset that was changed has other keys.
    sales.touch()
    assert warm(dashboards=[sales.id], only_stale=True)["already_warm"] == 0
    # The pipeline knows when its data has changed.
    before, later = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (-5, 5))
    assert warm(dashboards=[sales.id], only_stale=True, changed_since=before)["already_warm"] == 2
    assert warm(dashboards=[sales.id], only_stale=True, changed_since=later.isoformat())["already_warm"] == 0
    # An entry that would go before the next run is as good as gone.
    with pytest.raises(SupersetWarmingError, match="too early"):
        warm(dashboards=[sales.id], only_stale=True, fresh_for=1e9)


def test_one_request_sees_many_entries_and_changes_none(workshop: Workshop, warm: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    contexts = [query_context(dataset, row_limit=limit) for limit in (1, 2, 3, 4)]
    dashboard = workshop.dashboard([workshop.chart(dataset, context) for context in contexts])
    assert warm(dashboards=[dashboard])["already_warm"] == 0
    before = [workshop.hook.chart_data(context)[0]["queried_dttm"] for context in contexts]
    result = warm(dashboards=[dashboard], only_stale=True, concurrency=1)
    assert result["already_warm"] == 4
    # Each answer of the shared request is that of its own chart.
    assert {chart["chart_id"]: chart["rows"] for chart in result["charts"]} == {
        chart["id"]: min(limit, 3)
        for chart, limit in zip(
            sorted(workshop.hook.get_dashboard_charts(dashboard), key=lambda chart: chart["id"]),
            (1, 2, 3, 4),
            strict=True,
        )
    }
    assert [workshop.hook.chart_data(context)[0]["queried_dttm"] for context in contexts] == before


def test_the_newest_asset_event_says_when_the_data_changed(sales: Sales, warm: Any, context: Any) -> None:
    class Event:
        def __init__(self, timestamp: datetime) -> None:
            self.timestamp = timestamp

    warm(dashboards=[sales.id], only_stale=True)
    hours = timedelta(hours=1)
    context["triggering_asset_events"] = {"orders": [Event(datetime.now(UTC) - hours)]}
    assert warm(dashboards=[sales.id], only_stale=True)["already_warm"] == 2
    context["triggering_asset_events"]["payments"] = [Event(datetime.now(UTC) + hours)]
    assert warm(dashboards=[sales.id], only_stale=True)["already_warm"] == 0


def test_relative_time_ranges_are_stale_on_the_next_day(
    workshop: Workshop, warm: Any, real_superset: RealSuperset
) -> None:
    sql = "select 'EU' as region, 10 as amount, '2026-11-01' as day"
    dataset = workshop.dataset(workshop.database(), sql)
    moving = query_context(dataset, filters=[{"col": "day", "op": "TEMPORAL_RANGE", "val": "Last year"}])
    dashboard = workshop.dashboard([workshop.saved_chart(dataset), workshop.saved_chart(dataset, moving)])
    assert warm(dashboards=[dashboard])["warm"] == 2
    assert warm(dashboards=[dashboard], only_stale=True)["already_warm"] == 2
    with real_superset.later(timedelta(days=1)):
        result = warm(dashboards=[dashboard], only_stale=True, fresh_for=0)
        assert [chart["cold_ms"] is None for chart in result["charts"]] == [False, True]


@pytest.mark.parametrize(("of", "named"), [("dataset", "its dataset's or its database's"), ("chart", "the chart's")])
def test_a_cache_timeout_of_minus_one_is_named(
    of: str, named: str, workshop: Workshop, warm: Any, context: Any
) -> None:
    dataset = workshop.dataset(workshop.database())
    chart = workshop.saved_chart(dataset, **({"cache_timeout": -1} if of == "chart" else {}))
    if of == "dataset":
        workshop.hook.request("PUT", f"/api/v1/dataset/{dataset}", json={"cache_timeout": -1})
    with pytest.raises(SupersetWarmingError, match=f"cache timeout -1: {named} cache timeout is -1"):
        warm(dashboards=[workshop.dashboard([chart])])


def test_an_entry_that_goes_before_the_next_run_is_a_failure(workshop: Workshop, warm: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    dashboard = workshop.dashboard([workshop.saved_chart(dataset, cache_timeout=60)])
    assert warm(dashboards=[dashboard], fresh_for=30)["warm"] == 1
    with pytest.raises(SupersetWarmingError, match=r"expires early: its entry goes \d+ s too early"):
        warm(dashboards=[dashboard], fresh_for=3600)


def test_an_entry_that_goes_during_the_run_is_a_failure(workshop: Workshop, warm: Any, context: Any) -> None:
    database = workshop.database()
    quick = workshop.saved_chart(workshop.dataset(database), cache_timeout=1)
    slow = workshop.saved_chart(*slow_query(workshop, database, 3))
    with pytest.raises(SupersetWarmingError, match=r"1 of 2 .*expires early"):
        warm(dashboards=[workshop.dashboard([quick, slow])])


def test_a_key_that_jinja_changes_is_named(workshop: Workshop, warm: Any, context: Any) -> None:
    sql = "select 'EU' as region, 10 as amount, '{{ cache_key_wrapper(range(9999) | random | string) }}' as luck"
    dashboard = workshop.dashboard([workshop.saved_chart(workshop.dataset(workshop.database(), sql))])
    with pytest.raises(SupersetWarmingError, match="two cache keys"):
        warm(dashboards=[dashboard])
    assert set(reasons(context).values()) == {"key mismatch"}


def test_filters_that_name_no_column_are_named(workshop: Workshop, warm: Any, context: Any) -> None:
    database = workshop.database()
    with_region = workshop.dataset(database)
    without = workshop.dataset(database, "select 'x' as area, 1 as amount")
    chart = workshop.saved_chart(
        without, query_context(without, columns=["area"]), slice_name=workshop.named("no region")
    )
    dashboard = workshop.dashboard([workshop.saved_chart(with_region), chart], [native_filter(with_region)])
    with pytest.raises(SupersetWarmingError, match=r"1 of 3 .*no region.*none of its filters names a column"):
        warm(dashboards=[dashboard])
    # It is so: Superset says that it hits, and asks the database all the same.
    time.sleep(1.1)
    found = workshop.hook.chart_data(query_context(without, columns=["area"], filters=[REGION]))[0]
    assert found["is_cached"] is True
    assert found["queried_dttm"] > found["cached_dttm"]


def test_a_broken_chart_names_itself_its_dataset_and_the_databases_error(workshop: Workshop, warm: Any) -> None:
    database = workshop.database()
    dataset = workshop.dataset(database)
    gone = f"gone_{workshop.name.replace('-', '_')}"
    workshop.execute(database, f"create table {gone} (region text, amount int)")
    lost = workshop.dataset(database, f"select region, amount from {gone}")
    workshop.execute(database, f"drop table {gone}")
    broken = [
        workshop.saved_chart(
            dataset, query_context(dataset, columns=["no_column"]), slice_name=workshop.named("broken")
        ),
        workshop.saved_chart(lost, slice_name=workshop.named("lost")),
    ]
    dashboard = workshop.dashboard([workshop.saved_chart(dataset), *broken])
    result = warm(dashboards=[dashboard], on_failure="warn")
    assert (result["warm"], result["failed"]) == (1, 2)
    told = "; ".join(result["failures"])
    for number, name, error in ((dataset, "broken", "no_column"), (lost, "lost", f"no such table: {gone}")):
        table = workshop.hook.get_dataset(number)["table_name"]
        assert re.search(f"{name}.* on dataset {table}, as superset_default: query failed: .*{error}", told)


def test_a_chart_without_query_context_is_named(workshop: Workshop, warm: Any, context: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    mute = workshop.saved_chart(dataset, query_context=None, params=json.dumps({"viz_type": "no_such_chart"}))
    dashboard = workshop.dashboard([workshop.saved_chart(dataset), mute])
    with pytest.raises(SupersetWarmingError, match=r"1 of 2 .*query unknown"):
        warm(dashboards=[dashboard])


def test_a_slow_chart_is_cut_and_a_kill_ends_the_others(workshop: Workshop, warm: Any, context: Any) -> None:
    database = workshop.database()
    slow = [
        workshop.saved_chart(*slow_query(workshop, database, 4), slice_name=workshop.named("slow")) for _ in range(3)
    ]
    quick = workshop.saved_chart(workshop.dataset(database))
    with pytest.raises(SupersetTransientError, match=r"1 of 2 .*slow.*too slow: it was cut after 2 s"):
        warm(dashboards=[workshop.dashboard([slow[0], quick])], query_timeout=2)
    task = SupersetWarmDashboardOperator(task_id="warm", dashboards=[workshop.dashboard(slow)], concurrency=1)
    threading.Timer(1.5, task.on_kill).start()
    started = time.monotonic()
    with pytest.raises(SupersetTransientError, match="ended by a kill"):
        task.execute(context)
    assert time.monotonic() - started < 3 * 4


def test_nothing_secret_is_in_the_result(sales: Sales, warm: Any, real_superset: RealSuperset) -> None:
    result = warm(dashboards=[sales.id])
    assert real_superset.password not in json.dumps(result)
    assert set(result["charts"][0]) == {
        "dashboard", "chart", "chart_id", "kind", "dataset", "user", "cold_ms", "warm_ms", "rows", "shared", "hit",
        "reason", "message",
    }  # fmt: skip
