"""dbt builds the lake on Dremio: what comes out, where it lies, what doing it twice changes, and what stops it."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

TABLES = {
    "stg_customers": 'lake.datalake.silver.customers."version=v2".customers_cleaned',
    "stg_orders": 'lake.datalake.silver.orders."version=v2".orders_cleaned',
    "stg_postgres__order_items": 'lake.datalake.silver.order_items."version=v2".order_items_cleaned',
    "stg_postgres__products": 'lake.datalake.silver.products."version=v2".products_cleaned',
    "stg_payment_provider__payments": 'lake.datalake.silver.payments."version=v2".payments_cleaned',
    "stg_partner_files__returns": 'lake.datalake.silver.returns."version=v2".returns_cleaned',
    "int_customer_orders": 'lake.datalake.silver.orders."version=v2".orders_enriched',
    "fct_customer_lifetime_value": "lake.datalake.gold.customer_lifetime_value",
    "fct_orders": "lake.datalake.gold.orders",
    "fct_daily_revenue": "lake.datalake.gold.daily_revenue",
    "fct_sales": "lake.datalake.gold.sales",
    "dim_customers": "lake.datalake.gold.customers",
    "customer_metrics": "lake.datalake.gold.customer_metrics",
}
CHANGE_DATA = {"orders": "fct_orders", "order_items": "fct_order_items", "customers": "dim_customers"}
for stream, mart in CHANGE_DATA.items():
    TABLES[f"{mart}_cold"] = f"lake.datalake.gold.{stream}_cold"
    # Views: over change data, which nobody builds.
    TABLES[f"stg_postgres_cdc__{stream}"] = f"silver.stg_postgres_cdc__{stream}"
    TABLES |= {f"{mart}_{half}": f"gold.{mart}_{half}" for half in ("hot", "unified")}
REPOSITORY = Path(__file__).resolve().parents[2]
FIRST, SECOND = "2026-03-01", "2026-03-02"


def contents(lakehouse) -> dict[str, list[str]]:
    """Every row of every table, in an order that does not depend on files."""
    return {
        name: sorted(json.dumps(row, sort_keys=True) for row in lakehouse.sql(f"select * from {table}"))
        for name, table in TABLES.items()
    }


def counts(lakehouse) -> dict[str, int]:
    return {name: int(lakehouse.value(f"select count(*) from {table}")) for name, table in TABLES.items()}


def sold(order: dict[str, Any], customers: dict[int, Any], segments: dict[int, str]) -> tuple[Any, ...]:
    """The row of fct_sales that an order is counted in."""
    state = customers.get(order["customer_id"], {}).get("state")
    return order["order_date"], state, segments.get(order["customer_id"]), order["status"]


def expected_counts(bronze: Any, snapshots: int) -> dict[str, int]:
    orders, customers = bronze.latest_orders(), bronze.known_customers()
    with_value = [row for row in orders.values() if row["amount"] > 0]
    newest = max(bronze.products)
    return {
        "stg_customers": len(customers),
        "stg_orders": len(orders),
        "stg_postgres__order_items": len({row["order_id"] for rows in bronze.order_items.values() for row in rows}),
        "stg_postgres__products": len(bronze.products[newest]),
        "stg_payment_provider__payments": len(bronze.payments[newest]),
        "stg_partner_files__returns": len(bronze.returns),
        "int_customer_orders": len([row for row in orders.values() if row["customer_id"] in customers]),
        "fct_customer_lifetime_value": len(bronze.lifetime_values()),
        "fct_orders": len(with_value),
        "fct_daily_revenue": len({row["order_date"] for row in with_value}),
        "fct_sales": len({sold(row, customers, bronze.segments()) for row in with_value}),
        "dim_customers": len(customers),
        "customer_metrics": len(customers) * snapshots,
        **{name: count for stream in CHANGE_DATA for name, count in expected_of_changes(bronze, stream).items()},
    }


def expected_of_changes(bronze: Any, stream: str) -> dict[str, int]:
    days, mart = getattr(bronze, f"{stream}_changes"), CHANGE_DATA[stream]
    return {
        # A row that is gone leaves a mark in cold.
        f"{mart}_cold": len({bronze.key(stream, row) for rows in days.values() for row in rows}),
        f"stg_postgres_cdc__{stream}": sum(len(rows) for rows in days.values()),
        f"{mart}_hot": sum(len(rows) for day, rows in days.items() if day == max(days)),
        f"{mart}_unified": len(bronze.changed(stream)),
    }


@pytest.fixture(scope="module")
def module():
    import sys

    return sys.modules["dbt_tests_bronze"]


@pytest.fixture(scope="module")
def first(lakehouse, bronze, module):
    """The lake after the first night."""
    night = module.first_night(bronze)
    lakehouse.put(night.objects())
    done = lakehouse.dbt("build", LAKEHOUSE_SNAPSHOT_DATE=FIRST)
    assert done.returncode == 0, done.stdout[-6000:]
    return night


@pytest.fixture(scope="module")
def first_results(lakehouse, first):
    return lakehouse.results()


@pytest.fixture(scope="module")
def first_contents(lakehouse, first_results):
    return contents(lakehouse)


def test_models_unit_tests_and_data_tests_pass(first_results):
    kinds = Counter((name.split(".")[0], result["status"]) for name, result in first_results.items())
    assert kinds[("model", "success")] == len(TABLES)
    assert kinds[("unit_test", "pass")] == 11
    assert {status for kind, status in kinds if kind == "test"} == {"pass", "warn"}
    warned = {name.split(".")[2] for name, result in first_results.items() if result["status"] == "warn"}
    # The dirt of the sources, counted; nothing else may warn.
    assert warned == {
        "source_not_null_bronze_raw_customers_customer_id",
        "source_not_null_bronze_raw_orders_order_id",
        "source_not_null_bronze_raw_orders_customer_id",
        "source_at_least_bronze_raw_orders_amount__0_01",
        "at_least_stg_orders_amount__0_01",
    }


def test_rows_are_those_of_the_sources(lakehouse, first, first_contents):
    assert counts(lakehouse) == expected_counts(first, snapshots=1)


def test_lifetime_value_is_the_sum_of_completed_orders(lakehouse, first, first_contents):
    rows = lakehouse.sql(f"select * from {TABLES['fct_customer_lifetime_value']}")
    assert {row["customer_id"]: Decimal(str(row["lifetime_value"])) for row in rows} == first.lifetime_values()
    for row in rows:
        assert float(row["average_order_value"]) == pytest.approx(float(row["lifetime_value"]) / row["total_orders"])


def test_customers_are_cleaned(lakehouse, first_contents):
    rows = lakehouse.sql(f"select customer_id, customer_name, email from {TABLES['stg_customers']}")
    names = {row["customer_id"]: row["customer_name"] for row in rows}
    assert names[5] == "PERSON 5"
    assert all(row["email"] == row["email"].lower() for row in rows)


def footer(lakehouse, key: str) -> pq.FileMetaData:
    body = lakehouse.s3().get_object(Bucket="datalake", Key=key)["Body"].read()
    return pq.ParquetFile(io.BytesIO(body)).metadata


def codecs(metadata: pq.FileMetaData) -> set[str]:
    groups, columns = range(metadata.num_row_groups), range(metadata.num_columns)
    return {metadata.row_group(group).column(column).compression for group in groups for column in columns}


def test_silver_is_snappy_in_folders_of_a_version(lakehouse, first_contents):
    for folder in (
        "customers/version=v2/customers_cleaned",
        "orders/version=v2/orders_cleaned",
        "orders/version=v2/orders_enriched",
        "order_items/version=v2/order_items_cleaned",
        "products/version=v2/products_cleaned",
        "payments/version=v2/payments_cleaned",
        "returns/version=v2/returns_cleaned",
    ):
        keys = [key for key in lakehouse.keys(f"silver/{folder}/") if key.endswith(".parquet")]
        assert keys, folder
        assert codecs(footer(lakehouse, keys[0])) == {"SNAPPY"}


def test_gold_is_zstd_by_period(lakehouse, first, first_contents):
    days = {row["order_date"] for row in first.latest_orders().values() if row["amount"] > 0}
    keys = [key for key in lakehouse.keys("gold/daily_revenue/") if key.endswith(".parquet")]
    found = Counter(
        re.match(r"gold/daily_revenue/year=(\d+)/month=(\d+)/day=(\d+)/[^/]+$", key).groups() for key in keys
    )
    assert set(found) == {(str(day.year), str(day.month), str(day.day)) for day in days}
    assert set(found.values()) == {1}, "one file a day"
    snapshots = [key for key in lakehouse.keys("gold/customer_metrics/") if key.endswith(".parquet")]
    assert {key.split("/")[2] for key in snapshots} == {f"snapshot={FIRST}"}
    for name in ("orders", "customers", "customer_lifetime_value"):
        (key, *_) = [key for key in lakehouse.keys(f"gold/{name}/") if key.endswith(".parquet")]
        assert codecs(footer(lakehouse, key)) == {"ZSTD"}
    for key in (keys[0], snapshots[0]):
        assert codecs(footer(lakehouse, key)) == {"ZSTD"}


def test_the_same_night_again_changes_nothing(lakehouse, first_contents):
    done = lakehouse.dbt("run", LAKEHOUSE_SNAPSHOT_DATE=FIRST)
    assert done.returncode == 0, done.stdout[-6000:]
    assert contents(lakehouse) == first_contents


@pytest.fixture(scope="module")
def second(lakehouse, bronze, first_contents):
    """The lake after the second night."""
    lakehouse.put(bronze.objects())
    done = lakehouse.dbt("run", LAKEHOUSE_SNAPSHOT_DATE=SECOND)
    assert done.returncode == 0, done.stdout[-6000:]
    return bronze


def test_a_second_night_adds_what_is_new(lakehouse, second):
    assert counts(lakehouse) == expected_counts(second, snapshots=2)


def test_the_incremental_table_is_what_a_rebuild_would_give(lakehouse, second):
    """New and changed orders are in it, order 7, whose latest version has no value any more, is not."""
    rows = lakehouse.sql(f"select order_id, amount, status, updated_at from {TABLES['fct_orders']}")
    found = {row["order_id"]: (Decimal(str(row["amount"])), row["status"], row["updated_at"][:19]) for row in rows}
    assert len(found) == len(rows)
    assert found == {
        order_id: (row["amount"], row["status"], str(row["updated_at"]))
        for order_id, row in second.latest_orders().items()
        if row["amount"] > 0
    }
    assert 7 not in found


def test_a_backfill_builds_what_was_loaded_late_and_leaves_the_snapshots_of_the_past(lakehouse, second):
    """An order that bronze got late is older than the newest in the incremental table, which would pass it over."""
    before = contents(lakehouse)
    orders, metrics = TABLES["fct_orders"], TABLES["customer_metrics"]
    late = lakehouse.value(f"select min(order_id) from {orders}")
    lakehouse.sql(f"delete from {orders} where order_id = {late}")
    done = lakehouse.dbt(
        "run", "--select", "fct_orders", "customer_metrics", "--full-refresh", LAKEHOUSE_SNAPSHOT_DATE=SECOND
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert int(lakehouse.value(f"select count(*) from {orders} where order_id = {late}")) == 1
    assert {row["snapshot"] for row in lakehouse.sql(f'select distinct "snapshot" from {metrics}')} == {FIRST, SECOND}
    assert contents(lakehouse) == before


def test_published_views_show_the_new_data(lakehouse, second):
    for layer in ("silver", "gold"):
        lakehouse.apply_views(layer)
    expected = expected_counts(second, snapshots=1)
    assert int(lakehouse.value("select count(*) from gold.customer_metrics")) == expected["customer_metrics"]
    assert {row["snapshot_date"] for row in lakehouse.sql("select snapshot_date from gold.customer_metrics")} == {
        SECOND
    }
    for view, model in (
        ("gold.orders", "fct_orders"),
        ("gold.fct_orders", "fct_orders"),
        ("gold.customers", "dim_customers"),
        ("gold.dim_customers", "dim_customers"),
        ("gold.fct_customer_lifetime_value", "fct_customer_lifetime_value"),
        ("gold.fct_daily_revenue", "fct_daily_revenue"),
        ("gold.fct_sales", "fct_sales"),
        ("silver.customers", "stg_customers"),
        ("silver.orders", "int_customer_orders"),
    ):
        assert int(lakehouse.value(f"select count(*) from {view}")) == expected[model], view
    newest = lakehouse.value("select name from bronze.customers where customer_id = 1")
    assert newest.strip() == "renamed person"


def test_a_negative_amount_fails_the_test(lakehouse, second):
    table = TABLES["fct_orders"]
    lakehouse.sql(
        f"insert into {table} select 999999, 1, cast('2026-02-01' as date), cast(-1 as decimal(12, 2)), "
        "'completed', cast('2026-02-01 00:00:00' as timestamp)"
    )
    try:
        done = lakehouse.dbt("test", "--select", "fct_orders", "--exclude", "test_type:unit")
        assert done.returncode == 1, done.stdout
        failed = {
            name.split(".")[2]: result["failures"]
            for name, result in lakehouse.results().items()
            if result["status"] == "fail"
        }
        # What is summed up from the orders was built before, so it no longer adds up either.
        assert failed == {
            "assert_positive_amounts": 1,
            "assert_daily_revenue_reconciles": 1,
            "assert_sales_reconcile": 1,
        }
    finally:
        lakehouse.sql(f"delete from {table} where order_id = 999999")


def test_unusual_numbers_warn(lakehouse, second):
    table = TABLES["fct_daily_revenue"]

    def outcome() -> dict[str, str]:
        names = ("warn_yesterday_without_revenue", "warn_refund_share")
        done = lakehouse.dbt("test", "--select", *names, LAKEHOUSE_SNAPSHOT_DATE="2026-05-01")
        assert done.returncode == 0, done.stdout
        return {name.split(".")[2]: result["status"] for name, result in lakehouse.results().items()}

    assert outcome() == {"warn_yesterday_without_revenue": "warn", "warn_refund_share": "pass"}
    money = ", ".join(f"cast({amount} as decimal(18, 2))" for amount in (100, 0))
    refunded = ", ".join(f"cast({amount} as decimal(18, 2))" for amount in (90, 10))
    lakehouse.sql(
        f"insert into {table} select cast('2026-04-30' as date), cast(100 as decimal(18, 2)), cast(1 as bigint), "
        f"cast(1 as bigint), {money}, cast(1 as bigint), {refunded}, 2026, 4, 30"
    )
    try:
        assert outcome() == {"warn_yesterday_without_revenue": "pass", "warn_refund_share": "warn"}
    finally:
        lakehouse.sql(f"delete from {table} where order_date = cast('2026-04-30' as date)")


def test_a_broken_contract_stops_the_model_and_leaves_its_table(lakehouse, second, tmp_path):
    project = tmp_path / "dbt"
    shutil.copytree(REPOSITORY / "dbt", project, ignore=shutil.ignore_patterns("target", "logs"))
    declared = project / "models/marts/fct_customer_lifetime_value.yml"
    text = declared.read_text()
    wrong = text.replace(
        "- name: total_orders\n        data_type: bigint", "- name: total_orders\n        data_type: varchar"
    )
    assert wrong != text
    declared.write_text(wrong)
    done = lakehouse.dbt("run", "--select", "fct_customer_lifetime_value", project=project)
    assert done.returncode == 1
    assert "enforced contract that failed" in done.stdout
    assert re.search(r"total_orders +\| BIGINT +\| VARCHAR", done.stdout)
    count = lakehouse.value(f"select count(*) from {TABLES['fct_customer_lifetime_value']}")
    assert int(count) == len(second.lifetime_values())


def test_freshness_knows_when_the_sources_were_loaded(lakehouse, second):
    done = lakehouse.dbt("source", "freshness")
    document = json.loads((lakehouse.directory / "target/sources.json").read_text())
    loaded = {result["unique_id"].rsplit(".", 1)[1]: result for result in document["results"]}
    assert set(loaded) == {"raw_customers", "raw_orders", "raw_order_items", "raw_products", "raw_payments"}, (
        done.stdout
    )
    for result in loaded.values():
        assert result["max_loaded_at"].startswith(f"{SECOND}T01:00:00")


def test_docs_describe_every_table_as_it_is(lakehouse, second):
    done = lakehouse.dbt("docs", "generate")
    assert done.returncode == 0, done.stdout[-3000:]
    catalog = json.loads((lakehouse.directory / "target/catalog.json").read_text())
    manifest = json.loads((lakehouse.directory / "target/manifest.json").read_text())
    assert {node.rsplit(".", 1)[1] for node in catalog["nodes"]} == set(TABLES)
    for unique_id, node in catalog["nodes"].items():
        assert {name.lower() for name in node["columns"]} == set(manifest["nodes"][unique_id]["columns"])
    assert len(catalog["sources"]) == 9
