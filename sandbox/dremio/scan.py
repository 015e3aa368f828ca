"""How DuckDB reads a table: one SELECT over the local Parquet files, with the columns as Dremio has them."""

# ruff: noqa: S608 - names are quoted, and writing SQL is what this module is for

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from sandbox.dremio.entities import Column, DataFile, Table

FILE_COLUMN = "__file"
ROW_COLUMN = "__row"


def identifier(name: str) -> str:
    """Return a name quoted for DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string literal for DuckDB."""
    return "'" + text.replace("'", "''") + "'"


def scan_sql(table: Table, files: Sequence[tuple[DataFile, Path]], *, located: bool = False) -> str:
    """Return the SELECT that yields a table's rows.

    Args:
        table: the table; its columns decide names, order and types of the result.
        files: the files to read with their local copies.
        located: add ``__file`` (local path) and ``__row`` (position in the file), by which a row is found again.
    """
    groups: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for file, path in files:
        groups[(file.shape, len(file.folders))].append(path)
    selects = [_group(table, shape, depth, paths, located) for (shape, depth), paths in groups.items()]
    if not selects:
        return _empty(table, located)
    return " UNION ALL ".join(selects)


def _empty(table: Table, located: bool) -> str:
    columns = [f"CAST(NULL AS {column.type}) AS {identifier(column.name)}" for column in table.columns]
    if located:
        columns += [f"CAST(NULL AS VARCHAR) AS {FILE_COLUMN}", f"CAST(NULL AS BIGINT) AS {ROW_COLUMN}"]
    return f"SELECT {', '.join(columns)} WHERE false"


def _group(table: Table, shape: int, depth: int, paths: list[Path], located: bool) -> str:
    stored = {column.name.lower(): column for column in table.shapes[shape]}
    folders = {f"dir{level}" for level in range(table.depth)}
    columns = []
    for column in table.columns:
        if column.name in folders:
            expression = column.name if int(column.name[3:]) < depth else "CAST(NULL AS VARCHAR)"
        else:
            expression = _expression(stored.get(column.name.lower()), column.type)
        columns.append(f"{expression} AS {identifier(column.name)}")
    options = ["hive_partitioning=false"]
    if depth and table.depth:
        names = ", ".join(f"'dir{level}': VARCHAR" for level in range(depth))
        options = ["hive_partitioning=true", f"hive_types={{{names}}}"]
    if located:
        columns += [f"filename AS {FILE_COLUMN}", f"file_row_number AS {ROW_COLUMN}"]
        options += ["filename=true", "file_row_number=true"]
    listed = ", ".join(literal(str(path)) for path in paths)
    return f"SELECT {', '.join(columns)} FROM read_parquet([{listed}], {', '.join(options)})"


def _expression(stored: Column | None, wanted: str) -> str:
    """Return the expression that turns a stored column into what Dremio shows."""
    if stored is None:
        return f"CAST(NULL AS {wanted})"
    name = identifier(stored.name)
    kind = stored.type
    if kind.startswith("timestamp") and wanted == "TIMESTAMP":
        if "tz=" in kind:
            name = f"({name} AT TIME ZONE 'UTC')"
        # Dremio's timestamps end at milliseconds; what the file has beyond is cut off.
        return name if kind.startswith(("timestamp[ms", "timestamp[s")) else f"date_trunc('millisecond', {name})"
    if kind == wanted:
        return name
    return f"CAST({name} AS {wanted})"
