"""The async hook against a real Superset: the same objects as the blocking one, one login for all that wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from superset_provider.exceptions import SupersetNotFoundError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.hooks.superset_async import SupersetAsyncHook


def test_it_finds_what_the_blocking_hook_finds(hook: SupersetHook) -> None:
    async def listed() -> tuple[Any, ...]:
        async with SupersetAsyncHook(concurrency=2) as other:
            user, databases = await asyncio.gather(other.get_current_user(), other.list_databases())
            with pytest.raises(SupersetNotFoundError):
                await other.get_dashboard("no-such-dashboard")
            return user["username"], databases, other.address

    assert asyncio.run(listed()) == (hook.get_current_user()["username"], hook.list_databases(), hook.address)
