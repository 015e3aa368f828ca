"""Whatever happens to a table, its unified view is the source's table: the models' own SQL, on thousands of histories.

The SQL of the models is rendered as dbt renders it and translated as the sandbox's Dremio translates it; what
PostgreSQL, Airbyte, the load to bronze, its compaction and the merge into cold do around it is played in a few lines
each.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from sandbox.dremio import macros
from sandbox.dremio.sql.translate import translate_query

REPOSITORY = Path(__file__).resolve().parents[2]
DBT = REPOSITORY / "dbt"
MACROS = ["latest_versions", "change_data", "iso_timestamp"]
VARS = yaml.safe_load((DBT / "dbt_project.yml").read_text())["vars"]
PLACEHOLDER = "__debezium_unavailable_value"
FIRST_DAY = date(2026, 3, 1)
KEYS = range(1, 4)
ALL = 1_000
TYPES = {"int32": "integer", "int64": "bigint", "string": "varchar", "date32": "date", "timestamp[us]": "timestamp"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of the shop: the name of its stream, and that of its models without what they show."""

    stream: str
    mart: str

    def __repr__(self) -> str:
        return self.stream

    @property
    def columns(self) -> dict[str, str]:
        """Column -> type, as the contract has them."""
        declared = yaml.safe_load((REPOSITORY / "include/config/streams.yml").read_text())
        columns: dict[str, str] = declared["sources"]["postgres_cdc"]["streams"][self.stream]["columns"]
        return columns

    @property
    def text(self) -> list[str]:
        found: list[str] = VARS["change_data"][self.stream]["text_columns"]
        return found

    def key(self, number: int | None) -> Row:
        """The key of a row; that of an order line shares its order with another. None: a key that is not whole."""
        if self.stream == "order_items":
            return {"order_id": 1 + (number or 0) // 2, "line_number": None if number is None else number % 2}
        return {VARS["change_data"][self.stream]["key"][0]: number}


TABLES = [Table("orders", "fct_orders"), Table("order_items", "fct_order_items"), Table("customers", "dim_customers")]
COLUMNS = {table: table.columns for table in TABLES}
ORDERS, ORDER_ITEMS, CUSTOMERS = TABLES


def rendered(model: str, *, cold: str | None = None) -> str:
    """The SQL of a model as dbt compiles it; with ``cold``, as an incremental run on that table."""
    (path,) = (DBT / "models").rglob(f"{model}.sql")
    return rendered_text(path.read_text(), cold=cold)


def rendered_text(text: str, *, cold: str | None = None) -> str:
    ours = "".join((DBT / f"macros/{name}.sql").read_text() for name in MACROS)
    found = SimpleNamespace(columns=[SimpleNamespace(values=lambda: [datetime(1999, 1, 2)])])
    template = jinja2.Environment(autoescape=False).from_string(ours + text)
    # What dbt has in scope everywhere, macros have to find as well.
    template.globals.update(
        config=lambda **_: "",
        ref=lambda name: name,
        source=lambda _, table: table,
        var=VARS.__getitem__,
        is_incremental=lambda: cold is not None,
        this=cold,
        execute=True,
        load_relation=lambda relation: relation,
        run_query=lambda _: found,
        modules=SimpleNamespace(datetime=SimpleNamespace(timedelta=timedelta)),
    )
    # Clocks that the test can turn. It knows no slack: what dbt finds when it runs is all that is left out.
    sql = re.sub(r"timestamp '199[89][^']*'", f"(select {'merged' if cold else 'shown'} from clock)", template.render())
    return sql.replace("current_date", "(select today from clock)")


def on_duckdb(sql: str) -> str:
    return translate_query(sql, lambda path: exp.to_table(path[-1]))


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        for statement in macros.STATEMENTS:
            connection.execute(statement)
        connection.execute("create table clock (today date, merged timestamp, shown timestamp)")
        for table in TABLES:
            columns = ", ".join(f"{name} {TYPES.get(kind, kind)}" for name, kind in COLUMNS[table].items())
            connection.execute(
                f"create table raw_{table.stream}_changes ({columns}, _ab_cdc_lsn bigint, "
                "_ab_cdc_updated_at varchar, _ab_cdc_deleted_at varchar, _ab_cdc_sequence bigint, sync_id bigint, "
                "_airbyte_extracted_at timestamp, dir0 varchar)"
            )
            log = f"stg_postgres_cdc__{table.stream}"
            connection.execute(f"create view {log} as {on_duckdb(rendered(log))}")
            first = on_duckdb(rendered(f"{table.mart}_cold"))
            connection.execute(f"create table {table.mart}_cold as {first}")
            for name in (f"{table.mart}_hot", f"{table.mart}_unified"):
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

    def __init__(self, table: Table, *, full_identity: bool) -> None:
        self.table = table
        self.full_identity = full_identity
        self.rows: dict[int, Row] = {}
        self.decoded: list[Row] = []
        self.lsn = 100
        self.sessions = [Transaction(), Transaction()]

    def write(self, session: int, action: str, key: int, amount: int) -> None:
        """One statement; one that would wait for the other session's lock is not sent."""
        mine, other = self.sessions[session], self.sessions[1 - session]
        nothing = dict.fromkeys(COLUMNS[self.table])
        if action == "truncate":
            if other.rows or mine.rows:
                return
            self.lsn += 10
            self.decoded.append(self._record(nothing, self.lsn, deleted=True))
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
            gone = old if self.full_identity else {**nothing, **self.table.key(key)}
            mine.records.append(self._record(gone, self.lsn, deleted=True))
            mine.rows[key] = None
        elif action == "move" and old and mine.rows.get(new_key, self.rows.get(new_key)) is None:
            moved = {**old, **self.table.key(new_key)}
            mine.records += [self._record(old, self.lsn, deleted=True), self._record(moved, self.lsn)]
            mine.rows |= {key: None, new_key: moved}
        elif action == "touch" and old:
            # Long values that are not touched are in the record only under REPLICA IDENTITY FULL.
            untouched = [name for number, name in enumerate(self.table.text) if (number + amount) % 2 or number == 0]
            mine.rows[key] = row = {**self._row(key, amount), **{name: old[name] for name in untouched}}
            unsent = [name for name in untouched if old[name] is not None and not self.full_identity]
            mine.records.append(self._record({**row, **dict.fromkeys(unsent, PLACEHOLDER)}, self.lsn))
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
        values: dict[str, Any] = {"date32": FIRST_DAY, "timestamp[us]": datetime(2026, 3, 1, 10, 0, amount)}
        row = {name: values.get(kind, amount) for name, kind in COLUMNS[self.table].items()}
        text = {
            name: f"{name} {amount}" if (amount + number) % 5 else None for number, name in enumerate(self.table.text)
        }
        return {**row, **text, **self.table.key(key)}

    def _record(self, row: Row, lsn: int, *, deleted: bool = False) -> Row:
        moment = "2026-03-01T10:00:00.123456Z"
        return {**row, "lsn": lsn, "committed": moment, "deleted": moment if deleted else None}


class Platform:
    """Syncs, the load to bronze, its compaction, the merge into cold and retention, around the models' SQL."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: Table) -> None:
        self.connection = connection
        self.table = table
        self.key = VARS["change_data"][table.stream]["key"]
        self.raw, self.cold = f"raw_{table.stream}_changes", f"{table.mart}_cold"
        self.today = FIRST_DAY
        self.sync_id = 7
        self.seen: dict[int, Row] = {}
        self.unseen: list[Row] = []
        self.expected_after: dict[int, Row] = {}
        self.new_versions = on_duckdb(rendered(self.cold, cold=self.cold))
        self.boundary_time = on_duckdb(rendered_text(f"{{{{ boundary_time('{self.cold}') }}}}"))
        for name in (self.raw, self.cold, "clock"):
            connection.execute(f"delete from {name}")
        connection.execute("insert into clock values ($today, '1970-01-01', '1970-01-01')", {"today": self.today})

    def sync(self, shop: Shop, shown: int) -> None:
        """Land all that has committed; of its files only ``shown`` records can be seen until the load goes on."""
        self.go_on()
        self.sync_id += 3
        landed = [
            {**record, "number": number, "sync": self.sync_id, "at": self._moment(number)}
            for number, record in enumerate(shop.decoded)
        ]
        shop.decoded = []
        self._store(landed[:shown])
        self.unseen, self.expected_after = landed[shown:], dict(shop.rows)
        if not self.unseen:
            self.seen = self.expected_after

    def _moment(self, number: int) -> datetime:
        """When Airbyte reads a record of the sync."""
        midnight = datetime(self.today.year, self.today.month, self.today.day)
        return midnight + timedelta(seconds=self.sync_id, milliseconds=number)

    def go_on(self) -> None:
        """The load that was killed runs again, to its end."""
        if self.unseen:
            self._store(self.unseen)
            self.unseen, self.seen = [], self.expected_after

    def _store(self, records: list[Row]) -> None:
        if not records:
            return
        names = [*COLUMNS[self.table], "lsn", "committed", "deleted", "number", "sync", "at"]
        marks = ", ".join(["(" + ", ".join("?" * len(names)) + f", 'date={self.today}')"] * len(records))
        values = [record[name] for record in records for name in names]
        self.connection.execute(f"insert into {self.raw} values {marks}", values)

    def compact(self, to_the_end: bool) -> None:
        """A large file has what small ones hold; killed half way, both can be read."""
        if to_the_end:
            self.connection.execute(f"create or replace temp table once as select distinct * from {self.raw}")
            self.connection.execute(f"delete from {self.raw}")
            self.connection.execute(f"insert into {self.raw} from once")
        else:
            self.connection.execute(f"insert into {self.raw} select distinct * from {self.raw}")

    def merge(self, to_the_end: bool) -> None:
        """dbt's incremental run, as its merge does it; killed half way, the unified view stays as it was."""
        self._dbt_sees("merged")
        self.connection.execute(f"create or replace temp table fresh as {self.new_versions}")
        same = " and ".join(f"{self.cold}.{column} = fresh.{column}" for column in self.key)
        self.connection.execute(f"delete from {self.cold} where exists (from fresh where {same})")
        self.connection.execute(f"insert into {self.cold} by name from fresh")
        if to_the_end:
            self._dbt_sees("shown")

    def _dbt_sees(self, clock: str) -> None:
        self.connection.execute(f"update clock set {clock} = coalesce(({self.boundary_time}), '1970-01-01')")

    def next_day(self, days: int) -> None:
        self.today += timedelta(days=days)
        self.connection.execute("update clock set today = $today", {"today": self.today})

    def retain(self) -> None:
        """Files leave the lake when they are no longer hot and cold has them."""
        self.connection.execute(
            f"delete from {self.raw} where dir0 < 'date=' || ($today::date - $days::integer)::varchar "
            f"and sync_id < (select coalesce(max(sync_id), 0) from {self.cold})",
            {"today": self.today, "days": VARS["hot_days"]},
        )

    def check(self) -> None:
        if self.unseen:
            return
        columns, order = ", ".join(COLUMNS[self.table]), ", ".join(self.key)
        found = self.connection.execute(f"select {columns} from {self.table.mart}_unified order by {order}").fetchall()
        assert found == [tuple(row[name] for name in COLUMNS[self.table]) for _, row in sorted(self.seen.items())]


ACTIONS = ["write", "write", "touch", "touch", "delete", "move", "truncate", "without_key"]
WRITES = st.tuples(st.sampled_from(ACTIONS), st.sampled_from(KEYS), st.integers(0, 59))
STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 1), WRITES),
    st.tuples(st.just("commit"), st.integers(0, 1)),
    st.tuples(st.just("sync"), st.one_of(st.just(ALL), st.integers(0, 3))),
    st.tuples(st.just("merge"), st.booleans()),
    st.tuples(st.just("compact"), st.booleans()),
    st.tuples(st.just("next_day"), st.integers(1, 9)),
    st.tuples(st.just("retain")),
    st.tuples(st.just("go_on")),
)


def sync_of(*writes: tuple[str, int, int], shown: int = ALL) -> list[tuple[Any, ...]]:
    return [*(("write", 0, write) for write in writes), ("commit", 0), ("sync", shown)]


@given(
    table=st.sampled_from(TABLES),
    full_identity=st.booleans(),
    snapshot=st.dictionaries(st.sampled_from(KEYS), st.integers(0, 59)),
    steps=st.lists(STEPS, min_size=5, max_size=40),
)
# Cold is built while a load is half way.
@example(ORDERS, False, {}, [*sync_of(("write", 1, 1), ("write", 2, 2), shown=1), ("merge", True), ("go_on",)])
# What a TRUNCATE took stays away when cold has moved on.
@example(
    ORDERS,
    False,
    {1: 1},
    [
        *sync_of(("write", 3, 3)),
        ("merge", True),
        *sync_of(("truncate", 1, 1)),
        ("merge", True),
        *sync_of(("write", 2, 2)),
        ("merge", True),
    ],
)
# Nobody built cold for longer than changes stay hot.
@example(ORDERS, False, {1: 1}, [("merge", True), *sync_of(("write", 1, 2)), ("next_day", 9), ("retain",)])
# What commits later has the smaller LSN, and cold is built in between.
@example(
    ORDERS,
    False,
    {},
    [("write", 1, ("write", 1, 1)), *sync_of(("write", 2, 2)), ("merge", True), ("commit", 1), ("sync", ALL)],
)
# The value that was not sent is in cold only.
@example(
    ORDERS,
    False,
    {1: 1},
    [("merge", True), ("next_day", 9), *sync_of(("touch", 1, 2)), ("retain",), ("merge", True), ("merge", True)],
)
@example(ORDERS, False, {}, sync_of(("write", 1, 1), ("delete", 1, 1), ("write", 1, 2)))
@example(ORDERS, True, {1: 1}, sync_of(("without_key", 1, 2), ("without_key", 1, 1)))
# Two lines of one order; the one whose number is missing is neither.
@example(ORDER_ITEMS, False, {2: 2, 3: 3}, [*sync_of(("delete", 2, 1), ("without_key", 1, 1)), ("merge", True)])
# Some values were not sent, each last at another time.
@example(CUSTOMERS, False, {1: 1}, [("merge", True), *sync_of(("touch", 1, 2)), *sync_of(("touch", 1, 3))])
# Cold was merged, and the view knows nothing of it; the large file lies beside the small ones.
@example(
    ORDERS, False, {1: 1}, [*sync_of(("touch", 1, 2)), ("merge", False), ("compact", False), *sync_of(("touch", 1, 3))]
)
# The later sync begins to count anew.
@example(ORDERS, False, {}, [*sync_of(("write", 2, 1), ("write", 1, 1)), *sync_of(("write", 1, 2))])
@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_unified_view_is_the_source_table(database, table, full_identity, snapshot, steps):
    shop, platform = Shop(table, full_identity=full_identity), Platform(database, table)
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


def log_of(rows: int, folder: Path, *, since: int) -> duckdb.DuckDBPyConnection:
    """The orders' models over a log of so many changes, all but the last ``since`` of which are in cold."""
    connection = duckdb.connect(config={"threads": 1})
    for statement in macros.STATEMENTS:
        connection.execute(statement)
    piece = 100_000
    for first in range(0, rows, piece):
        connection.execute(
            f"""
            copy (
                select
                    7919 * r % 20_000 as order_id, r % 1000 as customer_id, date '2026-03-01' as order_date,
                    (r % 100)::decimal(12, 2) as amount, 'pending' as status, timestamp '2026-03-01' as updated_at,
                    100 + r as _ab_cdc_lsn, '2026-03-01T10:00:00.123456Z' as _ab_cdc_updated_at,
                    null::varchar as _ab_cdc_deleted_at, r % 2500 as _ab_cdc_sequence, 1 + r // 2500 as sync_id,
                    timestamp '2026-03-01' + interval (r // 2500) second as _airbyte_extracted_at,
                    'date=2026-03-01' as dir0
                from range({first}, {min(rows, first + piece)}) as numbers (r)
            ) to '{folder}/{rows}-{first:08}.parquet'
            """
        )
    connection.execute(f"create view raw_orders_changes as from read_parquet('{folder}/{rows}-*.parquet')")
    connection.execute("create table clock (today date, merged timestamp, shown timestamp)")
    connection.execute("insert into clock (today) values ('2026-03-01')")
    log = "stg_postgres_cdc__orders"
    connection.execute(f"create view {log} as {on_duckdb(rendered(log))}")
    connection.execute(f"create view merged_log as from {log} where sync_id <= {(rows - since) // 2500}")
    first_cold = on_duckdb(rendered("fct_orders_cold")).replace(log, "merged_log")
    connection.execute(f"create table fct_orders_cold as {first_cold}")
    ((until,),) = connection.execute(on_duckdb(rendered_text("{{ boundary_time('fct_orders_cold') }}"))).fetchall()
    for name in ("fct_orders_hot", "fct_orders_unified"):
        # As dbt writes it: a literal, by which files are left out.
        sql = rendered(name).replace("(select shown from clock)", f"timestamp '{until}'")
        connection.execute(f"create view {name} as {on_duckdb(sql)}")
    return connection


def test_what_a_chart_costs_does_not_grow_with_what_cold_has(tmp_path):
    """Forty times the log, the same few changes since the last merge: about the same work."""
    question = "select status, count(*), sum(amount), max(updated_at) from fct_orders_unified group by 1"
    taken, answers = {}, {}
    for rows in (50_000, 2_000_000):
        with log_of(rows, tmp_path, since=25_000) as connection:
            times = []
            for _ in range(5):
                began = time.process_time()
                answers[rows] = connection.execute(question).fetchall()
                times.append(time.process_time() - began)
            taken[rows] = min(times)
    assert [row[1] for row in answers.values() for row in row] == [20_000, 20_000]
    # Without the literal it is more than four times.
    assert taken[2_000_000] < 2 * taken[50_000], taken
