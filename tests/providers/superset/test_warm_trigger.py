"""The trigger: round trip, success, failure, patience with a busy server; and that it never blocks the event loop."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from superset_provider.exceptions import SupersetTerminalError, SupersetTransientError, SupersetWarmingError
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator
from superset_provider.triggers.warm_dashboard import SupersetWarmDashboardTrigger
from superset_provider.warmer.request import PageAddress, WarmRequest

from tests.providers.event_loop import BOUND, SITTINGS, LagProbe
from tests.providers.superset.scripted_dashboard import ScriptedDashboard


def make(**arguments: Any) -> SupersetWarmDashboardTrigger:
    settings = {"deadline": time.time() + 20, "since": datetime.now(UTC).isoformat(), **arguments}
    request = WarmRequest("superset_default", (PageAddress(4),), **settings)
    return SupersetWarmDashboardTrigger(request.to_dict())


def run(trigger: SupersetWarmDashboardTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        events = [event async for event in trigger.run()]
        assert len(events) == 1
        return dict(events[0].payload)

    event = asyncio.run(first())
    # It goes through Airflow's database.
    assert json.loads(json.dumps(event)) == event
    return event


def test_a_trigger_is_rebuilt_from_what_it_serialises(superset: Any) -> None:
    trigger = make(as_users=("other",), roles=(("Gamma", "EU"),), durations={"superset_default/1": 5.0})
    path, arguments = trigger.serialize()
    arguments = json.loads(json.dumps(arguments))
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**arguments)
    assert json.loads(json.dumps(again.serialize())) == json.loads(json.dumps(trigger.serialize()))
    assert WarmRequest.from_dict(again.request) == WarmRequest.from_dict(trigger.request)
    assert "pass-word" not in json.dumps(arguments)


def test_it_succeeds_when_all_is_warm(superset: Any) -> None:
    ScriptedDashboard(superset, charts=3)
    event = run(make())
    assert (event["status"], event["result"]["warm"], event["result"]["failed"]) == ("done", 3, 0)


def test_it_reports_failures_beside_successes(superset: Any) -> None:
    board = ScriptedDashboard(superset, charts=3)
    board.entry = lambda entry, reads: {**entry, "error": "disk full"} if entry["cache_key"] == "k2" else entry
    event = run(make())
    assert (event["status"], event["result"]["warm"], event["result"]["failed"]) == ("done", 2, 1)
    assert "disk full" in event["result"]["failures"][0]


def test_it_goes_on_through_a_busy_time(superset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superset_provider.hooks.rest._pause", lambda state: 0.0)
    board = ScriptedDashboard(superset, charts=2)
    busy = [superset.reply(503, {"message": "busy"}) for _ in range(3)]
    superset.guard("POST", "/api/v1/chart/data", lambda request: busy.pop() if busy else board.chart_data(request))
    assert run(make())["result"]["warm"] == 2


def test_refused_credentials_end_it(superset: Any, monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    ScriptedDashboard(superset)
    wrong = {"conn_type": "superset", "host": server.address, "login": "admin", "password": "wrong-one"}
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(wrong))
    event = run(make())
    assert (event["status"], event["transient"], event["result"]) == ("error", False, None)
    assert "wrong-one" not in json.dumps(event)


def test_the_deadline_is_the_triggers_own(superset: Any) -> None:
    board = ScriptedDashboard(superset, charts=6)
    board.delay = lambda chart: 0.4
    event = run(make(deadline=time.time() + 1.2, concurrency=1))
    assert event["status"] == "done"
    assert {chart["reason"] for chart in event["result"]["charts"]} == {None, "not reached"}


def test_one_that_starts_again_asks_only_what_was_not_asked(superset: Any) -> None:
    board = ScriptedDashboard(superset, charts=6)
    board.delay = lambda chart: 0.2
    trigger = make(concurrency=1)

    async def interrupted() -> None:
        events = trigger.run()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await anext(events)

    asyncio.run(interrupted())
    before = list(board.forced)
    assert 0 < len(before) < 6
    result = run(SupersetWarmDashboardTrigger(**trigger.serialize()[1]))["result"]
    assert result["warm"] == 6
    assert result["already_warm"] >= len(before) - 1
    # What was being asked when it ended is asked again, nothing else.
    assert len(board.forced) - len(before) <= 6 - len(before) + 1


def test_what_is_older_than_the_request_is_not_taken_for_warm(superset: Any) -> None:
    board = ScriptedDashboard(superset, charts=2)
    run(make())
    board.age(60)
    event = run(make())
    assert event["result"]["already_warm"] == 0
    assert sorted(board.forced) == [1, 1, 2, 2]


def test_ending_it_ends_its_questions(superset: Any) -> None:
    board = ScriptedDashboard(superset, charts=8)
    board.delay = lambda chart: 1.0

    async def killed() -> None:
        waiting = asyncio.ensure_future(anext(make(concurrency=2).run()))
        await asyncio.sleep(0.5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(killed())
    assert len(board.forced) == 2


def test_the_operator_defers_and_judges_the_event(superset: Any, context: Any) -> None:
    board = ScriptedDashboard(superset, charts=2)
    task = SupersetWarmDashboardOperator(task_id="warm", dashboards=["sales"], deferrable=True, timeout=30)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    assert board.forced == []
    assert context["ti"].pushed["_link_SupersetDashboardLink"].endswith("/superset/dashboard/sales/")
    assert deferred.value.method_name == "execute_complete"
    assert deferred.value.timeout is not None
    assert timedelta(seconds=30) < deferred.value.timeout < timedelta(seconds=120)
    trigger = deferred.value.trigger
    assert isinstance(trigger, SupersetWarmDashboardTrigger)
    event = run(trigger)
    assert task.execute_complete(context, event)["warm"] == 2
    event["result"].update(failed=1, failures=["a sentence"], transient=False)
    with pytest.raises(SupersetWarmingError, match=r"1 of 2 queries are not warm\. a sentence"):
        task.execute_complete(context, event)
    for transient, kind in ((True, SupersetTransientError), (False, SupersetTerminalError)):
        with pytest.raises(kind, match="no route"):
            task.execute_complete(context, {"status": "error", "message": "no route", "transient": transient})


@pytest.mark.usefixtures("quiet_memory")
def test_large_answers_do_not_block_the_event_loop(superset: Any) -> None:
    board = ScriptedDashboard(superset, charts=4)
    # About 6 MB of JSON each: building these rows alone would take twice the bound.
    board.rows = json.dumps([{"a": number, "b": "x" * 60, "c": number / 7} for number in range(60_000)]).encode()
    run(make())

    async def sitting() -> float:
        probe = LagProbe()
        probing = asyncio.create_task(probe.run())
        events = [event async for event in make(since=None).run()]
        probing.cancel()
        assert events[0].payload["result"]["warm"] == 4
        return probe.worst

    blocks = []
    for _ in range(SITTINGS):
        blocks.append(asyncio.run(sitting()))
        if blocks[-1] < BOUND:
            break
    assert min(blocks) < BOUND
