"""What the tests' own Superset is to offer: rights, row-level security, tags, Jinja, slow queries, a movable clock."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.workshop import Workshop, query_context


def test_row_level_security_holds_for_its_role(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = workshop.dataset(workshop.database())
    role = workshop.role()
    workshop.row_level_security("region = 'EU'", [dataset], [role])
    user = workshop.user(workshop.role_named("Alpha"), role)
    monkeypatch.setenv("AIRFLOW_CONN_LIMITED", json.dumps(user))
    with SupersetHook("limited") as limited:
        seen = limited.chart_data(query_context(dataset))[0]
    everything = workshop.hook.chart_data(query_context(dataset))[0]
    assert [row["region"] for row in seen["data"]] == ["EU"]
    assert len(everything["data"]) == 3
    assert seen["cache_key"] != everything["cache_key"]


def test_dashboards_can_be_tagged(workshop: Workshop) -> None:
    dashboard = workshop.dashboard([])
    tag = workshop.named("tag")
    workshop.hook.request("POST", f"/api/v1/tag/3/{dashboard}/", json={"properties": {"tags": [tag]}})
    only = [{"col": "tags", "opr": "dashboard_tags", "value": tag}]
    assert [entry["id"] for entry in workshop.hook.list_dashboards(only)] == [dashboard]
    workshop.hook.request("DELETE", f"/api/v1/tag/3/{dashboard}/{tag}/")


def test_datasets_may_be_templates(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database(), "select '{{ 1 + 1 }}' as region, 10 as amount")
    assert workshop.hook.chart_data(query_context(dataset))[0]["data"] == [{"region": "2", "total": 10}]


def test_slow_queries_run_side_by_side(workshop: Workshop) -> None:
    sql = "select 'EU' as region, 1 as amount, pg_sleep(0.5) as slept"
    dataset = workshop.dataset(workshop.database(), sql)
    limits = range(1, 9)
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: workshop.hook.chart_data(query_context(dataset, row_limit=n)), limits))
    assert {answer[0]["rowcount"] for answer in answers} == {1}
    assert time.monotonic() - started < 0.5 * len(limits) * 0.75


def test_what_people_do_is_logged(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    chart = workshop.chart(dataset)
    form_data = {"slice_id": chart}
    before, _ = _logged(workshop, chart)
    for _ in range(3):
        workshop.hook.chart_data(query_context(dataset), form_data=form_data)
    # It is written beside the answers, about once a second.
    deadline = time.monotonic() + 10
    while (found := _logged(workshop, chart))[0] < before + 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    count, entries = found
    assert count == before + 3
    assert all(entry["duration_ms"] >= 0 and entry["json"] for entry in entries)


def _logged(workshop: Workshop, chart: int) -> tuple[int, list[dict[str, Any]]]:
    """How many entries a chart has (SQLite gives the number of a deleted one again), and some of them."""
    only = f"(filters:!((col:slice_id,opr:eq,value:{chart}),(col:action,opr:eq,value:'ChartDataRestApi.data')))"
    answer = workshop.hook.request("GET", "/api/v1/log/", params={"q": only})
    return int(answer["count"]), list(answer["result"])


def test_the_clock_can_be_moved(workshop: Workshop, real_superset: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    before = workshop.hook.chart_data({**query_context(dataset), "force": True})[0]["queried_dttm"]
    with real_superset.later(timedelta(days=1)):
        later = workshop.hook.chart_data({**query_context(dataset), "force": True})[0]["queried_dttm"]
    assert before[:10] < later[:10]
    assert workshop.hook.chart_data({**query_context(dataset), "force": True})[0]["queried_dttm"] < later
