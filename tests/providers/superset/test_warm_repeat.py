"""Warming the same charts again and again, as data that moves needs it, against a real Superset."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from superset_provider.exceptions import SupersetConfigurationError, SupersetTerminalError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.warmer.repeat import RepeatedWarming

from tests.providers.superset.real import RealSuperset
from tests.providers.superset.workshop import Workshop, query_context

MOVING = "select 'EU' as region, random() as amount"
FILTERED = {"filters": [{"col": "region", "op": "==", "val": "EU"}]}


class Live:
    """A dashboard with two charts on moving data and one on data at rest."""

    def __init__(self, workshop: Workshop) -> None:
        database = workshop.database()
        self.moving, self.still = workshop.dataset(database, MOVING), workshop.dataset(database)
        charts = [
            workshop.saved_chart(self.moving),
            workshop.saved_chart(self.moving, query_context(self.moving, **FILTERED)),
            workshop.saved_chart(self.still),
        ]
        self.id = workshop.dashboard(charts)
        self.name = str(workshop.hook.get_dataset(self.moving)["table_name"])
        self.workshop = workshop


@pytest.fixture(scope="module")
def live(hook: SupersetHook, real_superset: RealSuperset) -> Iterator[Live]:
    made = Workshop(hook, real_superset)
    yield Live(made)
    made.remove()


def shown(hook: SupersetHook, dataset: int, **query: Any) -> tuple[bool, Any]:
    """What a browser is given: whether it comes from the cache, and the total."""
    answer = hook.chart_data(query_context(dataset, **query))[0]
    return answer["is_cached"] is True, answer["data"][0]["total"]


def test_a_browser_is_given_what_was_warmed_last(hook, live):
    async def warm_twice() -> tuple[list[str], list[list[Any]]]:
        async with SupersetAsyncHook() as open_hook:
            warming = await RepeatedWarming.open(open_hook, live.id, [live.name])
            entries = [await warming.warm() for _ in range(2)]
            return warming.charts, [[entry.rows[0]["total"] for entry in answer] for answer in entries]

    charts, (first, second) = asyncio.run(warm_twice())
    assert len(charts) == 2
    assert all(later != earlier for earlier, later in zip(first, second, strict=True)), "the database was asked anew"
    assert [shown(hook, live.moving), shown(hook, live.moving, **FILTERED)] == [(True, total) for total in second]
    # What is at rest was left alone.
    assert shown(hook, live.still)[0] is False


def test_a_dashboard_without_such_a_chart_is_named_with_what_it_has(live):
    async def opened() -> None:
        async with SupersetAsyncHook() as open_hook:
            await RepeatedWarming.open(open_hook, live.id, ["gold.nothing"])

    with pytest.raises(SupersetConfigurationError, match=live.name):
        asyncio.run(opened())


def test_a_query_that_fails_is_not_warm(live):
    dataset = live.workshop.lost_dataset(live.workshop.database())
    dashboard = live.workshop.dashboard([live.workshop.saved_chart(dataset)])
    name = str(live.workshop.hook.get_dataset(dataset)["table_name"])

    async def warmed() -> None:
        async with SupersetAsyncHook() as open_hook:
            await (await RepeatedWarming.open(open_hook, dashboard, [name])).warm()

    with pytest.raises(SupersetTerminalError, match=r"no such table|does not exist"):
        asyncio.run(warmed())
