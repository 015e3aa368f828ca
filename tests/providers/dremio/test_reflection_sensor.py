"""DremioReflectionSensor against scripted reflections."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred
from dremio_provider.exceptions import DremioConfigurationError, DremioReflectionError, DremioTransientError
from dremio_provider.sensors.reflections import DremioReflectionSensor

T1, T2 = "2026-11-01T01:00:00.000Z", "2026-11-02T01:00:00.000Z"


def sensor(**arguments: Any) -> DremioReflectionSensor:
    settings = {"poke_interval": 0.01, "timeout": 20.0, "deferrable": False, **arguments}
    return DremioReflectionSensor(task_id="ready", **settings)


def test_any_data_will_do_without_a_time(dremio: Any, state: Any, context: Any) -> None:
    line = [state(refresh="SCHEDULED", availability="NONE", combined="CANNOT_ACCELERATE_SCHEDULED", fetch="")] * 3
    dremio.reflection("totals", "gold.orders", [*line, state(fetch=T1)], [])
    sensor(reflections=["totals"]).execute(context)
    assert dremio.refreshed == []


def test_a_refresh_in_progress_is_waited_for(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(refresh="RUNNING")], [])
    assert sensor(reflections=["totals"]).poke(context) is False


@pytest.mark.parametrize("since", [T1, datetime(2026, 11, 1, 1, tzinfo=UTC)], ids=["text", "datetime"])
def test_the_data_has_to_be_newer_than_the_time(since: Any, dremio: Any, state: Any, context: Any) -> None:
    rid = dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [])
    task = sensor(datasets=["gold.orders"], since=since)
    assert task.poke(context) is False
    # A refresh that ends without newer data does not end the waiting.
    dremio.before[rid] = [state(fetch=T1, refresh="RUNNING")]
    assert task.poke(context) is False
    dremio.before[rid] = [state(fetch=T1)]
    assert task.poke(context) is False
    dremio.before[rid] = [state(fetch=T2)]
    assert task.poke(context) is True


def test_a_dead_end_fails_at_once(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(refresh="GIVEN_UP", failures=24, message="bad parquet")], [])
    with pytest.raises(DremioReflectionError, match="given up after 24 failed refreshes: bad parquet"):
        sensor(reflections=["totals"]).execute(context)


def test_a_failed_refresh_fails_it(dremio: Any, state: Any, context: Any) -> None:
    rid = dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [])
    task = sensor(reflections=["totals"], since=T1)
    assert task.poke(context) is False
    dremio.before[rid] = [state(fetch=T1, failures=1, message="disk full")]
    with pytest.raises(DremioReflectionError, match="disk full"):
        task.poke(context)


def test_deferring_waits_in_the_trigger(dremio: Any, state: Any, context: Any, password: str) -> None:
    rid = dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [])
    task = sensor(reflections=["totals"], since=T1, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    trigger = deferred.value.trigger
    assert password not in str(trigger.serialize())
    assert trigger.cancel_on_kill is False
    dremio.before[rid] = [state(fetch=T1, refresh="RUNNING"), state(fetch=T1), state(fetch=T2)]

    async def wait() -> dict[str, Any]:
        (event,) = [found async for found in trigger.run()]
        return dict(event.payload)

    event = asyncio.run(wait())
    assert event["results"]["gold.orders.totals"]["outcome"] == "REFRESHED"
    task.execute_complete(context, event)
    dremio.before[rid] = [state(fetch=T2)]
    sensor(reflections=["totals"], since=T1, deferrable=True).execute(context)


def test_what_the_trigger_reports_is_judged(context: Any) -> None:
    late = {"gold.orders.totals": {"outcome": "TIMED_OUT", "seconds": 2.0, "message": "last seen as X"}}
    task = sensor(reflections=["totals"])
    with pytest.raises(AirflowSensorTimeout, match="last seen as X"):
        task.execute_complete(context, {"status": "timeout", "results": late, "message": ""})
    with pytest.raises(DremioTransientError, match="no route"):
        task.execute_complete(context, {"status": "error", "transient": True, "results": {}, "message": "no route"})


def test_it_needs_something_to_look_at(context: Any) -> None:
    with pytest.raises(DremioConfigurationError, match="neither reflections nor datasets"):
        sensor().poke(context)
