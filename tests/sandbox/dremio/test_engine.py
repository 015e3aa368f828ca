"""Queries that a release of DuckDB has answered wrongly, or never."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

FILES, ROWS, KEYS = 3, 50_000, 60_000
LATEST = """
with boundary as (
    select coalesce(max(batch), 0) as batch from lake.datalake.engine.kept
),
changes as (
    select change_log.* from lake.datalake.engine.change_log cross join boundary
    where change_log.batch >= boundary.batch
),
truncation as (
    select coalesce(max(position), -1) as truncated from changes where is_truncation = 1
),
versions as (
    select id, position, status, 1 as is_change from changes where is_truncation = 0 and id is not null
    union all
    select id, position, status, 0 as is_change from lake.datalake.engine.kept
),
ranked as (
    select versions.*, row_number() over (partition by id order by position desc) as version_rank from versions
),
newest as (
    select * from ranked where version_rank = 1
),
incomplete as (
    select id from newest where status = 'absent'
),
sent as (
    select
        versions.id,
        first_value(versions.status) over (partition by versions.id order by versions.position desc) as status,
        row_number() over (partition by versions.id order by versions.position desc) as version_rank
    from versions inner join incomplete on versions.id = incomplete.id
),
latest as (
    select
        newest.id,
        case when newest.status = 'absent' then sent.status else newest.status end as status,
        newest.is_change,
        case when newest.position < truncation.truncated then 1 else 0 end as is_gone
    from newest
    cross join truncation
    left join sent on sent.version_rank = 1 and newest.id = sent.id
)
select * from (select * from latest where is_change = 1 or is_gone > 0) as shown
"""
"""The latest version of each row out of a log of changes and what was kept of it before."""


def rows_of(table: int) -> pa.Table:
    number = np.arange(ROWS)
    columns = {
        "id": number * 7 % KEYS,
        "position": number + table * ROWS,
        "batch": number // 1000,
        "status": np.where(number % 3 == 0, "pending", "completed"),
        "is_truncation": np.zeros(ROWS, np.int64),
    }
    return pa.table({name: pa.array(values) for name, values in columns.items()})


@pytest.fixture(scope="module")
def changes(dremio, s3):
    for number in range(FILES):
        s3.put(f"engine/change_log/{number}.parquet", rows_of(number))
    dremio.rows("alter table lake.datalake.engine.change_log refresh metadata auto promotion")
    number = np.arange(FILES * ROWS)
    kept = {"id": number, "position": 0 * number - 1, "batch": 0 * number, "status": np.full(len(number), "completed")}
    s3.put("engine/kept/0.parquet", pa.table({name: pa.array(values) for name, values in kept.items()}))
    dremio.rows("alter table lake.datalake.engine.kept refresh metadata auto promotion")


def test_a_limit_over_the_latest_versions_ends(dremio, changes):
    """DuckDB 2.0.0 waits for itself: dbt asks for one row of an incremental model to learn its columns."""
    assert len(dremio.rows(f"select * from ({LATEST}) as found limit 1")) == 1
    # Each file changes the same rows, each once.
    assert dremio.rows(f"select count(*) as n from ({LATEST}) as found") == [{"n": ROWS}]


def test_a_limit_holds_where_nothing_is_joined(dremio):
    """DuckDB 2.0.1 loses it, by its rule projection_pullup, where its statistics find the right side empty."""
    names = 'select table_name from information_schema."columns"'
    assert len(dremio.rows(f"{names} limit 5")) == 5
    nothing = f"({names} where table_name > 'zzzz') as b"
    assert (
        len(dremio.rows(f"select * from ({names}) as a left join {nothing} on a.table_name = b.table_name limit 5"))
        == 5
    )
