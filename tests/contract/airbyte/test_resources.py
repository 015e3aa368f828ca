"""Sources, destinations, connections and streams through Airbyte's own client, whichever server answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from airbyte_api import api, models

from tests.contract.airbyte.conftest import Target


@pytest.fixture
def name() -> str:
    return f"contract {uuid.uuid4().hex[:8]}"


def test_a_connection_and_its_ends_are_read_by_airbytes_own_models(target: Target) -> None:
    client = target.sdk()
    connection = client.connections.get_connection(
        request=api.GetConnectionRequest(connection_id=target.connection_id)
    ).connection_response
    assert connection.configurations.streams
    source = client.sources.get_source(request=api.GetSourceRequest(source_id=connection.source_id)).source_response
    assert source.source_id == connection.source_id
    destination = client.destinations.get_destination(
        request=api.GetDestinationRequest(destination_id=connection.destination_id)
    ).destination_response
    assert destination.destination_id == connection.destination_id
    streams = client.streams.get_stream_properties(
        request=api.GetStreamPropertiesRequest(source_id=connection.source_id, destination_id=connection.destination_id)
    ).stream_properties_response
    named = {stream.stream_name: stream for stream in streams}
    for configured in connection.configurations.streams:
        assert configured.sync_mode in named[configured.name].sync_modes


def test_a_source_is_created_changed_and_deleted(target: Target, name: str) -> None:
    client = target.sdk()
    configuration = models.SourcePostgres(
        host="db.example.invalid", database="shop", username="reader", password="never-shown-again", schemas=["public"]
    )
    created = client.sources.create_source(
        request=models.SourceCreateRequest(name=name, workspace_id=target.client.workspace, configuration=configuration)
    ).source_response
    try:
        assert (created.name, created.source_type) == (name, "postgres")
        assert isinstance(created.configuration, models.SourcePostgres)
        assert created.configuration.host == "db.example.invalid"
        assert created.configuration.password != "never-shown-again"
        listed = target.client.get("sources", limit=100)["data"]
        assert created.source_id in [item["sourceId"] for item in listed]
        patched = client.sources.patch_source(
            request=api.PatchSourceRequest(
                source_id=created.source_id, source_patch_request=models.SourcePatchRequest(name=f"{name} b")
            )
        ).source_response
        assert (patched.name, patched.configuration.host) == (f"{name} b", "db.example.invalid")
        put = client.sources.put_source(
            request=api.PutSourceRequest(
                source_id=created.source_id,
                source_put_request=models.SourcePutRequest(
                    name=name, configuration=configuration.model_copy(update={"host": "other.example.invalid"})
                ),
            )
        ).source_response
        assert (put.name, put.configuration.host) == (name, "other.example.invalid")
    finally:
        target.client.call("DELETE", f"sources/{created.source_id}", 204)
    target.client.get(f"sources/{created.source_id}", 404)
    target.client.call("DELETE", f"sources/{created.source_id}", 404)


def test_a_destination_is_created_changed_and_deleted(target: Target, name: str) -> None:
    client = target.sdk()
    form = models.DestinationS3ParquetColumnarStorage(format_type=models.DestinationS3FormatTypeParquet.PARQUET)
    configuration = models.DestinationS3(
        s3_bucket_name="lake",
        s3_bucket_path="landing",
        s3_bucket_region=models.DestinationS3S3BucketRegion.US_EAST_1,
        secret_access_key="never-shown-again",
        access_key_id="AKIA-CONTRACT",
        format_=form,
    )
    created = client.destinations.create_destination(
        request=models.DestinationCreateRequest(
            name=name, workspace_id=target.client.workspace, configuration=configuration
        )
    ).destination_response
    try:
        assert (created.name, created.destination_type) == (name, "s3")
        assert isinstance(created.configuration, models.DestinationS3)
        assert created.configuration.secret_access_key != "never-shown-again"
        patched = client.destinations.patch_destination(
            request=api.PatchDestinationRequest(
                destination_id=created.destination_id,
                destination_patch_request=models.DestinationPatchRequest(name=f"{name} b"),
            )
        ).destination_response
        assert (patched.name, patched.configuration.s3_bucket_path) == (f"{name} b", "landing")
    finally:
        target.client.call("DELETE", f"destinations/{created.destination_id}", 204)
    target.client.get(f"destinations/{created.destination_id}", 404)


@pytest.fixture
def connection(target: Target, name: str) -> Iterator[models.ConnectionResponse]:
    """A second connection between the ends of the one that is there, of its first stream only."""
    client = target.sdk()
    known = target.client.get(f"connections/{target.connection_id}")
    stream = known["configurations"]["streams"][0]
    created = client.connections.create_connection(
        request=models.ConnectionCreateRequest(
            source_id=known["sourceId"],
            destination_id=known["destinationId"],
            name=name,
            status=models.ConnectionStatusEnum.INACTIVE,
            configurations=models.StreamConfigurations(
                streams=[
                    models.StreamConfiguration(
                        name=stream["name"], sync_mode=models.ConnectionSyncModeEnum.FULL_REFRESH_OVERWRITE
                    )
                ]
            ),
        )
    ).connection_response
    yield created
    target.client.call("DELETE", f"connections/{created.connection_id}", 204)


def test_a_connection_is_created_changed_and_deleted(
    target: Target, name: str, connection: models.ConnectionResponse
) -> None:
    assert (connection.name, connection.status) == (name, models.ConnectionStatusEnum.INACTIVE)
    assert connection.schedule.schedule_type == models.ScheduleTypeWithBasicEnum.MANUAL
    (stream,) = connection.configurations.streams
    assert stream.sync_mode == models.ConnectionSyncModeEnum.FULL_REFRESH_OVERWRITE
    problem = target.client.post("jobs", {"connectionId": connection.connection_id, "jobType": "sync"}, 409)
    assert problem["status"] == 409
    patched = (
        target.sdk()
        .connections.patch_connection(
            request=api.PatchConnectionRequest(
                connection_id=connection.connection_id,
                connection_patch_request=models.ConnectionPatchRequest(
                    name=f"{name} b",
                    prefix="b_",
                    non_breaking_schema_updates_behavior=models.NonBreakingSchemaUpdatesBehaviorEnum.PROPAGATE_COLUMNS,
                ),
            )
        )
        .connection_response
    )
    assert (patched.name, patched.prefix, patched.status) == (f"{name} b", "b_", models.ConnectionStatusEnum.INACTIVE)
    assert patched.configurations == connection.configurations
    read = target.client.get(f"connections/{connection.connection_id}")
    assert models.ConnectionResponse.model_validate(read) == patched


@pytest.mark.parametrize(
    ("stream", "named"),
    [
        ({"name": "no-such-stream"}, "no-such-stream"),
        ({"syncMode": "incremental_append", "cursorField": ["no_such_field"]}, "cursor"),
    ],
)
def test_a_connection_that_asks_for_what_is_not_there_is_refused(
    target: Target, stream: dict[str, object], named: str
) -> None:
    known = target.client.get(f"connections/{target.connection_id}")
    wanted = {"name": known["configurations"]["streams"][0]["name"], **stream}
    body = {"sourceId": known["sourceId"], "destinationId": known["destinationId"]}
    problem = target.client.post("connections", {**body, "configurations": {"streams": [wanted]}}, 400)
    assert named in problem["data"]["message"]


def test_definitions_name_the_connectors(target: Target) -> None:
    for kind, image in (("sources", "source-postgres"), ("destinations", "destination-s3")):
        listed: list[str] = []
        page = target.client.get(f"workspaces/{target.client.workspace}/definitions/{kind}")
        listed += [item["dockerRepository"] for item in page["data"]]
        assert all(item.keys() >= {"id", "name", "dockerRepository", "dockerImageTag"} for item in page["data"])
        assert f"airbyte/{image}" in listed
