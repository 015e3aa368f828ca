"""What statements answer that are not queries, in the columns Dremio answers with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sandbox.dremio.entities import Column, path_key
from sandbox.dremio.sql import statements as sql
from sandbox.dremio.system_tables import SystemTables
from sandbox.dremio.types import arrow_schema, ordered_numeric, sql_name

Path = tuple[str, ...]

OK_COLUMNS = (Column("ok", "BOOLEAN"), Column("summary", "VARCHAR"))
RECORDS_COLUMNS = (Column("Records", "BIGINT"),)
WRITTEN_COLUMNS = (
    Column("Fragment", "VARCHAR"),
    Column("Records", "BIGINT"),
    Column("Path", "VARCHAR"),
    Column("Partition", "VARCHAR"),
    Column("FileSize", "BIGINT"),
)


@dataclass
class Outcome:
    """What a statement yields.

    Args:
        columns: names and types of the result.
        batches: the rows, at least one batch; reading them is what runs a query.
        queried: paths of the datasets the statement names.
        kind: Dremio's name for what the statement is, e.g. ``SELECT`` or ``DDL``.
        scanned: paths of the tables whose files are read, or of reflections in their place.
        relationships: what became of each reflection that was considered.
    """

    columns: tuple[Column, ...]
    batches: Iterator[pa.RecordBatch]
    queried: list[Path] = field(default_factory=list)
    kind: str = "DDL"
    scanned: list[Path] = field(default_factory=list)
    relationships: list[dict[str, Any]] = field(default_factory=list)


def rows_outcome(columns: tuple[Column, ...], rows: Sequence[dict[str, Any]], kind: str = "DDL") -> Outcome:
    """Return an outcome of rows that are at hand already."""
    batch = pa.RecordBatch.from_pylist(list(rows), schema=arrow_schema(columns))
    return Outcome(columns, iter([batch]), kind=kind)


def done(summary: str, *, ok: bool = True) -> Outcome:
    """Return Dremio's answer to a DDL statement."""
    return rows_outcome(OK_COLUMNS, [{"ok": ok, "summary": summary}])


EXPLAIN_COLUMNS = (Column("text", "VARCHAR"), Column("json", "VARCHAR"))
_SCHEMA_COLUMNS = (Column("SCHEMA_NAME", "VARCHAR"),)
_TABLE_COLUMNS = (Column("TABLE_SCHEMA", "VARCHAR"), Column("TABLE_NAME", "VARCHAR"))
_DESCRIBE_COLUMNS = (
    Column("COLUMN_NAME", "VARCHAR"),
    Column("DATA_TYPE", "VARCHAR"),
    Column("IS_NULLABLE", "VARCHAR"),
    Column("NUMERIC_PRECISION", "INTEGER"),
    Column("NUMERIC_SCALE", "INTEGER"),
    Column("EXTENDED_PROPERTIES", "VARCHAR"),
    Column("MASKING_POLICY", "VARCHAR"),
    Column("SORT_ORDER_PRIORITY", "INTEGER"),
)
_ANSWERS: dict[type[sql.Statement], tuple[Column, ...]] = {
    sql.Explain: EXPLAIN_COLUMNS,
    sql.Show: _SCHEMA_COLUMNS,
    sql.Describe: _DESCRIBE_COLUMNS,
}


def columns_of(statement: sql.Statement) -> tuple[Column, ...]:
    """Return the columns of the answer to a statement that is neither a query nor a change of rows."""
    if isinstance(statement, sql.Show) and statement.what != "SCHEMAS":
        return _TABLE_COLUMNS
    return _ANSWERS.get(type(statement), OK_COLUMNS)


def like_pattern(pattern: str) -> str:
    """Return the regular expression that means the same as a LIKE pattern with a backslash as its escape."""
    translated = {"%": ".*", "_": "."}
    tokens = re.finditer(r"\\(.)|(.)", pattern, re.DOTALL)
    return "".join(re.escape(t[1]) if t[1] is not None else translated.get(t[2], re.escape(t[2])) for t in tokens)


def show(system: SystemTables, statement: sql.Show, context: Path) -> Outcome:
    """Return what SHOW SCHEMAS, SHOW TABLES or SHOW VIEWS lists.

    Args:
        system: lists schemas and tables.
        statement: what is asked for.
        context: the current schema, used when the statement names none.
    """
    pattern = re.compile(like_pattern(statement.pattern or "%"), re.IGNORECASE | re.DOTALL)
    if statement.what == "SCHEMAS":
        names = [n for n in system.schemas() if pattern.fullmatch(n)]
        return rows_outcome(_SCHEMA_COLUMNS, [{"SCHEMA_NAME": name} for name in names], "SHOW")
    within = path_key(statement.path or context)
    rows = []
    for row in system.rows("information_schema.tables").to_pylist():
        if within and str(row["TABLE_SCHEMA"]).lower() != within:
            continue
        if statement.what == "VIEWS" and row["TABLE_TYPE"] != "VIEW":
            continue
        if pattern.fullmatch(row["TABLE_NAME"]):
            rows.append({"TABLE_SCHEMA": row["TABLE_SCHEMA"], "TABLE_NAME": row["TABLE_NAME"]})
    return rows_outcome(_TABLE_COLUMNS, rows, "SHOW")


def describe(columns: Sequence[Column]) -> Outcome:
    """Return what DESCRIBE shows of a dataset with these columns."""
    rows = []
    for column in columns:
        precision, scale = ordered_numeric(column.type)
        rows.append(
            {"COLUMN_NAME": column.name, "DATA_TYPE": sql_name(column.type), "IS_NULLABLE": "YES",
             "NUMERIC_PRECISION": precision, "NUMERIC_SCALE": scale, "EXTENDED_PROPERTIES": "[]",
             "MASKING_POLICY": "[]", "SORT_ORDER_PRIORITY": None}
        )  # fmt: skip
    return rows_outcome(_DESCRIBE_COLUMNS, rows, "DESCRIBE")
