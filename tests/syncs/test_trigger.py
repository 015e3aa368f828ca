"""The trigger: round trip, success, failure, patience; and that it never blocks the event loop."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from dataclasses import asdict
from typing import Any

import pytest
from lakehouse.airbyte import public_api
from lakehouse.sync_jobs import take_sync
from lakehouse_airbyte.triggers import AirbyteSyncTrigger

from tests.providers.conftest import Reply, ScriptedServer
from tests.providers.event_loop import BOUND, SITTINGS, LagProbe
from tests.sandbox.airbyte.services import wait_until

from .conftest import ROWS, Shop


@pytest.fixture
def make(shop: Shop) -> Any:
    def build(**arguments: Any) -> AirbyteSyncTrigger:
        taken = take_sync(public_api(), shop.connection)
        settings = {"deadline": time.time() + 60, "poll_interval": 0.05, "config_conn_id": "airbyte_config"}
        return AirbyteSyncTrigger("airbyte_default", asdict(taken), **{**settings, **arguments})

    return build


def run(trigger: AirbyteSyncTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        events = [event async for event in trigger.run()]
        assert len(events) == 1
        return dict(events[0].payload)

    return asyncio.run(first())


def test_it_is_rebuilt_from_what_it_serialises(make: Any, shop: Shop) -> None:
    trigger = make(stalled_after=600.0)
    path, arguments = trigger.serialize()
    arguments = json.loads(json.dumps(arguments))
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**arguments)
    assert again.serialize() == trigger.serialize()
    assert shop.airbyte.client_secret not in json.dumps(arguments)


def test_it_waits_while_the_sync_runs_and_reports_its_end(make: Any, shop: Shop) -> None:
    shop.open.clear()
    trigger = make()
    shop.asked(3, shop.open.set)
    outcome = run(trigger)["outcome"]
    assert (outcome["job_id"], outcome["rows"]) == (trigger.taken["job_id"], ROWS)
    assert shop.looks > 3
    assert json.loads(json.dumps(outcome)) == outcome


def test_it_reports_a_failure_with_its_kind(make: Any, shop: Shop) -> None:
    shop.api.handle = lambda *_: (401, {}, b"{}")
    event = run(make())
    assert event["error"] == "SyncMisconfigured"
    assert "401" in event["message"]


@pytest.mark.parametrize("limit", ["deadline", "stalled_after"])
def test_a_limit_cancels_the_sync(make: Any, shop: Shop, limit: str) -> None:
    shop.open.clear()
    limits = {"deadline": {"deadline": time.time() + 0.5}, "stalled_after": {"stalled_after": 0.3}}[limit]
    event = run(make(**limits))
    assert event["error"] == {"deadline": "SyncTimedOut", "stalled_after": "SyncStalled"}[limit]
    assert shop.ended() == ["cancelled"]


def test_killing_the_task_cancels_the_sync(make: Any, shop: Shop) -> None:
    shop.open.clear()
    asyncio.run(make().on_kill())
    assert shop.ended() == ["cancelled"]


def test_an_airbyte_that_is_away_for_a_moment_does_not_end_it(make: Any, shop: Shop, connect: Any) -> None:
    trigger = make(config_conn_id=None)
    wait_until(lambda: shop.jobs()[-1][1] == "succeeded", "the sync ends")
    job = {**shop.client.get(f"jobs/{trigger.taken['job_id']}")}
    server = ScriptedServer()
    path = f"/api/public/v1/jobs/{job['jobId']}"
    server.on("POST", "/api/public/v1/applications/token", Reply(200, {"access_token": "t", "token_type": "Bearer"}))
    server.on("GET", path, Reply(503, {}), Reply(401, {}), Reply(200, job))

    class Elsewhere:
        api = f"{server.address}/api/public/v1"
        config_url, client_id, client_secret = server.address, "elsewhere", "secret"

    connect(Elsewhere)
    try:
        assert run(trigger)["outcome"]["job_id"] == job["jobId"]
        assert server.count("GET", path) == 3
    finally:
        server.stop()


def test_the_event_loop_is_never_blocked(make: Any, shop: Shop, quiet_memory: None) -> None:
    """While a sync runs for half a second and Airbyte is asked all the time."""
    run(make(poll_interval=0.0))  # what is imported on the way is not what is measured

    async def measure() -> float:
        probe = LagProbe()
        probing = asyncio.create_task(probe.run())
        shop.open.clear()
        trigger = await asyncio.to_thread(make, poll_interval=0.0)
        asyncio.get_running_loop().call_later(0.5, shop.open.set)
        probe.worst = 0.0
        events = [event async for event in trigger.run()]
        probing.cancel()
        assert "outcome" in events[0].payload
        return probe.worst

    assert min(asyncio.run(measure()) for _ in range(SITTINGS)) < BOUND
