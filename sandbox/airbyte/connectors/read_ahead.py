"""Reading one step ahead, so that sources and a destination work at the same time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(*sources: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield what iterators yield, in each one's order, while a thread for each fetches its next item.

    Args:
        sources: never yield None; each is used by one thread at a time.
    """
    with ThreadPoolExecutor(len(sources), "read-ahead") as threads:
        following = {threads.submit(next, items, None): items for items in sources}
        while following:
            done, _ = wait(following, return_when=FIRST_COMPLETED)
            for future in done:
                items = following.pop(future)
                if (item := future.result()) is not None:
                    following[threads.submit(next, items, None)] = items
                    yield item
