"""INFORMATION_SCHEMA and sys: the catalog, the reflections and the jobs as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from sandbox.dremio.catalog import Catalog
from sandbox.dremio.entities import Column, Entity, Folder, Source, Space, Table, View
from sandbox.dremio.errors import EditionError
from sandbox.dremio.types import decimal_of, ordered_numeric, sql_name

Row = dict[str, Any]
Provider = Callable[[], Iterable[Row]]

CATALOG_NAME = "DREMIO"
VERSION = "26.0.0-sandbox"
_ENTERPRISE = ("privileges", "roles", "membership")

TEXT, NUMBER, WHOLE, FLAG = pa.string(), pa.int64(), pa.int32(), pa.bool_()
MOMENT = pa.timestamp("ms")

JOB_STEPS = (
    "submitted", "attempt_started", "metadata_retrieval", "planning_start", "query_enqueued", "engine_start",
    "execution_planning", "execution_start", "final_state",
)  # fmt: skip

_SCHEMAS: dict[str, pa.Schema] = {
    "information_schema.catalogs": pa.schema(
        [("CATALOG_NAME", TEXT), ("CATALOG_DESCRIPTION", TEXT), ("CATALOG_CONNECT", TEXT)]
    ),
    "information_schema.schemata": pa.schema(
        [("CATALOG_NAME", TEXT), ("SCHEMA_NAME", TEXT), ("SCHEMA_OWNER", TEXT), ("TYPE", TEXT), ("IS_MUTABLE", TEXT)]
    ),
    "information_schema.tables": pa.schema(
        [("TABLE_CATALOG", TEXT), ("TABLE_SCHEMA", TEXT), ("TABLE_NAME", TEXT), ("TABLE_TYPE", TEXT)]
    ),
    "information_schema.views": pa.schema(
        [("TABLE_CATALOG", TEXT), ("TABLE_SCHEMA", TEXT), ("TABLE_NAME", TEXT), ("VIEW_DEFINITION", TEXT)]
    ),
    "information_schema.columns": pa.schema(
        [
            ("TABLE_CATALOG", TEXT), ("TABLE_SCHEMA", TEXT), ("TABLE_NAME", TEXT), ("COLUMN_NAME", TEXT),
            ("ORDINAL_POSITION", WHOLE), ("COLUMN_DEFAULT", TEXT), ("IS_NULLABLE", TEXT), ("DATA_TYPE", TEXT),
            ("COLUMN_SIZE", WHOLE), ("CHARACTER_MAXIMUM_LENGTH", WHOLE), ("CHARACTER_OCTET_LENGTH", WHOLE),
            ("NUMERIC_PRECISION", WHOLE), ("NUMERIC_PRECISION_RADIX", WHOLE), ("NUMERIC_SCALE", WHOLE),
            ("DATETIME_PRECISION", WHOLE), ("INTERVAL_TYPE", TEXT), ("INTERVAL_PRECISION", WHOLE),
        ]
    ),
    "sys.version": pa.schema(
        [
            ("version", TEXT), ("commit_id", TEXT), ("commit_message", TEXT), ("commit_time", TEXT),
            ("build_email", TEXT), ("build_time", TEXT),
        ]
    ),
    "sys.privileges": pa.schema(
        [
            ("grantee_id", TEXT), ("grantee_type", TEXT), ("privilege", TEXT), ("object_id", TEXT),
            ("object_type", TEXT),
        ]
    ),
    "sys.roles": pa.schema(
        [
            ("role_id", TEXT), ("role_name", TEXT), ("role_type", TEXT), ("owner_id", TEXT), ("owner_type", TEXT),
            ("created_by", TEXT),
        ]
    ),
    "sys.membership": pa.schema([("role_name", TEXT), ("member_name", TEXT), ("member_type", TEXT)]),
    "sys.options": pa.schema([("name", TEXT), ("type", TEXT), ("status", TEXT), ("string_val", TEXT)]),
    "sys.reflections": pa.schema(
        [
            ("reflection_id", TEXT), ("reflection_name", TEXT), ("type", TEXT), ("created_at", MOMENT),
            ("updated_at", MOMENT), ("status", TEXT), ("dataset_id", TEXT), ("dataset_name", TEXT),
            ("dataset_type", TEXT), ("sort_columns", TEXT), ("partition_columns", TEXT),
            ("distribution_columns", TEXT), ("dimensions", TEXT), ("measures", TEXT), ("display_columns", TEXT),
            ("external_reflection", TEXT), ("num_failures", WHOLE), ("last_failure_message", TEXT),
            ("last_failure_stack", TEXT), ("arrow_cache", FLAG), ("refresh_status", TEXT),
            ("acceleration_status", TEXT), ("record_count", NUMBER), ("current_footprint_bytes", NUMBER),
            ("total_footprint_bytes", NUMBER), ("last_refresh_duration_millis", NUMBER),
            ("last_refresh_from_table", MOMENT), ("refresh_method", TEXT), ("available_until", MOMENT),
            ("considered_count", WHOLE), ("matched_count", WHOLE), ("accelerated_count", WHOLE),
            ("reflection_mode", TEXT), ("last_refresh_decision", TEXT), ("last_refresh_finished", MOMENT),
        ]
    ),
    "sys.materializations": pa.schema(
        [
            ("reflection_id", TEXT), ("materialization_id", TEXT), ("created", MOMENT), ("expires", MOMENT),
            ("size_bytes", NUMBER), ("series_id", NUMBER), ("init_refresh_job_id", TEXT), ("series_ordinal", WHOLE),
            ("join_analysis", TEXT), ("state", TEXT), ("failure_msg", TEXT), ("data_partitions", TEXT),
            ("last_refresh_from_pds", MOMENT), ("last_refresh_finished", MOMENT),
            ("last_refresh_duration_millis", NUMBER), ("refresh_decision", TEXT), ("is_stale", FLAG),
        ]
    ),
    "sys.refreshes": pa.schema(
        [
            ("refresh_id", TEXT), ("reflection_id", TEXT), ("series_id", NUMBER), ("created_at", MOMENT),
            ("modified_at", MOMENT), ("path", TEXT), ("job_id", TEXT), ("job_start", MOMENT), ("job_end", MOMENT),
        ]
    ),
    "sys.reflection_dependencies": pa.schema(
        [("reflection_id", TEXT), ("dependency_id", TEXT), ("dependency_type", TEXT), ("dependency_path", TEXT)]
    ),
    "sys.jobs_recent": pa.schema(
        [
            ("job_id", TEXT), ("status", TEXT), ("query_type", TEXT), ("user_name", TEXT), ("queried_datasets", TEXT),
            ("scanned_datasets", TEXT), ("attempt_count", WHOLE), *((f"{step}_ts", MOMENT) for step in JOB_STEPS),
            *((f"{step}_epoch_millis", NUMBER) for step in JOB_STEPS), ("planner_estimated_cost", pa.float64()),
            ("rows_scanned", NUMBER), ("bytes_scanned", NUMBER), ("rows_returned", NUMBER), ("bytes_returned", NUMBER),
            ("accelerated", FLAG), ("queue_name", TEXT), ("engine", TEXT), ("error_msg", TEXT), ("query", TEXT),
            ("is_profile_incomplete", FLAG), ("execution_allocated_bytes", NUMBER),
            ("execution_cpu_time_millis", NUMBER),
        ]
    ),
}  # fmt: skip
_SCHEMAS["sys.jobs"] = _SCHEMAS["sys.jobs_recent"]


class SystemTables:
    """All system tables.

    Args:
        catalog: what INFORMATION_SCHEMA shows.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._providers: dict[str, Provider] = {
            "information_schema.catalogs": self._catalogs,
            "information_schema.schemata": self._schemata,
            "information_schema.tables": self._tables,
            "information_schema.views": self._views,
            "information_schema.columns": self._columns,
            "sys.version": _version,
            "sys.options": tuple,
        }

    def provide(self, name: str, provider: Provider) -> None:
        """Let ``provider`` yield the rows of a sys table.

        Args:
            name: e.g. ``sys.reflections``.
            provider: returns rows as dicts with the table's column names.
        """
        self._providers[name] = provider

    def find(self, path: tuple[str, ...]) -> str | None:
        """Return the name of the system table at a path, None if it is not one.

        Raises:
            EditionError: for tables that only the Enterprise Edition has.
        """
        name = ".".join(path).lower()
        if name.startswith("sys.") and name[4:] in _ENTERPRISE and name not in self._providers:
            raise EditionError(f"Unable to retrieve {name}.")
        return name if name in self._providers else None

    def rows(self, name: str) -> pa.Table:
        """Return the rows of a system table as it is now."""
        return pa.Table.from_pylist(list(self._providers[name]()), schema=_SCHEMAS[name])

    def stable(self, name: str) -> bool:
        """Return whether a table changes only when the catalog does."""
        return name.startswith("information_schema.") or name in ("sys.version", "sys.options")

    def describe(self) -> list[tuple[str, list[Column]]]:
        """Return names and columns of all system tables."""
        from sandbox.dremio.types import from_arrow

        return [
            (name, [Column(field.name, from_arrow(field.type)) for field in _SCHEMAS[name]]) for name in self._providers
        ]

    # -- INFORMATION_SCHEMA

    def _catalogs(self) -> Iterable[Row]:
        return [{"CATALOG_NAME": CATALOG_NAME, "CATALOG_DESCRIPTION": "The internal metadata used by Dremio"}]

    def _containers(self) -> list[str]:
        """Return every schema: roots, folders, and the folders of sources that hold a dataset, with their parents."""
        names: dict[str, str] = {}
        for entity in self._catalog.entities():
            paths = []
            if isinstance(entity, Source | Space | Folder):
                paths = [entity.path]
            elif isinstance(entity, View | Table):
                paths = [entity.path[:length] for length in range(1, len(entity.path))]
            for path in paths:
                names.setdefault(".".join(path).lower(), ".".join(path))
        return [names[key] for key in sorted(names)]

    def schemas(self) -> list[str]:
        """Return the names of all schemas as SHOW SCHEMAS lists them."""
        return [*self._containers(), "INFORMATION_SCHEMA", "sys"]

    def _schemata(self) -> Iterable[Row]:
        for name in self.schemas():
            yield {
                "CATALOG_NAME": CATALOG_NAME,
                "SCHEMA_NAME": name,
                "SCHEMA_OWNER": "<owner>",
                "TYPE": "SIMPLE",
                "IS_MUTABLE": "NO",
            }

    def placed(self) -> list[tuple[tuple[str, str], list[Column]]]:
        """Return schema, name and columns of all system tables, in the case in which they are listed."""
        return [(_system_name(name), columns) for name, columns in self.describe()]

    def _tables(self) -> Iterable[Row]:
        for (schema, table), _ in self.placed():
            yield {**_place(schema, table), "TABLE_TYPE": "SYSTEM_TABLE"}
        for entity in self._catalog.datasets():
            yield {**_location(entity), "TABLE_TYPE": "VIEW" if isinstance(entity, View) else "TABLE"}

    def _views(self) -> Iterable[Row]:
        for entity in self._catalog.datasets():
            if isinstance(entity, View):
                yield {**_location(entity), "VIEW_DEFINITION": entity.sql}

    def _columns(self) -> Iterable[Row]:
        for (schema, table), columns in self.placed():
            for position, column in enumerate(columns, 1):
                yield {**_place(schema, table), **_column(position, column)}
        for entity in self._catalog.datasets():
            for position, column in enumerate(entity.columns, 1):
                yield {**_location(entity), **_column(position, column)}


def _system_name(name: str) -> tuple[str, str]:
    schema, _, table = name.partition(".")
    return ("INFORMATION_SCHEMA", table.upper()) if schema == "information_schema" else (schema, table)


def _place(schema: str, table: str) -> Row:
    return {"TABLE_CATALOG": CATALOG_NAME, "TABLE_SCHEMA": schema, "TABLE_NAME": table}


def _location(entity: Entity) -> Row:
    return _place(".".join(entity.path[:-1]), entity.name)


def _column(position: int, column: Column) -> Row:
    precision, scale = ordered_numeric(column.type)
    text = column.type in ("VARCHAR", "BLOB")
    radix = 10 if decimal_of(column.type) else 2
    return {
        "COLUMN_NAME": column.name,
        "ORDINAL_POSITION": position,
        "IS_NULLABLE": "YES",
        "DATA_TYPE": sql_name(column.type),
        "COLUMN_SIZE": 65536 if text else precision,
        "CHARACTER_MAXIMUM_LENGTH": 65536 if text else None,
        "CHARACTER_OCTET_LENGTH": 65536 if text else None,
        "NUMERIC_PRECISION": precision,
        "NUMERIC_PRECISION_RADIX": radix if precision is not None else None,
        "NUMERIC_SCALE": scale,
        "DATETIME_PRECISION": 3 if column.type in ("TIMESTAMP", "TIME") else None,
    }


def _version() -> Iterable[Row]:
    return [{"version": VERSION, "commit_id": "", "commit_message": "A sandbox over DuckDB, not Dremio"}]
