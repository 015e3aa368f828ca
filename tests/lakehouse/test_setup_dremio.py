"""What is declared for Dremio, and what the DAG asks of it, against a server that speaks Dremio's REST API."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dremio_provider.exceptions import DremioError
from dremio_provider.hooks.dremio import DremioHook
from lakehouse import files, setup
from lakehouse.bronze import load_to_bronze
from lakehouse.config import load_reflections
from lakehouse.lake import Lake
from lakehouse.setup import dremio

from .conftest import Platform, lake_connection
from .landing_files import jsonl
from .servers import free_offset, sandbox
from .test_bronze import PAYMENTS, land_orders, land_products, land_returns

PASSWORD = "dremio-secret-1"


@pytest.fixture(scope="module")
def dremio_offset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    offset = free_offset()
    environment = {
        "SANDBOX_PORT_OFFSET": str(offset),
        "SANDBOX_VAR": str(tmp_path_factory.mktemp("dremio")),
        "DREMIO_USER": "admin",
        "DREMIO_PASSWORD": PASSWORD,
    }
    with sandbox("dremio", offset, environment):
        yield offset


@pytest.fixture
def dremio_server(dremio_offset: int, platform: Platform, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty Dremio, and an empty bucket ``datalake``, the name that the views have."""
    extra = {"flight_port": 32010 + dremio_offset, "tls": False, "edition": "community"}
    connection = {"conn_type": "dremio", "host": "127.0.0.1", "port": 9047 + dremio_offset, "login": "admin"}
    monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps({**connection, "password": PASSWORD, "extra": extra}))
    client = platform.lake._client
    if "datalake" not in {item["Name"] for item in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket="datalake")
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_S3", lake_connection(s3_endpoint, "datalake"))
    lake = Lake(client, "datalake")
    lake.delete([item.key for item in lake.list("")])
    setup.apply("postgres")
    with DremioHook("dremio_default") as hook:
        for name in ("bronze", "silver", "gold", "lake"):
            entity = hook.get_catalog_entity([name])
            if entity is not None:
                hook.delete_catalog_entity(entity["id"])
    return lake


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the declared files that a test may change."""
    for name in ("config", "dremio", "postgres"):
        shutil.copytree(files.include_dir() / name, tmp_path / "include" / name)
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path / "include"))
    return tmp_path / "include"


def land_everything(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.5, 1), (2, 2.5, 2))
    land_products(lake, 7, (1, "a"))
    load_to_bronze("postgres", 7, "2026-11-01", streams=["orders", "products"], lake=lake)
    lake.put("bronze/landing/source=api/payments/7_1000_0.jsonl", jsonl(7, PAYMENTS, 1000))
    load_to_bronze("api", 7, "2026-11-01", lake=lake)
    land_returns(lake, 7, 0, ("returns/batch_001.csv", "R1", "broken"))
    load_to_bronze("files", 7, "2026-11-01", lake=lake)


def actions(changes: list[setup.Change]) -> dict[str, str]:
    return {change.name: change.action for change in changes}


def test_source_and_spaces_are_applied_once(dremio_server: Lake) -> None:
    first = actions(setup.apply("dremio"))
    assert {name: first[name] for name in ("lake", "bronze", "silver", "gold")} == dict.fromkeys(
        ("lake", "bronze", "silver", "gold"), "created"
    )
    assert {first[f"{item.dataset}.{item.name}"] for item in load_reflections()} == {"skipped"}
    again = setup.apply("dremio")
    assert set(actions(again).values()) == {"unchanged", "skipped"}
    assert setup.summary(again).startswith("nothing to change: 4 objects are as declared")


def test_a_changed_space_is_described_anew(dremio_server: Lake, declared: Path) -> None:
    setup.apply("dremio")
    file = declared / "dremio" / "spaces.yml"
    file.write_text(file.read_text().replace("Cleaned and joined", "Washed and joined"))
    changed = {name: action for name, action in actions(setup.apply("dremio")).items() if action == "updated"}
    assert changed == {"silver": "updated"}


def test_a_changed_source_is_noticed_secrets_too(dremio_server: Lake, declared: Path) -> None:
    setup.apply("dremio")
    file = declared / "dremio" / "sources.yml"
    original = file.read_text()
    secret = '"{{ conn.lake_s3.password }}"'
    assert secret in original
    file.write_text(original.replace(secret, "a-wrong-secret"))
    for _ in range(2):  # what was refused was not applied, so it is tried again
        with pytest.raises(DremioError, match="SignatureDoesNotMatch") as caught:
            setup.apply("dremio")
        assert "a-wrong-secret" not in str(caught.value)
    file.write_text(original.replace("datasetExpireAfterMs: 10800000", "datasetExpireAfterMs: 7200000"))
    [change] = [change for change in setup.apply("dremio") if change.action == "updated"]
    assert (change.name, change.detail) == ("lake", "metadataPolicy.datasetExpireAfterMs")
    assert not {"created", "updated"} & set(actions(setup.apply("dremio")).values())


def test_bronze_is_promoted_then_refreshed_and_seen(dremio_server: Lake) -> None:
    setup.apply("dremio")
    for source in ("postgres", "api", "files"):
        assert set(actions(dremio.refresh_bronze_metadata(source=source)).values()) == {"skipped"}
    land_everything(dremio_server)
    streams = ["orders", "products", "payments", "returns"]
    paths = [f"lake.datalake.bronze.postgres.{name}" for name in ("products", "orders")]
    paths += ["lake.datalake.bronze.api.payments", "lake.datalake.bronze.files.csv_import"]
    found = [dremio.refresh_bronze_metadata(streams, source=source) for source in ("postgres", "api", "files")]
    assert actions([change for changes in found for change in changes]) == dict.fromkeys(paths, "created")
    land_orders(dremio_server, 8, (3, 3.5, 3))
    load_to_bronze("postgres", 8, "2026-11-02", streams=["orders"], lake=dremio_server)
    refreshed = dremio.refresh_bronze_metadata(["orders"], source="postgres")
    assert actions(refreshed) == {"lake.datalake.bronze.postgres.orders": "updated"}
    with DremioHook("dremio_default") as hook:
        rows = hook.execute_sql(
            "select order_id, amount, dir0 from lake.datalake.bronze.postgres.orders order by 1"
        ).rows
        assert [(str(row["order_id"]), float(row["amount"]), row["dir0"]) for row in rows] == [
            ("1", 1.5, "date=2026-11-01"),
            ("2", 2.5, "date=2026-11-01"),
            ("3", 3.5, "date=2026-11-02"),
        ]
        returns = hook.execute_sql(
            "select return_id, reason, refund_amount from lake.datalake.bronze.files.csv_import"
        ).rows
        assert returns == [{"return_id": "R1", "reason": "broken", "refund_amount": "12.50"}]
        payments = hook.execute_sql("select payment_id from lake.datalake.bronze.api.payments").rows
        assert len(payments) == len(PAYMENTS)


def test_change_data_that_nobody_has_loaded_is_a_table_without_rows(dremio_server: Lake) -> None:
    setup.apply("dremio")
    table = "lake.datalake.bronze.cdc.postgres.orders"
    assert actions(dremio.refresh_bronze_metadata(["orders"], source="postgres_cdc")) == {table: "created"}
    with DremioHook("dremio_default") as hook:
        assert hook.execute_sql(f"select order_id, _ab_cdc_lsn, _ab_cdc_sequence, dir0 from {table}").rows == []
    # Once there is something, nothing is put beside it.
    assert actions(dremio.refresh_bronze_metadata(["orders"], source="postgres_cdc")) == {table: "updated"}
    assert len(list(dremio_server.list("bronze/cdc/postgres/orders/"))) == 1


def test_a_cold_table_says_up_to_which_sync_it_has_everything(dremio_server: Lake) -> None:
    dremio.apply()
    table = "lake.datalake.gold.some_cold"
    assert dremio.merged_up_to(table) is None
    with DremioHook("dremio_default") as hook:
        hook.execute_sql(f"create table {table} as select 7 as sync_id where 1 = 0")
        assert dremio.merged_up_to(table) is None
        hook.execute_sql(f"insert into {table} values (7), (12)")
    assert dremio.merged_up_to(table) == 12


def test_views_are_replaced_only_when_their_sql_differs(dremio_server: Lake, declared: Path) -> None:
    setup.apply("dremio")
    land_everything(dremio_server)
    dremio.refresh_bronze_metadata()
    for path in (declared / "dremio" / "views" / "bronze").glob("*.sql"):
        if not path.stem.endswith(("orders", "products", "payments", "returns")):
            path.unlink()
    first = dremio.apply_views("bronze")
    assert {change.action for change in first} == {"created"}
    assert "bronze.raw_orders" in actions(first)
    assert {change.action for change in dremio.apply_views("bronze")} == {"unchanged"}
    (declared / "dremio" / "views" / "bronze" / "orders.sql").write_text(
        "-- Only the large ones.\nselect order_id from lake.datalake.bronze.postgres.orders where amount > 2;\n"
    )
    changed = {change.name: change.action for change in dremio.apply_views("bronze") if change.action != "unchanged"}
    assert changed == {"bronze.orders": "updated"}
    with DremioHook("dremio_default") as hook:
        assert len(hook.execute_sql("select * from bronze.orders").rows) == 1


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="no views of layer 'platinum'; allowed: bronze, gold, silver"):
        dremio.apply_views("platinum")
