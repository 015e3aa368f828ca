"""The trigger: round trip, success, failure, patience; and that it never blocks the event loop."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from typing import Any

import pytest
from dremio_provider.reflections import Baseline, ReflectionStatus
from dremio_provider.triggers.reflections import DremioReflectionsTrigger

T1, T2 = "2026-11-01T01:00:00.000Z", "2026-11-02T01:00:00.000Z"


@pytest.fixture
def make(dremio: Any, state: Any) -> Any:
    """A trigger over reflections with these states, watched against a baseline of T1."""

    def build(*lines: list[Any], **arguments: Any) -> DremioReflectionsTrigger:
        before = ReflectionStatus.from_api({"status": state(fetch=T1)})
        baselines = [
            Baseline.take(
                dremio.reflection(f"r{number}", "gold.orders", line, []), f"r{number}", "gold.orders", before
            ).to_dict()
            for number, line in enumerate(lines)
        ]
        now = time.time()
        settings = {"requested_at": now, "deadline": now + 20, "poll_interval": 0.01, "idle_limit": 10.0, **arguments}
        return DremioReflectionsTrigger("dremio_default", baselines, **settings)

    return build


def run(trigger: DremioReflectionsTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        events = [event async for event in trigger.run()]
        assert len(events) == 1
        return dict(events[0].payload)

    return asyncio.run(first())


def test_a_trigger_is_rebuilt_from_what_it_serialises(make: Any, state: Any, password: str) -> None:
    trigger = make([state()], max_poll_errors=3)
    path, arguments = trigger.serialize()
    arguments = json.loads(json.dumps(arguments))
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**arguments)
    assert again.serialize() == trigger.serialize()
    assert password not in json.dumps(arguments)


def test_it_succeeds_when_all_can_accelerate(make: Any, state: Any) -> None:
    event = run(make([state(fetch=T2)], [state(fetch=T1, refresh="RUNNING"), state(fetch=T2)]))
    assert event["status"] == "done"
    assert [entry["outcome"] for entry in event["results"].values()] == ["REFRESHED", "REFRESHED"]


def test_it_reports_failures_beside_successes(make: Any, state: Any) -> None:
    event = run(make([state(fetch=T2)], [state(fetch=T1, failures=1, message="disk full")], [None]))
    assert event["status"] == "done"
    assert [entry["outcome"] for entry in event["results"].values()] == ["REFRESHED", "FAILED", "FAILED"]
    assert "disk full" in event["results"]["gold.orders.r1"]["message"]


def test_it_keeps_polling_through_states_that_are_not_final(make: Any, state: Any, dremio: Any, server: Any) -> None:
    line = [
        state(fetch=T1, refresh="RUNNING"),
        state(fetch=T1, refresh="PENDING", combined="REFRESHING", availability="NONE"),
        state(fetch=T1, refresh="MANUAL", combined="CANNOT_ACCELERATE_INITIALIZING", availability="NONE"),
        state(fetch=T2, refresh="RUNNING"),
        state(fetch=T2),
    ]
    event = run(make(line))
    assert event["results"]["gold.orders.r0"]["outcome"] == "REFRESHED"
    assert sum(request.path.startswith("/api/v3/reflection/") for request in server.requests) == 5
    assert len(dremio.tokens) == 1


def test_the_system_table_is_asked_where_the_status_does_not_tell(make: Any, state: Any, dremio: Any) -> None:
    trigger = make([state(fetch=T1)])
    rid = trigger.baselines[0]["reflection_id"]
    dremio.tables["sys.materializations"] = [{"reflection_id": rid, "last_refresh_finished": "2026-11-02 01:00:05"}]
    assert run(trigger)["results"]["gold.orders.r0"]["outcome"] == "REFRESHED"


def test_single_poll_errors_are_survived(make: Any, state: Any, dremio: Any, reply: Any) -> None:
    trigger = make([state(fetch=T2)], max_poll_errors=3)
    rid = trigger.baselines[0]["reflection_id"]
    good = {**dremio.reflections[rid], "status": state(fetch=T2)}
    dremio.answer("GET", f"/api/v3/reflection/{rid}", reply(503, {}), reply(502, {}), good)
    assert run(trigger)["status"] == "done"


def test_too_many_poll_errors_in_a_row_end_it(make: Any, state: Any, dremio: Any, reply: Any, server: Any) -> None:
    trigger = make([state()], max_poll_errors=3)
    rid = trigger.baselines[0]["reflection_id"]
    dremio.answer("GET", f"/api/v3/reflection/{rid}", reply(503, {"errorMessage": "overloaded"}))
    event = run(trigger)
    assert event["status"] == "error"
    assert "overloaded" in event["message"]
    assert server.count("GET", f"/api/v3/reflection/{rid}") == 3


def test_refused_credentials_end_it_at_once(make: Any, state: Any, connect: Any, server: Any) -> None:
    trigger = make([state()])
    connect(server.port, password="wrong-one")
    event = run(trigger)
    assert event["status"] == "error"
    assert "refused the credentials" in event["message"]
    assert "wrong-one" not in json.dumps(event)


def test_an_expired_token_is_replaced_while_waiting(make: Any, state: Any, dremio: Any) -> None:
    trigger = make([state(fetch=T1, refresh="RUNNING")] * 2 + [state(fetch=T2)])
    rid = trigger.baselines[0]["reflection_id"]
    original = dremio.server._lines[("GET", f"/api/v3/reflection/{rid}")][0]
    looked = iter([False, True, False, False, False])

    def expiring(request: Any) -> Any:
        if next(looked):
            dremio.valid.clear()
        return original(request)

    dremio.server.on("GET", f"/api/v3/reflection/{rid}", expiring)
    assert run(trigger)["status"] == "done"
    assert len(dremio.tokens) == 2


def test_the_deadline_is_in_the_trigger_and_comes_after_the_look(make: Any, state: Any) -> None:
    late = make([state(fetch=T1, refresh="RUNNING")], deadline=time.time() + 0.1)
    event = run(late)
    assert event["status"] == "timeout"
    assert event["results"]["gold.orders.r0"]["outcome"] == "TIMED_OUT"


def test_ready_in_the_last_moment_counts(make: Any, state: Any) -> None:
    assert run(make([state(fetch=T2)], deadline=time.time() - 1))["status"] == "done"


def test_killing_it_cancels_the_refreshes_that_run_and_no_other(make: Any, state: Any, dremio: Any, reply: Any) -> None:
    trigger = make([state()], [state()])
    rid = trigger.baselines[0]["reflection_id"]
    for job_id, reflection in (("refresh-1", rid), ("refresh-2", "another")):
        dremio.job(job_id, [{"jobState": "RUNNING"}], [])
        query = f"REFRESH REFLECTION '{reflection}' AS 'm1'"
        dremio.tables.setdefault("sys.jobs", []).append({"job_id": job_id, "query": query})
    asyncio.run(trigger.on_kill())
    # This server has only the general call; one that has the call for reflection jobs is asked through that.
    assert dremio.cancelled == ["refresh-1"]
    cancelled = []
    path = f"/api/v3/job/refresh-1/reflection/{rid}/cancel"
    dremio.guard("POST", path, lambda _: cancelled.append(rid) or reply(204))
    asyncio.run(trigger.on_kill())
    assert (dremio.cancelled, cancelled) == (["refresh-1"], [rid])


def test_killing_who_only_watches_cancels_nothing(make: Any, state: Any, server: Any) -> None:
    asyncio.run(make([state()], cancel_on_kill=False).on_kill())
    assert server.requests == []


def test_without_an_idle_limit_it_waits_for_newer_data(make: Any, state: Any) -> None:
    line = [state(fetch=T1, refresh="RUNNING"), state(fetch=T1), state(fetch=T1), state(fetch=T2)]
    assert run(make(line, idle_limit=None))["results"]["gold.orders.r0"]["outcome"] == "REFRESHED"
    assert run(make(line, idle_limit=0.0))["results"]["gold.orders.r0"]["outcome"] == "NO_CHANGE"


def test_the_event_loop_is_never_blocked(make: Any, state: Any, dremio: Any, server: Any) -> None:
    trigger = make([state(fetch=T1, refresh="RUNNING")] * 8 + [state(fetch=T2)])
    rid = trigger.baselines[0]["reflection_id"]
    original = server._lines[("GET", f"/api/v3/reflection/{rid}")][0]

    def slow(request: Any) -> Any:
        answer = original(request)
        answer.delay = 0.15
        return answer

    server.on("GET", f"/api/v3/reflection/{rid}", slow)

    async def measure() -> tuple[int, float]:
        ticks, event = 0, None

        async def consume() -> None:
            nonlocal event
            event = [found async for found in trigger.run()]

        waiting = asyncio.create_task(consume())
        started = time.perf_counter()
        while not waiting.done():
            await asyncio.sleep(0.01)
            ticks += 1
        await waiting
        assert event is not None
        assert event[0].payload["status"] == "done"
        return ticks, time.perf_counter() - started

    ticks, seconds = asyncio.run(measure())
    # The loop had its turn all the time: a blocking client would leave one turn for each of the nine slow answers.
    assert ticks > seconds / 0.01 * 0.3
