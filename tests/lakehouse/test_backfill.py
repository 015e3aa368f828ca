"""Loading days of the past anew, against a real S3 server."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from lakehouse.bronze import StreamLoad, load_to_bronze, reload_bronze
from lakehouse.exceptions import ContractViolation
from lakehouse.lake import Lake

from .landing_files import edit_streams
from .test_bronze import DAY, ORDERS_KEY, PRODUCTS_KEY, keys, land_orders, land_products, load, manifest, table

FIRST, SECOND, THIRD = (date(2026, 11, day) for day in (1, 2, 3))
NOON = 1_793_534_400_000
A_DAY = 86_400_000


def again(lake: Lake, stream: str, last: date = THIRD) -> dict[tuple[str, str], StreamLoad]:
    """Reload the first three days; by day."""
    done = reload_bronze("postgres", FIRST, last, streams=[stream], lake=lake)
    return {(load.action, load.object_key): load for load in done}


def test_days_that_nothing_is_left_of_stay_as_they_are(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_streams(tmp_path, monkeypatch, "retention: {bronze: 90}", "retention: {bronze: forever}")
    land_orders(lake, 7, (1, 1.0, 1))
    load(lake, "postgres", 7, "orders")
    land_products(lake, 7, (1, "a"))
    load(lake, "postgres", 7, "products")
    before = {item.key: lake.get(item.key) for item in lake.list("")}
    done = reload_bronze("postgres", FIRST, SECOND, lake=lake, streams=["orders", "products"])
    assert [load.action for load in done] == ["unchanged", "unchanged", "empty", "empty"]
    assert {item.key: lake.get(item.key) for item in lake.list("")} == before


def test_what_waits_in_quarantine_joins_the_partition_it_is_from(lake: Lake) -> None:
    for number, day in enumerate((FIRST, SECOND, THIRD)):
        job, at = 7 + number, NOON + number * A_DAY
        land_orders(lake, job, (job, 1.0, 1), at=at, **({"updated_at": pa.array([True])} if day == SECOND else {}))
        if day == SECOND:
            with pytest.raises(ContractViolation):
                load_to_bronze("postgres", job, day, streams=["orders"], lake=lake)
            # Whoever is on call puts it aside until it is corrected, so that the nights go on.
            waiting = f"bronze/quarantine/postgres/orders/date={SECOND}/{job}_{at}_0.parquet"
            lake.delete([waiting])
        else:
            load_to_bronze("postgres", job, day, streams=["orders"], lake=lake)
    before = {key: lake.get(key) for key in keys(lake, "bronze/postgres/")}
    assert len(before) == 2
    lake.copy(land_orders(lake, 8, (8, 1.0, 1), at=NOON + A_DAY), waiting)
    lake.delete(keys(lake, "bronze/landing/"))
    second = ORDERS_KEY.replace(DAY, SECOND.isoformat())
    assert ("written", second) in again(lake, "orders")
    assert table(lake, second).column("order_id").to_pylist() == [8]
    assert {key: lake.get(key) for key in before} == before
    assert keys(lake, "bronze/quarantine/") == []
    assert {action for action, _ in again(lake, "orders")} == {"unchanged"}


def test_rows_that_landed_and_were_never_loaded_join_their_day(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.0, 1), at=NOON)
    load(lake, "postgres", 7, "orders")
    land_orders(lake, 8, (2, 1.0, 1), at=NOON + A_DAY)
    land_orders(lake, 9, (3, 1.0, 1), at=NOON + 5 * A_DAY)
    done = again(lake, "orders")
    second = ORDERS_KEY.replace(DAY, SECOND.isoformat())
    assert done[("written", second)].rows == 1
    assert keys(lake, "bronze/landing/") == [f"bronze/landing/source=postgres/orders/9_{NOON + 5 * A_DAY}_0.parquet"]


def test_partitions_of_the_past_follow_the_contract(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_orders(lake, 7, (1, 1.0, 1))
    load(lake, "postgres", 7, "orders")
    land_products(lake, 7, (1, "a"))
    load(lake, "postgres", 7, "products")
    edit_streams(
        tmp_path,
        monkeypatch,
        "amount: decimal(12,2)\n          status: string\n          updated_at: {",
        "amount: decimal(14,2)\n          status: string\n          coupon: string\n          updated_at: {",
    )
    assert ("written", ORDERS_KEY) in again(lake, "orders")
    found = table(lake, ORDERS_KEY)
    assert found.schema.field("amount").type == pa.decimal128(14, 2)
    assert found.column("coupon").to_pylist() == [None]
    assert manifest(lake, "postgres", "orders")["jobs"] == {"7": 1}
    assert {action for action, _ in again(lake, "products")} == {"unchanged", "empty"}


def test_the_part_of_a_snapshot_that_a_failed_sync_left_replaces_nothing(lake: Lake) -> None:
    land_products(lake, 7, (1, "a"), (2, "b"))
    load(lake, "postgres", 7, "products")
    before = lake.get(PRODUCTS_KEY)
    land_products(lake, 8, (1, "half a snapshot"))
    assert ("unchanged", PRODUCTS_KEY) in again(lake, "products")
    assert lake.get(PRODUCTS_KEY) == before
    assert len(keys(lake, "bronze/landing/")) == 1


def test_an_older_snapshot_in_quarantine_does_not_replace_a_newer_one(lake: Lake) -> None:
    land_products(lake, 7, (1, "old"))
    waiting = f"bronze/quarantine/postgres/products/date={DAY}/7_1000_0.parquet"
    lake.copy("bronze/landing/source=postgres/products/7_1000_0.parquet", waiting)
    land_products(lake, 8, (1, "new"))
    load(lake, "postgres", 8, "products")
    again(lake, "products")
    assert table(lake, PRODUCTS_KEY).column("name").to_pylist() == ["new"]
    assert keys(lake, "bronze/quarantine/") == [waiting]
    lake.delete([f"bronze/manifests/postgres/products/date={DAY}.json"])
    again(lake, "products")
    assert table(lake, PRODUCTS_KEY).column("name").to_pylist() == ["old"]


@pytest.mark.parametrize(
    ("first", "last", "source", "reason"),
    [
        (SECOND, FIRST, "postgres", "is before the first"),
        (FIRST, FIRST, "postgres_cdc", "change data"),
        (datetime.now(UTC).date() - timedelta(1), datetime.now(UTC).date() + timedelta(1), "postgres", "is not over"),
    ],
)
def test_what_cannot_be_meant_is_refused(lake: Lake, first: date, last: date, source: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        reload_bronze(source, first, last, lake=lake)
