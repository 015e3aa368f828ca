"""From JSON schema to Arrow, for sources that speak JSON and destinations that write columns."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from sandbox.airbyte.connectors.base import ConnectorError


def arrow_type(schema: dict[str, Any]) -> Any:
    """Return the Arrow type that a field with this JSON schema lands in."""
    kinds = schema.get("type", "string")
    names = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    kind = names[0] if len(names) == 1 else "string"
    if kind == "integer" or (kind == "number" and schema.get("airbyte_type") == "integer"):
        return pa.int64()
    if kind == "string":
        return _text_type(schema)
    return {"number": pa.float64(), "boolean": pa.bool_()}.get(kind, pa.string())


def _text_type(schema: dict[str, Any]) -> Any:
    form = schema.get("format")
    if form == "date":
        return pa.date32()
    if form == "date-time":
        local = schema.get("airbyte_type") == "timestamp_without_timezone"
        return pa.timestamp("us") if local else pa.timestamp("us", tz="UTC")
    return pa.string()


def to_arrow(records: list[dict[str, Any]], json_schema: dict[str, Any], stream: str) -> Any:
    """Return the declared fields of ``records`` as an Arrow record batch.

    Raises:
        ConnectorError: naming the stream, the field and the type, if a value does not fit its declared type.
    """
    properties: dict[str, dict[str, Any]] = json_schema.get("properties", {})
    arrays, fields = [], []
    for name, schema in properties.items():
        kind = arrow_type(schema)
        values = [record.get(name) for record in records]
        try:
            arrays.append(_column(values, kind))
        except (pa.ArrowException, ValueError, TypeError) as error:
            message = f"stream {stream}: field {name} does not fit its declared type {kind}: {error}"
            raise ConnectorError(message, "source", "config_error") from error
        fields.append(pa.field(name, kind))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str)


def _column(values: list[Any], kind: Any) -> Any:
    if pa.types.is_string(kind):
        return pa.array([_text(value) for value in values], pa.string())
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return pa.array([None if value is None else str(value) for value in values], pa.string()).cast(kind)
    return pa.array(values, kind)
