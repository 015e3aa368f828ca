"""Configurations: checked field by field, secrets kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox.airbyte.services import S3, Airbyte, Client, Postgres


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        pytest.param({"host": None}, 422, "host", id="missing"),
        pytest.param({"username": None, "database": None}, 422, "username", id="two missing"),
        pytest.param({"hosts": "x"}, 422, "hosts: unknown field", id="unknown"),
        pytest.param({"port": "5432"}, 422, "port", id="text for a number"),
        pytest.param({"ssl_mode": {"mode": "sometimes"}}, 422, "ssl_mode.mode", id="unknown mode"),
        pytest.param({"replication_method": {"method": "CDC"}}, 422, "replication_method.replication_slot", id="cdc"),
        pytest.param({"jdbc_url_params": "a=b"}, 501, "jdbc_url_params", id="jdbc parameters not here"),
        pytest.param({"sourceType": "mysql"}, 501, "mysql", id="connector not here"),
        pytest.param({"sourceType": "carrier-pigeon"}, 400, "carrier-pigeon", id="no such connector"),
        pytest.param({"sourceType": None}, 422, "sourceType", id="no connector"),
    ],
)
def test_postgres_configurations_are_refused_by_field(
    client: Client, postgres: Postgres, change: dict[str, Any], status: int, named: str
) -> None:
    configuration = {**postgres.configuration(), **change}
    configuration = {key: value for key, value in configuration.items() if value is not None}
    problem = client.actor("source", configuration, status)
    assert named in json.dumps(problem["data"])
    assert postgres.password not in json.dumps(problem)


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        pytest.param({"s3_bucket_region": None}, 422, "s3_bucket_region", id="missing"),
        pytest.param({"format": {"format_type": "Parquet", "codec": "x"}}, 422, "format.codec", id="unknown"),
        pytest.param(
            {"format": {"format_type": "Parquet", "compression_codec": "snappy"}},
            422,
            "format.compression_codec",
            id="codec",
        ),
        pytest.param({"format": {"format_type": "XML"}}, 422, "format.format_type", id="no such format"),
        pytest.param({"format": {"format_type": "Avro"}}, 501, "Avro", id="format not here"),
        pytest.param({"s3_path_format": "all/"}, 422, "s3_path_format", id="streams in one folder"),
        pytest.param({"s3_path_format": "${STREAM_NAME}/${WEEK}"}, 422, "WEEK", id="unknown path variable"),
        pytest.param({"file_name_pattern": "{part_number}{week}"}, 422, "week", id="unknown name variable"),
        pytest.param({"file_name_pattern": "{sync_id}"}, 422, "part_number", id="parts in one file"),
        pytest.param({"role_arn": "arn:x"}, 501, "role_arn", id="role not here"),
    ],
)
def test_s3_destinations_are_refused_by_field(
    client: Client, lake: S3, change: dict[str, Any], status: int, named: str
) -> None:
    configuration = {**lake.destination("x/${STREAM_NAME}/"), **change}
    configuration = {key: value for key, value in configuration.items() if value is not None}
    problem = client.actor("destination", configuration, status)
    assert named in problem["data"]["message"]
    assert lake.secret not in json.dumps(problem)


def test_secrets_are_masked_and_a_mask_sent_back_keeps_the_secret(client: Client, postgres: Postgres) -> None:
    postgres.execute("create schema masked", "create table masked.t as select 1 as i")
    source = client.actor("source", postgres.configuration(schemas=["masked"]))
    assert source["configuration"]["password"] == "**********"
    assert source["configuration"]["sourceType"] == "postgres"
    path = f"sources/{source['sourceId']}"
    put = client.call("PUT", path, json={"name": "renamed", "configuration": source["configuration"]})
    assert (put["name"], put["configuration"]["password"]) == ("renamed", "**********")
    patched = client.call("PATCH", path, json={"configuration": {"ssl_mode": {"mode": "prefer"}}})
    assert patched["configuration"]["ssl_mode"] == {"mode": "prefer"}
    assert patched["name"] == "renamed"
    checked = client.configuration("sources/check_connection", {"sourceId": source["sourceId"]})
    assert checked["status"] == "succeeded", checked
    client.call("PATCH", path, json={"configuration": {"password": "not-the-password"}})
    checked = client.configuration("sources/check_connection", {"sourceId": source["sourceId"]})
    assert checked["status"] == "failed"
    assert "not-the-password" not in json.dumps(checked)


def test_no_secret_is_in_a_log_or_an_answer(airbyte: Airbyte, client: Client, postgres: Postgres, lake: S3) -> None:
    postgres.execute("create schema hushed", "create table hushed.t as select 1 as i")
    source = client.actor("source", postgres.configuration(schemas=["hushed"]))
    target = client.actor("destination", lake.destination("hushed/${STREAM_NAME}/"))
    connection = client.connection(source, target)
    job = client.sync(connection)
    seen = [
        airbyte.log(),
        json.dumps(client.configuration("jobs/get", {"id": job["jobId"]})),
        json.dumps([client.get(path) for path in ("sources", "destinations", "connections", "jobs")]),
    ]
    for secret in (postgres.password, lake.secret, airbyte.client_secret):
        assert not any(secret in text for text in seen)


def test_connections_have_airbytes_defaults_and_can_be_changed(client: Client, postgres: Postgres, lake: S3) -> None:
    postgres.execute("create schema defaults", "create table defaults.a as select 1 as i, now() as at")
    postgres.execute("create table defaults.b as select 1 as i")
    source = client.actor("source", postgres.configuration(schemas=["defaults"]))
    target = client.actor("destination", lake.destination("defaults/${STREAM_NAME}/"))
    connection_id = client.connection(source, target)
    connection = client.get(f"connections/{connection_id}")
    assert connection["name"] == f"{source['name']} → {target['name']}"
    assert (connection["status"], connection["schedule"]) == ("active", {"scheduleType": "manual"})
    assert [stream["syncMode"] for stream in connection["configurations"]["streams"]] == ["full_refresh_overwrite"] * 2
    streams = [{"name": "a", "syncMode": "incremental_append", "cursorField": ["at"]}]
    changed = client.call(
        "PATCH",
        f"connections/{connection_id}",
        json={"name": "new", "status": "inactive", "configurations": {"streams": streams}},
    )
    assert (changed["name"], changed["status"]) == ("new", "inactive")
    (stream,) = changed["configurations"]["streams"]
    assert (stream["name"], stream["cursorField"]) == ("a", ["at"])
    client.post("jobs", {"connectionId": connection_id, "jobType": "sync"}, 409)
    same = client.call("PATCH", f"connections/{connection_id}", json={"configurations": changed["configurations"]})
    assert same == changed
    client.call("DELETE", f"connections/{connection_id}", 204)
    client.get(f"connections/{connection_id}", 404)


@pytest.mark.parametrize(
    ("stream", "status", "named"),
    [
        pytest.param({"name": "nope"}, 400, "nope", id="no such stream"),
        pytest.param({"name": "t", "syncMode": "incremental_append"}, 400, "cursor", id="no cursor"),
        pytest.param(
            {"name": "t", "syncMode": "incremental_append", "cursorField": ["x"]}, 400, "cursor", id="bad cursor"
        ),
        pytest.param({"name": "t", "syncMode": "incremental_deduped_history"}, 400, "Valid sync modes", id="no dedup"),
        pytest.param({"name": "t", "syncMode": "sometimes"}, 400, "syncMode", id="no such mode"),
        pytest.param({"name": "t", "selectedFields": [{"fieldPath": ["x"]}]}, 400, "Invalid fields", id="bad field"),
        pytest.param({"name": "t", "mappers": [{"type": "hashing"}]}, 501, "mappers", id="mappers"),
    ],
)
def test_stream_configurations_are_refused_as_airbyte_does(
    client: Client, postgres: Postgres, lake: S3, stream: dict[str, Any], status: int, named: str
) -> None:
    postgres.execute("create schema if not exists refused", "create table if not exists refused.t (i int)")
    source = client.actor("source", postgres.configuration(schemas=["refused"]))
    target = client.actor("destination", lake.destination("refused/${STREAM_NAME}/"))
    body = {"sourceId": source["sourceId"], "destinationId": target["destinationId"]}
    problem = client.post("connections", {**body, "configurations": {"streams": [stream]}}, status)
    assert named in json.dumps(problem["data"])
