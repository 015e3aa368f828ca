"""The protobuf messages of Flight SQL, declared as a table: pyarrow's Flight server carries them without knowing them.

Names and numbers are those of Arrow's Flight SQL protocol.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

PACKAGE = "arrow.flight.protocol.sql"
URL = f"type.googleapis.com/{PACKAGE}."

_KEYS = "?catalog ?db_schema table"
_MESSAGES = {
    "CommandGetSqlInfo": "*uint32:info",
    "CommandGetXdbcTypeInfo": "?int32:data_type",
    "CommandGetCatalogs": "",
    "CommandGetDbSchemas": "?catalog ?db_schema_filter_pattern",
    "CommandGetTables": (
        "?catalog ?db_schema_filter_pattern ?table_name_filter_pattern *table_types bool:include_schema"
    ),
    "CommandGetTableTypes": "",
    "CommandGetPrimaryKeys": _KEYS,
    "CommandGetExportedKeys": _KEYS,
    "CommandGetImportedKeys": _KEYS,
    "CommandGetCrossReference": "?pk_catalog ?pk_db_schema pk_table ?fk_catalog ?fk_db_schema fk_table",
    "CommandStatementQuery": "query ?bytes:transaction_id",
    "CommandStatementUpdate": "query ?bytes:transaction_id",
    "CommandPreparedStatementQuery": "bytes:prepared_statement_handle",
    "CommandPreparedStatementUpdate": "bytes:prepared_statement_handle",
    "TicketStatementQuery": "bytes:statement_handle",
    "ActionCreatePreparedStatementRequest": "query ?bytes:transaction_id",
    "ActionCreatePreparedStatementResult": (
        "bytes:prepared_statement_handle bytes:dataset_schema bytes:parameter_schema"
    ),
    "ActionClosePreparedStatementRequest": "bytes:prepared_statement_handle",
}
"""Fields in the order of their numbers: ``?`` may be absent, ``*`` is repeated, the type is string unless said."""

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "uint32": _FIELD.TYPE_UINT32,
}


def _declare() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sandbox_flight_sql.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields.split(), 1):
            kind, _, field_name = text.strip("?*").rpartition(":")
            field = message.field.add(name=field_name, number=number, type=_TYPES[kind or "string"])
            field.label = _FIELD.LABEL_REPEATED if text.startswith("*") else _FIELD.LABEL_OPTIONAL
            if text.startswith("?"):
                # In proto3 a field that may be absent is the only member of a oneof.
                field.proto3_optional = True
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field_name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _MESSAGES
    }


CLASSES = _declare()


def pack(name: str, **fields: Any) -> bytes:
    """Return a message of Flight SQL wrapped as the protocol sends it.

    Args:
        name: the message, e.g. ``TicketStatementQuery``.
        fields: its content.
    """
    return wrapped(CLASSES[name](**fields))


def wrapped(message: Any) -> bytes:
    """Return a message wrapped as the protocol sends it."""
    value = message.SerializeToString()
    return bytes(AnyMessage(type_url=URL + message.DESCRIPTOR.name, value=value).SerializeToString())


def unpack(content: bytes) -> Any | None:
    """Return the message in a command, ticket or action; None if the content is not of Flight SQL.

    Args:
        content: what a client sent; SQL text in the legacy protocol.
    """
    wrapper = AnyMessage()
    try:
        wrapper.ParseFromString(content)
        if not wrapper.type_url.startswith(URL):
            return None
        known = CLASSES.get(wrapper.type_url.removeprefix(URL))
        return known.FromString(wrapper.value) if known is not None else None
    except DecodeError:
        return None
