"""A shop that is open: orders come, change and are taken back, so many a second."""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

TRANSACTIONS_PER_SECOND: Final = 20
_INSERTED, _DELETED = 0.3, 0.1
_STATUSES: Final = ("pending", "completed", "cancelled", "returned")
_OLD_ORDERS: Final = 20_000

_INSERT = """
insert into public.orders (order_id, customer_id, order_date, amount, status, updated_at)
select order_id, customer_id, %(day)s, amount, 'pending', %(marker)s
from unnest(%(ids)s::bigint[], %(customers)s::bigint[], %(amounts)s::numeric[]) as new(order_id, customer_id, amount)
"""
_UPDATE = """
update public.orders set status = changed.status, amount = changed.amount, updated_at = %(marker)s
from unnest(%(ids)s::bigint[], %(statuses)s::text[], %(amounts)s::numeric[]) as changed(order_id, status, amount)
where orders.order_id = changed.order_id
"""
_DELETE = "delete from public.orders where order_id = any(%(ids)s)"
# Orders that the dirt has twice cannot be told apart; they are left alone.
_OLD = """
select order_id from public.orders
where order_id is not null
group by order_id having count(*) = 1 order by order_id desc limit %s
"""


@dataclass
class Commits:
    """What was committed: the marker of each transaction, ascending, with its time and number of changes.

    The marker is ``updated_at`` of what a transaction wrote, whole milliseconds, greater than all before. Transactions
    commit one after the other, so whoever sees a marker has to see everything up to it.
    """

    markers: list[datetime] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many changes."""
        return sum(self.changes)

    def up_to(self, marker: datetime) -> int:
        """Return how many transactions are visible to somebody who sees a marker."""
        return bisect_right(self.markers, marker)


class Writer(threading.Thread):
    """Changes orders at a constant rate; a transaction that is late is not left out.

    Args:
        dsn: The shop's database.
        rate: Changes a second.
        seconds: For so long.
        seed: Of what is changed.
    """

    def __init__(self, dsn: str, rate: float, seconds: float, seed: int = 1) -> None:
        super().__init__(name="writer", daemon=True)
        self.commits = Commits()
        self.error: psycopg.Error | None = None
        self._dsn = dsn
        self._rate = rate
        self._seconds = seconds
        self._random = random.Random(seed)  # noqa: S311  # what is sold is no secret
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End after the transaction that is at work."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Write."""
        try:
            with psycopg.connect(self._dsn, connect_timeout=10, autocommit=True) as connection:
                self._open_shop(connection)
                self._keep_writing(connection)
        except psycopg.Error as error:
            self.error = error

    def _open_shop(self, connection: psycopg.Connection) -> None:
        self._old = [int(row[0]) for row in connection.execute(_OLD, (_OLD_ORDERS,)).fetchall()]
        self._own: list[int] = []
        newest = connection.execute("select coalesce(max(order_id), 0), max(updated_at) from public.orders").fetchone()
        customers = connection.execute(
            "select customer_id from public.customers where customer_id is not null order by customer_id limit 1000"
        ).fetchall()
        assert newest is not None
        self._next_id = int(newest[0]) + 1
        self._marker = newest[1] or datetime(1970, 1, 1)
        self._customers = [int(row[0]) for row in customers]

    def _keep_writing(self, connection: psycopg.Connection) -> None:
        per_second = min(float(TRANSACTIONS_PER_SECOND), self._rate)
        began = time.monotonic()
        written = 0
        transactions = max(1, round(self._seconds * per_second))
        for number in range(transactions):
            if self._stopped.wait(max(0.0, began + number / per_second - time.monotonic())):
                return
            due = round((number + 1) * self._rate / per_second)
            self._write(connection, due - written, last=number == transactions - 1)
            written = due

    def _write(self, connection: psycopg.Connection, changes: int, *, last: bool) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        self._marker = marker = max(now.replace(microsecond=now.microsecond // 1000 * 1000), self._next_moment())
        inserts = sum(self._random.random() < _INSERTED for _ in range(changes))
        deletes = min(len(self._own) // 2, sum(self._random.random() < _DELETED for _ in range(changes - inserts)))
        if last:
            deletes = 0  # a marker that is deleted is never seen, and after this one there is no other
        updates = changes - inserts - deletes
        if updates == changes and not self._old:
            inserts, updates = changes, 0
        gone = [self._own.pop(self._random.randrange(len(self._own))) for _ in range(deletes)]
        known = self._random.sample(self._old, min(len(self._old), updates))
        new = list(range(self._next_id, self._next_id + inserts + updates - len(known)))
        self._next_id += len(new)
        with connection.pipeline(), connection.transaction():
            if new:
                connection.execute(
                    _INSERT,
                    {
                        "day": marker.date(),
                        "marker": marker,
                        "ids": new,
                        "customers": self._random.choices(self._customers or [1], k=len(new)),
                        "amounts": self._amounts(len(new)),
                    },
                )
            if known:
                connection.execute(
                    _UPDATE,
                    {
                        "marker": marker,
                        "ids": known,
                        "statuses": self._random.choices(_STATUSES, k=len(known)),
                        "amounts": self._amounts(len(known)),
                    },
                )
            if gone:
                connection.execute(_DELETE, {"ids": gone})
            # Before the commit is sent: what it takes is part of a change's age.
            committed = time.time()
        self._own += new
        self.commits.markers.append(marker)
        self.commits.times.append(committed)
        self.commits.changes.append(len(new) + len(known) + len(gone))

    def _next_moment(self) -> datetime:
        return self._marker.replace(microsecond=self._marker.microsecond // 1000 * 1000) + timedelta(milliseconds=1)

    def _amounts(self, count: int) -> list[str]:
        return [f"{self._random.randrange(500, 50_000) / 100:.2f}" for _ in range(count)]


def ages(commits: Commits, seen: Sequence[tuple[float, datetime]]) -> list[tuple[float, int]]:
    """Return how old each transaction was when it was first seen, in seconds, with its number of changes.

    Args:
        commits: What was committed.
        seen: Times (Unix) at which an answer came in, ascending, and the marker in it.
    """
    found: list[tuple[float, int]] = []
    position = 0
    for moment, marker in seen:
        visible = commits.up_to(marker)
        for number in range(position, visible):
            found.append((max(0.0, moment - commits.times[number]), commits.changes[number]))
        position = max(position, visible)
    return found


def unseen(commits: Commits, seen: int, looked: float) -> list[tuple[float, int]]:
    """Return how old each transaction was at the last look that did not show it, with its number of changes.

    Args:
        commits: What was committed.
        seen: How many transactions were seen.
        looked: Time (Unix) of the last look.
    """
    return [(looked - at, changes) for at, changes in zip(commits.times[seen:], commits.changes[seen:], strict=True)]
