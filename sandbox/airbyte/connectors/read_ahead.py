"""Reading one step ahead, so that a source and a destination work at the same time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield what an iterator yields, while a thread fetches the next item.

    Args:
        items: never yields None; used by that thread alone.
    """
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item
