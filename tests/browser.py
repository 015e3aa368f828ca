"""What a person's browser asks of Superset: a headless Chromium that opens dashboards and notes every question.

Chromium is the system's (`apt-get install chromium`); where there is none, a test that needs it is skipped and says so.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
VIEWPORT = {"width": 1600, "height": 4000}
"""High, because Superset asks only for the charts that are in sight."""
QUIET_SECONDS = 1.0
_FLAGS = ("--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update")
_LOADING = "[data-test='loading-indicator'], .loading, .ant-select-arrow-loading"
_TABS = ".dashboard-component-tabs [role='tab']"


@dataclass(frozen=True)
class ChartDataRequest:
    """One `POST /api/v1/chart/data` of the page: the options of a filter, or a chart.

    Attributes:
        body: What was asked.
        form_data: What the address carried; empty for the options of a filter.
        status: HTTP status.
        results: An entry a query: `cache_key`, `is_cached`, `cached_dttm`, `rowcount`, ..
        milliseconds: From the request's start, when it is sent, to the end of the answer.
        waited_milliseconds: Before that, for one of the browser's six connections.
    """

    body: dict[str, Any]
    form_data: dict[str, Any]
    status: int
    results: list[dict[str, Any]]
    milliseconds: float
    waited_milliseconds: float

    @property
    def chart_id(self) -> int | None:
        return self.form_data.get("slice_id")

    @property
    def hit(self) -> bool:
        """Whether every query was answered out of the cache."""
        return bool(self.results) and all(result.get("is_cached") is True for result in self.results)


@dataclass
class Visit:
    """What happened while a dashboard was open.

    Attributes:
        requests: In the order of their answers.
        seconds: From the address to the last answer of the first tab, with everything drawn.
        page: Still open, for screenshots.
    """

    page: Page
    requests: list[ChartDataRequest] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def misses(self) -> list[ChartDataRequest]:
        return [request for request in self.requests if not request.hit]


class Person:
    """Somebody who is logged in to Superset."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self._context = context
        self._address = address

    def open(
        self, path: str, *, tabs: bool = False, timeout: float = 90.0, look: Callable[[Page, str], None] | None = None
    ) -> Visit:
        """Open a dashboard and wait until everything on it is drawn.

        Args:
            path: For example `/superset/dashboard/sales/`.
            tabs: Whether to click through all tabs, nested ones too.
            timeout: Seconds for each tab.
            look: Called with the page and the name of the tab ("" without tabs) whenever a tab is drawn.
        """
        page = self._context.new_page()
        visit = Visit(page)
        questions = _Questions(page)
        started = time.monotonic()
        page.goto(self._address + path, timeout=timeout * 1000, wait_until="domcontentloaded")
        page.locator("[data-test='grid-container'], .grid-container").first.wait_for(timeout=timeout * 1000)
        visit.seconds = _settle(page, questions, timeout) - started
        visited: set[str] = set()
        more = True
        while more:
            visit.requests += questions.take_answered()
            if look:
                look(page, _open_tab(page))
            if more := tabs and _open_next_tab(page, visited):
                _settle(page, questions, timeout)
        visit.requests += questions.take_answered()
        return visit


class _Questions:
    """What a page asks for the data of its charts. Read when it is quiet: reading delays the answers that follow."""

    def __init__(self, page: Page) -> None:
        self.pending: set[Request] = set()
        self._answered: list[Request] = []
        page.on("request", lambda request: self.pending.add(request) if _asks(request) else None)
        page.on("requestfinished", self._note)
        page.on("requestfailed", lambda request: self.pending.discard(request))

    def _note(self, request: Request) -> None:
        if request in self.pending:
            self.pending.remove(request)
            self._answered.append(request)

    def take_answered(self) -> list[ChartDataRequest]:
        """What was answered since the last call, in that order."""
        answered, self._answered = self._answered, []
        return [_read(request) for request in answered]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    # Chromium refuses its own sandbox to root, as which containers and CI run.
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def logged_in(
    browser: Browser, address: str, user: str, password: str, *, dark: bool = False, **options: Any
) -> Iterator[Person]:
    """A person with cookies of their own.

    Args:
        browser: From `chromium()`.
        address: Root of Superset.
        user: Name.
        password: Password.
        dark: Whether the person's system prefers dark pages.
        options: Further ones of Playwright's `new_context`.
    """
    scheme = "dark" if dark else "light"
    context = browser.new_context(**{"viewport": VIEWPORT, "color_scheme": scheme, **options})
    try:
        page = context.new_page()
        page.goto(f"{address}/login/")
        page.locator("input[name='username'], #username").first.fill(user)
        page.locator("input[name='password'], #password").first.fill(password)
        page.locator("button[type='submit'], [data-test='login-button']").first.click()
        page.wait_for_url(lambda url: "/login" not in url, wait_until="domcontentloaded", timeout=90_000)
        page.close()
        yield Person(context, address)
    finally:
        context.close()


def record(path: Path, **figures: Any) -> None:
    """Keep what a visit measured, beside the test's other files and in its output."""
    path.write_text(json.dumps(figures, indent=2, default=str))
    print(json.dumps(figures, default=str))


def _asks(request: Request) -> bool:
    return request.method == "POST" and urlsplit(request.url).path.endswith("/api/v1/chart/data")


def _read(request: Request) -> ChartDataRequest:
    response = request.response()
    assert response is not None
    timing = request.timing
    query = parse_qs(urlsplit(request.url).query)
    return ChartDataRequest(
        body=json.loads(request.post_data or "{}"),
        form_data=json.loads(query.get("form_data", ["{}"])[0]),
        status=response.status,
        results=list(response.json().get("result") or []),
        milliseconds=max(timing["responseEnd"] - timing["requestStart"], 0.0),
        waited_milliseconds=max(timing["requestStart"], 0.0),
    )


def _settle(page: Page, questions: _Questions, timeout: float) -> float:
    """Wait until nothing is asked and nothing turns for a while; return when that began."""
    deadline = time.monotonic() + timeout
    quiet_since: float | None = None
    while time.monotonic() < deadline:
        if questions.pending or page.locator(_LOADING).count():
            quiet_since = None
        else:
            quiet_since = quiet_since or time.monotonic()
            if time.monotonic() - quiet_since >= QUIET_SECONDS:
                return quiet_since
        page.wait_for_timeout(100)
    raise TimeoutError(
        f"{page.url} was not drawn after {timeout:.0f} s; {len(questions.pending)} requests have no answer"
    )


def _open_tab(page: Page) -> str:
    """Return the text of the tab that was opened last, the innermost of the open ones; "" where there are no tabs."""
    names = page.locator(f"{_TABS}[aria-selected='true']").all_inner_texts()
    return names[-1].strip() if names else ""


def _open_next_tab(page: Page, visited: set[str]) -> bool:
    """Click the first tab that nobody has clicked yet; False when there is none left."""
    for tab in page.locator(_TABS).all():
        name = tab.get_attribute("id") or ""
        if name in visited or not tab.is_visible():
            continue
        visited.add(name)
        if tab.get_attribute("aria-selected") != "true":
            tab.click()
            return True
    return False
