"""Where the rows of reflections lie: a DuckDB database in one file, a schema a reflection and a table a build.

DuckDB's own format keeps every type as it was and the range of each block, and survives a restart; Parquet would lose
128 bit sums and costs a file to open for each query. The name is the one under which Dremio shows the same thing in its
plans.
"""

# ruff: noqa: S608 - names are quoted, and writing SQL is what this module is for

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import duckdb

from sandbox.dremio.engine import Engine
from sandbox.dremio.entities import Column
from sandbox.dremio.scan import identifier

logger = logging.getLogger(__name__)

ACCELERATOR = "__accelerator"
RAW_SCHEMA = "reflection"
LAYOUT = 1
"""Goes up with every change of what the table of a build holds: rows that are laid out otherwise are built again."""
BLOCK_BYTES = 262_144
"""Size of a block in DuckDB's files."""


class Accelerator:
    """The database of reflections.

    Args:
        engine: the query engine that reads and writes it.
        folder: where the file lies.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._views: set[str] = set()
        path = folder / f"accelerator-{LAYOUT}.duckdb"
        _remove(other for other in folder.glob("accelerator*") if not other.name.startswith(path.name))
        try:
            engine.attach(path, ACCELERATOR)
        except duckdb.Error as error:
            # Of another DuckDB or damaged: nothing is lost, reflections are built again.
            logger.warning("%s cannot be read, reflections are built anew: %s", path, error)
            _remove(folder.glob(f"{path.name}*"))
            engine.attach(path, ACCELERATOR)
        with engine.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {RAW_SCHEMA}")

    def aggregates(self) -> frozenset[str]:
        """Return the names of DuckDB's aggregate functions."""
        with self._engine.cursor() as cursor:
            rows = cursor.execute(
                "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type = 'aggregate'"
            ).fetchall()
        return frozenset(name for (name,) in rows)

    def kept(self) -> set[tuple[str, str]]:
        """Return reflection and materialization of all rows that are there."""
        with self._engine.cursor() as cursor:
            rows = cursor.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?", [ACCELERATOR]
            ).fetchall()
        return {(str(schema), str(table)) for schema, table in rows}

    def build(
        self, cursor: duckdb.DuckDBPyConnection, reflection: str, materialization: str, query: str
    ) -> tuple[int, int]:
        """Write the rows of a query, in its order.

        Args:
            cursor: runs it, and by which it may be interrupted.
            reflection: identifier of the reflection.
            materialization: identifier of the build.
            query: DuckDB's SQL.

        Returns:
            tuple: number of rows, and bytes in the blocks that they take.
        """
        place = _place(reflection, materialization)
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(ACCELERATOR)}.{identifier(reflection)}")
        cursor.execute(f"CREATE TABLE {place} AS {query}")
        cursor.execute(f"CHECKPOINT {identifier(ACCELERATOR)}")
        ((rows,),) = cursor.execute(f"SELECT count(*) FROM {place}").fetchall()
        ((blocks,),) = cursor.execute(
            "SELECT count(DISTINCT block_id) + coalesce(sum(len(additional_block_ids)), 0) "
            f"FROM pragma_storage_info('{place}')"
        ).fetchall()
        return int(rows), int(blocks) * BLOCK_BYTES

    def drop(self, builds: Collection[tuple[str, str]]) -> None:
        """Delete rows; queries that read them already go on undisturbed.

        Args:
            builds: pairs of reflection and materialization.
        """
        if not builds:
            return
        with self._lock, self._engine.cursor() as cursor:
            for reflection, materialization in builds:
                cursor.execute(f"DROP VIEW IF EXISTS {RAW_SCHEMA}.{identifier(materialization)}")
                cursor.execute(f"DROP TABLE IF EXISTS {_place(reflection, materialization)}")
                self._views.discard(materialization)
            empty = cursor.execute(
                "SELECT schema_name FROM duckdb_schemas() WHERE database_name = $1 AND NOT internal "
                "AND schema_name NOT IN (SELECT schema_name FROM duckdb_tables() WHERE database_name = $1)",
                [ACCELERATOR],
            ).fetchall()
            for (schema,) in empty:
                cursor.execute(f"DROP SCHEMA {identifier(ACCELERATOR)}.{identifier(schema)}")

    def raw(self, place: tuple[str, str, str], columns: Sequence[Column], display: set[str]) -> str:
        """Return the name of a view in :data:`RAW_SCHEMA` that looks like the dataset of a raw reflection.

        Args:
            place: where the rows are: catalog, schema and table.
            columns: the dataset's columns.
            display: those that the reflection has, in lower case; the others are NULL in the view.
        """
        _, reflection, materialization = place
        with self._lock:
            if materialization not in self._views:
                names = [(identifier(column.name), column) for column in columns]
                items = ", ".join(
                    name if column.name.lower() in display else f"CAST(NULL AS {column.type}) AS {name}"
                    for name, column in names
                )
                with self._engine.cursor() as cursor:
                    cursor.execute(
                        f"CREATE OR REPLACE VIEW {RAW_SCHEMA}.{identifier(materialization)} AS "
                        f"SELECT {items} FROM {_place(reflection, materialization)}"
                    )
                self._views.add(materialization)
        return materialization


def _remove(files: Iterable[Path]) -> None:
    for file in list(files):
        file.unlink()


def _place(reflection: str, materialization: str) -> str:
    return ".".join(identifier(name) for name in (ACCELERATOR, reflection, materialization))


def unusable(columns: Sequence[Column]) -> str:
    """Return why rows with these columns cannot stand in for the dataset, the empty string if they can.

    Args:
        columns: the dataset's columns as DuckDB yields them.
    """
    names = [column.name.lower() for column in columns]
    if len(set(names)) != len(names):
        return "The dataset has two columns of the same name."
    if any("NULL" in column.type for column in columns):
        return "The dataset has a column without a type."
    return ""
