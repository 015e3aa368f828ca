"""When new files in a folder of the lake become visible, and which of them."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from tests.sandbox.dremio.services import wait_until


def put(s3, folder, *partitions, name="data"):
    for partition in partitions:
        s3.put(f"{folder}/{partition}/{name}.parquet", pa.table({"n": [1]}))


def counts(dremio, table):
    rows = dremio.rows(f"select dir0, count(*) as c from {table} group by dir0 order by dir0")
    return {row["dir0"]: row["c"] for row in rows}


def source(dremio, s3, name, **policy):
    body = {**s3.source(name), "metadataPolicy": policy}
    answer = dremio.http.post("/api/v3/catalog", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_only_the_named_partition_is_read_again(dremio, s3):
    folder, table = "metadata/parts", "lake.datalake.metadata.parts"
    put(s3, folder, "day=1", "day=2")
    dremio.rows(f"alter table {table} refresh metadata")
    put(s3, folder, "day=1", "day=2", "day=3", name="late")
    dremio.rows(f"alter table {table} refresh metadata for partitions (\"dir0\" = 'day=2')")
    assert counts(dremio, table) == {"day=1": 1, "day=2": 2}
    dremio.rows(f"alter table {table} refresh metadata for partitions (dir0 = 'day=3')")
    assert counts(dremio, table) == {"day=1": 1, "day=2": 2, "day=3": 1}
    s3.client.delete_object(Bucket="datalake", Key=f"{folder}/day=2/data.parquet")
    s3.client.delete_object(Bucket="datalake", Key=f"{folder}/day=1/data.parquet")
    dremio.rows(f"alter table {table} refresh metadata for partitions (dir0 = 'day=2')")
    # The object is gone from the lake; the metadata, and the copy that was read, are still there.
    assert counts(dremio, table) == {"day=1": 1, "day=2": 1, "day=3": 1}
    dremio.rows(f"alter table {table} refresh metadata for all partitions")
    assert counts(dremio, table) == {"day=1": 1, "day=2": 1, "day=3": 1}
    assert "unchanged" in dremio.rows(f"alter table {table} refresh metadata")[0]["summary"]


def test_only_the_named_files_are_read_again(dremio, s3):
    folder, table = "metadata/files", "lake.datalake.metadata.files"
    put(s3, folder, "day=1")
    dremio.rows(f"alter table {table} refresh metadata")
    put(s3, folder, "day=1", "day=2", name="late")
    dremio.rows(f"alter table {table} refresh metadata for files ('day=2/late.parquet')")
    assert counts(dremio, table) == {"day=1": 1, "day=2": 1}


@pytest.mark.parametrize("column", ["dir1", "n", "day"])
def test_a_partition_column_that_is_none_is_refused(dremio, s3, column):
    put(s3, "metadata/wrong", "day=1")
    dremio.rows("alter table lake.datalake.metadata.wrong refresh metadata")
    statement = f"alter table lake.datalake.metadata.wrong refresh metadata for partitions ({column} = 'x')"
    assert dremio.error(statement).startswith(f"Partition column [{column}] is not found in table")


def test_metadata_expires_when_a_query_comes(dremio, s3):
    source(dremio, s3, "expiring", datasetRefreshAfterMs=3_600_000, datasetExpireAfterMs=1500)
    table = "expiring.datalake.metadata.expiring"
    put(s3, "metadata/expiring", "day=1")
    dremio.rows(f"alter table {table} refresh metadata")
    put(s3, "metadata/expiring", "day=2")
    assert counts(dremio, table) == {"day=1": 1}
    time.sleep(1.6)
    assert counts(dremio, table) == {"day=1": 1, "day=2": 1}


def test_metadata_is_refreshed_in_the_background(dremio, s3):
    source(dremio, s3, "refreshing", datasetRefreshAfterMs=1000, datasetExpireAfterMs=3_600_000)
    table = "refreshing.datalake.metadata.refreshing"
    put(s3, "metadata/refreshing", "day=1")
    dremio.rows(f"alter table {table} refresh metadata")
    put(s3, "metadata/refreshing", "day=2")
    wait_until(lambda: counts(dremio, table) == {"day=1": 1, "day=2": 1}, 20, "the refresh")


def test_a_source_has_dremios_policy_unless_it_says_otherwise(dremio, s3):
    policy = source(dremio, s3, "plain", autoPromoteDatasets=True)["metadataPolicy"]
    assert policy["datasetRefreshAfterMs"] == 3_600_000
    assert policy["datasetExpireAfterMs"] == 10_800_000
    assert policy["autoPromoteDatasets"] is True


def test_folders_are_promoted_by_the_first_query_if_the_source_says_so(dremio, s3):
    source(dremio, s3, "promoting", autoPromoteDatasets=True)
    put(s3, "metadata/promoting", "day=1")
    assert dremio.rows("select dir0 from promoting.datalake.metadata.promoting") == [{"dir0": "day=1"}]
    assert dremio.entity("promoting", "datalake", "metadata", "promoting")["type"] == "PHYSICAL_DATASET"
    assert "not found" in dremio.error("select * from lake.datalake.metadata.promoting")


def test_forgotten_metadata_is_read_anew(dremio, s3):
    put(s3, "metadata/forgotten", "day=1")
    dremio.rows("alter table lake.datalake.metadata.forgotten refresh metadata")
    answer = dremio.rows("alter table lake.datalake.metadata.forgotten forget metadata")
    assert answer[0]["summary"] == (
        "Successfully removed table 'lake.datalake.metadata.forgotten' from namespace (and related metadata)."
    )
    assert "not found" in dremio.error("select * from lake.datalake.metadata.forgotten")
    assert s3.keys("metadata/forgotten") == ["metadata/forgotten/day=1/data.parquet"]
