"""Carrying a warm-up out, in a worker or in a triggerer: all pages, as all users, within one deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from superset_provider.browser.page import PageQuery
from superset_provider.exceptions import SupersetError, SupersetNotFoundError, SupersetTransientError
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.warmer.asking import Sender, ask
from superset_provider.warmer.outcomes import Failure, Outcome, Reason, Report
from superset_provider.warmer.pages import LoadedPage, PageLoader
from superset_provider.warmer.proof import moves_with_the_day, name_the_cause, unshared
from superset_provider.warmer.request import WarmRequest
from superset_provider.warmer.users import service_user
from superset_provider.warmer.visit import Job, Rules, Visit

PROGRESS_SECONDS = 2.0
# New connections that one query is read over, to see whether Superset's workers share their cache.
NEW_CONNECTIONS = 4
# So much longer than a query may take waits the HTTP client: the query's own limit is what cuts it.
GRACE_SECONDS = 30.0
# Only an entry that lasts so many seconds tells something when it is not there.
SHORTEST_PROBED = 60
_EVER = datetime.fromtimestamp(0, UTC)


async def server_time(hook: SupersetAsyncHook) -> datetime:
    """What Superset's clock says, in whole seconds; ours, where a proxy takes the header away."""
    header = (await hook.send("GET", "/api/v1/me/")).headers.get("date")
    return parsedate_to_datetime(header).astimezone(UTC) if header else datetime.now(UTC)


async def warm(request: WarmRequest, log: Any) -> Report:
    """Warm all pages as all users.

    :param request: What to do.
    :param log: Is told the progress.
    :raises SupersetError: Superset cannot be reached, or a page cannot be read.
    """
    async with _hook(request, request.superset_conn_id) as hook:
        return await Warming(request, hook, log).run()


def _hook(request: WarmRequest, conn_id: str) -> SupersetAsyncHook:
    return SupersetAsyncHook(conn_id, **client_options(request.concurrency, request.query_timeout))


def client_options(concurrency: int, query_timeout: float) -> dict[str, Any]:
    """How a client for a warm-up is made: with a slot for each cold query and for each proof."""
    return {"concurrency": 2 * concurrency, "request_timeout": query_timeout + GRACE_SECONDS}


class Warming:
    """One warm-up.

    :param request: What to do.
    :param hook: An open hook of ``request.superset_conn_id``.
    :param log: Is told the progress.
    :param server_started: What Superset's clock says now; asked when not given.
    :param loader: Where a part of the pages has been read already.
    """

    def __init__(
        self,
        request: WarmRequest,
        hook: SupersetAsyncHook,
        log: Any,
        server_started: datetime | None = None,
        loader: PageLoader | None = None,
    ) -> None:
        self._request = request
        self._loader = loader or PageLoader(hook)
        self._hook = hook
        self._log = log
        self._started = self._told = time.monotonic()
        self._server_started = server_started or _EVER
        self._outcomes: list[Outcome] = []
        self._passed_over: list[str] = []
        self._probe = _Probe(hook, log)

    async def run(self) -> Report:
        """Warm as the connection's own user, then as each further user what that did not warm for them."""
        try:
            async with asyncio.timeout(self._request.deadline - time.time()):
                loaded, _ = await asyncio.gather(self._loader.load(self._request.pages), self._set_clock())
        except TimeoutError as error:
            raise SupersetTransientError(
                "Warming ran out of time while it was reading the dashboards.",
                address=self._hook.address,
                check="Superset's health and load, or a longer timeout of the task.",
            ) from error
        self._log.info("Opened %s pages of %s", len(loaded), self._hook.address)
        await self._visit(self._hook, self._request.superset_conn_id, loaded, first=True)
        for conn_id in self._request.as_users:
            async with _hook(self._request, conn_id) as other:
                await self._visit_as(other, conn_id, loaded)
        for roles in self._request.roles:
            options = client_options(self._request.concurrency, self._request.query_timeout)
            async with service_user(self._hook, self._request.service_user, roles, **options) as client:
                await self._visit_as(client, f"role {' + '.join(roles)}", loaded)
        until = self._server_now() + self._request.fresh_for
        return Report(
            [outcome.expiring(until) for outcome in self._outcomes],
            time.monotonic() - self._started,
            self._request.durations,
            self._passed_over,
        )

    async def _set_clock(self) -> None:
        if self._server_started is _EVER:
            self._server_started = await server_time(self._hook)

    async def _visit_as(self, sender: Sender, user: str, loaded: Sequence[LoadedPage]) -> None:
        seen = [page for page in loaded if await _sees(sender, page)]
        hidden = [page.title for page in loaded if page not in seen]
        if hidden and not seen:
            raise SupersetNotFoundError(
                f"The user of {user} sees none of the dashboards: {', '.join(hidden[:10])}.",
                address=self._hook.address,
                check="that the dashboards are published, and that the user's roles give access to their datasets.",
            )
        if hidden:
            self._passed_over.append(f"{user} does not see {', '.join(hidden)}")
            self._log.info("%s", self._passed_over[-1])
        await self._visit(sender, user, seen, first=False)

    async def _visit(self, sender: Sender, user: str, loaded: Sequence[LoadedPage], *, first: bool) -> None:
        rules = Rules(
            user=user,
            concurrency=self._request.concurrency,
            query_timeout=self._request.query_timeout,
            accept_since=lambda query: self._accept_since(query, first),
            accept_until=self._server_now() + self._request.fresh_for,
            verify=self._request.verify,
            durations=self._request.durations,
            diagnose=self._probe.diagnose if first else None,
        )
        visit = Visit(sender, loaded, rules, self._request.option_row_limit, self._tell)
        self._outcomes.extend(await visit.run(self._request.deadline - time.time()))
        self._tell(visit, last=True)

    def _accept_since(self, query: PageQuery, first: bool) -> datetime | None:
        request = self._request
        if request.only_stale:
            # A dataset that was changed needs no bound: its entries have another key (its changed_on is part of it).
            changed = datetime.fromisoformat(request.changed_since) if request.changed_since else _EVER
            midnight = self._server_started.replace(hour=0, minute=0, second=0)
            return max(changed, midnight) if moves_with_the_day(query.body) else changed
        if request.since is not None:
            return datetime.fromisoformat(request.since)
        # Further users share what the first has just made, where no rule sets them apart.
        return None if first else self._server_started

    def _server_now(self) -> float:
        return (self._server_started + timedelta(seconds=time.monotonic() - self._started)).timestamp()

    def _tell(self, visit: Visit, *, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        failed = sum(job.failure is not None for job in visit.jobs.values())
        done = sum(job.done and job.failure is None for job in visit.jobs.values())
        seconds = now - self._started
        self._log.info("%s: %s/%s warm, %s failed, %.0f s", visit.rules.user, done, len(visit.jobs), failed, seconds)


async def _sees(sender: Sender, page: LoadedPage) -> bool:
    try:
        await sender.send("GET", f"/api/v1/dashboard/{page.dashboard_id}")
    except SupersetError as error:
        if error.status_code not in (403, 404):
            raise
        return False
    return True


class _Probe:
    """Finds out once, over new connections, whether Superset's cache keeps anything, and for all of its workers: over
    one connection every request may reach the same worker."""

    def __init__(self, hook: SupersetAsyncHook, log: Any) -> None:
        self._hook = hook
        self._log = log
        self._lock = asyncio.Lock()
        self._verdict: Failure | None = None
        self._asked: set[bool] = set()

    async def diagnose(self, job: Job) -> Failure | None:
        """Look at a query that has been read back.

        :returns: What is wrong with the whole cache, or None.
        """
        hit = job.failure is None
        if job.failure is not None and job.failure.reason is not Reason.CACHE_DISABLED:
            return None
        if job.filled is not None and min(job.filled.timeouts, default=SHORTEST_PROBED) < SHORTEST_PROBED:
            # Its entry may be gone before it is read again, which would say nothing about the cache.
            return None
        async with self._lock:
            if hit not in self._asked and self._verdict is None:
                self._asked.add(hit)
                try:
                    hits = await self._hits(job)
                except SupersetError as error:
                    self._log.warning("Whether Superset's workers share their cache could not be seen: %s", error)
                    return None
                if job.failure is not None:
                    job.failure = name_the_cause(job.failure, hits, NEW_CONNECTIONS)
                    self._verdict = job.failure if job.failure.reason is not Reason.NOT_STORED else None
                elif hits < NEW_CONNECTIONS:
                    self._verdict = unshared(hits, NEW_CONNECTIONS)
        return self._verdict

    async def _hits(self, job: Job) -> int:
        async with self._hook.on_new_connections() as hook:
            reads = await asyncio.gather(
                *(ask(hook, job.query, job.loaded.dashboard_id, force=False) for _ in range(NEW_CONNECTIONS))
            )
        return sum(answer.hit for answer in reads)
