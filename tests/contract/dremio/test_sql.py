"""SQL whose meaning clients rely on, INFORMATION_SCHEMA, tables and changes of rows."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("datediff(date '2026-01-31', date '2026-01-01')", 30),
        ("timestampadd(SQL_TSI_DAY, 1, timestamp '2026-01-01 00:00:00')", "2026-01-02 00:00:00.000"),
        ("timestampdiff(SQL_TSI_HOUR, timestamp '2026-01-01 00:59:00', timestamp '2026-01-01 02:00:00')", 1),
        ("date_trunc('month', date '2026-01-31')", "2026-01-01"),
        ("to_date('31/01/2026', 'DD/MM/YYYY')", "2026-01-31"),
        ("to_char(date '2026-01-02', 'YYYY/MM')", "2026/01"),
        ("ilike('Abc', 'a%')", True),
        ("cast('abcdef' as varchar(3))", "abc"),
        ("cast(timestamp '2026-01-01 00:00:00' as varchar)", "2026-01-01 00:00:00.000"),
        ("regexp_replace('aXbX', 'X', '-')", "a-b-"),
        ("regexp_like('abc', 'b')", True),
        ("position('c' in 'abc')", 3),
        ("substring('abc', 2)", "bc"),
        ("split_part('a.b', '.', 2)", "b"),
        ("log10(100)", 2.0),
        ("coalesce(null, 1)", 1),
    ],
)
def test_functions(target, expression, value):
    assert target.rows(f"select {expression} as v") == [{"v": value}]


@pytest.mark.parametrize(
    "sql",
    [
        "selec 1",
        "select 1::varchar",
        "select distinct on (a) a from (values (1)) v(a)",
        "select * exclude (a) from (values (1, 2)) v(a, b)",
        "select [1, 2]",
        "select nowhere from (values (1)) v(a)",
        "select list_sum(a) from (values (1)) v(a)",
    ],
)
def test_what_is_not_dremios_sql(target, sql):
    assert target.error(sql)


def test_names_of_columns(target):
    assert target.rows("select count(*), 1 as x, 2 as x from (values (1)) v(a)") == [{"EXPR$0": 1, "x": 1, "x0": 2}]
    assert target.rows('select A, b as "B" from (values (1, 2)) v(a, b)') == [{"A": 1, "B": 2}]


def test_information_schema(target):
    target.rows(f'create or replace view "{target.space}".listed as select 1 as "Id", \'x\' as name')
    columns = target.rows(
        "select column_name, data_type, ordinal_position from information_schema.columns "
        f"where table_schema = '{target.space}' and table_name = 'listed' order by ordinal_position"
    )
    assert [tuple(row.values()) for row in columns] == [("Id", "INTEGER", 1), ("name", "CHARACTER VARYING", 2)]
    tables = target.rows(
        f"select * from information_schema.\"tables\" where table_schema = '{target.space}' and table_name = 'listed'"
    )
    assert [row["TABLE_TYPE"] for row in tables] == ["VIEW"]
    views = target.rows(f"select * from information_schema.views where table_schema = '{target.space}'")
    assert {"TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "VIEW_DEFINITION"} <= set(views[0])
    schemas = target.rows(f"select * from information_schema.schemata where schema_name = '{target.space}'")
    assert [row["CATALOG_NAME"] for row in schemas] == ["DREMIO"]
    assert target.rows("select catalog_name from information_schema.catalogs") == [{"catalog_name": "DREMIO"}]
    assert {"SCHEMA_NAME": target.space} in target.rows(f"show schemas like '{target.space}'")
    described = target.rows(f'describe "{target.space}".listed')
    assert [row["COLUMN_NAME"] for row in described] == ["Id", "name"]


def test_a_table_from_creation_to_drop(target, lake):
    table = target.table("made")
    created = target.rows(f"create table {table} as select * from (values (1, 'a'), (2, 'b')) as v(n, word)")
    assert sum(row["Records"] for row in created) == 2
    assert "already exists" in target.error(f"create table {table} as select 1 as n")
    assert target.rows(f"insert into {table} values (3, 'c')") == [{"Records": 1}]
    assert target.rows(f"update {table} set word = 'B' where n = 2") == [{"Records": 1}]
    assert target.rows(f"delete from {table} where n = 1") == [{"Records": 1}]
    merged = target.rows(
        f"merge into {table} as t using (values (3, 'C'), (4, 'd')) as s(n, word) on (t.n = s.n) "
        "when matched then update set word = s.word when not matched then insert (n, word) values (s.n, s.word)"
    )
    assert merged == [{"Records": 2}]
    assert target.rows(f"select n, word from {table} order by n") == [
        {"n": 2, "word": "B"}, {"n": 3, "word": "C"}, {"n": 4, "word": "d"}
    ]  # fmt: skip
    assert target.rows(f"drop table {table}")[0]["ok"] is True
    assert target.rows(f"drop table if exists {table}")[0]["ok"] is True
