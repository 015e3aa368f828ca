"""Loading to bronze, against a real S3 server."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lakehouse.bronze import StreamLoad, load_to_bronze
from lakehouse.exceptions import ContractViolation
from lakehouse.lake import Lake, LakeError

from .landing_files import jsonl, parquet

DAY = "2026-11-01"
ORDERS_KEY = f"bronze/postgres/orders/date={DAY}/data.parquet"
PRODUCTS_KEY = f"bronze/postgres/products/date={DAY}/data.parquet"
ANSWER_KEY = "bronze/api/payments/timestamp=20261101_010000/response.json"


def moment(minute: int) -> datetime:
    return datetime(2026, 10, 31, 12, minute)


def land_orders(
    lake: Lake, job_id: int, *orders: tuple[int | None, float, int], at: int = 1_000, part: int = 0, **extra: pa.Array
) -> str:
    """Land orders (order_id, amount, minute of updated_at) as a sync would."""
    columns = {
        "order_id": pa.array([order[0] for order in orders], pa.int64()),
        "customer_id": pa.array([1] * len(orders), pa.int64()),
        "order_date": pa.array([date(2026, 10, 31)] * len(orders), pa.date32()),
        "amount": pa.array([order[1] for order in orders], pa.float64()),
        "status": pa.array(["completed"] * len(orders), pa.string()),
        "updated_at": pa.array([moment(order[2]) for order in orders], pa.timestamp("us")),
    }
    columns = {name: values for name, values in {**columns, **extra}.items() if values is not None}
    key = f"bronze/landing/source=postgres/orders/{job_id}_{at}_{part}.parquet"
    lake.put(key, parquet(job_id, columns, [at] * len(orders)))
    return key


def land_products(lake: Lake, job_id: int, *products: tuple[int, str], part: int = 0) -> None:
    count = len(products)
    columns = {
        "product_id": pa.array([product[0] for product in products], pa.int64()),
        "name": pa.array([product[1] for product in products]),
        "brand": pa.array(["b"] * count),
        "category": pa.array(["c"] * count),
        "price": pa.array([9.99] * count, pa.float64()),
        "created_at": pa.array([moment(0)] * count, pa.timestamp("us")),
        "updated_at": pa.array([moment(0)] * count, pa.timestamp("us")),
    }
    lake.put(
        f"bronze/landing/source=postgres/products/{job_id}_1000_{part}.parquet",
        parquet(job_id, columns, [1000] * count),
    )


def load(lake: Lake, source: str, job_id: int, *streams: str) -> list[StreamLoad]:
    return load_to_bronze(source, job_id, DAY, streams=streams or None, lake=lake)


def keys(lake: Lake, prefix: str = "") -> list[str]:
    """The objects below a prefix, but for the manifests of partitions."""
    return [item.key for item in lake.list(prefix) if not item.key.startswith("bronze/manifests/")]


def manifest(lake: Lake, source: str, stream: str, day: str = DAY) -> dict[str, Any]:
    """The manifest of a partition."""
    found: dict[str, Any] = json.loads(lake.get(f"bronze/manifests/{source}/{stream}/date={day}.json"))
    return found


def table(lake: Lake, key: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(lake.get(key)))


def test_an_incremental_load_merges_everything_that_landed(lake: Lake) -> None:
    land_orders(lake, 7, (2, 20.0, 1), (1, 0.1, 1))
    land_orders(lake, 6, (1, 1.15, 5), (None, -3.0, 2), at=900)
    [done] = load(lake, "postgres", 7, "orders")
    assert (done.action, done.rows, done.object_key, done.landing_objects) == ("written", 4, ORDERS_KEY, 2)
    assert keys(lake) == [ORDERS_KEY]
    assert done.bytes == len(lake.get(ORDERS_KEY))
    found = table(lake, ORDERS_KEY)
    assert found.schema.field("amount").type == pa.decimal128(12, 2)
    assert found.schema.field("updated_at").type == pa.timestamp("us")
    assert [(row["order_id"], row["amount"]) for row in found.to_pylist()] == [
        (1, Decimal("0.10")),
        (1, Decimal("1.15")),
        (2, Decimal("20.00")),
        (None, Decimal("-3.00")),
    ]


def test_a_second_delivery_of_the_same_rows_changes_nothing(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.0, 1), (2, 2.0, 1))
    load(lake, "postgres", 7, "orders")
    before = lake.get(ORDERS_KEY)
    land_orders(lake, 8, (2, 2.0, 1), at=2_000)
    [done] = load(lake, "postgres", 8, "orders")
    assert (done.action, done.rows) == ("unchanged", 2)
    assert lake.get(ORDERS_KEY) == before
    assert keys(lake) == [ORDERS_KEY]


def test_another_date_is_another_partition(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.0, 1))
    load(lake, "postgres", 7, "orders")
    land_orders(lake, 8, (1, 1.5, 9))
    load_to_bronze("postgres", 8, date(2026, 11, 2), streams=["orders"], lake=lake)
    second = ORDERS_KEY.replace(DAY, "2026-11-02")
    assert keys(lake) == [ORDERS_KEY, second]
    assert [table(lake, key).num_rows for key in (ORDERS_KEY, second)] == [1, 1]


def test_a_full_refresh_is_the_snapshot_of_its_job(lake: Lake) -> None:
    land_products(lake, 5, (1, "old"), (9, "gone"))
    land_products(lake, 7, (2, "two"), part=0)
    land_products(lake, 7, (1, "new"), part=1)
    land_products(lake, 8, (3, "of the next night"))
    [done] = load(lake, "postgres", 7, "products")
    assert (done.action, done.rows) == ("written", 2)
    assert [row["name"] for row in table(lake, PRODUCTS_KEY).to_pylist()] == ["new", "two"]
    # What an earlier job left is replaced by this snapshot; what a later one landed is not this load's to touch.
    assert keys(lake, "bronze/landing/") == ["bronze/landing/source=postgres/products/8_1000_0.parquet"]


def test_the_same_snapshot_of_another_job_leaves_the_object_alone(lake: Lake) -> None:
    land_products(lake, 7, (1, "a"), (2, "b"))
    load(lake, "postgres", 7, "products")
    before = lake.get(PRODUCTS_KEY)
    land_products(lake, 8, (2, "b"), (1, "a"))
    assert [done.action for done in load(lake, "postgres", 8, "products")] == ["unchanged"]
    assert lake.get(PRODUCTS_KEY) == before
    land_products(lake, 9, (2, "b"), (1, "changed"))
    assert [done.action for done in load(lake, "postgres", 9, "products")] == ["written"]


def test_nothing_landed_is_said_and_breaks_nothing(lake: Lake) -> None:
    assert [(done.stream, done.action) for done in load(lake, "postgres", 7, "products", "orders")] == [
        ("products", "empty"),
        ("orders", "empty"),
    ]
    land_products(lake, 7, (1, "a"))
    load(lake, "postgres", 7, "products")
    [again] = load(lake, "postgres", 7, "products")
    assert (again.action, again.rows, again.object_key) == ("unchanged", 1, PRODUCTS_KEY)


def test_a_new_column_is_taken_and_reported(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.0, 1))
    land_orders(lake, 7, (2, 2.0, 1), part=1, coupon=pa.array(["SUMMER"]))
    [done] = load(lake, "postgres", 7, "orders")
    assert done.new_columns == ("coupon",)
    assert [row["coupon"] for row in table(lake, ORDERS_KEY).to_pylist()] == [None, "SUMMER"]
    assert json.dumps(done.to_dict())


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        pytest.param({"status": None}, "column status vanished", id="a column that vanished"),
        pytest.param({"order_id": pa.array([True])}, "order_id arrived as bool", id="another kind of value"),
        pytest.param({"amount": pa.array([1e15])}, "amount does not become decimal128(12, 2)", id="a value too large"),
        pytest.param({"order_date": pa.array(["soon"])}, "order_date does not become date32", id="text no date"),
        pytest.param({"updated_at": pa.array([None], pa.timestamp("us"))}, "updated_at is null in 1 rows", id="a null"),
    ],
)
def test_what_breaks_the_contract_waits_in_quarantine(lake: Lake, extra: dict[str, pa.Array], reason: str) -> None:
    land_products(lake, 7, (1, "a"))
    land_orders(lake, 7, (1, 1.0, 1), at=900)
    bad = land_orders(lake, 7, (2, 2.0, 1), **extra)
    landed = lake.get(bad)
    for _ in range(2):  # clearing the task does not make it succeed with rows missing
        with pytest.raises(ContractViolation) as caught:
            load(lake, "postgres", 7, "products", "orders")
        message = str(caught.value)
        for words in (
            "postgres.orders",
            reason,
            "contract: order_id int64",
            "landed:",
            f"orders/date={DAY}/",
            "clear this task",
        ):
            assert words in message
        assert [done.action for done in caught.value.loads][1] == "quarantined"
    prefix = f"bronze/quarantine/postgres/orders/date={DAY}/"
    assert keys(lake) == [PRODUCTS_KEY, f"{prefix}7_1000_0.parquet", f"{prefix}7_900_0.parquet"]
    assert lake.get(f"{prefix}7_1000_0.parquet") == landed


def test_quarantine_empties_itself_when_the_contract_is_met_again(lake: Lake) -> None:
    land_orders(lake, 7, (1, 1.0, 1))
    bad = land_orders(lake, 7, (2, 2.0, 1), part=1, status=None)
    with pytest.raises(ContractViolation):
        load(lake, "postgres", 7, "orders")
    # Somebody lets the column be what it was, by putting a corrected object where the bad one waits.
    lake.delete([f"bronze/quarantine/postgres/orders/date={DAY}/{bad.rsplit('/', 1)[1]}"])
    land_orders(lake, 7, (2, 2.0, 1), part=1)
    [done] = load(lake, "postgres", 7, "orders")
    assert (done.action, done.rows) == ("written", 2)
    assert keys(lake) == [ORDERS_KEY]


def test_an_object_with_a_foreign_name_is_not_guessed_at(lake: Lake) -> None:
    lake.put("bronze/landing/source=postgres/orders/export.parquet", b"x")
    with pytest.raises(LakeError, match=r"orders/export\.parquet is not named"):
        load(lake, "postgres", 7, "orders")


def test_a_damaged_object_is_named(lake: Lake) -> None:
    lake.put("bronze/landing/source=postgres/orders/7_1000_0.parquet", b"PAR1 this is not Parquet PAR1")
    with pytest.raises(ContractViolation, match=r"7_1000_0\.parquet cannot be read as Parquet"):
        load(lake, "postgres", 7, "orders")


def test_a_damaged_partition_is_not_built_upon(lake: Lake) -> None:
    lake.put(ORDERS_KEY, b"PAR1 this is not Parquet PAR1")
    land_orders(lake, 7, (1, 1.0, 1))
    with pytest.raises(LakeError, match=r"orders/date=2026-11-01/data\.parquet: .*Restore the object"):
        load(lake, "postgres", 7, "orders")
    assert len(keys(lake, "bronze/landing/")) == 1


PAYMENTS: list[dict[str, Any]] = [
    {
        "payment_id": f"pay_{number:08d}",
        "order_id": number * 10,
        "amount": f"{number}.50",
        "currency": "USD",
        "method": "card",
        "status": "captured",
        "created_at": "2026-10-31T12:00:00Z",
    }
    for number in range(1, 6)
]


def test_an_answer_stays_raw_json_in_one_array(lake: Lake) -> None:
    landing = "bronze/landing/source=api/payments/"
    lake.put(f"{landing}7_1000_1.jsonl", jsonl(7, PAYMENTS[:3][::-1], 1000))
    lake.put(f"{landing}7_1000_0.jsonl.gz", gzip.compress(jsonl(7, PAYMENTS[2:], 1000)))
    [done] = load(lake, "api", 7)
    assert (done.action, done.rows, done.object_key) == ("written", 5, ANSWER_KEY)
    body = lake.get(ANSWER_KEY)
    assert json.loads(body) == PAYMENTS
    assert keys(lake) == [ANSWER_KEY]
    lake.put(f"{landing}8_1000_0.jsonl", jsonl(8, PAYMENTS, 2000))
    assert [again.action for again in load(lake, "api", 8)] == ["unchanged"]
    assert [(again.action, again.rows) for again in load(lake, "api", 8)] == [("unchanged", 5)]
    assert lake.get(ANSWER_KEY) == body


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"amount": "a lot"}, "field amount does not become decimal"),
        ({"payment_id": None}, "field payment_id is null"),
        ({"order_id": {"id": 1}}, "field order_id does not become int64"),
    ],
)
def test_an_answer_that_breaks_the_contract_waits_in_quarantine(
    lake: Lake, change: dict[str, Any], reason: str
) -> None:
    records = [*PAYMENTS, {**PAYMENTS[0], **change}]
    lake.put("bronze/landing/source=api/payments/7_1000_0.jsonl", jsonl(7, records, 1000))
    with pytest.raises(ContractViolation, match=reason):
        load(lake, "api", 7)
    assert keys(lake) == [f"bronze/quarantine/api/payments/date={DAY}/7_1000_0.jsonl"]


def test_a_field_that_vanished_from_every_record_is_noticed(lake: Lake) -> None:
    records = [{key: value for key, value in record.items() if key != "method"} | {"fee": 1} for record in PAYMENTS]
    lake.put("bronze/landing/source=api/payments/7_1000_0.jsonl", jsonl(7, records, 1000))
    with pytest.raises(ContractViolation, match="field method vanished"):
        load(lake, "api", 7)


def land_returns(lake: Lake, job_id: int, part: int, *rows: tuple[str, str, str | None]) -> None:
    columns = {
        "return_id": pa.array([row[1] for row in rows]),
        "order_id": pa.array([1] * len(rows), pa.int64()),
        "returned_at": pa.array(["2026-10-31 12:00:00"] * len(rows)),
        "reason": pa.array([row[2] for row in rows], pa.string()),
        "refund_amount": pa.array([12.5] * len(rows), pa.float64()),
        "_ab_source_file_url": pa.array([row[0] for row in rows]),
        "_ab_source_file_last_modified": pa.array(["2026-10-31T12:00:00.000000Z"] * len(rows)),
    }
    lake.put(
        f"bronze/landing/source=files/returns/{job_id}_1000_{part}.parquet",
        parquet(job_id, columns, [1000] * len(rows)),
    )


def test_files_come_back_as_the_files_they_were(lake: Lake) -> None:
    land_returns(lake, 7, 0, ("returns/batch_002.csv", "R3", "näh\nno"), ("returns/batch_001.csv", "R2", 'said "no"'))
    land_returns(lake, 7, 1, ("returns/batch_001.csv", "R1", None))
    [done] = load(lake, "files", 7)
    names = ["bronze/files/csv_import/batch_001.csv", "bronze/files/csv_import/batch_002.csv"]
    assert (done.action, done.rows, list(done.objects)) == ("written", 3, names)
    assert keys(lake) == names
    text = lake.get(names[0]).decode()
    assert text.splitlines()[0] == "return_id,order_id,returned_at,reason,refund_amount"
    rows = list(csv.reader(io.StringIO(text)))[1:]
    assert rows == [
        ["R1", "1", "2026-10-31 12:00:00", "", "12.50"],
        ["R2", "1", "2026-10-31 12:00:00", 'said "no"', "12.50"],
    ]
    land_returns(lake, 8, 0, ("returns/batch_001.csv", "R1", None), ("returns/batch_002.csv", "R3", "näh\nno"))
    land_returns(lake, 8, 1, ("returns/batch_001.csv", "R2", 'said "no"'))
    assert [again.action for again in load(lake, "files", 8)] == ["unchanged"]
    assert [(again.action, again.rows) for again in load(lake, "files", 8)] == [("unchanged", 3)]


def test_two_files_of_one_name_are_refused(lake: Lake) -> None:
    land_returns(lake, 7, 0, ("returns/batch_001.csv", "R1", None), ("more/batch_001.csv", "R2", None))
    with pytest.raises(ContractViolation, match="have the same name"):
        load(lake, "files", 7)
