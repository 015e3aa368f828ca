"""Everything declared is applied to real servers; applied again, it changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
import psycopg2
import pytest
from lakehouse import files, setup
from lakehouse.airbyte import AirbyteError, ask, every, public_api
from lakehouse.files import ConfigError
from lakehouse.setup import airbyte

from .conftest import Platform


def actions(changes: list[setup.Change]) -> set[str]:
    return {change.action for change in changes}


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the declared files that a test may change."""
    for name in ("airbyte", "config", "elasticsearch", "postgres"):
        shutil.copytree(files.include_dir() / name, tmp_path / name)
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path))
    return tmp_path


def columns(platform: Platform, table: str) -> list[tuple[str, str]]:
    with psycopg2.connect(platform.dsn("platform")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_name = %s ORDER BY ordinal_position",
            (table,),
        )
        return cursor.fetchall()


def test_postgres_gets_the_tables_of_the_architecture(platform: Platform) -> None:
    setup.apply("postgres")
    assert actions(setup.apply("postgres")) == {"unchanged"}
    assert columns(platform, "airbyte_state") == [
        ("connection_id", "uuid"),
        ("state", "jsonb"),
        ("updated_at", "timestamp without time zone"),
    ]
    assert columns(platform, "dbt_run_history") == [
        ("run_id", "uuid"),
        ("project_name", "character varying"),
        ("started_at", "timestamp without time zone"),
        ("completed_at", "timestamp without time zone"),
        ("status", "character varying"),
        ("models_run", "integer"),
        ("tests_run", "integer"),
        ("metadata", "jsonb"),
    ]


def test_elasticsearch_gets_the_mapping_of_the_architecture(platform: Platform, declared: Path) -> None:
    setup.apply("elasticsearch")
    assert actions(setup.apply("elasticsearch")) == {"unchanged"}
    root = f"http://127.0.0.1:{9200 + platform.offset}"
    try:
        httpx.put(f"{root}/airbyte-logs-2001.01.01/_doc/1", json={"level": "INFO"}).raise_for_status()
        mapping = httpx.get(f"{root}/airbyte-logs-2001.01.01/_mapping").json()["airbyte-logs-2001.01.01"]
    finally:
        httpx.delete(f"{root}/airbyte-logs-2001.01.01")
    assert {name: field["type"] for name, field in mapping["mappings"]["properties"].items()} == {
        "timestamp": "date",
        "level": "keyword",
        "service": "keyword",
        "message": "text",
        "job_id": "keyword",
        "connection_id": "keyword",
        "records_synced": "integer",
        "bytes_synced": "long",
    }
    file = declared / "elasticsearch" / "airbyte-logs.json"
    template = json.loads(file.read_text())
    file.write_text(json.dumps({**template, "priority": template["priority"] + 1}))
    assert actions(setup.apply("elasticsearch")) == {"updated"}
    file.write_text(json.dumps(template))
    assert actions(setup.apply("elasticsearch")) == {"updated"}


def test_airbyte_gets_what_is_declared_and_then_nothing(platform: Platform) -> None:
    setup.apply("postgres")
    api = public_api()
    for connection in every(api.connections.list_connections):
        ask(api.connections.delete_connection, connection_id=connection["connectionId"])
    first = setup.apply("airbyte")
    assert {(change.kind, change.name) for change in first} == {
        ("connector", "payment_provider"),
        *(("source", name) for name in ("shop_postgres", "shop_postgres_cdc", "payment_provider", "partner_files")),
        *(("destination", name) for name in ("lake_postgres", "lake_api", "lake_files", "lake_cdc")),
        *(("connection", name) for name in ("shop_postgres", "payment_provider", "partner_files", "shop_cdc")),
    }
    assert {change.action for change in first if change.kind == "connection"} == {"created"}
    again = setup.apply("airbyte")
    assert actions(again) == {"unchanged"}
    assert setup.summary(again) == "nothing to change: 13 objects are as declared"
    assert set(airbyte.connection_ids()) == {"shop_postgres", "payment_provider", "partner_files", "shop_cdc"}
    names = airbyte.connection_ids()
    found = next(
        item for item in every(api.connections.list_connections) if item["connectionId"] == names["shop_postgres"]
    )
    modes = {item["name"]: (item["syncMode"], item["cursorField"]) for item in found["configurations"]["streams"]}
    assert modes == {
        "customers": ("full_refresh_overwrite", []),
        "products": ("full_refresh_overwrite", []),
        "orders": ("incremental_append", ["updated_at"]),
        "order_items": ("incremental_append", ["updated_at"]),
    }


def test_what_differs_in_airbyte_is_changed_and_named(
    platform: Platform, declared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.apply("postgres")
    setup.apply("airbyte")
    # Something that Airbyte shows, something that it masks, and something of a connection.
    sources = declared / "airbyte" / "sources.yml"
    sources.write_text(sources.read_text().replace("mode: prefer", "mode: disable"))
    changed = platform.connections["payment_provider"].replace("provider-token", "another-token-of-the-provider")
    monkeypatch.setenv("AIRFLOW_CONN_PAYMENT_PROVIDER", changed)
    connections = declared / "airbyte" / "connections.yml"
    last = "destination: lake_files\n"
    connections.write_text(connections.read_text().replace(last, f"{last}    status: inactive\n"))
    changes = {(change.kind, change.name): change for change in setup.apply("airbyte")}
    updated = {key: change.detail for key, change in changes.items() if change.action != "unchanged"}
    assert updated == {
        ("source", "shop_postgres"): "ssl_mode.mode: 'prefer' -> 'disable'",
        ("source", "shop_postgres_cdc"): "ssl_mode.mode: 'prefer' -> 'disable'",
        ("source", "payment_provider"): "a value that Airbyte does not show",
        ("connection", "partner_files"): "status: 'active' -> 'inactive'",
    }
    text = setup.summary(list(changes.values()))
    assert text.startswith("0 created, 4 updated, 9 unchanged")
    assert "another-token" not in text
    with psycopg2.connect(platform.dsn("platform")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM applied_configuration WHERE fingerprint LIKE '%%token%%'")
        assert cursor.fetchone() == (0,)
    monkeypatch.undo()


def test_a_connection_to_nowhere_is_refused_with_the_known_names(platform: Platform, declared: Path) -> None:
    setup.apply("postgres")
    file = declared / "airbyte" / "connections.yml"
    file.write_text(file.read_text().replace("destination: lake_api", "destination: lake_graphql"))
    with pytest.raises(ConfigError, match=r"connections\.1\.destination: 'lake_graphql'.*lake_postgres"):
        setup.apply("airbyte")


def test_wrong_airbyte_credentials_are_named_but_not_shown(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = platform.connections["airbyte_default"].replace("client-secret", "wrong-client-secret")
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", wrong)
    with pytest.raises(AirbyteError, match="Check login and password of the Airflow connection") as caught:
        setup.apply("airbyte")
    assert "wrong-client-secret" not in str(caught.value)


def test_an_unknown_system_is_refused() -> None:
    with pytest.raises(ValueError, match="no system 'oracle'; allowed: postgres, elasticsearch"):
        setup.apply("oracle")
