"""What Flight SQL clients ask about a server: its schemas, tables, types and abilities, as Dremio answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from sandbox.dremio.answers import like_pattern
from sandbox.dremio.catalog import Catalog
from sandbox.dremio.system_tables import VERSION, SystemTables
from sandbox.dremio.types import arrow_schema

_TEXT, _WHOLE, _FLAG = pa.string(), pa.int32(), pa.bool_()


def _schema(text: str) -> pa.Schema:
    """Return the schema that ``!name type`` describes; ``!`` marks what cannot be null, text is the default type."""
    kinds = {
        "": _TEXT,
        "int": _WHOLE,
        "bool": _FLAG,
        "bytes": pa.binary(),
        "texts": pa.list_(_TEXT),
        "byte": pa.uint8(),
    }
    fields = []
    for item in text.split():
        name, _, kind = item.strip("!").partition(":")
        fields.append(pa.field(name, kinds[kind], nullable=not item.startswith("!")))
    return pa.schema(fields)


_FOREIGN_KEYS = _schema(
    "pk_catalog_name pk_db_schema_name !pk_table_name !pk_column_name fk_catalog_name fk_db_schema_name "
    "!fk_table_name !fk_column_name !key_sequence:int fk_key_name pk_key_name !update_rule:byte !delete_rule:byte"
)
_TABLES = "catalog_name db_schema_name !table_name !table_type"
_INFO = pa.schema(
    [
        pa.field("info_name", pa.uint32(), nullable=False),
        pa.field(
            "value",
            pa.dense_union(
                [
                    pa.field("string_value", _TEXT),
                    pa.field("bool_value", _FLAG),
                    pa.field("bigint_value", pa.int64()),
                    pa.field("int32_bitmask", _WHOLE),
                    pa.field("string_list", pa.list_(_TEXT)),
                    pa.field("int32_to_int32_list_map", pa.map_(_WHOLE, pa.list_(_WHOLE))),
                ]
            ),
        ),
    ]
)
_SCHEMAS = {
    "CommandGetCatalogs": _schema("!catalog_name"),
    "CommandGetDbSchemas": _schema("catalog_name !db_schema_name"),
    "CommandGetTableTypes": _schema("!table_type"),
    "CommandGetPrimaryKeys": _schema("catalog_name db_schema_name !table_name !column_name !key_sequence:int key_name"),
    "CommandGetExportedKeys": _FOREIGN_KEYS,
    "CommandGetImportedKeys": _FOREIGN_KEYS,
    "CommandGetCrossReference": _FOREIGN_KEYS,
    "CommandGetXdbcTypeInfo": _schema(
        "!type_name !data_type:int column_size:int literal_prefix literal_suffix create_params:texts !nullable:int "
        "!case_sensitive:bool !searchable:int unsigned_attribute:bool !fixed_prec_scale:bool auto_increment:bool "
        "local_type_name minimum_scale:int maximum_scale:int !sql_data_type:int datetime_subcode:int "
        "num_prec_radix:int interval_precision:int"
    ),
    "CommandGetSqlInfo": _INFO,
}

_SERVER_INFO: dict[int, Any] = {
    0: "Dremio Server",
    1: VERSION,
    3: False,  # read only
    4: True,  # speaks SQL
    8: 0,  # no transactions
    500: False,  # CREATE CATALOG
    501: True,  # CREATE SCHEMA
    502: True,  # CREATE TABLE
    504: '"',  # quotes identifiers
}
"""SqlInfo by its number in the protocol."""

_TYPES = (
    # name, JDBC type, size, quote, radix, scales, sql type, date or time
    ("BOOLEAN", -7, 1, None, None, None, -7, None),
    ("BIGINT", -5, 19, None, 2, None, -5, None),
    ("VARBINARY", -3, 2147483647, None, None, None, -3, None),
    ("DECIMAL", 3, 38, None, 10, (0, 38), 3, None),
    ("INTEGER", 4, 10, None, 2, None, 4, None),
    ("FLOAT", 7, 24, None, 2, None, 7, None),
    ("DOUBLE", 8, 53, None, 2, None, 8, None),
    ("VARCHAR", 12, 2147483647, "'", None, None, 12, None),
    ("DATE", 91, 10, None, None, None, 9, 1),
    ("TIME", 92, 12, None, None, (0, 3), 9, 2),
    ("TIMESTAMP", 93, 23, None, None, (0, 3), 9, 3),
)


class Metadata:
    """Answers the metadata commands.

    Args:
        catalog: holds what is listed.
        system: lists schemas and tables.
    """

    def __init__(self, catalog: Catalog, system: SystemTables) -> None:
        self._catalog = catalog
        self._system = system

    def schema(self, command: Any) -> pa.Schema | None:
        """Return the schema of the answer to a command, None if it is not one about metadata."""
        name = command.DESCRIPTOR.name
        if name == "CommandGetTables":
            return _schema(f"{_TABLES} !table_schema:bytes" if command.include_schema else _TABLES)
        return _SCHEMAS.get(name)

    def rows(self, command: Any) -> pa.Table:
        """Return the answer to a metadata command; Dremio knows no catalogs and no keys, so those lists are empty."""
        schema = self.schema(command)
        assert schema is not None
        if schema is _INFO:
            return _server_info(set(command.info))
        reader = _ROWS.get(command.DESCRIPTOR.name)
        return pa.Table.from_pylist(reader(self, command) if reader is not None else [], schema=schema)

    def _db_schemas(self, command: Any) -> list[dict[str, Any]]:
        if command.catalog:
            return []
        wanted = _matcher(command, "db_schema_filter_pattern")
        return [{"db_schema_name": name} for name in self._system.schemas() if wanted(name)]

    def _tables(self, command: Any) -> list[dict[str, Any]]:
        if command.catalog:
            return []
        schemas = _matcher(command, "db_schema_filter_pattern")
        names = _matcher(command, "table_name_filter_pattern")
        types = set(command.table_types)
        shapes = self._shapes() if command.include_schema else {}
        found = []
        for row in self._system.rows("information_schema.tables").to_pylist():
            place = row["TABLE_SCHEMA"], row["TABLE_NAME"]
            if not schemas(place[0]) or not names(place[1]) or (types and row["TABLE_TYPE"] not in types):
                continue
            entry = {"db_schema_name": place[0], "table_name": place[1], "table_type": row["TABLE_TYPE"]}
            if command.include_schema:
                entry["table_schema"] = shapes[place]
            found.append(entry)
        return found

    def _shapes(self) -> dict[tuple[str, str], bytes]:
        shapes = {(".".join(entity.path[:-1]), entity.name): entity.columns for entity in self._catalog.datasets()}
        shapes |= {place: tuple(columns) for place, columns in self._system.placed()}
        return {place: arrow_schema(columns).serialize().to_pybytes() for place, columns in shapes.items()}

    def _table_types(self, _: Any) -> list[dict[str, Any]]:
        return [{"table_type": kind} for kind in ("TABLE", "SYSTEM_TABLE", "VIEW")]

    def _type_info(self, command: Any) -> list[dict[str, Any]]:
        wanted = command.data_type if command.HasField("data_type") else None
        found = []
        for name, jdbc, size, quote, radix, scales, sql_type, moment in _TYPES:
            if wanted is not None and jdbc != wanted:
                continue
            low, high = scales or (None, None)
            found.append(
                {"type_name": name, "data_type": jdbc, "column_size": size, "literal_prefix": quote,
                 "literal_suffix": quote, "nullable": 1, "case_sensitive": False, "searchable": 3 if quote else 2,
                 "unsigned_attribute": False if radix else None, "fixed_prec_scale": False, "local_type_name": name,
                 "minimum_scale": low, "maximum_scale": high, "sql_data_type": sql_type, "datetime_subcode": moment,
                 "num_prec_radix": radix}
            )  # fmt: skip
        return found


def _matcher(command: Any, field: str) -> Callable[[str], bool]:
    if not command.HasField(field):
        return lambda _: True
    pattern = re.compile(like_pattern(getattr(command, field)), re.IGNORECASE | re.DOTALL)
    return lambda name: pattern.fullmatch(name) is not None


def _server_info(wanted: set[int]) -> pa.Table:
    """Return what is known about the server; numbers that are not known are left out, as the protocol says."""
    chosen = {number: value for number, value in _SERVER_INFO.items() if not wanted or number in wanted}
    kinds = [1 if isinstance(value, bool) else 0 if isinstance(value, str) else 3 for value in chosen.values()]
    members: list[list[Any]] = [[], [], [], [], [], []]
    offsets = []
    for kind, value in zip(kinds, chosen.values(), strict=True):
        offsets.append(len(members[kind]))
        members[kind].append(value)
    union = _INFO.field("value").type
    arrays = [pa.array(values, union.field(index).type) for index, values in enumerate(members)]
    values = pa.UnionArray.from_dense(
        pa.array(kinds, pa.int8()), pa.array(offsets, pa.int32()), arrays, [union.field(i).name for i in range(6)]
    )
    names = pa.array(list(chosen), pa.uint32())
    return pa.Table.from_arrays([names, values], schema=_INFO)


_ROWS: dict[str, Callable[[Metadata, Any], list[dict[str, Any]]]] = {
    "CommandGetDbSchemas": Metadata._db_schemas,
    "CommandGetTables": Metadata._tables,
    "CommandGetTableTypes": Metadata._table_types,
    "CommandGetXdbcTypeInfo": Metadata._type_info,
}
