"""The freshness sensor and its trigger: round trip, success, failure, patience; and the event loop stays free."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred
from superset_provider.exceptions import (
    SupersetChartDataError,
    SupersetConfigurationError,
    SupersetNotFoundError,
    SupersetTerminalError,
)
from superset_provider.freshness import FreshnessRequest
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator
from superset_provider.sensors.freshness import SupersetDashboardFreshnessSensor
from superset_provider.triggers.freshness import SupersetDashboardFreshnessTrigger

from tests.providers.event_loop import BOUND, SITTINGS, LagProbe
from tests.providers.superset.scripted_dashboard import ScriptedDashboard
from tests.providers.superset.workshop import TOTAL, Workshop

HOUR = timedelta(hours=1)


def make(deadline: float = 20.0, **arguments: Any) -> SupersetDashboardFreshnessTrigger:
    request = {"dashboards": [4], "max_age": 3600.0, **arguments.pop("request", {})}
    arguments = {"poll_interval": 0.01, **arguments}
    return SupersetDashboardFreshnessTrigger(
        "superset_default", FreshnessRequest(**request).to_dict(), time.time() + deadline, **arguments
    )


def run(trigger: SupersetDashboardFreshnessTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        events = [event async for event in trigger.run()]
        assert len(events) == 1
        return dict(events[0].payload)

    event = asyncio.run(first())
    # It goes through Airflow's database.
    assert json.loads(json.dumps(event)) == event
    return event


def _times(board: ScriptedDashboard, *ages: timedelta) -> list[timedelta]:
    """Let each read find data of the next age; the last one stays."""
    left = list(ages)

    def entry(found: dict[str, Any], reads: int) -> dict[str, Any]:
        age = left.pop(0) if len(left) > 1 else left[0]
        return {**found, "is_cached": True, "queried_dttm": (datetime.now(UTC) - age).isoformat(timespec="seconds")}

    board.entry = entry
    return left


def test_a_trigger_is_rebuilt_from_what_it_serialises(superset: Any) -> None:
    trigger = make(request={"time_columns": {"a.b": "c"}}, max_poll_errors=3)
    path, arguments = trigger.serialize()
    arguments = json.loads(json.dumps(arguments))
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**arguments)
    assert again.serialize() == (path, arguments)
    assert "pass-word" not in json.dumps(arguments)


def test_it_succeeds_when_all_is_fresh(superset: Any) -> None:
    _times(ScriptedDashboard(superset, charts=3), timedelta(0))
    assert run(make()) == {"status": "fresh", "message": "", "stale": [], "transient": False}


def test_it_waits_while_something_is_too_old(superset: Any) -> None:
    left = _times(ScriptedDashboard(superset, charts=1), 3 * HOUR, 2 * HOUR, timedelta(0))
    assert run(make())["status"] == "fresh"
    assert left == [timedelta(0)]


def test_the_deadline_ends_it_and_says_what_is_too_old(superset: Any) -> None:
    _times(ScriptedDashboard(superset, charts=2), 3 * HOUR)
    event = run(make(deadline=0.05))
    assert event["status"] == "timeout"
    assert len(event["stale"]) == 2
    assert "cached data of" in event["stale"][0]


def test_what_is_fresh_at_the_last_look_counts_however_late(superset: Any) -> None:
    _times(ScriptedDashboard(superset, charts=1), timedelta(0))
    assert run(make(deadline=-5.0))["status"] == "fresh"


def test_a_broken_chart_ends_it(superset: Any) -> None:
    board = ScriptedDashboard(superset, charts=2)
    board.entry = lambda entry, reads: {**entry, "error": "disk full"}
    event = run(make())
    assert (event["status"], event["transient"]) == ("error", False)
    assert "disk full" in event["message"]


@pytest.mark.parametrize(("errors", "status"), [(2, "fresh"), (3, "error")])
def test_transient_errors_survive_until_there_are_too_many(errors: int, status: str, superset: Any) -> None:
    board = ScriptedDashboard(superset, charts=1)
    _times(board, timedelta(0))
    # A trigger's hook sends a request once: it looks again anyhow.
    busy = [superset.reply(503, {"message": "busy"}) for _ in range(errors)]
    superset.guard("POST", "/api/v1/chart/data", lambda request: busy.pop() if busy else board.chart_data(request))
    event = run(make(max_poll_errors=3))
    assert (event["status"], event["transient"]) == (status, status == "error")


def test_the_event_loop_stays_free(superset: Any) -> None:
    _times(ScriptedDashboard(superset, charts=20), *[3 * HOUR] * 20, timedelta(0))

    async def worst() -> float:
        probe = LagProbe()
        probing = asyncio.create_task(probe.run())
        async for event in make().run():
            assert event.payload["status"] == "fresh"
        probing.cancel()
        return probe.worst

    assert min(asyncio.run(worst()) for _ in range(SITTINGS)) < BOUND


@pytest.mark.parametrize(
    "arguments",
    [
        {"since": "2026-01-01"},
        {"dashboards": ["a"]},
        {"dashboards": ["a"], "since": "2026-01-01", "max_age": 5},
        {"dashboards": ["a"], "since": "yesterday"},
    ],
)
def test_arguments_are_checked_before_anything_is_sent(arguments: dict[str, Any], superset: Any, server: Any) -> None:
    with pytest.raises(SupersetConfigurationError):
        SupersetDashboardFreshnessSensor(task_id="fresh", **arguments).execute({})
    assert server.requests == []


# -- against a real Superset -------------------------------------------------------------------------------------------


@pytest.fixture
def dashboard(workshop: Workshop) -> tuple[int, int]:
    """A dashboard and its dataset."""
    dataset = workshop.dataset(workshop.database())
    return workshop.dashboard([workshop.chart(dataset), workshop.chart(dataset)]), dataset


def _sensor(dashboard: int, **arguments: Any) -> SupersetDashboardFreshnessSensor:
    return SupersetDashboardFreshnessSensor(task_id="fresh", dashboards=[dashboard], **arguments)


def test_a_dashboard_gets_too_old_and_fresh_again(
    dashboard: tuple[int, int], real_superset: Any, context: dict[str, Any]
) -> None:
    number, _ = dashboard
    sensor = _sensor(number, max_age=HOUR)
    assert sensor.poke({})
    with real_superset.later(2 * HOUR):
        # Everything is cached, so that looking on does not make it fresh; warming does.
        assert not sensor.poke({})
        assert not sensor.poke({})
        SupersetWarmDashboardOperator(task_id="warm", dashboards=[number]).execute(context)
        assert sensor.poke({})


def test_it_defers_and_ends_as_the_trigger_says(dashboard: tuple[int, int]) -> None:
    sensor = _sensor(dashboard[0], since=datetime.now(UTC) + HOUR, deferrable=True, timeout=5, poke_interval=0.1)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({})
    trigger = deferred.value.trigger
    assert isinstance(trigger, SupersetDashboardFreshnessTrigger)
    trigger.deadline = time.time()
    event = run(trigger)
    with pytest.raises(AirflowSensorTimeout, match="cached data of"):
        sensor.execute_complete({}, event)
    with pytest.raises(SupersetTerminalError, match="no such table"):
        sensor.execute_complete({}, {"status": "error", "message": "no such table", "transient": False, "stale": []})
    sensor.execute_complete({}, {"status": "fresh", "message": "", "transient": False, "stale": []})


def test_the_newest_value_of_a_time_column_decides(workshop: Workshop) -> None:
    newest = datetime.now(UTC).replace(microsecond=0) - HOUR
    sql = f"select '{newest:%Y-%m-%d %H:%M:%S}' as day, 'EU' as region union all select '2020-01-01 00:00:00', 'US'"
    number = workshop.dataset(workshop.database(), sql)
    name = workshop.hook.get_dataset(number)["table_name"]

    def fresh(**arguments: Any) -> bool:
        columns = {name: "day"}
        return SupersetDashboardFreshnessSensor(task_id="fresh", time_columns=columns, **arguments).poke({})

    assert fresh(max_age=2 * HOUR)
    assert not fresh(max_age=HOUR / 2)
    assert fresh(since=newest)
    assert not fresh(since=newest + timedelta(seconds=1))
    with pytest.raises(SupersetTerminalError, match=r"newest value of region .* is no time: 'US'"):
        SupersetDashboardFreshnessSensor(task_id="fresh", time_columns={name: "region"}, max_age=1).poke({})
    with pytest.raises(SupersetChartDataError, match="missing"):
        SupersetDashboardFreshnessSensor(task_id="fresh", time_columns={name: "missing"}, max_age=1).poke({})


def test_what_cannot_be_read_fails_at_once(dashboard: tuple[int, int], workshop: Workshop) -> None:
    with pytest.raises(SupersetNotFoundError):
        SupersetDashboardFreshnessSensor(task_id="fresh", dashboards=["no-such"], max_age=1).poke({})
    params = {"viz_type": "table", "groupby": ["no_such_column"], "metrics": [TOTAL]}
    broken = workshop.chart(dashboard[1], params=json.dumps(params))
    other = workshop.dashboard([broken])
    with pytest.raises(SupersetChartDataError, match="no_such_column"):
        _sensor(other, max_age=1).poke({})
