"""The configuration schemas of the built-in connectors (JSON Schema, with Airbyte's ``airbyte_secret`` marks)."""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_NAME: dict[str, Any] = {"type": "string", "minLength": 1}
_SECRET: dict[str, Any] = {"type": "string", "airbyte_secret": True}
_FLAG: dict[str, Any] = {"type": "boolean"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _tagged(tag: str, value: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """One variant of a choice; ``tag`` says which."""
    return _object({tag: {"const": value}, **properties}, [tag, *required])


def _choice(tag: str, variants: list[dict[str, Any]]) -> dict[str, Any]:
    """A choice of variants: the tag is checked first, so that a mistake is reported against the variant meant."""
    names = [variant["properties"][tag]["const"] for variant in variants]
    return {
        "type": "object",
        "properties": {tag: {"enum": names}},
        "required": [tag],
        "allOf": [
            {"if": {"properties": {tag: {"const": name}}, "required": [tag]}, "then": variant}
            for name, variant in zip(names, variants, strict=True)
        ],
    }


_SSL_CERTIFICATES = {
    "ca_certificate": _SECRET,
    "client_certificate": _SECRET,
    "client_key": _SECRET,
    "client_key_password": _SECRET,
}
_SSL_MODE = _choice(
    "mode",
    [_tagged("mode", mode, {}, []) for mode in ("disable", "allow", "prefer", "require")]
    + [_tagged("mode", mode, _SSL_CERTIFICATES, ["ca_certificate"]) for mode in ("verify-ca", "verify-full")],
)
_TUNNEL_ADDRESS = {"tunnel_host": _NAME, "tunnel_port": _COUNT, "tunnel_user": _NAME}
_TUNNEL = _choice(
    "tunnel_method",
    [
        _tagged("tunnel_method", "NO_TUNNEL", {}, []),
        _tagged("tunnel_method", "SSH_KEY_AUTH", {**_TUNNEL_ADDRESS, "ssh_key": _SECRET}, ["tunnel_host", "ssh_key"]),
        _tagged(
            "tunnel_method",
            "SSH_PASSWORD_AUTH",
            {**_TUNNEL_ADDRESS, "tunnel_user_password": _SECRET},
            ["tunnel_host", "tunnel_user_password"],
        ),
    ],
)
_REPLICATION = _choice(
    "method",
    [
        _tagged("method", "Standard", {}, []),
        _tagged("method", "Xmin", {}, []),
        _tagged(
            "method",
            "CDC",
            {
                "replication_slot": _NAME,
                "publication": _NAME,
                "plugin": {"enum": ["pgoutput"]},
                "initial_waiting_seconds": _COUNT,
                "queue_size": _COUNT,
                "lsn_commit_behaviour": {
                    "enum": ["While reading Data", "After loading Data in the destination"],
                },
                "invalid_cdc_cursor_position_behavior": {"enum": ["Fail sync", "Re-sync data"]},
                "heartbeat_action_query": _TEXT,
                "initial_load_timeout_hours": _COUNT,
            },
            ["replication_slot", "publication"],
        ),
    ],
)

SOURCE_POSTGRES = _object(
    {
        "host": _NAME,
        "port": {"type": "integer", "minimum": 0, "maximum": 65536, "default": 5432},
        "database": _NAME,
        "username": _NAME,
        "password": _SECRET,
        "schemas": {"type": "array", "items": _NAME, "uniqueItems": True, "default": ["public"]},
        "ssl_mode": _SSL_MODE,
        "tunnel_method": _TUNNEL,
        "jdbc_url_params": _TEXT,
        "replication_method": _REPLICATION,
        "entra_service_principal_auth": _FLAG,
        "entra_tenant_id": _TEXT,
        "entra_client_id": _TEXT,
    },
    ["host", "port", "database", "username"],
)

DESTINATION_POSTGRES = _object(
    {
        "host": _NAME,
        "port": {"type": "integer", "minimum": 0, "maximum": 65536, "default": 5432},
        "database": _NAME,
        "schema": {**_NAME, "default": "public"},
        "username": _NAME,
        "password": _SECRET,
        "ssl": _FLAG,
        "ssl_mode": _SSL_MODE,
        "tunnel_method": _TUNNEL,
        "jdbc_url_params": _TEXT,
        "cdc_deletion_mode": {"enum": ["Hard delete", "Soft delete"]},
        "raw_data_schema": _TEXT,
        "disable_type_dedupe": _FLAG,
        "drop_cascade": _FLAG,
        "unconstrained_number": _FLAG,
    },
    ["host", "port", "database", "schema", "username"],
)

DESTINATION_ELASTICSEARCH = _object(
    {
        "endpoint": {"type": "string", "pattern": "^https?://."},
        "upsert": {**_FLAG, "default": True},
        "pathPrefix": _TEXT,
        "ca_certificate": _SECRET,
        "authenticationMethod": _choice(
            "method",
            [
                _tagged("method", "none", {}, []),
                _tagged("method", "secret", {"apiKeyId": _TEXT, "apiKeySecret": _SECRET}, ["apiKeyId", "apiKeySecret"]),
                _tagged("method", "basic", {"username": _TEXT, "password": _SECRET}, ["username", "password"]),
            ],
        ),
    },
    ["endpoint"],
)

_CHARACTER = {"type": "string", "minLength": 1, "maxLength": 1}
_CSV = _tagged(
    "filetype",
    "csv",
    {
        "delimiter": {"type": "string", "minLength": 1, "maxLength": 2},
        "quote_char": _CHARACTER,
        "escape_char": {"type": ["string", "null"], "maxLength": 1},
        "encoding": _NAME,
        "double_quote": _FLAG,
        "null_values": {"type": "array", "items": _TEXT},
        "true_values": {"type": "array", "items": _TEXT},
        "false_values": {"type": "array", "items": _TEXT},
        "strings_can_be_null": _FLAG,
        "skip_rows_before_header": _COUNT,
        "skip_rows_after_header": _COUNT,
        "ignore_errors_on_fields_mismatch": _FLAG,
        "inference_type": {"enum": ["None", "Primitive Types Only"]},
        "header_definition": _choice(
            "header_definition_type",
            [
                _tagged("header_definition_type", "From CSV", {}, []),
                _tagged("header_definition_type", "Autogenerated", {}, []),
                _tagged(
                    "header_definition_type",
                    "User Provided",
                    {"column_names": {"type": "array", "items": _NAME, "minItems": 1}},
                    ["column_names"],
                ),
            ],
        ),
    },
    [],
)
_OTHER_FILES = [
    {"type": "object", "properties": {"filetype": {"const": name}}, "required": ["filetype"]}
    for name in ("avro", "excel", "jsonl", "parquet", "unstructured")
]

SOURCE_S3 = _object(
    {
        "bucket": _NAME,
        "endpoint": _TEXT,
        "region_name": _TEXT,
        "aws_access_key_id": _SECRET,
        "aws_secret_access_key": _SECRET,
        "role_arn": _TEXT,
        "start_date": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"},
        "delivery_method": {"type": "object"},
        "streams": {
            "type": "array",
            "minItems": 1,
            "items": _object(
                {
                    "name": _NAME,
                    "globs": {"type": "array", "items": _NAME, "default": ["**"]},
                    "format": _choice("filetype", [_CSV, *_OTHER_FILES]),
                    "schemaless": _FLAG,
                    "input_schema": _TEXT,
                    "days_to_sync_if_history_is_full": _COUNT,
                    "recent_n_files_to_read_for_schema_discovery": {"type": "integer", "minimum": 1},
                    "validation_policy": {"enum": ["Emit Record", "Skip Record", "Wait for Discover"]},
                },
                ["name", "format"],
            ),
        },
    },
    ["bucket", "streams"],
)

_COMPRESSION = _choice(
    "compression_type",
    [_tagged("compression_type", name, {}, []) for name in ("No Compression", "GZIP")],
)
_SIZE = {"type": "integer", "minimum": 1}
_FORMATS = [
    _tagged(
        "format_type",
        "Parquet",
        {
            "compression_codec": {"enum": ["UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD"]},
            "block_size_mb": _SIZE,
            "page_size_kb": _SIZE,
            "dictionary_page_size_kb": _SIZE,
            "dictionary_encoding": _FLAG,
            "max_padding_size_mb": _COUNT,
        },
        [],
    ),
    _tagged(
        "format_type",
        "JSONL",
        {"compression": _COMPRESSION, "flattening": {"enum": ["No flattening", "Root level flattening"]}},
        [],
    ),
    *(
        {"type": "object", "properties": {"format_type": {"const": name}}, "required": ["format_type"]}
        for name in ("CSV", "Avro")
    ),
]

DESTINATION_S3 = _object(
    {
        "s3_bucket_name": _NAME,
        "s3_bucket_path": _NAME,
        "s3_bucket_region": {"type": "string"},
        "s3_endpoint": _TEXT,
        "access_key_id": _SECRET,
        "secret_access_key": _SECRET,
        "role_arn": _TEXT,
        "s3_path_format": _TEXT,
        "file_name_pattern": _TEXT,
        "format": _choice("format_type", _FORMATS),
    },
    ["s3_bucket_name", "s3_bucket_path", "s3_bucket_region", "format"],
)
