"""How the shop is loaded: the same twice, once, all or nothing, and with words a person can act on."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

TABLES = ("customers", "products", "orders", "order_items")
SCALE = "0.001"


def checksums(shop):
    """One checksum a table, over the rows in the order in which they lie there."""
    return {
        table: shop.query(f"select count(*), md5(string_agg(row::text, chr(10))) from {table} row")[0]
        for table in TABLES
    }


def file_hashes(shop):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(shop.files.iterdir())}


def loaded(shop, scale=SCALE, **environment):
    result = shop.load(scale, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_same_scale_and_day_give_the_same_shop_to_the_byte(shop, new_shop):
    twin = new_shop()
    loaded(twin, "0.01")
    assert checksums(twin) == checksums(shop)
    assert file_hashes(twin) == file_hashes(shop)
    payments = "shop/payments.parquet"
    assert (twin.var / payments).read_bytes() == (shop.var / payments).read_bytes()


def test_a_second_load_says_so_and_leaves_what_people_changed(new_shop):
    shop = new_shop()
    loaded(shop)
    shop.execute("update orders set status = 'cancelled', updated_at = now() where order_id = 1")
    before = checksums(shop)
    assert "nothing to do" in loaded(shop)
    assert checksums(shop) == before


def test_another_scale_or_day_loads_anew_without_dropping_the_tables(new_shop):
    shop = new_shop()
    loaded(shop)
    [(identity,)] = shop.query("select 'orders'::regclass::oid")
    loaded(shop, "0.002", SHOP_LAST_DAY="2026-05-01")
    assert shop.query("select count(distinct order_id) from order_items") == [(3000,)]
    assert str(shop.query("select max(order_date) from orders")[0][0]) == "2026-05-01"
    assert shop.query("select 'orders'::regclass::oid") == [(identity,)]


def test_the_day_of_the_first_load_is_remembered(new_shop):
    shop = new_shop(last_day="")
    loaded(shop)
    [(first,)] = shop.query("select max(order_date) from orders")
    assert (shop.var / "shop" / "last_day").read_text().strip() == first.isoformat()
    (shop.var / "shop" / "last_day").write_text("2026-02-01\n")
    loaded(shop)
    assert str(shop.query("select max(order_date) from orders")[0][0]) == "2026-02-01"


def test_a_load_that_fails_leaves_the_old_shop(new_shop):
    shop = new_shop()
    loaded(shop)
    before = checksums(shop)
    # The last table refuses its rows: the three before it are already replaced in the transaction.
    shop.execute("alter table order_items add constraint refuse check (quantity < 0) not valid")
    result = shop.load("0.002")
    assert result.returncode == 1
    assert "order_items" in result.stderr
    assert checksums(shop) == before
    shop.execute("alter table order_items drop constraint refuse")
    loaded(shop, "0.002")
    assert shop.query("select count(*) from customers") == [(300,)]


def test_files_reach_the_drop_zone_and_come_back_when_they_are_lost(new_shop):
    shop = new_shop()
    loaded(shop)
    s3 = shop.s3()
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=shop.bucket)["Contents"]]
    assert keys == [f"returns/batch_{number:03d}.csv" for number in range(1, 13)]
    body = s3.get_object(Bucket=shop.bucket, Key=keys[4])["Body"].read()
    assert body == (shop.files / "batch_005.csv").read_bytes()
    s3.delete_object(Bucket=shop.bucket, Key=keys[4])
    assert "1 missing" in loaded(shop)
    assert s3.get_object(Bucket=shop.bucket, Key=keys[4])["Body"].read() == body


def test_an_empty_database_is_filled_though_the_files_are_there(shop, new_shop):
    copy = dataclasses.replace(new_shop(), var=shop.var)
    loaded(copy, "0.01")
    assert checksums(copy) == checksums(shop)


def test_scratch_does_not_stay(shop):
    assert {path.name for path in (shop.var / "shop").iterdir()} == {"files", "payments.parquet", "stamp.json"}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        pytest.param({"SANDBOX_SCALE": "many"}, "SANDBOX_SCALE", id="scale_is_no_number"),
        pytest.param({"SANDBOX_SCALE": "0"}, "SANDBOX_SCALE", id="scale_is_nothing"),
        pytest.param({"SANDBOX_SCALE": "nan"}, "SANDBOX_SCALE", id="scale_is_nan"),
        pytest.param({"SHOP_LAST_DAY": "tomorrow"}, "SHOP_LAST_DAY", id="day_is_no_date"),
        pytest.param({"S3_ENDPOINT": ""}, "S3_ENDPOINT", id="setting_is_missing"),
    ],
)
def test_wrong_settings_are_named_in_one_line(shop, tmp_path, settings, named):
    result = dataclasses.replace(shop, var=tmp_path).load(SCALE, **settings)
    assert result.returncode == 2
    assert named in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_database_that_is_down_is_named_and_its_password_is_not(shop, tmp_path):
    dsn = "postgresql://shop:hush-hush-password@127.0.0.1:9/shop"
    result = dataclasses.replace(shop, var=tmp_path).load(SCALE, SOURCE_POSTGRES_DSN=dsn)
    assert result.returncode == 1
    assert "127.0.0.1:9/shop" in result.stderr
    assert "hush" not in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_a_drop_zone_that_is_down_is_named(new_shop):
    result = new_shop().load(SCALE, S3_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 1
    assert "http://127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr
