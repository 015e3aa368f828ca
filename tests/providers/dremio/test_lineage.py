"""What a statement reads and writes."""

from __future__ import annotations

import pytest
from dremio_provider.lineage import datasets_of


@pytest.mark.parametrize(
    ("sql", "reads", "writes"),
    [
        ('SELECT * FROM a.b.c.d JOIN "x"."y.z" ON 1 = 1', ["a/b/c/d", "x/y.z"], []),
        ("SELECT * FROM orders", ["lake/bronze/orders"], []),
        ("CREATE TABLE lake.b.dbt.t AS SELECT * FROM gold.orders", ["gold/orders"], ["lake/b/dbt/t"]),
        (
            "/* dbt */ create table a.b.c.d striped partition by (d) store as (type=>'parquet') as (\n"
            "select f(x) from (select * from g.h) k)",
            ["g/h"],
            ["a/b/c/d"],
        ),
        ('CREATE TABLE "a"."b.c"."d" (id INT)', [], ["a/b.c/d"]),
        (
            'CREATE OR REPLACE VIEW "An"."dev"."v" AS WITH q AS (SELECT * FROM s.t) SELECT * FROM q, u;',
            ["lake/bronze/u", "s/t"],
            ["An/dev/v"],
        ),
        ("INSERT INTO a.b.c.d (i) SELECT i FROM s.t", ["s/t"], ["a/b/c/d"]),
        ("INSERT INTO t VALUES (1)", [], ["lake/bronze/t"]),
        (
            "MERGE INTO a.b AS d USING (SELECT * FROM x.y) AS s ON d.i = s.i WHEN MATCHED THEN UPDATE SET a = 1",
            ["x/y"],
            ["a/b"],
        ),
        ("DELETE FROM a.b WHERE x IN (SELECT y FROM p.q)", ["p/q"], ["a/b"]),
        ("UPDATE a.b SET x = 1", [], ["a/b"]),
        ("SELECT * FROM nessie.a.b AT BRANCH main", ["nessie/a/b"], []),
        ("SELECT * FROM TABLE(table_snapshot('a.b'))", [], []),
        ("ALTER TABLE a.b REFRESH METADATA", [], []),
        ("DROP TABLE a.b", [], []),
        ("SELECT 'FROM a.b'", [], []),
        ("SELECT FROM WHERE (", [], []),
    ],
)
def test_datasets_of(sql: str, reads: list[str], writes: list[str]) -> None:
    found = datasets_of(sql, ("lake", "bronze"))
    assert tuple(sorted("/".join(path) for path in paths) for paths in found) == (sorted(reads), sorted(writes))
