"""What Dremio's SQL means, where DuckDB or sqlglot would answer something else."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def numbers(dremio):
    dremio.rows(
        "create table lake.datalake.sql.numbers as select * from (values "
        "(1, 'one', date '2026-01-01'), (2, 'two', date '2026-01-31'), (3, cast(null as varchar), date '2026-02-01')"
        ') as v("Id", "Name", "Day")'
    )


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7 / 2", 3),
        ("7 / cast(2 as double)", 3.5),
        ("-7 / 2", -3),
        ("timestampadd(SQL_TSI_MONTH, 1, date '2026-01-31')", "2026-02-28"),
        ("timestampadd(hour, 3, timestamp '2026-01-01 00:00:00')", "2026-01-01 03:00:00.000"),
        ("timestampdiff(SQL_TSI_HOUR, timestamp '2026-01-01 00:59:00', timestamp '2026-01-01 02:00:00')", 1),
        ("timestampdiff(day, date '2026-01-01', date '2026-01-31')", 30),
        ("datediff(date '2026-01-31', date '2026-01-01')", 30),
        ("date_add(date '2026-01-01', 3)", "2026-01-04"),
        ("date_add(timestamp '2026-01-01 00:00:00', cast(3 as interval hour))", "2026-01-01 03:00:00.000"),
        ("date_trunc('month', date '2026-01-31')", "2026-01-01"),
        ("date_trunc('day', timestamp '2026-01-31 10:11:12')", "2026-01-31 00:00:00.000"),
        ("to_date('31/01/2026', 'DD/MM/YYYY')", "2026-01-31"),
        ("to_date('nonsense', 'YYYY-MM-DD', 1)", None),
        ("to_date(86400)", "1970-01-02"),
        ("to_timestamp('2026-01-02 03:04:05.678', 'YYYY-MM-DD HH24:MI:SS.FFF')", "2026-01-02 03:04:05.678"),
        ("to_char(date '2026-01-02', 'YYYY/MM')", "2026/01"),
        ("extract(year from date '2026-01-02')", 2026),
        ("dayofweek(date '2026-11-22')", 1),
        ("next_day(date '2026-11-23', 'SU')", "2026-11-29"),
        ("last_day(date '2026-02-01')", "2026-02-28"),
        ("ilike('Abc', 'a%')", True),
        ("btrim('xxaxx', 'x')", "a"),
        ("locate('b', 'abc')", 2),
        ("position('c' in 'abc')", 3),
        ("substring('abc', 2)", "bc"),
        ("concat('a', null, 'b')", "ab"),
        ("greatest(1, null, 3)", None),
        ("regexp_like('abc', 'b')", True),
        ("split_part('a.b', '.', 2)", "b"),
        ("cast(1.5 as decimal)", "2"),
        ("md5('x')", "9dd4e461268c8034f5c8564e155c67a6"),
        ("ndv(1)", 1),
        ("sum(7) / count(*)", 7),
    ],
)
def test_values(dremio, expression, value):
    assert dremio.rows(f"select {expression} as v") == [{"v": value}]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("sum(amount)", "11.00"),
        ("sum(amount) over ()", "11.00"),
        ("sum(n) / count(*)", 1),
        ("sum(amount) / 2", 5.5),
        ("max(n) / 2", 1),
        ("date_trunc('month', max(d))", "2026-01-01"),
        ("to_date(max(n) * 86400)", "1970-01-03"),
        ("date_add(max(d), 1)", "2026-01-06"),
        ("timestampadd(day, 1, max(d))", "2026-01-06"),
        ("datediff(max(d), min(d))", 1),
        ("greatest(max(n), min(n))", 2),
    ],
)
def test_functions_of_aggregates(dremio, expression, value):
    source = "(select * from (values (1, 5.5, date '2026-01-04'), (2, 5.5, date '2026-01-05')) as v(n, a, d))"
    group = "" if " over " in expression else " group by 1 = 1"
    inner = f"(select n, d, cast(a as decimal(12,2)) as amount from {source} x)"
    sql = f"select {expression} as v from {inner} y{group} limit 1"
    assert dremio.rows(sql) == [{"v": value}]


def test_moments_are_utc_without_zone(dremio):
    row = dremio.rows(
        "select current_timestamp() = now() as same, (select current_timestamp()) as at_ from sys.version"
    )[0]
    assert row["same"] is True
    assert len(row["at_"]) == len("2026-01-01 00:00:00.000")


def test_columns_keep_the_case_they_are_written_in(dremio):
    assert dremio.rows("select ID, name, t.DAY from lake.datalake.sql.numbers t where id = 1") == [
        {"ID": 1, "name": "one", "DAY": "2026-01-01"}
    ]
    assert list(dremio.rows("select * from lake.datalake.sql.numbers limit 1")[0]) == ["Id", "Name", "Day"]


def test_expressions_and_duplicates_are_named_as_in_dremio(dremio):
    assert dremio.rows("select count(*), 1 as x, 2 as x") == [{"EXPR$0": 1, "x": 1, "x0": 2}]


@pytest.mark.parametrize(
    "name",
    [
        "lake.datalake.sql.numbers",
        '"lake"."datalake"."sql"."numbers"',
        '"LAKE"."DataLake"."SQL"."NUMBERS"',
        '"lake"."datalake.sql"."numbers"',
        '"lake.datalake.sql"."numbers"',
        "table(lake.datalake.sql.numbers (type => 'parquet'))",
    ],
)
def test_names(dremio, name):
    assert dremio.rows(f"select count(*) as c from {name}") == [{"c": 3}]


def test_context_and_qualified_columns(dremio):
    assert dremio.rows("select count(*) as c from numbers", ["lake", "datalake", "sql"]) == [{"c": 3}]
    rows = dremio.rows("select lake.datalake.sql.numbers.id from lake.datalake.sql.numbers where id = 2")
    assert rows == [{"id": 2}]


def test_common_table_expressions_hide_datasets(dremio):
    common = "with numbers as (select 9 as id), other as (select id from numbers) "
    sql = common + "select * from other union all select * from numbers"
    assert dremio.rows(sql, ["lake", "datalake", "sql"]) == [{"id": 9}, {"id": 9}]


def test_nulls_come_last_either_way(dremio):
    for direction in ("asc", "desc"):
        rows = dremio.rows(f"select name from lake.datalake.sql.numbers order by name {direction}")
        assert rows[-1] == {"name": None}


def test_views_stand_on_views_and_know_their_context(dremio):
    dremio.rows(
        "create or replace view gold.first_ as select id, name as label from numbers", ["lake", "datalake", "sql"]
    )
    dremio.rows("create view gold.second_ (a, b) as select * from gold.first_ where id < 3")
    assert dremio.rows("select * from gold.second_ order by a") == [{"a": 1, "b": "one"}, {"a": 2, "b": "two"}]
    assert "already exists" in dremio.error("create view gold.second_ as select 1 as a")
    assert dremio.entity("gold", "second_")["fields"] == [
        {"name": "a", "type": {"name": "INTEGER"}},
        {"name": "b", "type": {"name": "VARCHAR"}},
    ]
    dremio.rows("drop view gold.second_")
    assert dremio.rows("drop view if exists gold.second_")[0]["summary"] == "View [gold.second_] not found."


def test_catalog_tables(dremio):
    columns = dremio.rows(
        "select column_name, ordinal_position, data_type from information_schema.columns "
        "where ilike(table_schema, 'LAKE.datalake.sql') and table_name = 'numbers' order by ordinal_position"
    )
    assert [tuple(row.values()) for row in columns] == [
        ("Id", 1, "INTEGER"),
        ("Name", 2, "CHARACTER VARYING"),
        ("Day", 3, "DATE"),
    ]
    schemas = [row["SCHEMA_NAME"] for row in dremio.rows("show schemas")]
    assert {"lake", "lake.datalake", "lake.datalake.sql", "gold", "INFORMATION_SCHEMA", "sys"} <= set(schemas)
    assert {"TABLE_SCHEMA": "lake.datalake.sql", "TABLE_NAME": "numbers"} in dremio.rows(
        "show tables in lake.datalake.sql"
    )
    described = dremio.rows('describe "lake.datalake.sql"."numbers"')
    assert next((row["COLUMN_NAME"], row["DATA_TYPE"]) for row in described) == ("Id", "INTEGER")
    assert dremio.rows("select count(*) as c from sys.jobs_recent where status = 'COMPLETED'")[0]["c"] > 0
    assert "text" in dremio.rows("explain plan for select 1")[0]
