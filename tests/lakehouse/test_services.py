from __future__ import annotations

import json
import pickle
import socket

import pytest
from lakehouse import services
from lakehouse.connections import ConnectionMissing
from lakehouse.lake import Lake
from lakehouse.services import ServiceUnavailable, check, require

from .conftest import Platform, lake_connection
from .servers import free_port

KINDS = {
    "airbyte_default": ("airbyte", "Airbyte at http://127.0.0.1:{port}"),
    "airbyte_config": ("http", "Airbyte's Config API at http://127.0.0.1:{port}"),
    "dremio_default": ("dremio", "Dremio at http://127.0.0.1:{port}"),
    "superset_default": ("superset", "Superset at http://127.0.0.1:{port}"),
    "elasticsearch_default": ("elasticsearch", "Elasticsearch at http://127.0.0.1:{port}"),
    "metadata_postgres": ("postgres", "PostgreSQL at 127.0.0.1:{port}/platform"),
    "payment_provider": ("http", "The payment provider at http://127.0.0.1:{port}"),
}


def declare(monkeypatch: pytest.MonkeyPatch, conn_id: str, conn_type: str, port: int) -> None:
    value = {"conn_type": conn_type, "host": "127.0.0.1", "port": port, "login": "u", "password": "hunter2-secret"}
    if conn_type == "postgres":
        value["schema"] = "platform"
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))


@pytest.mark.parametrize("conn_id", KINDS)
def test_a_dead_service_is_named_with_what_to_do(conn_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conn_type, where = KINDS[conn_id]
    port = free_port()
    declare(monkeypatch, conn_id, conn_type, port)
    with pytest.raises(ServiceUnavailable) as caught:
        require(conn_id)({"task_instance": None})
    message = str(caught.value)
    assert message.startswith(where.format(port=port))
    assert "does not answer (connection refused)" in message
    assert f"correct the Airflow connection {conn_id!r}; then clear this task" in message
    assert "hunter2" not in message


def test_a_dead_object_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_S3", lake_connection(f"http://127.0.0.1:{port}", "datalake"))
    with pytest.raises(ServiceUnavailable, match=rf"object store at http://127\.0\.0\.1:{port} does not answer"):
        check("lake_s3")


def test_a_missing_bucket_is_named(lake: Lake, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check("lake_s3")
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_S3", lake_connection(s3_endpoint, "no-such-bucket"))
    with pytest.raises(ServiceUnavailable, match="bucket 'no-such-bucket' does not exist"):
        check("lake_s3")


def test_a_service_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "TIMEOUT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        declare(monkeypatch, "dremio_default", "dremio", silent.getsockname()[1])
        with pytest.raises(ServiceUnavailable, match=r"no answer within 0\.2 s"):
            check("dremio_default")


def test_services_that_are_there_are_let_pass(platform: Platform) -> None:
    require(*platform.connections, "lake_s3")(None)


def test_a_wrong_database_is_told_from_a_dead_one(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = platform.connections["metadata_postgres"].replace('"platform"', '"nowhere"')
    monkeypatch.setenv("AIRFLOW_CONN_METADATA_POSTGRES", wrong)
    with pytest.raises(ServiceUnavailable, match='database "nowhere" does not exist'):
        check("metadata_postgres")


def test_a_missing_connection_is_named() -> None:
    with pytest.raises(ConnectionMissing, match=r"no connection 'nowhere_default'.*AIRFLOW_CONN_NOWHERE_DEFAULT"):
        check("nowhere_default")


def test_an_unknown_kind_of_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "mainframe", "ftp", 21)
    with pytest.raises(ValueError, match="of type 'ftp'; services of these types can be asked: airbyte, aws"):
        check("mainframe")


def test_a_requirement_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(require("lake_s3"))) == require("lake_s3")
