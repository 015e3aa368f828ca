"""A thousand waits in one event loop, as a triggerer has them: none of them ever holds the loop up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dremio_provider.reflections import Baseline
from dremio_provider.triggers.reflections import DremioReflectionsTrigger

from tests.providers.event_loop import BOUND, SITTINGS, LagProbe

WAITS = 1000
OLD = "2026-11-01T01:00:00+00:00"


@pytest.fixture
def busy_dremio(connect: Any) -> Iterator[None]:
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("many_reflections.py"))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        connect(int(server.stdout.readline()))
        yield
    finally:
        server.terminate()
        server.wait(10)


def trigger(number: int) -> DremioReflectionsTrigger:
    baseline = Baseline(f"r{number}", f"r{number}", "gold.orders", last_data_fetch=OLD, last_finished=OLD)
    now = time.time()
    return DremioReflectionsTrigger(
        "dremio_default", [baseline.to_dict()], requested_at=now, deadline=now + 300, poll_interval=0.5
    )


async def sitting(number: int) -> tuple[list[dict[str, Any]], float]:
    async def first(one: DremioReflectionsTrigger) -> dict[str, Any]:
        events = [event async for event in one.run()]
        return dict(events[0].payload)

    probe = LagProbe()
    probing = asyncio.create_task(probe.run())
    waiting = []
    for reflection in range(number * WAITS, (number + 1) * WAITS):
        # As the triggerer does: it starts one after the other and lets the loop breathe in between.
        waiting.append(asyncio.create_task(first(trigger(reflection))))
        await asyncio.sleep(0)
    events = await asyncio.gather(*waiting)
    probing.cancel()
    return events, probe.worst


@pytest.mark.usefixtures("busy_dremio", "quiet_memory")
def test_a_thousand_reflection_waits_never_block_the_loop() -> None:
    blocks = []
    for number in range(SITTINGS):
        events, block = asyncio.run(sitting(number))
        assert {event["status"] for event in events} == {"done"}
        assert {entry["outcome"] for event in events for entry in event["results"].values()} == {"REFRESHED"}
        assert sum(len(event["results"]) for event in events) == WAITS
        blocks.append(block)
        if block < BOUND:
            break
    assert min(blocks) < BOUND
