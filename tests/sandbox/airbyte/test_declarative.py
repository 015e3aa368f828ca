from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sandbox.airbyte.manifests import payments, with_paginator
from tests.sandbox.airbyte.services import S3, Api, Client

TOKEN = "provider-token-0815"
JSONL = {"format_type": "JSONL"}


def payment(number: int) -> dict[str, Any]:
    return {
        "payment_id": f"pay_{number:04d}",
        "order_id": number,
        "amount": f"{number}.50",
        "created_at": "2026-01-02T03:04:05Z",
        "undeclared": {"deep": [number]},
    }


def cursor_pages(total: int) -> Any:
    """A provider with ``starting_after`` pages; refuses wrong tokens."""

    def handle(path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {}, b"{}"
        after = int(query.get("starting_after", "pay_0").removeprefix("pay_"))
        limit = int(query["limit"])
        data = [payment(number) for number in range(after + 1, min(after + limit, total) + 1)]
        body = {
            "data": data,
            "has_more": after + limit < total,
            "next_cursor": data[-1]["payment_id"] if data else None,
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()

    return handle


def connect(
    client: Client, lake: S3, api: Api, folder: str, manifest: dict[str, Any] | None = None, form: Any = None
) -> str:
    workspace = client.workspace
    definition = client.post(
        f"workspaces/{workspace}/definitions/declarative_sources",
        {"name": folder, "manifest": manifest or payments()},
    )
    assert definition["version"] == 1
    configuration = {"base_url": api.url, "api_token": TOKEN}
    source = client.actor("source", configuration, definitionId=definition["id"])
    assert source["configuration"]["api_token"] == "**********"
    target = client.actor("destination", lake.destination(f"{folder}/${{STREAM_NAME}}/", form or JSONL))
    return client.connection(source, target)


def landed(lake: S3, folder: str) -> list[dict[str, Any]]:
    lines = [line for key in lake.keys(f"bronze/landing/{folder}/") for line in lake.body(key).splitlines()]
    return [json.loads(line) for line in lines]


def test_all_pages_land_as_json_lines_with_their_undeclared_fields(client: Client, lake: S3, api: Api) -> None:
    api.handle = cursor_pages(25)
    connection = connect(client, lake, api, "pages")
    job = client.sync(connection)
    (key,) = lake.keys("bronze/landing/pages/")
    assert key.startswith(f"bronze/landing/pages/payments/{job['jobId']}_")
    assert key.endswith(".jsonl")
    lines = landed(lake, "pages")
    assert [line["_airbyte_data"] for line in lines] == [payment(number) for number in range(1, 26)]
    assert lines[0].keys() == {
        "_airbyte_raw_id",
        "_airbyte_extracted_at",
        "_airbyte_generation_id",
        "_airbyte_meta",
        "_airbyte_data",
    }
    assert lines[0]["_airbyte_meta"] == {"changes": [], "sync_id": job["jobId"]}
    assert len({line["_airbyte_raw_id"] for line in lines}) == 25
    assert [query.get("starting_after") for _, query, _ in api.requests] == [None, "pay_0010", "pay_0020"]
    assert job["rowsSynced"] == 25


def test_busy_and_broken_answers_are_asked_again_as_long_as_the_server_says(client: Client, lake: S3, api: Api) -> None:
    pages, seen = cursor_pages(25), []

    def handle(path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        seen.append(query)
        if len(seen) == 1:
            return 429, {"Retry-After": "0.2"}, b""
        if len(seen) == 3:
            return 500, {}, b"oops"
        return pages(path, query, headers)

    api.handle = handle
    connection = connect(client, lake, api, "busy")
    job = client.sync(connection)
    assert job["rowsSynced"] == 25
    assert len(seen) == 5
    lines = client.lines(job["jobId"])
    assert any("429" in line and "0.2 s" in line for line in lines), lines
    assert any("500" in line for line in lines), lines


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param((503, {}, b""), "HTTP 503, still after 3 retries", id="down"),
        pytest.param((404, {}, b""), "HTTP 404", id="wrong path"),
        pytest.param((200, {}, b"<html>"), "not JSON", id="not json"),
        pytest.param((200, {}, b'{"data": [1, 2], "has_more": false}'), "does not hold records", id="not records"),
    ],
)
def test_an_api_that_fails_for_good_fails_the_sync_naming_the_address(
    client: Client, lake: S3, api: Api, answer: tuple[int, dict[str, str], bytes], expected: str
) -> None:
    api.handle = lambda *_: answer
    folder = f"down{expected[:8].replace(' ', '')}"
    connection = connect(client, lake, api, folder)
    job = client.sync(connection, "failed")
    *_, attempt = client.configuration("jobs/get", {"id": job["jobId"]})["attempts"]
    (failure,) = attempt["attempt"]["failureSummary"]["failures"]
    assert failure["failureOrigin"] == "source"
    assert expected in failure["externalMessage"]
    assert api.url in failure["externalMessage"]
    assert lake.keys(f"bronze/landing/{folder}/") == []


def test_a_page_that_names_itself_as_the_next_one_ends_with_an_error(client: Client, lake: S3, api: Api) -> None:
    body = json.dumps({"data": [payment(1)], "has_more": True}).encode()
    api.handle = lambda *_: (200, {}, body)
    job = client.sync(connect(client, lake, api, "loop"), "failed")
    assert "would never end" in client.lines(job["jobId"])[-1]


def offset_pages(total: int, name: str, size: int, by_page: bool) -> Any:
    def handle(path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        at = int(query.get(name, "0")) * (size if by_page else 1)
        data = [payment(number + 1) for number in range(at, min(at + size, total))]
        return 200, {}, json.dumps({"data": data}).encode()

    return handle


@pytest.mark.parametrize(
    ("strategy", "by_page", "sent"),
    [
        pytest.param({"type": "OffsetIncrement", "page_size": 10}, False, [None, "10", "20"], id="offset"),
        pytest.param({"type": "PageIncrement", "page_size": 10}, True, [None, "1", "2"], id="page"),
        pytest.param(
            {"type": "PageIncrement", "page_size": "{{ 5 + 5 }}", "inject_on_first_request": True},
            True,
            ["0", "1", "2"],
            id="page on first request",
        ),
    ],
)
def test_offsets_and_pages(
    client: Client, lake: S3, api: Api, strategy: dict[str, Any], by_page: bool, sent: list[str | None]
) -> None:
    api.handle = offset_pages(25, "at", 10, by_page)
    paginator = {
        "type": "DefaultPaginator",
        "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "at"},
        "pagination_strategy": strategy,
    }
    folder = f"p{strategy['type']}{len(strategy)}"
    job = client.sync(connect(client, lake, api, folder, with_paginator(paginator)))
    assert job["rowsSynced"] == 25
    assert [query.get("at") for _, query, _ in api.requests] == sent


def test_declared_types_become_parquet_columns(client: Client, lake: S3, api: Api) -> None:
    api.handle = cursor_pages(3)
    manifest = payments()
    manifest["streams"][0]["schema_loader"]["schema"]["properties"]["amount"] = {"type": ["null", "string"]}
    connection = connect(client, lake, api, "typed", manifest, {"format_type": "Parquet"})
    client.sync(connection)
    (key,) = lake.keys("bronze/landing/typed/")
    schema = pq.read_schema(io.BytesIO(lake.body(key)))
    assert [schema.field(name).type for name in schema.names[4:]] == [
        pa.string(),
        pa.int64(),
        pa.string(),
        pa.timestamp("us", tz="UTC"),
    ]


def test_a_value_that_does_not_fit_its_declared_type_fails_naming_the_field(client: Client, lake: S3, api: Api) -> None:
    api.handle = cursor_pages(3)
    connection = connect(client, lake, api, "misfit", None, {"format_type": "Parquet"})
    job = client.sync(connection, "failed")
    assert "field amount" in client.lines(job["jobId"])[-1]


def edited(path: str, value: Any) -> dict[str, Any]:
    """The manifest with one value replaced; ``path`` is dotted."""
    manifest = payments()
    *steps, last = path.split(".")
    node: Any = manifest
    for step in steps:
        node = node[int(step) if step.isdigit() else step]
    node[last] = value
    return manifest


@pytest.mark.parametrize(
    ("path", "value", "status", "named"),
    [
        pytest.param(
            "definitions.requester.authenticator", {"type": "OAuthAuthenticator"}, 501, "OAuthAuthenticator", id="oauth"
        ),
        pytest.param(
            "streams.0.incremental_sync", {"type": "DatetimeBasedCursor"}, 501, "incremental_sync", id="incremental"
        ),
        pytest.param(
            "streams.0.retriever.partition_router",
            {"type": "ListPartitionRouter"},
            501,
            "partition_router",
            id="router",
        ),
        pytest.param("streams.0.retriever.type", "CustomRetriever", 501, "CustomRetriever", id="custom"),
        pytest.param("streams.0.type", "DynamicDeclarativeStream", 501, "DynamicDeclarativeStream", id="dynamic"),
        pytest.param("streams.0.retriever.record_selector", None, 422, "record_selector", id="no selector"),
        pytest.param("streams.0.retriever.requester", {"$ref": "#/nowhere"}, 422, "#/nowhere", id="bad reference"),
        pytest.param(
            "definitions.requester", {"$ref": "#/definitions/requester"}, 422, "deeper", id="endless reference"
        ),
        pytest.param("check.stream_names", ["other"], 422, "other", id="unknown stream"),
        pytest.param("streams", [], 422, "streams", id="no stream"),
    ],
)
def test_what_is_not_interpreted_is_refused_by_name(
    client: Client, path: str, value: Any, status: int, named: str
) -> None:
    place = f"workspaces/{client.workspace}/definitions/declarative_sources"
    problem = client.post(place, {"name": "x", "manifest": edited(path, value)}, status)
    assert problem["status"] == status
    assert named in problem["data"]["message"]


def test_expressions_cannot_leave_their_sandbox(client: Client, lake: S3, api: Api) -> None:
    api.handle = cursor_pages(1)
    manifest = payments()
    manifest["definitions"]["requester"]["request_parameters"] = {"x": "{{ ''.__class__.__mro__ }}"}
    job = client.sync(connect(client, lake, api, "escape", manifest), "failed")
    assert "cannot be evaluated" in client.lines(job["jobId"])[-1]
    assert api.requests == []


def test_definitions_can_be_changed_and_deleted_with_their_sources(client: Client, lake: S3, api: Api) -> None:
    api.handle = cursor_pages(5)
    connection = connect(client, lake, api, "changing")
    source_id = client.get(f"connections/{connection}")["sourceId"]
    definition_id = client.get(f"sources/{source_id}")["definitionId"]
    place = f"workspaces/{client.workspace}/definitions/declarative_sources/{definition_id}"
    changed = client.call("PUT", place, json={"manifest": edited("streams.0.name", "payments2")}, status=422)
    assert "payments" in changed["data"]["message"]
    manifest = edited("version", "7.0.0")
    assert client.call("PUT", place, json={"manifest": manifest})["version"] == 2
    assert client.get(place)["manifest"] == manifest
    client.call("DELETE", place)
    client.get(place, 404)
    client.get(f"sources/{source_id}", 404)
    client.get(f"connections/{connection}", 404)
