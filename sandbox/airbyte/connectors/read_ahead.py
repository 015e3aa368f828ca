"""Reading ahead, so that sources and a destination work at the same time."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(*sources: Generator[Item, None, None], ahead: int = 1) -> Generator[Item, None, None]:
    """Yield what generators yield, in each one's order; a thread for each fetches them beforehand.

    When the caller ends early, or one of them fails, the others are closed behind the item that they are fetching.

    Args:
        sources: never yield None.
        ahead: how many items wait for the caller at most, for each source.
    """
    ready: SimpleQueue[Item | BaseException | None] = SimpleQueue()
    free = threading.Semaphore((ahead - 1) * len(sources))
    stopped = threading.Event()

    def fetch(items: Generator[Item, None, None]) -> None:
        try:
            with closing(items):
                for item in items:
                    ready.put(item)
                    free.acquire()
                    if stopped.is_set():
                        return
            ready.put(None)
        except BaseException as error:  # raised where the items are taken
            ready.put(error)

    with ThreadPoolExecutor(len(sources), "read-ahead") as threads:
        for items in sources:
            threads.submit(fetch, items)
        try:
            running = len(sources)
            while running:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    running -= 1
                else:
                    free.release()
                    yield item
        finally:
            stopped.set()
            free.release(len(sources))
