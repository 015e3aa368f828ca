"""A small bronze layer with the shop's dirt, and what must become of it, worked out in plain Python."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FIRST_DAY, SECOND_DAY = date(2026, 3, 1), date(2026, 3, 2)
STATUSES = ["completed", "pending", "cancelled", "returned"]
STATES = ["CA", "NY", "TX"]

_AIRBYTE = [
    ("_airbyte_raw_id", pa.string()),
    ("_airbyte_extracted_at", pa.timestamp("ms", "UTC")),
    ("_airbyte_generation_id", pa.int64()),
    (
        "_airbyte_meta",
        pa.struct(
            [
                ("sync_id", pa.int64()),
                (
                    "changes",
                    pa.list_(pa.struct([("field", pa.string()), ("change", pa.string()), ("reason", pa.string())])),
                ),
            ]
        ),
    ),
]
_TIMES = [("created_at", pa.timestamp("us")), ("updated_at", pa.timestamp("us"))]
_AMOUNT = pa.decimal128(12, 2)
SCHEMAS = {
    "customers": pa.schema(
        [
            *_AIRBYTE,
            ("customer_id", pa.int64()),
            *[(name, pa.string()) for name in ("name", "email", "phone", "address", "city", "state", "zip_code")],
            *_TIMES,
        ]
    ),
    "products": pa.schema(
        [
            *_AIRBYTE,
            ("product_id", pa.int64()),
            *[(name, pa.string()) for name in ("name", "brand", "category")],
            ("price", _AMOUNT),
            *_TIMES,
        ]
    ),
    "orders": pa.schema(
        [
            *_AIRBYTE,
            ("order_id", pa.int64()),
            ("customer_id", pa.int64()),
            ("order_date", pa.date32()),
            ("amount", _AMOUNT),
            ("status", pa.string()),
            ("updated_at", pa.timestamp("us")),
        ]
    ),
    "order_items": pa.schema(
        [
            *_AIRBYTE,
            ("order_id", pa.int64()),
            ("line_number", pa.int32()),
            ("product_id", pa.int64()),
            ("quantity", pa.int32()),
            ("unit_price", _AMOUNT),
            ("discount", pa.decimal128(4, 2)),
            ("amount", _AMOUNT),
            ("updated_at", pa.timestamp("us")),
        ]
    ),
}

CHANGE_DATA = ("orders", "order_items", "customers")
_CDC = [
    ("_ab_cdc_lsn", pa.int64()),
    ("_ab_cdc_updated_at", pa.string()),
    ("_ab_cdc_deleted_at", pa.string()),
    ("_ab_cdc_sequence", pa.int64()),
]
SCHEMAS |= {f"{stream}_changes": pa.schema([*SCHEMAS[stream], *_CDC]) for stream in CHANGE_DATA}

UNAVAILABLE = "__debezium_unavailable_value"

Row = dict[str, Any]


@dataclass
class Bronze:
    """The rows of each stream by the day they were loaded."""

    customers: dict[date, list[Row]]
    products: dict[date, list[Row]]
    orders: dict[date, list[Row]]
    order_items: dict[date, list[Row]]
    payments: dict[date, list[Row]]
    returns: list[Row]
    orders_changes: dict[date, list[Row]]
    order_items_changes: dict[date, list[Row]]
    customers_changes: dict[date, list[Row]]

    def objects(self) -> dict[str, bytes]:
        """Every object of the bronze layer by its key."""
        found = {
            f"bronze/postgres/{stream}/date={day}/data.parquet": _parquet(rows, stream, day)
            for stream in ("customers", "products", "orders", "order_items")
            for day, rows in getattr(self, stream).items()
        }
        for stream in CHANGE_DATA:
            for number, (day, rows) in enumerate(getattr(self, f"{stream}_changes").items(), start=1):
                key = f"bronze/cdc/postgres/{stream}/date={day}/{number:012}.parquet"
                found[key] = _parquet(rows, f"{stream}_changes", day, sync_id=number)
        for day, rows in self.payments.items():
            key = f"bronze/api/payments/timestamp={day:%Y%m%d}_010000/response.json"
            found[key] = json.dumps(rows, indent=1).encode()
        header = "return_id,order_id,returned_at,reason,refund_amount\n"
        for number in (1, 2):
            lines = [",".join(row.values()) for row in self.returns[number - 1 :: 2]]
            found[f"bronze/files/csv_import/batch_{number:03}.csv"] = (header + "\n".join(lines) + "\n").encode()
        return found

    def latest_orders(self) -> dict[int, Row]:
        """The version of each order that counts: both keys there, the latest updated_at."""
        latest: dict[int, Row] = {}
        for rows in self.orders.values():
            for row in rows:
                if row["order_id"] is None or row["customer_id"] is None:
                    continue
                known = latest.get(row["order_id"])
                if known is None or row["updated_at"] > known["updated_at"]:
                    latest[row["order_id"]] = row
        return latest

    def changed(self, stream: str) -> dict[tuple[Any, ...], Row]:
        """What the change log leaves of a table."""
        left: dict[tuple[Any, ...], Row] = {}
        for row in (row for rows in getattr(self, f"{stream}_changes").values() for row in rows):
            if row["_ab_cdc_deleted_at"]:
                del left[self.key(stream, row)]
            else:
                left[self.key(stream, row)] = row
        return left

    def key(self, stream: str, row: Row) -> tuple[Any, ...]:
        names = {"order_items": ("order_id", "line_number"), "customers": ("customer_id",)}
        return tuple(row[name] for name in names.get(stream, ("order_id",)))

    def known_customers(self) -> dict[int, Row]:
        """Customers of the newest extract that have a key."""
        newest = self.customers[max(self.customers)]
        return {row["customer_id"]: row for row in newest if row["customer_id"] is not None}

    def lifetime_values(self) -> dict[int, Decimal]:
        """Sum of completed orders by customer."""
        sums: dict[int, Decimal] = {}
        known = self.known_customers()
        for row in self.latest_orders().values():
            if row["status"] == "completed" and row["customer_id"] in known:
                sums[row["customer_id"]] = sums.get(row["customer_id"], Decimal(0)) + row["amount"]
        return sums

    def segments(self) -> dict[int, str]:
        """Segment of each known customer: fifths by lifetime value, ties by key."""
        values = self.lifetime_values()
        ranked = sorted(values, key=lambda customer: (-values[customer], customer))
        size, larger = divmod(len(ranked), 5)
        ends = [size * (fifth + 1) + min(fifth + 1, larger) for fifth in range(5)]
        names = ["high", "medium", "medium", "low", "low"]
        segments = dict.fromkeys(self.known_customers(), "none")
        for rank, customer in enumerate(ranked):
            segments[customer] = names[next(fifth for fifth, end in enumerate(ends) if rank < end)]
        return segments


def make_bronze() -> Bronze:
    """Two nights: the second brings new and changed orders, and full extracts that differ from the first."""
    customers = [_customer(number) for number in range(1, 31)]
    customers.append(_customer(31) | {"customer_id": None})
    changed = [row | {"name": "  renamed person "} if row["customer_id"] == 1 else row for row in customers]
    products = [_product(number) for number in range(1, 6)]
    orders = [_order(number) for number in range(1, 121)]
    orders += [
        _order(121) | {"customer_id": None},
        _order(122) | {"order_id": None},
        _order(123) | {"amount": Decimal("0.00")},
        _order(124) | {"amount": Decimal("-12.50")},
        _order(5) | {"status": "returned", "updated_at": datetime(2026, 3, 1, 0, 30)},
    ]
    second = [
        _order(6) | {"amount": Decimal("777.77"), "status": "completed", "updated_at": datetime(2026, 3, 1, 20)},
        # An order that had a value and lost it: it has to leave the mart.
        _order(7) | {"amount": Decimal("0.00"), "updated_at": datetime(2026, 3, 1, 20)},
        _order(8),  # landed twice, unchanged
        *[_order(number) | {"updated_at": datetime(2026, 3, 1, 21)} for number in range(130, 136)],
    ]
    items = [_item(number) for number in range(1, 121)]
    payments = [_payment(number) for number in range(1, 13)]
    return Bronze(
        customers={FIRST_DAY: customers, SECOND_DAY: changed},
        products={FIRST_DAY: products, SECOND_DAY: products},
        orders={FIRST_DAY: orders, SECOND_DAY: second},
        order_items={FIRST_DAY: items, SECOND_DAY: [items[0] | {"updated_at": datetime(2026, 3, 1, 20)}]},
        payments={FIRST_DAY: payments, SECOND_DAY: payments},
        returns=[
            {
                "return_id": f"RET-{number:07}",
                "order_id": str(4 * number),
                "returned_at": f"2026-02-{number:02} 10:00:00",
                "reason": "damaged" if number % 3 else "",
                "refund_amount": "1.50",
            }
            for number in range(1, 11)
        ],
        orders_changes={
            FIRST_DAY: [_change(_order(number), 100, number) for number in range(1, 21)],
            SECOND_DAY: [
                _change(_order(3) | {"amount": Decimal("33.33")}, 140, 0),
                _change(dict.fromkeys(_order(4)) | {"order_id": 4}, 120, 1, deleted=True),
                _change(_order(21), 130, 2),
            ],
        },
        order_items_changes={
            FIRST_DAY: [
                _change(_item(number) | {"line_number": line}, 100, 2 * number + line)
                for number in range(1, 6)
                for line in (1, 2)
            ],
            SECOND_DAY: [
                _change(_item(3) | {"line_number": 2, "quantity": 7}, 140, 0),
                _change(dict.fromkeys(_item(4)) | {"order_id": 4, "line_number": 1}, 120, 1, deleted=True),
                _change(_item(6), 130, 2),
            ],
        },
        customers_changes={
            FIRST_DAY: [_change(_customer(number), 100, number) for number in range(1, 6)],
            SECOND_DAY: [
                _change(_customer(3) | {"name": UNAVAILABLE, "city": "Shelbyville"}, 140, 0),
                _change(dict.fromkeys(_customer(4)) | {"customer_id": 4}, 120, 1, deleted=True),
            ],
        },
    )


def first_night(bronze: Bronze) -> Bronze:
    """The same bronze as it stood after the first night."""
    changes = [f"{stream}_changes" for stream in CHANGE_DATA]
    streams = ("customers", "products", "orders", "order_items", "payments", *changes)
    return Bronze(
        **{name: {FIRST_DAY: getattr(bronze, name)[FIRST_DAY]} for name in streams},
        returns=bronze.returns,
    )


def _customer(number: int) -> Row:
    return {
        "customer_id": number,
        "name": f"  Person {number} " if number % 5 == 0 else f"person {number}",
        "email": f"Person{number}@Example.com",
        "phone": f"+1-555-{number:04}",
        "address": f"{number} Main Street",
        "city": "Springfield",
        "state": STATES[number % len(STATES)],
        "zip_code": f"{number:05}",
        "created_at": datetime(2025, 1, 1) + timedelta(days=number),
        "updated_at": datetime(2025, 6, 1) + timedelta(days=number),
    }


def _product(number: int) -> Row:
    return {
        "product_id": number,
        "name": f"Product {number}",
        "brand": "Brand#1",
        "category": "Brassware",
        "price": Decimal(number) + Decimal("0.99"),
        "created_at": datetime(2025, 1, 1),
        "updated_at": datetime(2025, 6, 1),
    }


def _order(number: int) -> Row:
    day = date(2026, 2, 28) - timedelta(days=number % 40)
    return {
        "order_id": number,
        "customer_id": 1 + number % 20,
        "order_date": day,
        "amount": Decimal(number) + Decimal("0.25"),
        "status": STATUSES[number % 7 % 4],
        "updated_at": datetime(day.year, day.month, day.day, 12) + timedelta(minutes=number),
    }


def _change(row: Row, lsn: int, sequence: int, *, deleted: bool = False) -> Row:
    moment = "2026-03-01T22:00:00.123456Z"
    return row | {
        "_ab_cdc_lsn": lsn,
        "_ab_cdc_updated_at": moment,
        "_ab_cdc_deleted_at": moment if deleted else None,
        "_ab_cdc_sequence": sequence,
    }


def _item(number: int) -> Row:
    return {
        "order_id": number,
        "line_number": 1,
        "product_id": 1 + number % 5,
        "quantity": 1,
        "unit_price": Decimal("2.00"),
        "discount": Decimal("0.10"),
        "amount": Decimal("1.80"),
        "updated_at": datetime(2026, 2, 1) + timedelta(minutes=number),
    }


def _payment(number: int) -> Row:
    return {
        "payment_id": f"pay_{number:08}",
        "order_id": 10 * number,
        "amount": f"{10 * number}.25",
        "currency": "USD",
        "method": ["card", "paypal", "bank_transfer"][number % 3],
        "status": ["captured", "captured", "failed"][number % 3],
        "created_at": f"2026-02-{number:02}T03:04:05Z",
    }


def _parquet(rows: list[Row], stream: str, day: date, sync_id: int = 1) -> bytes:
    extracted = datetime(day.year, day.month, day.day, 1, tzinfo=UTC)
    landed = [
        row
        | {
            "_airbyte_raw_id": f"{day}-{number}",
            "_airbyte_extracted_at": extracted,
            "_airbyte_generation_id": 1,
            "_airbyte_meta": {"sync_id": sync_id, "changes": []},
        }
        for number, row in enumerate(rows)
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(landed, schema=SCHEMAS[stream]), buffer, compression="snappy")
    return buffer.getvalue()
