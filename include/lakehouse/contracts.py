"""What a stream is promised to look like in bronze, and making what landed fit it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.config import Stream

AIRBYTE_PREFIX = "_airbyte_"
SOURCE_FILE_PREFIX = "_ab_source_file_"
CDC_PREFIX = "_ab_cdc_"
_CHANGE = pa.struct([("field", pa.string()), ("change", pa.string()), ("reason", pa.string())])
AIRBYTE_COLUMNS = pa.schema(
    [
        ("_airbyte_raw_id", pa.string()),
        # Without a zone, like every other timestamp here: readers disagree on what a zone in Parquet means.
        ("_airbyte_extracted_at", pa.timestamp("ms")),
        ("_airbyte_generation_id", pa.int64()),
        ("_airbyte_meta", pa.struct([("sync_id", pa.int64()), ("changes", pa.list_(_CHANGE))])),
    ]
)
LANDED_CDC_COLUMNS = pa.schema(
    [("_ab_cdc_lsn", pa.int64()), ("_ab_cdc_updated_at", pa.string()), ("_ab_cdc_deleted_at", pa.string())]
)
CDC_COLUMNS = LANDED_CDC_COLUMNS.append(pa.field("_ab_cdc_sequence", pa.int64()))
UNAVAILABLE_VALUE = "__debezium_unavailable_value"
"""What Debezium, and so Airbyte, sends for an unchanged TOAST value that the WAL does not hold."""
_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "date32": pa.date32(),
    "timestamp[us]": pa.timestamp("us"),
    "timestamp[ms]": pa.timestamp("ms"),
}
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")


class Mismatch(ValueError):
    """What landed does not fit the contract.

    Args:
        reason: What does not fit.
        landed: The schema that landed.
    """

    def __init__(self, reason: str, landed: pa.Schema) -> None:
        super().__init__(reason)
        self.reason = reason
        self.landed = landed


def arrow_type(name: str) -> pa.DataType:
    """Return the arrow type that a contract names.

    Args:
        name: One of ``lakehouse.config.ARROW_TYPES``.
    """
    decimal = _DECIMAL.fullmatch(name)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _TYPES[name]


def contract_schema(stream: Stream) -> pa.Schema:
    """Return the columns of a contract as an arrow schema, in their order."""
    return pa.schema(
        [pa.field(name, arrow_type(column.type), nullable=column.nullable) for name, column in stream.columns.items()]
    )


def is_data(name: str) -> bool:
    """Tell whether a column is the source's own, not one that Airbyte adds."""
    return not name.startswith((AIRBYTE_PREFIX, SOURCE_FILE_PREFIX, CDC_PREFIX))


def data_columns(schema: pa.Schema) -> list[str]:
    """Return the names of the source's own columns."""
    return [name for name in schema.names if is_data(name)]


def target_schema(
    stream: Stream, landed: Sequence[pa.Schema], known: pa.Schema | None = None
) -> tuple[pa.Schema, list[str]]:
    """Work out the schema of a partition from the contract, what landed and the stream's policy on drift.

    Args:
        stream: The stream and its contract.
        landed: Schemas of everything that goes into the partition, one for each file.
        known: What bronze has of the stream. A column of it that is not in the contract keeps its type, or gets a wider
            one; it is not refused as new.

    Returns:
        The schema: Airbyte's columns (of change data also the position in the log), the contract's in their order, new
        ones by name; and the names of the new ones.

    Raises:
        Mismatch: When a column of the contract is missing or arrives as another kind of value, or when a new column is
            refused by the policy or has no type in common with what it was.
    """
    contract = contract_schema(stream)
    new: dict[str, pa.DataType] = {}
    for schema in landed:
        _check_columns(contract, schema, stream.on_type_change)
        if stream.sync_mode == "cdc":
            _check_columns(LANDED_CDC_COLUMNS, schema, "widen")
        for field in schema if stream.on_new_column != "ignore" else ():
            if is_data(field.name) and field.name not in contract.names:
                seen = new.get(field.name, field.type)
                if known is not None and field.name in known.names:
                    seen = _common_type(field, known.field(field.name).type, schema)
                elif stream.on_new_column == "refuse":
                    raise Mismatch(f"column {field.name} is new, and on_new_column is refuse", schema)
                new[field.name] = _common_type(field, seen, schema)
    # Nullability is checked, not declared: a required field in one file and an optional one in the next is
    # a schema change to some readers.
    fields = [*AIRBYTE_COLUMNS, *(CDC_COLUMNS if stream.sync_mode == "cdc" else ())]
    fields += [*(field.with_nullable(True) for field in contract), *(pa.field(name, new[name]) for name in sorted(new))]
    return pa.schema(fields), sorted(new)


def _check_columns(contract: pa.Schema, landed: pa.Schema, on_type_change: str) -> None:
    missing = [name for name in contract.names if name not in landed.names]
    if missing:
        raise Mismatch(f"column {', '.join(missing)} vanished", landed)
    for field in contract:
        arrived = landed.field(field.name).type
        if not _convertible(arrived, field.type):
            raise Mismatch(f"column {field.name} arrived as {arrived}, which does not become {field.type}", landed)
        if on_type_change == "refuse" and not always_fits(arrived, field.type):
            reason = f"column {field.name} arrived as {arrived} instead of {field.type}, and on_type_change is refuse"
            raise Mismatch(reason, landed)


def _convertible(arrived: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether values of one kind may become another; whether each value fits is for the cast to say."""
    if arrived == wanted or pa.types.is_null(arrived):
        return True
    if _is_text(arrived):
        return True
    if _is_number(wanted):
        return _is_number(arrived)
    if pa.types.is_timestamp(wanted):
        return bool(pa.types.is_timestamp(arrived) or pa.types.is_date(arrived))
    return bool(pa.types.is_date(wanted) and pa.types.is_date(arrived))


def always_fits(arrived: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether every value of one type is one of the other; a double counts as the decimal it stands for."""
    if arrived == wanted or pa.types.is_null(arrived) or (_is_text(arrived) and _is_text(wanted)):
        return True
    if pa.types.is_timestamp(wanted):
        return bool(pa.types.is_date(arrived) or pa.types.is_timestamp(arrived))
    if pa.types.is_decimal(wanted):
        digits = wanted.precision - wanted.scale
        if pa.types.is_integer(arrived):
            return bool(len(str(2 ** (arrived.bit_width - 1))) <= digits)
        narrower = pa.types.is_decimal(arrived) and arrived.scale <= wanted.scale
        return bool(pa.types.is_floating(arrived) or (narrower and arrived.precision - arrived.scale <= digits))
    if pa.types.is_integer(wanted):
        return bool(pa.types.is_signed_integer(arrived) and arrived.bit_width <= wanted.bit_width)
    if pa.types.is_floating(wanted):
        return bool(pa.types.is_floating(arrived) or (pa.types.is_integer(arrived) and arrived.bit_width <= 32))
    return False


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _common_type(field: pa.Field, seen: pa.DataType, landed: pa.Schema) -> pa.DataType:
    try:
        merged = pa.unify_schemas(
            [pa.schema([pa.field(field.name, seen)]), pa.schema([pa.field(field.name, field.type)])],
            promote_options="permissive",
        )
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise Mismatch(f"new column {field.name} arrived as {field.type} and as {seen}", landed) from error
    return merged.field(0).type


def conform(
    table: pa.Table, schema: pa.Schema, stream: Stream, *, may_be_null: pa.ChunkedArray | None = None
) -> pa.Table:
    """Make a piece of what landed fit the schema of its partition.

    Args:
        table: Rows with any order of columns.
        schema: What ``target_schema`` returned.
        stream: The stream and its contract.
        may_be_null: Which rows the contract's nullability does not bind, one boolean a row.

    Returns:
        The same rows with exactly the columns and types of the schema; a column that is not there is null.

    Raises:
        Mismatch: When a value cannot be converted, or is null where the contract allows none.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        values = table.column(field.name)
        try:
            columns.append(convert(values, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise Mismatch(f"column {field.name} does not become {field.type}: {error}", table.schema) from error
        column = stream.columns.get(field.name)
        if column is not None and not column.nullable and values.null_count:
            nulls = values.is_null() if may_be_null is None else pc.and_not(values.is_null(), may_be_null)
            count = pc.sum(nulls).as_py()
            if count:
                raise Mismatch(
                    f"column {field.name} is null in {count} rows; the contract allows no null", table.schema
                )
    return pa.Table.from_arrays(columns, schema=schema)


def convert(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Convert values without losing any, except that a double becomes the decimal it stands for.

    Args:
        values: What landed.
        wanted: The type of the contract.

    Raises:
        ArrowInvalid: When a value does not fit.
    """
    if values.type == wanted:
        return values
    if pa.types.is_decimal(wanted) and pa.types.is_integer(values.type):
        # Arrow wants room for the widest integer first, and checks the values when it narrows.
        values = pc.cast(values, pa.decimal128(38, wanted.scale))
    return pc.cast(values, wanted)


def describe(schema: pa.Schema | Iterable[pa.Field]) -> str:
    """Return the source's own columns of a schema on one line, for messages."""
    return ", ".join(
        f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema if is_data(field.name)
    )
