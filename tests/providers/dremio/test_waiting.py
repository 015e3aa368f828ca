"""Triggers and sensors for jobs and queries: round trip, success, failure, patience, deadline, kill."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferred
from dremio_provider.exceptions import DremioJobFailedError, DremioNotFoundError, DremioTerminalError
from dremio_provider.sensors.jobs import DremioJobSensor
from dremio_provider.sensors.sql import DremioQueryResultSensor
from dremio_provider.triggers.jobs import DremioJobTrigger, DremioQueryResultTrigger, is_met

RUNNING, COMPLETED = {"jobState": "RUNNING"}, {"jobState": "COMPLETED", "rowCount": 1}
FAILED = {"jobState": "FAILED", "errorMessage": "column x not found"}


def job_trigger(**arguments: Any) -> DremioJobTrigger:
    settings = {"deadline": time.time() + 20, "poll_interval": 0.01, **arguments}
    return DremioJobTrigger("dremio_default", "j", **settings)


def query_trigger(**arguments: Any) -> DremioQueryResultTrigger:
    settings = {"deadline": time.time() + 20, "poll_interval": 0.01, **arguments}
    return DremioQueryResultTrigger("dremio_default", "SELECT n FROM ready", **settings)


def fire(trigger: Any) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        (event,) = [found async for found in trigger.run()]
        return dict(event.payload)

    return asyncio.run(first())


def answers(dremio: Any, *results: list[dict[str, Any]]) -> None:
    """What the query answers, once each; the last repeats."""
    left = list(results)

    def submit(request: Any) -> Any:
        dremio.sql.append(request.body["sql"])
        rows = left.pop(0) if len(left) > 1 else left[0]
        job_id = f"q{len(dremio.sql)}"
        dremio.job(job_id, [RUNNING, COMPLETED], rows)
        return dremio.reply(200, {"id": job_id})

    dremio.guard("POST", "/api/v3/sql", submit)


@pytest.mark.parametrize(
    "trigger",
    [
        pytest.param(job_trigger(max_poll_errors=3, cancel_on_kill=True, earlier_job_ids=["i"]), id="job"),
        pytest.param(query_trigger(sql_context=("gold",), fail_on_empty=True, query_timeout=5.0), id="query"),
    ],
)
def test_a_trigger_is_rebuilt_from_what_it_serialises(trigger: Any, password: str) -> None:
    path, arguments = trigger.serialize()
    arguments = json.loads(json.dumps(arguments))
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**arguments)
    assert again.serialize() == trigger.serialize()
    assert password not in json.dumps(arguments) + repr(trigger)


def test_a_job_that_completes(dremio: Any) -> None:
    dremio.job("j", [COMPLETED], [])
    assert fire(job_trigger(earlier_job_ids=["i"])) == {
        "status": "done",
        "message": "",
        "job": {"jobState": "COMPLETED"},
        "job_ids": ["i", "j"],
    }


def test_a_job_that_fails(dremio: Any) -> None:
    dremio.job("j", [RUNNING, FAILED], [])
    assert fire(job_trigger())["job"] == FAILED


def test_states_that_are_not_final_are_waited_through(dremio: Any, server: Any) -> None:
    states = ["PENDING", "METADATA_RETRIEVAL", "SOMETHING_NEW", "INVALID_STATE", "RUNNING", "CANCELED"]
    dremio.job("j", [{"jobState": state} for state in states], [])
    assert fire(job_trigger())["job"]["jobState"] == "CANCELED"
    assert server.count("GET", "/api/v3/job/j") == 6
    assert len(dremio.tokens) == 1


def test_all_but_the_last_of_the_poll_errors_are_survived(dremio: Any, reply: Any) -> None:
    dremio.answer("GET", "/api/v3/job/j", *[reply(status, {}) for status in (503, 502, 504, 429)], COMPLETED)
    assert fire(job_trigger(max_poll_errors=5))["status"] == "done"


def test_too_many_poll_errors_in_a_row_end_it(dremio: Any, reply: Any, server: Any) -> None:
    dremio.answer("GET", "/api/v3/job/j", reply(503, {"errorMessage": "overloaded"}))
    event = fire(job_trigger(max_poll_errors=3))
    assert (event["status"], event["transient"]) == ("error", True)
    assert "overloaded" in event["message"]
    assert server.count("GET", "/api/v3/job/j") == 3


def test_poll_errors_are_counted_in_a_row_only(dremio: Any, reply: Any) -> None:
    bad = reply(503, {})
    dremio.answer("GET", "/api/v3/job/j", bad, RUNNING, bad, RUNNING, reply(502, {}), COMPLETED)
    assert fire(job_trigger(max_poll_errors=2))["status"] == "done"


def test_a_job_that_is_gone_ends_it_for_good(dremio: Any) -> None:
    event = fire(job_trigger())
    assert (event["status"], event["transient"]) == ("error", False)


def test_the_deadline_is_the_triggers_own(dremio: Any) -> None:
    dremio.job("j", [RUNNING], [])
    assert fire(job_trigger(deadline=time.time() + 0.1, poll_interval=30))["status"] == "timeout"


def test_over_in_the_last_moment_counts(dremio: Any) -> None:
    dremio.job("j", [COMPLETED], [])
    assert fire(job_trigger(deadline=time.time() - 1))["status"] == "done"


@pytest.mark.parametrize(("asked", "cancelled"), [(True, ["j"]), (False, [])])
def test_a_kill_cancels_the_job_once_if_asked(dremio: Any, asked: bool, cancelled: list[str]) -> None:
    dremio.job("j", [RUNNING], [])
    asyncio.run(job_trigger(cancel_on_kill=asked).on_kill())
    assert dremio.cancelled == cancelled


def test_a_restart_of_the_triggerer_cancels_nothing(dremio: Any) -> None:
    dremio.job("j", [RUNNING], [])

    async def interrupted() -> None:
        trigger = job_trigger(cancel_on_kill=True)
        waiting = asyncio.ensure_future(anext(trigger.run()))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await trigger.cleanup()

    asyncio.run(interrupted())
    assert dremio.cancelled == []


def test_a_kill_while_nobody_listens_is_no_error(connect: Any, closed_port: int) -> None:
    connect(closed_port)
    asyncio.run(job_trigger(cancel_on_kill=True).on_kill())


def test_a_query_is_asked_until_it_answers(dremio: Any) -> None:
    answers(dremio, [], [{"n": None}], [{"n": 0}], [{"n": "3"}])
    assert fire(query_trigger())["status"] == "done"
    assert dremio.sql == ["SELECT n FROM ready"] * 4


def test_a_query_that_fails(dremio: Any) -> None:
    dremio.guard("POST", "/api/v3/sql", lambda _: dremio.reply(200, {"id": "bad"}))
    dremio.job("bad", [FAILED], [])
    event = fire(query_trigger())
    assert (event["status"], event["transient"]) == ("error", False)
    assert "column x not found" in event["message"]


def test_an_empty_answer_can_end_it(dremio: Any) -> None:
    answers(dremio, [])
    assert fire(query_trigger(fail_on_empty=True))["status"] == "empty"


def test_a_query_that_takes_too_long_is_cancelled_and_asked_again(dremio: Any) -> None:
    ids = iter(["slow", "good"])
    dremio.guard("POST", "/api/v3/sql", lambda _: dremio.reply(200, {"id": next(ids)}))
    dremio.job("slow", [RUNNING], [])
    dremio.job("good", [COMPLETED], [{"n": True}])
    assert fire(query_trigger(query_timeout=0.05))["status"] == "done"
    assert dremio.cancelled == ["slow"]


def test_a_query_is_cancelled_when_its_waiting_ends(dremio: Any) -> None:
    dremio.guard("POST", "/api/v3/sql", lambda _: dremio.reply(200, {"id": "slow"}))
    dremio.job("slow", [RUNNING], [])

    async def interrupted() -> None:
        waiting = asyncio.ensure_future(anext(query_trigger().run()))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(interrupted())
    assert dremio.cancelled == ["slow"]


@pytest.mark.parametrize(
    ("rows", "met"),
    [
        ([], False),
        ([{"a": None}], False),
        ([{"a": False}], False),
        ([{"a": 0}], False),
        ([{"a": "0.00"}], False),
        ([{"a": " "}], False),
        ([{"a": "false"}], False),
        ([{"a": True, "b": None}], True),
        ([{"a": "0.01"}], True),
        ([{"a": -1}], True),
        ([{"a": "open"}], True),
    ],
)
def test_what_an_answer_to_go_on_with_is(rows: Any, met: bool) -> None:
    assert is_met(rows) is met


def sensor(kind: Any, deferrable: bool, **arguments: Any) -> Any:
    settings = {"poke_interval": 0.01, "timeout": 20, "deferrable": deferrable, **arguments}
    return kind(task_id="sensor", **settings)


def wait(task: Any, context: Any) -> Any:
    """Run a sensor as Airflow does, with its trigger where it defers."""
    try:
        return task.execute(context)
    except TaskDeferred as deferred:
        event = fire(deferred.trigger)
        return task.resume_execution(deferred.method_name, {"event": event}, context)


BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "triggerer"])


@BOTH_WAYS
def test_the_job_sensor_waits_for_completion(dremio: Any, context: Any, deferrable: bool, server: Any) -> None:
    dremio.job("j", [RUNNING, {"jobState": "SOMETHING_NEW"}, COMPLETED], [])
    wait(sensor(DremioJobSensor, deferrable, job_id="j"), context)
    assert context["ti"].pushed["_link_DremioJobLink"] == f"{server.address}/job/j"


@BOTH_WAYS
@pytest.mark.parametrize("end", [FAILED, {"jobState": "CANCELED"}])
def test_the_job_sensor_fails_with_the_job(dremio: Any, context: Any, deferrable: bool, end: Any) -> None:
    dremio.job("j", [RUNNING, end], [])
    with pytest.raises(DremioJobFailedError, match=end.get("errorMessage", "CANCELED")):
        wait(sensor(DremioJobSensor, deferrable, job_id="j"), context)


@BOTH_WAYS
def test_the_job_sensor_times_out_and_leaves_the_job(dremio: Any, context: Any, deferrable: bool) -> None:
    dremio.job("j", [RUNNING], [])
    with pytest.raises(AirflowSensorTimeout):
        wait(sensor(DremioJobSensor, deferrable, job_id="j", timeout=0.1), context)
    with pytest.raises(AirflowSkipException):
        wait(sensor(DremioJobSensor, deferrable, job_id="j", timeout=0.1, soft_fail=True), context)
    assert dremio.cancelled == []


@BOTH_WAYS
def test_the_job_sensor_names_a_job_that_does_not_exist(dremio: Any, context: Any, deferrable: bool) -> None:
    with pytest.raises(DremioNotFoundError, match="job/none"):
        wait(sensor(DremioJobSensor, deferrable, job_id="none"), context)


@BOTH_WAYS
def test_the_query_sensor_waits_for_an_answer(dremio: Any, context: Any, deferrable: bool) -> None:
    answers(dremio, [], [{"n": 0}], [{"n": 1}])
    task = sensor(
        DremioQueryResultSensor, deferrable, sql="SELECT n FROM t WHERE d = %(day)s", parameters={"day": "it's"}
    )
    wait(task, context)
    assert dremio.sql == ["SELECT n FROM t WHERE d = 'it''s'"] * 3


@BOTH_WAYS
def test_the_query_sensor_can_fail_on_nothing(dremio: Any, context: Any, deferrable: bool) -> None:
    answers(dremio, [{"n": 0}], [])
    with pytest.raises(DremioTerminalError, match="no rows"):
        wait(sensor(DremioQueryResultSensor, deferrable, sql="SELECT n FROM t", fail_on_empty=True), context)


@BOTH_WAYS
def test_the_sensors_on_a_running_dremio(connected: Any, real_hook: Any, context: Any, deferrable: bool) -> None:
    job = real_hook.submit_sql("SELECT 1")
    wait(sensor(DremioJobSensor, deferrable, job_id=job), context)
    task = sensor(DremioQueryResultSensor, deferrable, sql="SELECT COUNT(*) >= %s FROM sys.jobs_recent", parameters=[3])
    real_hook.submit_sql("SELECT 2")
    wait(task, context)
