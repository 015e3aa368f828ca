"""Every kind of statement with its translation and its result, in ``golden/*.yml``.

To add a statement, append ``- sql: ...`` to a file; to write translations and results anew, run this module with
``UPDATE_GOLDEN=1`` in the environment and read the difference before it is committed.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlglot import exp

from sandbox.dremio.errors import StatementError
from sandbox.dremio.sql.parse import parse
from sandbox.dremio.sql.statements import Query, Statement
from sandbox.dremio.sql.translate import translate_query

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.yml"))
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
CONTEXT = ["lake", "datalake", "golden"]


def entries(path: Path) -> list[dict[str, Any]]:
    return yaml.safe_load(path.read_text())


STATEMENTS = [
    pytest.param(path, number, id=f"{path.stem}: {entry['sql'][:60]}")
    for path in GOLDEN
    for number, entry in enumerate(entries(path))
]


@pytest.fixture(scope="module")
def server(dremio):
    dremio.rows("drop table if exists lake.datalake.golden.t")
    dremio.rows(
        "create table lake.datalake.golden.t as select * from (values "
        "(1, 2, 'x', array[1, 2, 3], convert_from('{f: 1}', 'json'), timestamp '2026-01-02 03:04:05.678', "
        "date '2026-01-02', cast(2.5 as double), cast(7.25 as decimal(9, 2)))) as v(a, b, s, l, st, ts, d, f, m)"
    )
    dremio.rows("create table if not exists lake.datalake.golden.w (n int, word varchar)")
    dremio.rows("create or replace view gold.golden as select a, s from lake.datalake.golden.t")
    return dremio


def _made(field: dataclasses.Field) -> tuple[Any, ...]:
    return () if field.default_factory is dataclasses.MISSING else (field.default_factory(),)


def described(statement: Statement) -> str:
    """Return what a statement that is not translated was understood as, without what it leaves at its default."""
    changed = {
        field.name: getattr(statement, field.name)
        for field in dataclasses.fields(statement)
        if getattr(statement, field.name) not in (field.default, *_made(field))
    }
    return f"{type(statement).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def translation(sql: str) -> str | None:
    """Return DuckDB's SQL for a query, the parsed statement otherwise, None for what is refused."""
    try:
        statement = parse(sql)
        if not isinstance(statement, Query):
            return described(statement)
        return translate_query(statement.sql, lambda path: exp.to_table(".".join(path), dialect="duckdb"))
    except StatementError:
        return None


def observed(server: Any, sql: str) -> dict[str, Any]:
    """Run a statement and return what the file says about it."""
    entry: dict[str, Any] = {"sql": sql}
    translated = translation(sql)
    if translated is not None:
        entry["translation"] = translated
    job = server.job(sql, CONTEXT)
    if job["jobState"] != "COMPLETED":
        return {**entry, "error": job["errorMessage"]}
    body = server.http.get(f"/api/v3/job/{job['id']}/results").json()
    entry["types"] = [column["type"]["name"] for column in body["schema"]]
    # How many bytes a file has is the Parquet library's affair.
    entry["rows"] = [{name: value for name, value in row.items() if name != "FileSize"} for row in body["rows"]]
    return entry


@pytest.fixture(scope="module")
def found(server):
    """What all statements do now, run in the order in which they are written: some need those before them."""
    found = {path: [observed(server, entry["sql"]) for entry in entries(path)] for path in GOLDEN}
    if UPDATE:
        for path, observations in found.items():
            path.write_text(yaml.safe_dump(observations, sort_keys=False, allow_unicode=True, width=10_000))
    return found


@pytest.mark.parametrize(("path", "number"), STATEMENTS)
def test_golden(found, path, number):
    assert found[path][number] == entries(path)[number], "run with UPDATE_GOLDEN=1 and read the difference"
