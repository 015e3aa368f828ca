"""One user's visit to all pages: every query asked once, in parallel, slowest first, and its hit proven."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from superset_provider.browser.page import DashboardPage, PageQuery
from superset_provider.exceptions import SupersetError
from superset_provider.warmer.asking import Sender, ask, failure_of, send
from superset_provider.warmer.batches import MOST_QUERIES, batch_key, combined, split
from superset_provider.warmer.outcomes import Failure, Outcome, Reason
from superset_provider.warmer.pages import LoadedPage
from superset_provider.warmer.proof import Answer, has_filters, judge

# Reads of the cache at the same time, each of one entry or of many.
MOST_PROOFS = 2
# So long an answer waits for others to be proven with, while cold queries run: each read takes from their server.
COMPANY_SECONDS = 2.0
# So long the first one waits, which may find that none can hit: the cold query that takes its answer's place reaches
# its database before.
FIRST_PROOF_SECONDS = 0.1


@dataclass
class Page:
    """A loaded page and what this visit has asked of it."""

    loaded: LoadedPage
    browser: DashboardPage


@dataclass(eq=False)
class Job:
    """One query of this visit, for all charts that ask it."""

    owners: list[tuple[Page, PageQuery]]
    cold_ms: float | None = None
    warm_ms: float | None = None
    filled: Answer | None = None
    filled_at: float = 0.0
    look: asyncio.Task[None] | None = None
    answered: bool = False
    started: bool = False
    done: bool = False
    failure: Failure | None = None

    @property
    def query(self) -> PageQuery:
        """What is asked."""
        return self.owners[0][1]

    @property
    def loaded(self) -> LoadedPage:
        """The page that was first to ask it."""
        return self.owners[0][0].loaded

    @property
    def dataset(self) -> str:
        """Name of the dataset it reads."""
        return self.loaded.dataset_name(self.query.dataset_id)


@dataclass
class Rules:
    """How a visit asks.

    :param user: Whose visit it is, for people.
    :param concurrency: Cold queries at the same time.
    :param query_timeout: Seconds for one query.
    :param accept_since: For a query the time, by Superset's clock, from which on an entry that is there already counts;
        None asks with ``force`` at once.
    :param accept_until: Unix time by Superset's clock until which such an entry has to last.
    :param verify: Whether hits are proven.
    :param durations: Milliseconds of earlier cold queries by :attr:`Outcome.duration_key`.
    :param diagnose: Told a query and whether it hit; may say what is wrong with the whole cache.
    """

    user: str
    concurrency: int
    query_timeout: float
    accept_since: Callable[[PageQuery], datetime | None]
    accept_until: float
    verify: bool
    durations: Mapping[str, float]
    diagnose: Callable[[Job], Awaitable[Failure | None]] | None = None


@dataclass
class Visit:
    """Asks what all pages ask, as one user.

    :param sender: A client that is logged in as that user.
    :param loaded: The pages.
    :param rules: How to ask.
    :param option_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT.
    :param progress: Called when a query is done.
    """

    sender: Sender
    loaded: Sequence[LoadedPage]
    rules: Rules
    option_row_limit: int
    progress: Callable[[Visit], None]
    jobs: dict[str, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pages = [Page(loaded, loaded.open(self.option_row_limit)) for loaded in self.loaded]
        self._queue: asyncio.PriorityQueue[tuple[int, float, int, Job]] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        # Few, so that what is answered meanwhile is proven together.
        self._proofs = asyncio.Semaphore(MOST_PROOFS)
        self._unproven: list[Job] = []
        self._all_asked = asyncio.Event()
        self._any_proven = False
        self._hopeless: Failure | None = None

    async def run(self, seconds: float) -> list[Outcome]:
        """Ask everything.

        :param seconds: What is not done by then is not reached.
        :returns: One outcome for each query of each page.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._ask_all()
        except TimeoutError:
            self._give_up()
        return self._outcomes()

    async def _ask_all(self) -> None:
        for page in self._pages:
            self._take(page)
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work(group)) for _ in range(self.rules.concurrency)]
            await self._queue.join()
            self._all_asked.set()
            for worker in workers:
                worker.cancel()

    def _take(self, page: Page) -> None:
        """Queue what the page can ask now."""
        for query in page.browser.due():
            job = self.jobs.get(query.identity)
            if job is None:
                self.jobs[query.identity] = job = Job([(page, query)])
                self._queue.put_nowait((*self._priority(job), next(self._numbers), job))
            else:
                job.owners.append((page, query))
                if job.answered:
                    self._learn(job, page, query)

    def _priority(self, job: Job) -> tuple[int, float]:
        """Options first, since charts may wait for them; then what was slowest last time, before all what is new."""
        known = self._known_ms(job)
        return (0 if job.query.kind == "filter_options" else 1), -known if known is not None else float("-inf")

    def _known_ms(self, job: Job) -> float | None:
        return self.rules.durations.get(self._outcome(job, *job.owners[0]).duration_key)

    def _learn(self, job: Job, page: Page, query: PageQuery) -> None:
        if query.kind == "filter_options":
            page.browser.learn(query, job.filled.result[0].rows if job.filled and job.filled.result else [])
            self._take(page)

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while True:
            *_, job = await self._queue.get()
            job.started = True
            try:
                if job.look is not None:
                    await job.look
                if not job.done and await self._is_fresh_after_asking(job):
                    self._look_at_the_rest(job, group)
                job.answered, job.filled_at = True, time.monotonic()
                for page, query in list(job.owners):
                    self._learn(job, page, query)
                if job.failure is None and not job.done and self.rules.verify:
                    # Proofs have slots of their own: while one is read, the next cold query runs already.
                    self._unproven.append(job)
                    group.create_task(self._prove_next(alone=not self._any_proven))
                    self._any_proven = True
                else:
                    self._finish(job)
            finally:
                self._queue.task_done()

    async def _is_fresh_after_asking(self, job: Job) -> bool:
        """Have the cache filled, unless it has a fresh entry; tell whether it had."""
        if self._hopeless is not None:
            job.failure = self._hopeless
            return False
        since = self.rules.accept_since(job.query)
        if since is not None:
            found = await self._ask(job, force=False)
            if found is None:
                return False
            answer, milliseconds = found
            if answer.fresh(since) and self._lasts(answer):
                job.filled, job.warm_ms, job.done = answer, milliseconds, True
                return True
            if not any(entry.is_cached for entry in answer.result):
                job.filled, job.cold_ms = answer, milliseconds
                return False
        if (found := await self._ask(job, force=True)) is not None:
            job.filled, job.cold_ms = found
        return False

    def _look_at_the_rest(self, job: Job, group: asyncio.TaskGroup) -> None:
        """Where one entry is fresh, the others probably are: look at many with each request."""
        key = self._batch_key(job)
        rest = [other for other in self.jobs.values() if not (other.started or other.look)]
        alike = [other for other in rest if key is not None and self._batch_key(other) == key]
        for piece in split([self._known_ms(other) for other in alike]):
            batch = alike[piece]
            look = group.create_task(self._look(batch))
            for other in batch:
                other.look = look

    @staticmethod
    def _batch_key(job: Job) -> str | None:
        return None if job.loaded.has_own_timeout(job.query.chart_id) else batch_key(job.query)

    async def _look(self, batch: Sequence[Job]) -> None:
        """Mark what is fresh; what is not, or could not be seen, is asked on its own."""
        async with self._proofs:
            found = await self._read_together(batch)
        for job, single, milliseconds in found:
            since = self.rules.accept_since(job.query)
            if since is not None and single.error is None and single.fresh(since) and self._lasts(single):
                job.filled, job.warm_ms, job.done = single, milliseconds, True

    async def _read_together(self, batch: Sequence[Job]) -> list[tuple[Job, Answer, float]]:
        """Read entries with one request: of each job its answer and its share of the milliseconds; nothing when some
        of them cannot be read like this."""
        body = combined([job.query for job in batch])
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.rules.query_timeout):
                answer = await send(self.sender, body, batch[0].loaded.dashboard_id)
        except (TimeoutError, SupersetError, msgspec.DecodeError):
            return []
        if len(answer.result) != len(batch):
            return []
        milliseconds = (time.perf_counter() - started) * 1000 / len(batch)
        return [(job, Answer(result=[entry]), milliseconds) for job, entry in zip(batch, answer.result, strict=True)]

    def _lasts(self, answer: Answer) -> bool:
        return answer.expires_at is None or answer.expires_at > self.rules.accept_until

    async def _prove_next(self, *, alone: bool) -> None:
        """Prove the job that has waited longest, and with it what can be read together with it.

        :param alone: Do not wait for such company: the first proof may find that none can hit.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_asked.wait(), FIRST_PROOF_SECONDS if alone else COMPANY_SECONDS)
        async with self._proofs:
            if not self._unproven:
                return
            key = self._batch_key(self._unproven[0])
            alike = [job for job in self._unproven if key is not None and self._batch_key(job) == key]
            batch = alike[:MOST_QUERIES] or self._unproven[:1]
            self._unproven = [job for job in self._unproven if job not in batch]
            found = await self._read_together(batch) if len(batch) > 1 else []
            if not found or any(answer.error for _, answer, _ in found):
                found = [(job, *read) for job in batch if (read := await self._ask(job, force=False)) is not None]
        for job, answer, milliseconds in found:
            job.warm_ms = milliseconds
            await self._prove(job, answer)
        for job in batch:
            self._finish(job)

    async def _prove(self, job: Job, again: Answer) -> None:
        assert job.filled is not None
        job.failure = self._judge(job, job.filled, again)
        if self.rules.diagnose is not None and (verdict := await self.rules.diagnose(job)) is not None:
            self._hopeless = job.failure = verdict

    def _judge(self, job: Job, filled: Answer, again: Answer) -> Failure | None:
        failure = judge(filled, again, has_filters(job.query.body))
        if failure is None:
            return None
        if failure.reason is Reason.TIMEOUT_DISABLED:
            owner = job.loaded.timeout_owner(job.query.chart_id, job.query.dataset_id)
            return Failure(failure.reason, f"{owner} cache timeout is -1: it is never cached")
        # In whole seconds, as Superset counts.
        waited = time.monotonic() - job.filled_at + 1
        if failure.reason is Reason.CACHE_DISABLED and min(filled.timeouts, default=waited + 1) <= waited:
            return Failure(Reason.EXPIRES_EARLY, "its cache timeout was over before it was read back")
        return failure

    def _finish(self, job: Job) -> None:
        job.done = True
        self.progress(self)

    async def _ask(self, job: Job, *, force: bool) -> tuple[Answer, float] | None:
        """Ask once; None when the job has failed."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.rules.query_timeout):
                answer = await ask(self.sender, job.query, job.loaded.dashboard_id, force=force)
        except TimeoutError:
            message = f"it was cut after {self.rules.query_timeout:g} s; its database may still be at it"
            job.failure = Failure(Reason.TOO_SLOW, message)
        except (SupersetError, msgspec.DecodeError) as error:
            job.failure = failure_of(error, job.query, job.dataset)
        else:
            if answer.result and answer.error is None:
                return answer, (time.perf_counter() - started) * 1000
            queued = "Superset has put it into a queue: switch the feature flag GLOBAL_ASYNC_QUERIES off"
            job.failure = Failure(Reason.QUERY_FAILED, answer.error or queued)
        return None

    def _give_up(self) -> None:
        """Find out what was never reached."""
        for job in list(self.jobs.values()):
            if not job.answered:
                job.answered = True
                for page, query in list(job.owners):
                    self._learn(job, page, query)
        for job in self.jobs.values():
            if not job.done and job.failure is None:
                job.failure = Failure(Reason.NOT_REACHED, "the warm-up ran out of time before it was done")

    def _outcomes(self) -> list[Outcome]:
        for job in self.jobs.values():
            # What is wrong with the whole cache is wrong with what was asked before it was found out.
            job.failure = job.failure or self._hopeless
        found = [
            self._outcome(job, page, query, shared=number > 0)
            for job in self.jobs.values()
            for number, (page, query) in enumerate(job.owners)
        ]
        for page in self._pages:
            for name, chart_id, reason in page.browser.problems:
                failure = Failure(Reason.QUERY_UNKNOWN, reason)
                found.append(Outcome(page.loaded.title, name, chart_id, "chart", "", self.rules.user, failure=failure))
        return found

    def _outcome(self, job: Job, page: Page, query: PageQuery, *, shared: bool = False) -> Outcome:
        return Outcome(
            dashboard=page.loaded.title,
            chart=query.name,
            chart_id=query.chart_id,
            kind=query.kind,
            dataset=page.loaded.dataset_name(query.dataset_id),
            user=self.rules.user,
            cold_ms=job.cold_ms,
            warm_ms=job.warm_ms,
            rows=job.filled.row_count if job.filled is not None else None,
            shared=shared,
            expires_at=job.filled.expires_at if job.filled is not None else None,
            failure=job.failure,
        )
