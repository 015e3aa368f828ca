"""What a partition is made of, what becomes of drift, and what happens when rows are missing."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lakehouse.bronze import StreamLoad, load_to_bronze
from lakehouse.exceptions import ContractViolation, RowCountMismatch
from lakehouse.lake import Lake
from lakehouse.reconciliation import SyncedRows

from .landing_files import edit_streams, jsonl
from .test_bronze import (
    DAY,
    ORDERS_KEY,
    PAYMENTS,
    PRODUCTS_KEY,
    keys,
    land_orders,
    land_products,
    load,
    manifest,
    table,
)  # fmt: skip

ORDERS = "      orders:\n        sync_mode: incremental\n"


def test_a_manifest_says_what_a_partition_is_made_of(lake: Lake) -> None:
    land_orders(lake, 6, (1, 1.0, 1), at=900)
    land_orders(lake, 7, (1, 1.0, 1), (2, 2.0, 1), coupon=pa.array(["A", None]))
    load(lake, "postgres", 7, "orders")
    found = manifest(lake, "postgres", "orders")
    assert found["jobs"] == {"6": 1, "7": 2}
    assert found["objects"] == [{"key": ORDERS_KEY, "rows": 2, "bytes": len(lake.get(ORDERS_KEY))}]
    assert found["columns"]["amount"] == "decimal128(12, 2)"
    assert (found["columns"]["coupon"], found["new_columns"]) == ("string", ["coupon"])
    land_orders(lake, 8, (3, 3.0, 1))
    load(lake, "postgres", 8, "orders")
    assert manifest(lake, "postgres", "orders")["jobs"] == {"6": 1, "7": 2, "8": 1}
    land_products(lake, 7, (1, "a"))
    load(lake, "postgres", 7, "products")
    land_products(lake, 8, (1, "a"), (2, "b"))
    load(lake, "postgres", 8, "products")
    assert manifest(lake, "postgres", "products")["jobs"] == {"8": 2}


def test_rows_that_a_kill_left_do_not_reach_the_next_days_partition(lake: Lake) -> None:
    left = land_orders(lake, 7, (1, 1.0, 1))
    body = lake.get(left)
    load(lake, "postgres", 7, "orders")
    lake.put(left, body)
    land_orders(lake, 8, (2, 2.0, 1))
    load_to_bronze("postgres", 8, date(2026, 11, 2), streams=["orders"], lake=lake)
    assert table(lake, ORDERS_KEY.replace(DAY, "2026-11-02")).column("order_id").to_pylist() == [2]
    assert keys(lake, "bronze/landing/") == []


def reconciled(lake: Lake, job_id: int, rows: int, *streams: str) -> list[StreamLoad]:
    synced = SyncedRows(job_id, dict.fromkeys(streams, rows))
    return load_to_bronze("postgres", job_id, DAY, streams=streams, lake=lake, synced=synced)


def test_rows_that_are_missing_stop_the_stream_and_not_the_others(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.0, 1))
    land_products(lake, 7, (1, "a"), (2, "b"))
    with pytest.raises(RowCountMismatch, match=r"Stream orders: .* job 7 committed 2 rows, but 1 rows have landed"):
        reconciled(lake, 7, 2, "orders", "products")
    assert keys(lake) == ["bronze/landing/source=postgres/orders/7_1000_0.parquet", PRODUCTS_KEY]
    land_orders(lake, 7, (2, 2.0, 1), part=1)
    assert [done.action for done in reconciled(lake, 7, 2, "orders", "products")] == ["written", "unchanged"]


def test_rows_of_other_jobs_and_from_quarantine_are_not_counted_against_this_one(lake: Lake) -> None:
    land_orders(lake, 6, (1, 1.0, 1), at=900)
    assert [done.rows for done in reconciled(lake, 7, 0, "orders")] == [1]
    land_orders(lake, 8, (2, 2.0, 1), status=None)
    with pytest.raises(ContractViolation):
        reconciled(lake, 8, 1, "orders")
    with pytest.raises(ContractViolation):
        reconciled(lake, 8, 1, "orders")


def with_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, stream: str = ORDERS) -> None:
    edit_streams(tmp_path, monkeypatch, stream, f"{stream}        {policy}\n")


def test_a_new_column_is_ignored_when_the_policy_says_so(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_policy(tmp_path, monkeypatch, "on_new_column: ignore")
    land_orders(lake, 7, (1, 1.0, 1), coupon=pa.array(["A"]))
    [done] = load(lake, "postgres", 7, "orders")
    assert (done.action, done.new_columns) == ("written", ())
    assert "coupon" not in table(lake, ORDERS_KEY).column_names


def test_a_new_column_is_refused_when_the_policy_says_so(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_orders(lake, 6, (1, 1.0, 1), coupon=pa.array(["A"]))
    load(lake, "postgres", 6, "orders")
    with_policy(tmp_path, monkeypatch, "on_new_column: refuse")
    land_orders(lake, 7, (2, 1.0, 1), coupon=pa.array(["B"]))
    assert load(lake, "postgres", 7, "orders")[0].new_columns == ("coupon",)  # bronze has had it before
    land_orders(lake, 8, (3, 1.0, 1), voucher=pa.array(["B"]))
    with pytest.raises(ContractViolation, match="column voucher is new, and on_new_column is refuse"):
        load(lake, "postgres", 8, "orders")


@pytest.mark.parametrize(
    ("arrived", "fits"),
    [
        pytest.param({"customer_id": pa.array([1], pa.int32())}, True, id="a narrower number"),
        pytest.param({"amount": pa.array([1.5])}, True, id="the double that Airbyte makes of a decimal"),
        pytest.param({"customer_id": pa.array(["1"])}, False, id="text that is a number"),
        pytest.param({"customer_id": pa.array([1.0])}, False, id="a double that is an integer"),
        pytest.param({"amount": pa.array([1])}, False, id="an integer that may be too large"),
    ],
)
def test_another_type_is_taken_by_its_values_or_refused_by_its_kind(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrived: dict[str, Any], fits: bool
) -> None:
    land_orders(lake, 7, (1, 1.0, 1), **arrived)
    [done] = load(lake, "postgres", 7, "orders")
    assert done.action == "written"
    assert table(lake, ORDERS_KEY).schema.field("customer_id").type == pa.int64()
    with_policy(tmp_path, monkeypatch, "on_type_change: refuse")
    land_orders(lake, 8, (2, 1.0, 1), **arrived)
    if fits:
        assert load(lake, "postgres", 8, "orders")[0].rows == 2
    else:
        with pytest.raises(ContractViolation, match="and on_type_change is refuse"):
            load(lake, "postgres", 8, "orders")


def test_a_column_outside_the_contract_keeps_its_type_from_day_to_day(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.0, 1), points=pa.array([1], pa.int64()))
    load(lake, "postgres", 7, "orders")
    second = date(2026, 11, 2)
    land_orders(lake, 8, (2, 1.0, 1), points=pa.array([2], pa.int32()))
    load_to_bronze("postgres", 8, second, streams=["orders"], lake=lake)
    later = ORDERS_KEY.replace(DAY, second.isoformat())
    assert table(lake, later).schema.field("points").type == pa.int64()
    land_orders(lake, 9, (3, 1.0, 1), points=pa.array(["many"]))
    with pytest.raises(ContractViolation, match="new column points arrived as string and as int64"):
        load_to_bronze("postgres", 9, second, streams=["orders"], lake=lake)


def test_a_column_that_the_contract_has_got_since_is_null_in_the_rows_before(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_orders(lake, 7, (1, 1.0, 1))
    load(lake, "postgres", 7, "orders")
    edit_streams(
        tmp_path,
        monkeypatch,
        "          order_date: date32\n",
        "          order_date: date32\n          coupon: string\n",
    )
    land_orders(lake, 8, (2, 1.0, 1), coupon=pa.array(["A"]))
    load(lake, "postgres", 8, "orders")
    assert table(lake, ORDERS_KEY).column("coupon").to_pylist() == [None, "A"]


def test_the_policies_hold_for_answers_too(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_policy(tmp_path, monkeypatch, "on_new_column: refuse", "      payments:\n        sync_mode: full_refresh\n")
    lake.put("bronze/landing/source=api/payments/7_1000_0.jsonl", jsonl(7, [{**PAYMENTS[0], "fee": 1}], 1000))
    with pytest.raises(ContractViolation, match="field fee is new, and on_new_column is refuse"):
        load(lake, "api", 7)
