"""The async hook against a real Superset: the same objects as the blocking one, one login for all that wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from superset_provider.exceptions import SupersetNotFoundError
from superset_provider.hooks import calls
from superset_provider.hooks.superset import SupersetHook
from superset_provider.hooks.superset_async import SupersetAsyncHook

from tests.providers.superset.workshop import Workshop


def test_it_finds_what_the_blocking_hook_finds(hook: SupersetHook) -> None:
    async def listed() -> tuple[Any, ...]:
        async with SupersetAsyncHook(concurrency=2) as other:
            user, databases = await asyncio.gather(other.get_current_user(), other.list_databases())
            with pytest.raises(SupersetNotFoundError):
                await other.get_dashboard("no-such-dashboard")
            return user["username"], databases, other.address

    assert asyncio.run(listed()) == (hook.get_current_user()["username"], hook.list_databases(), hook.address)


def test_new_connections_need_no_new_login(hook: SupersetHook) -> None:
    async def logins() -> tuple[Any, Any]:
        async with SupersetAsyncHook(concurrency=2) as first:
            await first.get_current_user()
            async with first.on_new_connections() as second:
                assert second._client._client is not first._client._client
                await second.get_current_user()
                return first._client.login, second._client.login

    first, second = asyncio.run(logins())
    assert first is second


def test_a_listing_has_all_pages_of_either_hook(
    hook: SupersetHook, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = workshop.dataset(workshop.database())
    made = [workshop.chart(dataset) for _ in range(5)]
    ours = [{"col": "slice_name", "opr": "ct", "value": workshop.name}]
    monkeypatch.setattr(calls, "PAGE_SIZE", 2)

    async def listed() -> list[Any]:
        async with SupersetAsyncHook() as other:
            return await other.list_charts(ours)

    for found in (hook.list_charts(ours), asyncio.run(listed())):
        assert [entry["id"] for entry in found] == made
