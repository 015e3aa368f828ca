"""Filling the cache again and again, as often as the data changes: one login, one look at the page, few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Self

from superset_provider.browser.page import PageQuery
from superset_provider.exceptions import SupersetConfigurationError, SupersetTerminalError
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.warmer.asking import send
from superset_provider.warmer.batches import batch_key, combined
from superset_provider.warmer.pages import PageLoader
from superset_provider.warmer.proof import Entry
from superset_provider.warmer.selection import Selection, select


class RepeatedWarming:
    """Ask what a browser asks of some charts of a dashboard, past the cache, as often as :meth:`warm` is called.

    The queries on one dataset go in one request: Superset keys and stores each of them on its own, and what a request
    costs is mostly not the query.

    :param hook: An open hook of a user who sees the dashboard; it is kept open in between.
    :param dashboard_id: The dashboard.
    :param requests: Bodies of ``POST /api/v1/chart/data``.
    :param names: The charts of each request.
    """

    def __init__(
        self, hook: SupersetAsyncHook, dashboard_id: int, requests: list[dict[str, object]], names: list[list[str]]
    ) -> None:
        self._hook = hook
        self._dashboard_id = dashboard_id
        self._requests = requests
        self._names = names

    @classmethod
    async def open(cls, hook: SupersetAsyncHook, dashboard: str | int, datasets: Collection[str]) -> Self:
        """Read what the page asks.

        :param hook: An open hook.
        :param dashboard: Slug, uuid or id.
        :param datasets: ``schema.table`` of the datasets whose charts are meant.
        :raises SupersetConfigurationError: The dashboard has no chart on them.
        """
        found = await select(hook, Selection(dashboards=[dashboard]))
        [loaded] = await PageLoader(hook).load(found.pages)
        queries = [query for query in loaded.open(1000).due() if query.kind == "chart" and query.dataset_id is not None]
        meant = [query for query in queries if loaded.dataset_name(query.dataset_id) in datasets]
        if not meant:
            known = sorted({loaded.dataset_name(query.dataset_id) for query in queries})
            raise SupersetConfigurationError(
                f"Dashboard {dashboard!r} has no chart on {', '.join(sorted(datasets))}.",
                address=hook.address,
                check=f"the datasets; its charts are on {', '.join(known) or 'none'}.",
            )
        groups: dict[str, list[PageQuery]] = {}
        for query in meant:
            alone = loaded.has_own_timeout(query.chart_id)
            groups.setdefault((None if alone else batch_key(query)) or query.identity, []).append(query)
        requests = [
            {**combined(group), "force": True} if len(group) > 1 else group[0].request_body(force=True)
            for group in groups.values()
        ]
        return cls(hook, loaded.dashboard_id, requests, [[query.name for query in group] for group in groups.values()])

    @property
    def charts(self) -> list[str]:
        """Names of the charts."""
        return [name for group in self._names for name in group]

    async def warm(self) -> list[Entry]:
        """Fill the cache with what the database says now.

        :returns: What Superset answered, an entry for each query.
        :raises SupersetTerminalError: A chart cannot be asked, or its query failed.
        :raises SupersetTransientError: Superset does not answer.
        """
        answers = await asyncio.gather(*(self._ask(number) for number in range(len(self._requests))))
        return [entry for answer in answers for entry in answer]

    async def _ask(self, number: int) -> list[Entry]:
        answer = await send(self._hook, self._requests[number], self._dashboard_id)
        if answer.error is not None:
            raise SupersetTerminalError(
                f"Not warmed: {', '.join(self._names[number])}.",
                address=self._hook.address,
                received=answer.error,
                check="the view that the charts' dataset reads, in Dremio.",
            )
        return answer.result
