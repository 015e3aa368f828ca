"""The lake after a run: the folders, formats, codecs and partitions that the architecture promises."""

from __future__ import annotations

import gzip
import io
import json
import re

import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="module")
def keys(platform) -> list[str]:
    return sorted(platform.objects())


def footer(platform, key: str) -> pq.FileMetaData:
    body = platform.s3().get_object(Bucket=platform["S3_BUCKET"], Key=key)["Body"].read()
    return pq.ParquetFile(io.BytesIO(body)).metadata


def codecs(metadata: pq.FileMetaData) -> set[str]:
    groups, columns = range(metadata.num_row_groups), range(metadata.num_columns)
    return {metadata.row_group(group).column(column).compression for group in groups for column in columns}


@pytest.mark.parametrize("stream", ["customers", "orders", "order_items", "products"])
def test_bronze_is_one_snappy_file_a_day(platform, keys, stream):
    found = [key for key in keys if key.startswith(f"bronze/postgres/{stream}/")]
    assert len(found) == 1
    assert re.fullmatch(rf"bronze/postgres/{stream}/date=\d{{4}}-\d\d-\d\d/data\.parquet", found[0])
    metadata = footer(platform, found[0])
    assert codecs(metadata) == {"SNAPPY"}
    assert all(metadata.row_group(0).column(column).is_stats_set for column in range(metadata.num_columns - 1))
    assert "RLE_DICTIONARY" in metadata.row_group(0).column(1).encodings


def test_api_answers_stay_raw_json(platform, keys):
    (key,) = [key for key in keys if key.startswith("bronze/api/payments/")]
    assert re.fullmatch(r"bronze/api/payments/timestamp=\d{8}_\d{6}/response\.json", key)
    payments = json.loads(platform.s3().get_object(Bucket=platform["S3_BUCKET"], Key=key)["Body"].read())
    assert {"payment_id", "order_id", "amount", "status"} <= set(payments[0])


def test_files_stay_csv(platform, keys):
    found = [key for key in keys if key.startswith("bronze/files/csv_import/")]
    assert [key.rsplit("/", 1)[1] for key in found] == [f"batch_{number:03}.csv" for number in range(1, 13)]


def test_landing_is_empty_after_the_load(keys):
    assert [key for key in keys if key.startswith("bronze/landing/")] == []


def test_silver_is_snappy(platform, keys):
    for entity in ("customers", "orders"):
        found = [key for key in keys if key.startswith(f"silver/{entity}/version=v2/") and key.endswith(".parquet")]
        assert found
        assert codecs(footer(platform, found[0])) == {"SNAPPY"}


def test_gold_is_zstd_by_period(platform, keys):
    daily = [key for key in keys if key.startswith("gold/daily_revenue/")]
    assert daily
    assert all(re.match(r"gold/daily_revenue/year=\d{4}/month=\d{1,2}/day=\d{1,2}/.+\.parquet$", key) for key in daily)
    snapshots = [key for key in keys if key.startswith("gold/customer_metrics/")]
    assert snapshots
    assert all(re.match(r"gold/customer_metrics/snapshot=\d{4}-\d\d-\d\d/.+\.parquet$", key) for key in snapshots)
    for key in (daily[0], snapshots[0]):
        assert codecs(footer(platform, key)) == {"ZSTD"}


def test_logs_are_gzipped_json_by_service_and_date(platform, keys):
    for service in ("airbyte", "dbt"):
        found = [key for key in keys if key.startswith(f"logs/{service}/")]
        assert found
        assert all(re.match(rf"logs/{service}/date=\d{{4}}-\d\d-\d\d/.+\.json\.gz$", key) for key in found)
        body = platform.s3().get_object(Bucket=platform["S3_BUCKET"], Key=found[0])["Body"].read()
        assert all(json.loads(line) for line in gzip.decompress(body).splitlines())
