"""Many waits in one event loop, as a triggerer has them, against a real Superset: nobody ever blocks it, and one login
serves all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from superset_provider.exceptions import SupersetAuthenticationError
from superset_provider.hooks import superset_async
from superset_provider.hooks.superset import SupersetHook
from superset_provider.hooks.superset_async import SupersetAsyncHook, shared_hook

from tests.providers.event_loop import BOUND, SITTINGS, LagProbe

WAITS = 100


async def sitting(user: str) -> tuple[float, set[SupersetAsyncHook], int]:
    """Look at something with a hundred waits, and return the longest time the loop was blocked, the hooks that were
    used, and how many found what they looked at."""
    probe = LagProbe()
    probing = asyncio.create_task(probe.run())
    hooks: set[SupersetAsyncHook] = set()

    async def wait() -> bool:
        async with shared_hook("superset_default") as hook:
            hooks.add(hook)
            return bool((await hook.get_current_user())["username"] == user)

    found = await asyncio.gather(*(wait() for _ in range(WAITS)))
    probing.cancel()
    assert not superset_async._shared[asyncio.get_running_loop()]
    return probe.worst, hooks, sum(found)


@pytest.mark.usefixtures("quiet_memory")
def test_a_hundred_waits_never_block_the_loop(hook: SupersetHook) -> None:
    user = hook.get_current_user()["username"]
    worst = []
    for _ in range(SITTINGS):
        lag, hooks, found = asyncio.run(sitting(user))
        assert (len(hooks), found) == (1, WAITS)
        worst.append(lag)
        if lag < BOUND:
            break
    assert min(worst) < BOUND, f"The event loop was blocked for {[round(lag * 1000) for lag in worst]} ms."


def test_a_hook_whose_credentials_were_refused_is_not_handed_out_again(
    real_superset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look() -> str:
        async with shared_hook("corrected") as hook:
            return str((await hook.get_current_user())["username"])

    async def corrected_meanwhile() -> str:
        async with shared_hook("corrected"):
            with pytest.raises(SupersetAuthenticationError):
                await look()
            monkeypatch.setenv("AIRFLOW_CONN_CORRECTED", json.dumps(real_superset.connection()))
            return await look()

    monkeypatch.setenv("AIRFLOW_CONN_CORRECTED", json.dumps(real_superset.connection(password="wrong-one")))
    assert asyncio.run(corrected_meanwhile()) == real_superset.user
