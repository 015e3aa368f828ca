"""A low-code manifest for the tests' own API."""

from __future__ import annotations

import copy
from typing import Any

PAYMENTS: dict[str, Any] = {
    "version": "6.1.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["payments"]},
    "definitions": {
        "requester": {
            "type": "HttpRequester",
            "url_base": "{{ config['base_url'] }}",
            "http_method": "GET",
            "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['api_token'] }}"},
            "error_handler": {
                "type": "DefaultErrorHandler",
                "max_retries": 3,
                "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.05}],
            },
        },
    },
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "payments",
            "primary_key": ["payment_id"],
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {"$ref": "#/definitions/requester", "path": "/v1/payments"},
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
                },
                "paginator": {
                    "type": "DefaultPaginator",
                    "page_size_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "limit",
                    },
                    "page_token_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "starting_after",
                    },
                    "pagination_strategy": {
                        "type": "CursorPagination",
                        "page_size": 10,
                        "cursor_value": "{{ last_record['payment_id'] }}",
                        "stop_condition": "{{ not response['has_more'] }}",
                    },
                },
            },
            "schema_loader": {
                "type": "InlineSchemaLoader",
                "schema": {
                    "type": "object",
                    "properties": {
                        "payment_id": {"type": "string"},
                        "order_id": {"type": ["null", "integer"]},
                        "amount": {"type": ["null", "number"]},
                        "created_at": {"type": ["null", "string"], "format": "date-time"},
                    },
                },
            },
        }
    ],
    "spec": {
        "type": "Spec",
        "connection_specification": {
            "type": "object",
            "required": ["base_url", "api_token"],
            "properties": {"base_url": {"type": "string"}, "api_token": {"type": "string", "airbyte_secret": True}},
        },
    },
}


def payments() -> dict[str, Any]:
    return copy.deepcopy(PAYMENTS)


def with_paginator(paginator: dict[str, Any]) -> dict[str, Any]:
    manifest = payments()
    manifest["streams"][0]["retriever"]["paginator"] = paginator
    return manifest
