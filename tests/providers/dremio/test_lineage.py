"""What a statement reads and writes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from dremio_provider.exceptions import DremioJobFailedError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.lineage import datasets_of
from dremio_provider.operators.sql import DremioRunSqlOperator


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


def names(datasets: list[Any]) -> list[tuple[str, str]]:
    return [(dataset.namespace, dataset.name) for dataset in datasets]


@pytest.fixture
def namespace(connected: Any) -> str:
    return "dremio://" + connected.connection["host"].rpartition("://")[2]


def test_the_operator_tells_what_its_statements_read_and_wrote(
    real_hook: DremioHook, lake: str, namespace: str, context: Any
) -> None:
    root = lake.replace('"', "")
    made, copied = f"{lake}.lineage_made", f"{lake}.lineage_copied"
    task = DremioRunSqlOperator(
        task_id="task",
        sql=[
            f"CREATE TABLE {made} AS SELECT reflection_id FROM sys.reflections",
            f"CREATE TABLE {copied} AS SELECT * FROM {made}",
        ],
        deferrable=False,
    )
    jobs = task.execute(context)["job_ids"]
    lineage = task.get_openlineage_facets_on_complete(context["ti"])
    assert names(lineage.inputs) == [(namespace, "sys.reflections")]
    assert names(lineage.outputs) == [(namespace, f"{root}.lineage_made"), (namespace, f"{root}.lineage_copied")]
    assert lineage.run_facets["externalQuery"].externalQueryId == jobs[-1]
    assert "lineage_copied AS SELECT" in lineage.job_facets["sql"].query
    for table in (made, copied):
        real_hook.run(f"DROP TABLE {table}")


def test_a_failed_task_tells_what_had_run_before(connected: Any, context: Any) -> None:
    task = DremioRunSqlOperator(
        task_id="task", sql=["SELECT 1 FROM sys.reflections", "SELECT * FROM lineage.nothing"], deferrable=False
    )
    with pytest.raises(DremioJobFailedError):
        task.execute(context)
    lineage = task.get_openlineage_facets_on_failure(context["ti"])
    assert [name for _, name in names(lineage.inputs)] == ["sys.reflections"]


def test_lineage_is_empty_when_nothing_ran(connected: Any, context: Any) -> None:
    task = DremioRunSqlOperator(task_id="task", sql="INSERT INTO a.b SELECT * FROM c.d", deferrable=False)
    lineage = task.get_openlineage_facets_on_complete(context["ti"])
    assert (lineage.inputs, lineage.outputs, lineage.run_facets, lineage.job_facets) == ([], [], {}, {})


def test_a_stock_operator_tells_it_as_well(connected: Any, namespace: str, context: Any) -> None:
    task = SQLExecuteQueryOperator(
        task_id="task", conn_id="dremio_default", sql="SELECT COUNT(*) FROM sys.reflections; SELECT 1"
    )
    task.execute(context)
    lineage = task.get_openlineage_facets_on_complete(context["ti"])
    assert names(lineage.inputs) == [(namespace, "sys.reflections")]


def test_without_openlineage_there_is_none() -> None:
    script = (
        "import sys; sys.modules['airflow.providers.openlineage.extractors'] = None;"
        "from dremio_provider.lineage import lineage_of; print('lineage', lineage_of([('SELECT 1', None)], None))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "lineage None" in done.stdout
