"""A thousand waits in one event loop, against a running Dremio: nobody ever blocks it, and one login serves all."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from dremio_provider.hooks import dremio_async
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.triggers.jobs import DremioJobTrigger

from tests.providers.event_loop import BOUND, SITTINGS, LagProbe

WAITS = 1000


async def sitting(jobs: list[str], hook: DremioHook) -> tuple[float, Counter[str], int]:
    """Wait for the jobs with a thousand triggers, cancel the jobs, and return the longest time the loop was blocked,
    what the triggers reported, and how many clients there were."""
    probe = LagProbe()
    probing = asyncio.create_task(probe.run())
    deadline = time.time() + 120
    triggers = [
        DremioJobTrigger("dremio_default", jobs[number % len(jobs)], deadline, poll_interval=2.0)
        for number in range(WAITS)
    ]

    async def first(trigger: DremioJobTrigger) -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    waiting = [asyncio.create_task(first(trigger)) for trigger in triggers]
    await asyncio.sleep(4.0)
    (shared,) = dremio_async._shared[asyncio.get_running_loop()].values()
    users, client = shared.users, shared.client
    assert not any(task.done() for task in waiting)
    await asyncio.to_thread(lambda: [hook.cancel_job(job) for job in jobs])
    events = await asyncio.gather(*waiting)
    probing.cancel()
    assert client is not None
    assert client._client.is_closed
    return probe.worst, Counter(event["job"]["jobState"] for event in events), users


def test_a_thousand_waits_never_block_the_loop(real_hook: DremioHook, connected: Any, quiet_memory: None) -> None:
    endless = "SELECT COUNT(*) FROM " + ", ".join(f"sys.jobs_recent AS j{n}" for n in range(12))
    for _ in range(30):
        real_hook.run_sql("SELECT 1")
    worst = []
    for _ in range(SITTINGS):
        jobs = [real_hook.submit_sql(endless) for _ in range(4)]
        lag, states, users = asyncio.run(sitting(jobs, real_hook))
        assert states == {"CANCELED": WAITS}
        assert users == WAITS
        worst.append(lag)
        if lag < BOUND:
            break
    assert min(worst) < BOUND, f"The event loop was blocked for {[round(lag * 1000) for lag in worst]} ms."
    assert not any(dremio_async._shared.values())
