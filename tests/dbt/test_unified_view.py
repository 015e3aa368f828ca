"""Whatever happens to orders, the unified view is the source's table: the models' own SQL, on thousands of histories.

The SQL of the models is rendered as dbt renders it and translated as the sandbox's Dremio translates it; what
PostgreSQL, Airbyte, the load to bronze and the nightly run do around it is played in a few lines each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from sandbox.dremio import macros
from sandbox.dremio.sql.translate import translate_query

DBT = Path(__file__).resolve().parents[2] / "dbt"
MACROS = ["latest_versions", "iso_timestamp"]
COLUMNS = ["order_id", "customer_id", "order_date", "amount", "status", "updated_at"]
PLACEHOLDER = "__debezium_unavailable_value"
FIRST_DAY = date(2026, 3, 1)
HOT_DAYS = 7
KEYS = range(1, 4)
ALL = 1_000

Row = dict[str, Any]


def rendered(model: str, *, cold: str | None = None) -> str:
    """The SQL of a model as dbt compiles it; with ``cold``, as an incremental run on that table."""
    (path,) = (DBT / "models").rglob(f"{model}.sql")
    ours = "".join((DBT / f"macros/{name}.sql").read_text() for name in MACROS)
    sql = (
        jinja2.Environment(autoescape=False)
        .from_string(ours + path.read_text())
        .render(
            config=lambda **_: "",
            ref=lambda name: name,
            source=lambda _, table: table,
            var={"hot_days": HOT_DAYS}.__getitem__,
            is_incremental=lambda: cold is not None,
            this=cold,
        )
    )
    # A clock that the test can turn.
    return str(sql).replace("current_date", "(select today from clock)")


def on_duckdb(sql: str) -> str:
    return translate_query(sql, lambda path: exp.to_table(path[-1]))


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        for statement in macros.STATEMENTS:
            connection.execute(statement)
        connection.execute("create table clock (today date)")
        connection.execute(
            "create table raw_orders_changes (order_id bigint, customer_id bigint, order_date date, "
            "amount decimal(12, 2), status varchar, updated_at timestamp, _ab_cdc_lsn bigint, "
            "_ab_cdc_updated_at varchar, _ab_cdc_deleted_at varchar, _ab_cdc_sequence bigint, sync_id bigint, "
            "dir0 varchar)"
        )
        for name in ("stg_postgres_cdc__orders", "fct_orders_hot", "fct_orders_unified"):
            if name == "fct_orders_hot":
                first = on_duckdb(rendered("fct_orders_cold"))
                connection.execute(f"create table fct_orders_cold as {first}")
            connection.execute(f"create view {name} as {on_duckdb(rendered(name))}")
        yield connection


@dataclass
class Transaction:
    """What a transaction has written and not yet committed: records in their order, rows by key."""

    records: list[Row] = field(default_factory=list)
    rows: dict[int, Row | None] = field(default_factory=dict)


class Shop:
    """A table with a primary key, its write-ahead log and two sessions; LSNs ascend as records are written,
    transactions are decoded as they commit."""

    def __init__(self, *, full_identity: bool) -> None:
        self.full_identity = full_identity
        self.rows: dict[int, Row] = {}
        self.decoded: list[Row] = []
        self.lsn = 100
        self.sessions = [Transaction(), Transaction()]

    def write(self, session: int, action: str, key: int, amount: int) -> None:
        """One statement; one that would wait for the other session's lock is not sent."""
        mine, other = self.sessions[session], self.sessions[1 - session]
        if action == "truncate":
            if other.rows or mine.rows:
                return
            self.lsn += 10
            self.decoded.append(self._record(dict.fromkeys(COLUMNS), self.lsn, deleted=True))
            self.rows = {}
            return
        new_key = 1 + key % len(KEYS)
        if key in other.rows or (action == "move" and new_key in other.rows):
            return
        old = mine.rows.get(key, self.rows.get(key))
        self.lsn += 10
        if action == "without_key":
            # Such a row may stay or go: as it cannot be told from others of its kind, the view leaves it out.
            row = self._row(None, amount)
            mine.records.append(self._record(row, self.lsn, deleted=amount % 2 == 0))
        elif action == "delete" and old:
            gone = old if self.full_identity else {**dict.fromkeys(COLUMNS), "order_id": key}
            mine.records.append(self._record(gone, self.lsn, deleted=True))
            mine.rows[key] = None
        elif action == "move" and old and mine.rows.get(new_key, self.rows.get(new_key)) is None:
            moved = {**old, "order_id": new_key}
            mine.records += [self._record(old, self.lsn, deleted=True), self._record(moved, self.lsn)]
            mine.rows |= {key: None, new_key: moved}
        elif action == "touch" and old:
            # The long status is not touched: it is in the record only under REPLICA IDENTITY FULL.
            mine.rows[key] = row = {**old, "amount": amount}
            sent = row if self.full_identity or old["status"] is None else {**row, "status": PLACEHOLDER}
            mine.records.append(self._record(sent, self.lsn))
        elif action == "write":
            mine.rows[key] = row = self._row(key, amount)
            mine.records.append(self._record(row, self.lsn))

    def commit(self, session: int) -> None:
        done, self.sessions[session] = self.sessions[session], Transaction()
        self.decoded += done.records
        for key, row in done.rows.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def snapshot(self, amounts: dict[int, int]) -> None:
        """What was there before the feed began: one LSN for all of it."""
        self.rows = {key: self._row(key, amount) for key, amount in amounts.items()}
        self.decoded = [self._record(row, self.lsn) for row in self.rows.values()]

    def _row(self, key: int | None, amount: int) -> Row:
        return {
            "order_id": key,
            "customer_id": amount,
            "order_date": FIRST_DAY,
            "amount": amount,
            "status": f"status {amount}" if amount % 5 else None,
            "updated_at": datetime(2026, 3, 1, 10, 0, amount),
        }

    def _record(self, row: Row, lsn: int, *, deleted: bool = False) -> Row:
        moment = "2026-03-01T10:00:00.123456Z"
        return {**row, "lsn": lsn, "committed": moment, "deleted": moment if deleted else None}


class Platform:
    """Syncs, the load to bronze, the nightly run and retention, around the models' SQL."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.today = FIRST_DAY
        self.sync_id = 7
        self.seen: dict[int, Row] = {}
        self.unseen: list[Row] = []
        self.expected_after: dict[int, Row] = {}
        self.merge = on_duckdb(rendered("fct_orders_cold", cold="fct_orders_cold"))
        for table in ("raw_orders_changes", "fct_orders_cold", "clock"):
            connection.execute(f"delete from {table}")
        connection.execute("insert into clock values ($today)", {"today": self.today})

    def sync(self, shop: Shop, shown: int) -> None:
        """Land all that has committed; of its files only ``shown`` records can be seen until the load goes on."""
        self.go_on()
        self.sync_id += 3
        landed = [{**record, "number": number, "sync": self.sync_id} for number, record in enumerate(shop.decoded)]
        shop.decoded = []
        self._store(landed[:shown])
        self.unseen, self.expected_after = landed[shown:], dict(shop.rows)
        if not self.unseen:
            self.seen = self.expected_after

    def go_on(self) -> None:
        """The load that was killed runs again, to its end."""
        if self.unseen:
            self._store(self.unseen)
            self.unseen, self.seen = [], self.expected_after

    def _store(self, records: list[Row]) -> None:
        if not records:
            return
        names = [*COLUMNS, "lsn", "committed", "deleted", "number", "sync"]
        marks = ", ".join(["(" + ", ".join("?" * len(names)) + f", 'date={self.today}')"] * len(records))
        values = [record[name] for record in records for name in names]
        self.connection.execute(f"insert into raw_orders_changes values {marks}", values)

    def nightly(self) -> None:
        """dbt's incremental run, as its merge does it."""
        self.connection.execute(f"create or replace temp table merged as {self.merge}")
        self.connection.execute("delete from fct_orders_cold where order_id in (select order_id from merged)")
        self.connection.execute("insert into fct_orders_cold by name from merged")

    def next_day(self, days: int) -> None:
        self.today += timedelta(days=days)
        self.connection.execute("update clock set today = $today", {"today": self.today})

    def retain(self) -> None:
        """Files leave the lake when they are no longer hot and cold has them."""
        self.connection.execute(
            "delete from raw_orders_changes where dir0 < 'date=' || ($today::date - $days::integer)::varchar "
            "and sync_id < (select coalesce(max(sync_id), 0) from fct_orders_cold)",
            {"today": self.today, "days": HOT_DAYS},
        )

    def check(self) -> None:
        if self.unseen:
            return
        found = self.connection.execute(f"select {', '.join(COLUMNS)} from fct_orders_unified order by 1").fetchall()
        assert found == [tuple(row[name] for name in COLUMNS) for _, row in sorted(self.seen.items())]


ACTIONS = ["write", "write", "touch", "touch", "delete", "move", "truncate", "without_key"]
WRITES = st.tuples(st.sampled_from(ACTIONS), st.sampled_from(KEYS), st.integers(0, 59))
STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 1), WRITES),
    st.tuples(st.just("commit"), st.integers(0, 1)),
    st.tuples(st.just("sync"), st.one_of(st.just(ALL), st.integers(0, 3))),
    st.tuples(st.just("nightly")),
    st.tuples(st.just("next_day"), st.integers(1, 9)),
    st.tuples(st.just("retain")),
    st.tuples(st.just("go_on")),
)


def sync_of(*writes: tuple[str, int, int], shown: int = ALL) -> list[tuple[Any, ...]]:
    return [*(("write", 0, write) for write in writes), ("commit", 0), ("sync", shown)]


@given(
    full_identity=st.booleans(),
    snapshot=st.dictionaries(st.sampled_from(KEYS), st.integers(0, 59)),
    steps=st.lists(STEPS, min_size=5, max_size=40),
)
# Cold is built while a load is half way.
@example(False, {}, [*sync_of(("write", 1, 1), ("write", 2, 2), shown=1), ("nightly",), ("go_on",)])
# What a TRUNCATE took stays away when cold has moved on.
@example(
    False,
    {1: 1},
    [
        *sync_of(("write", 3, 3)),
        ("nightly",),
        *sync_of(("truncate", 1, 1)),
        ("nightly",),
        *sync_of(("write", 2, 2)),
        ("nightly",),
    ],
)
# Nobody built cold for longer than changes stay hot.
@example(False, {1: 1}, [("nightly",), *sync_of(("write", 1, 2)), ("next_day", 9), ("retain",)])
# What commits later has the smaller LSN, and cold is built in between.
@example(
    False, {}, [("write", 1, ("write", 1, 1)), *sync_of(("write", 2, 2)), ("nightly",), ("commit", 1), ("sync", ALL)]
)
# The value that was not sent is in cold only.
@example(
    False, {1: 1}, [("nightly",), ("next_day", 9), *sync_of(("touch", 1, 2)), ("retain",), ("nightly",), ("nightly",)]
)
@example(False, {}, sync_of(("write", 1, 1), ("delete", 1, 1), ("write", 1, 2)))
@example(True, {1: 1}, sync_of(("without_key", 1, 2), ("without_key", 1, 1)))
# The later sync begins to count anew.
@example(False, {}, [*sync_of(("write", 2, 1), ("write", 1, 1)), *sync_of(("write", 1, 2))])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_unified_view_is_the_source_table(database, full_identity, snapshot, steps):
    shop, platform = Shop(full_identity=full_identity), Platform(database)
    shop.snapshot(snapshot)
    platform.sync(shop, ALL)
    for name, *arguments in steps:
        if name == "write":
            session, write = arguments
            shop.write(session, *write)
        elif name == "commit":
            shop.commit(*arguments)
        elif name == "sync":
            platform.sync(shop, *arguments)
            platform.check()
        else:
            getattr(platform, name)(*arguments)
            platform.check()
    for session in (0, 1):
        shop.commit(session)
    platform.sync(shop, ALL)
    platform.check()
    assert platform.seen == shop.rows
