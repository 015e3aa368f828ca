"""How a warm-up asks, and what it makes of a Superset that a healthy one cannot be brought to be."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from superset_provider.browser.page import PageQuery
from superset_provider.exceptions import (
    SupersetConfigurationError,
    SupersetTransientError,
    SupersetWarmingError,
)
from superset_provider.operators.warm_dashboard import RESULT_KEY, SupersetWarmDashboardOperator
from superset_provider.warmer.batches import batch_key, combined, split

from tests.providers.superset.scripted_dashboard import ScriptedDashboard


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are real in production and zero here; what is repeated, and how often, stays."""
    monkeypatch.setattr("superset_provider.hooks.rest._pause", lambda state: 0.0)


def operator(**arguments: Any) -> SupersetWarmDashboardOperator:
    return SupersetWarmDashboardOperator(task_id="warm", **{"dashboards": ["sales"], **arguments})


def reasons(context: Any) -> set[str]:
    """Why queries are not warm, as a failed task left it in XCom."""
    return {chart["reason"] for chart in context["ti"].pushed[RESULT_KEY]["charts"]}


def test_cold_queries_run_in_parallel_but_not_more_than_allowed(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=12)
    board.delay = lambda chart: 0.15
    result = operator(concurrency=3).execute(context)
    assert (result["warm"], board.most_at_once) == (12, 3)


def test_whichever_worker_is_free_gets_the_next_cold_query(superset: Any, context: Any) -> None:
    ScriptedDashboard(superset, charts=6)
    operator(concurrency=1).execute(context)
    asked = [request for request in superset.server.requests if request.path.endswith("/chart/data")]
    closed = {(request.body["force"], request.headers.get("connection") == "close") for request in asked}
    assert closed == {(True, True), (False, False)}


def test_the_slowest_of_the_last_run_come_first_and_new_ones_before_them(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=4)
    durations = {"superset_default/1": 10.0, "superset_default/2": 900.0, "superset_default/4": 50.0}
    context["ti"].previous = {"durations": durations}
    result = operator(concurrency=1).execute(context)
    assert board.forced == [3, 2, 4, 1]
    assert set(result["durations"]) == {*durations, "superset_default/3"}


def test_one_query_is_never_asked_twice(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=5, same_query=True)
    result = operator(dashboards=["sales", 4]).execute(context)
    assert len(board.forced) == 1
    assert [chart["shared"] for chart in result["charts"]] == [False, True, True, True, True]
    assert {chart["hit"] for chart in result["charts"]} == {True}


def test_what_a_page_is_made_of_is_read_while_its_dashboard_is(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=2)
    parts = {"dashboard/sales/charts", "dashboard/sales/datasets"}
    read: list[str] = []

    def reading(path: str) -> None:
        read.append(path)
        deadline = time.monotonic() + 10
        while path == "dashboard/sales" and not parts <= {*read} and time.monotonic() < deadline:
            time.sleep(0.01)
        read.append(f"{path} is answered")

    board.reading = reading
    assert operator().execute(context)["warm"] == 2
    assert {*read[: read.index("dashboard/sales is answered")]} >= parts
    assert all(read.count(part) == 1 for part in parts)
    assert not {"dashboard/4/charts", "dashboard/4/datasets"} & {*read}


def test_what_could_not_be_read_ahead_is_read_again(superset: Any, context: Any) -> None:
    ScriptedDashboard(superset, charts=2)
    superset.answers("GET", "/api/v1/dashboard/sales/datasets", 404, {"message": "Not found"})
    assert operator().execute(context)["warm"] == 2
    assert superset.server.count("GET", "/api/v1/dashboard/4/datasets") == 1


def test_cold_queries_come_before_proofs(superset: Any, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PROOF_SECONDS", "COMPANY_SECONDS"):
        monkeypatch.setattr(f"superset_provider.warmer.visit.{name}", 60.0)
    ScriptedDashboard(superset, charts=3)
    assert operator(concurrency=1).execute(context)["warm"] == 3
    asked = [request.body["force"] for request in superset.server.requests if request.path.endswith("/chart/data")]
    assert asked[:4] == [True, True, True, False]


def test_a_cache_that_keeps_nothing_is_named_and_not_asked_to_the_end(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=80)
    board.keeps = False
    board.delay = lambda chart: 0.05
    with pytest.raises(SupersetWarmingError, match=r"80 of 80 queries are not warm.*DATA_CACHE_CONFIG is NullCache"):
        operator(concurrency=2).execute(context)
    assert reasons(context) == {"cache disabled"}
    assert len({*board.forced}) < 40


def test_workers_that_do_not_share_their_cache_are_named_although_one_of_them_hits(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=1)
    # The first two reads fill the cache and prove the hit; those over new connections reach another worker.
    board.entry = lambda entry, reads: {**entry, "is_cached": True if entry["is_cached"] and reads < 2 else None}
    with pytest.raises(SupersetWarmingError, match="each of Superset's workers has a cache of its own"):
        operator(concurrency=1).execute(context)
    assert "cache not shared" in reasons(context)


def test_a_forced_read_that_is_not_stored_is_no_proof(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset)
    operator().execute(context)
    board.age(3000)
    board.keeps = False
    with pytest.raises(SupersetWarmingError, match="older than this warm-up"):
        operator().execute(context)
    assert reasons(context) == {"not stored"}


def test_a_key_that_changes_from_read_to_read_is_named(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset)
    board.entry = lambda entry, reads: {**entry, "cache_key": f"k{reads}"}
    with pytest.raises(SupersetWarmingError, match=r"Sales, Chart 1 on dataset gold\.orders.*two cache keys"):
        operator().execute(context)
    assert reasons(context) == {"key mismatch"}


def test_a_busy_superset_is_asked_again(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=2)
    busy = [superset.reply(429, {"message": "50 per 1 second"}), superset.reply(502, {}), superset.reply(503, {})]

    def chart_data(request: Any) -> Any:
        return busy.pop() if busy else board.chart_data(request)

    superset.guard("POST", "/api/v1/chart/data", chart_data)
    assert operator(concurrency=1).execute(context)["warm"] == 2
    assert busy == []


def test_one_that_stays_busy_is_worth_another_try_of_the_task(superset: Any, context: Any) -> None:
    ScriptedDashboard(superset)
    superset.guard("POST", "/api/v1/chart/data", lambda _: superset.reply(503, {"message": "busy"}))
    with pytest.raises(SupersetTransientError, match=r"Sales, Chart 1 .*busy"):
        operator().execute(context)


def test_a_queue_instead_of_an_answer_is_named(superset: Any, context: Any) -> None:
    ScriptedDashboard(superset)
    superset.guard("POST", "/api/v1/chart/data", lambda _: superset.reply(202, {"job_id": "j", "status": "pending"}))
    with pytest.raises(SupersetWarmingError, match="GLOBAL_ASYNC_QUERIES"):
        operator().execute(context)


def test_a_slow_chart_is_cut_and_the_others_go_on(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=4)
    board.delay = lambda chart: 3.0 if chart == 2 else 0.0
    started = time.monotonic()
    with pytest.raises(SupersetTransientError, match=r"1 of 4 .*Chart 2.*too slow: it was cut after 0\.5 s"):
        operator(query_timeout=0.5, concurrency=1).execute(context)
    assert time.monotonic() - started < 2.5
    hits = {chart["chart_id"]: chart["hit"] for chart in context["ti"].pushed[RESULT_KEY]["charts"]}
    assert hits == {1: True, 2: False, 3: True, 4: True}


def test_entries_that_are_fresh_are_looked_at_many_with_a_request(superset: Any, context: Any, server: Any) -> None:
    board = ScriptedDashboard(superset, charts=20)
    operator().execute(context)
    before = server.count("POST", "/api/v1/chart/data")
    result = operator(only_stale=True, concurrency=1).execute(context)
    assert (result["warm"], result["already_warm"]) == (20, 20)
    assert server.count("POST", "/api/v1/chart/data") - before <= 5
    assert len(board.forced) == 20
    # What is stale among them is asked on its own, and proven.
    now = datetime.now(UTC)
    board.age(3000, 3, 17)
    result = operator(only_stale=True, concurrency=1, changed_since=now - timedelta(seconds=1000)).execute(context)
    assert (result["warm"], result["already_warm"]) == (20, 18)
    assert board.forced[20:] == [3, 17]


def test_answers_are_proven_many_with_a_request(superset: Any, context: Any, server: Any) -> None:
    board = ScriptedDashboard(superset, charts=20)
    board.delay = lambda chart: 0.02
    result = operator().execute(context)
    assert (result["warm"], len(board.forced)) == (20, 20)
    # The first at once, then four over new connections, then eight with each.
    assert server.count("POST", "/api/v1/chart/data") - 20 <= 1 + 4 + 4
    # Each is told from the others: two that are never cached are named, and no more.
    board.entry = lambda entry, reads: {**entry, "cache_timeout": -1 if entry["cache_key"] in ("k3", "k17") else 60}
    with pytest.raises(SupersetWarmingError, match="2 of 20 queries are not warm") as failed:
        operator().execute(context)
    assert {failure["chart_id"] for failure in failed.value.details["failures"]} == {3, 17}


def test_what_cannot_be_looked_at_together_is_looked_at_alone(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=6)
    operator().execute(context)

    def chart_data(request: Any) -> Any:
        if len(request.body["queries"]) > 1:
            return superset.reply(400, {"message": "no"})
        return board.chart_data(request)

    superset.guard("POST", "/api/v1/chart/data", chart_data)
    assert operator(only_stale=True).execute(context)["already_warm"] == 6
    assert operator().execute(context)["warm"] == 6


def query(queries: list[dict[str, Any]], **body: Any) -> PageQuery:
    return PageQuery("Chart", 1, 7, "chart", {"datasource": {"id": 7, "type": "table"}, "queries": queries, **body})


def test_which_queries_can_be_looked_at_together() -> None:
    plain = query([{"columns": ["a"]}], form_data={"slice_id": 1})
    assert batch_key(plain) == batch_key(query([{"columns": ["b"]}], form_data={"slice_id": 2}))
    assert batch_key(plain) != batch_key(query([{"columns": ["a"]}], result_type="results"))
    assert batch_key(query([{}, {}])) is None
    # It would find its totals in a query without post-processing, as all others of its kind have.
    contribution = query([{"post_processing": [None, {"operation": "contribution"}]}])
    assert batch_key(contribution) == batch_key(contribution) != batch_key(plain)
    assert combined([plain, query([{"columns": ["b"]}])]) == {
        "datasource": {"id": 7, "type": "table"},
        "queries": [{"columns": ["a"]}, {"columns": ["b"]}],
        "force": False,
    }


def test_slow_ones_do_not_wait_for_each_other() -> None:
    assert split([]) == []
    assert split([None] * 9) == [slice(0, 8), slice(8, 9)]
    assert split([20_000.0, 30_000.0, 10.0, None]) == [slice(0, 1), slice(1, 2), slice(2, 4)]


class Store(dict[str, Any]):
    """Airflow's state of a task, which outlives its tries."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


def test_the_next_try_asks_only_what_the_last_one_did_not_warm(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=4)
    board.delay = lambda chart: 3.0 if chart == 2 else 0.0
    context["task_state_store"] = Store()
    with pytest.raises(SupersetTransientError, match="too slow"):
        operator(query_timeout=0.5).execute(context)
    assert sorted(board.forced) == [1, 2, 3, 4]
    board.delay = lambda chart: 0.0
    result = operator(query_timeout=0.5).execute(context)
    # Superset has gone on with the slow query; that its entry is there by now is not sure.
    assert result["warm"] == 4
    assert {*board.forced[4:]} <= {2}
    # What is done is done: the next run begins anew.
    assert context["task_state_store"] == {}
    before = len(board.forced)
    assert operator().execute(context)["already_warm"] == 0
    assert len(board.forced) == before + 4


def test_what_an_earlier_run_left_behind_long_ago_does_not_count(superset: Any, context: Any) -> None:
    ScriptedDashboard(superset, charts=2)
    context["task_state_store"] = Store(superset_warming_since="2020-01-01T00:00:00+00:00")
    operator().execute(context)
    assert operator(timeout=60).execute(context)["already_warm"] == 0


def test_what_the_timeout_leaves_is_named(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=6)
    board.delay = lambda chart: 0.4
    with pytest.raises(SupersetTransientError, match="not reached: the warm-up ran out of time"):
        operator(timeout=1.3, concurrency=1).execute(context)
    result = context["ti"].pushed[RESULT_KEY]
    assert 0 < result["failed"] < 6
    assert result["queries"] == 6
    assert len(board.forced) < 6


def test_a_kill_gives_up_what_is_asked_and_starts_nothing_more(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=8)
    board.delay = lambda chart: 3.0
    task = operator(concurrency=2)
    threading.Timer(1.0, task.on_kill).start()
    started = time.monotonic()
    with pytest.raises(SupersetTransientError, match="ended by a kill"):
        task.execute(context)
    assert time.monotonic() - started < 2.5
    assert len(board.forced) == 2


def test_a_task_that_was_killed_before_asks_nothing(superset: Any, context: Any, server: Any) -> None:
    ScriptedDashboard(superset)
    task = operator()
    task.on_kill()
    with pytest.raises(SupersetTransientError, match="ended by a kill"):
        task.execute(context)
    assert server.requests == []


def test_failures_below_the_threshold_or_only_warned_of_let_the_task_succeed(
    superset: Any, context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    board = ScriptedDashboard(superset, charts=4)
    board.entry = lambda entry, reads: {**entry, "error": "no such column"} if entry["cache_key"] == "k3" else entry
    with pytest.raises(SupersetWarmingError, match="1 of 4") as caught:
        operator().execute(context)
    assert [failure["chart"] for failure in caught.value.failures] == ["Chart 3"]
    for tolerant in ({"on_failure": "warn"}, {"max_failures": 1}, {"max_failure_share": 0.25}):
        result = operator(**tolerant).execute(context)
        assert (result["warm"], result["failed"]) == (3, 1)
        assert "Sales, Chart 3 on dataset gold.orders, as superset_default: query failed: no such column" in (
            capsys.readouterr().out
        )
    with pytest.raises(SupersetWarmingError):
        operator(max_failure_share=0.2).execute(context)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"dashboards": []}, "names no dashboard"),
        ({"concurrency": 0}, "concurrency 0"),
        ({"on_failure": "ignore"}, "on_failure"),
    ],
)
def test_arguments_are_checked_before_anything_is_sent(
    arguments: Any, named: str, superset: Any, context: Any, server: Any
) -> None:
    with pytest.raises(SupersetConfigurationError, match=named):
        operator(**arguments).execute(context)
    assert server.requests == []


def test_a_time_that_is_none_is_named(superset: Any, context: Any) -> None:
    ScriptedDashboard(superset)
    with pytest.raises(SupersetConfigurationError, match="changed_since 'yesterday'"):
        operator(only_stale=True, changed_since="yesterday").execute(context)
