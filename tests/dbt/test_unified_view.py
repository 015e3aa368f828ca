"""Whatever happens to a table, its unified view is the source's table: the models' own SQL, on thousands of histories.

The SQL of the models is rendered as dbt renders it and translated as the sandbox's Dremio translates it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sandbox.dremio import macros

from .change_history import KEYS, Platform, Shop
from .change_models import COLUMNS, CUSTOMERS, ORDER_ITEMS, ORDERS, TABLES, on_duckdb, rendered, rendered_text

ALL = 1_000
TYPES = {"int32": "integer", "int64": "bigint", "string": "varchar", "date32": "date", "timestamp[us]": "timestamp"}


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
