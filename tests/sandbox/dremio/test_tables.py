"""Managed tables: what lies in the lake after CREATE TABLE and row changes, read by somebody who is not Dremio."""

from __future__ import annotations

import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SCHEMA = "lake.datalake.tables"
PREFIX = "tables"
DAYS = (
    "(select date_add(date '2026-01-01', a.n * 10 + b.n) as d, a.n * 10 + b.n as n from "
    "(values (0),(1),(2)) a(n), (values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) b(n))"
)


def content(s3, key: str) -> list[dict]:
    return s3.parquet(key).read().to_pylist()


def test_unpartitioned(dremio, s3):
    dremio.rows(
        f"create table {SCHEMA}.plain localsort by (n) as select n, cast(n as decimal(12,2)) as amount from {DAYS} x"
    )
    assert s3.keys(f"{PREFIX}/plain/") == [f"{PREFIX}/plain/0_0_0.parquet"]
    file = s3.parquet(f"{PREFIX}/plain/0_0_0.parquet")
    assert file.schema_arrow == pa.schema([("n", pa.int32()), ("amount", pa.decimal128(12, 2))])
    column = file.metadata.row_group(0).column(0)
    assert column.compression == "SNAPPY"
    assert (column.statistics.min, column.statistics.max) == (0, 29)
    assert file.read().column("n").to_pylist() == list(range(30))


@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip"])
def test_codecs(dremio, s3, codec):
    dremio.rows(
        f"create table {SCHEMA}.codec_{codec} "
        f"tblproperties ('write.parquet.compression-codec' = '{codec}') as select 1 as a"
    )
    file = s3.parquet(f"{PREFIX}/codec_{codec}/0_0_0.parquet")
    assert file.metadata.row_group(0).column(0).compression == codec.upper()


def test_an_unknown_codec_is_refused(dremio, s3):
    words = dremio.error(
        f"create table {SCHEMA}.lzo tblproperties ('write.parquet.compression-codec' = 'lzo') as select 1 as a"
    )
    assert "Invalid value 'lzo'" in words
    assert s3.keys(f"{PREFIX}/lzo/") == []


def test_partitions_become_folders_and_stay_in_the_file(dremio, s3):
    dremio.rows(
        f'create table {SCHEMA}.daily (d date, amount decimal(18,2), "year" integer, "month" integer, "day" integer) '
        'partition by ("year", "month", "day") '
        "tblproperties ('write.parquet.compression-codec' = 'zstd') as "
        f"(select d, n, extract(year from d), extract(month from d), extract(day from d) from {DAYS} x)"
    )
    keys = s3.keys(f"{PREFIX}/daily/")
    assert len(keys) == 30
    assert f"{PREFIX}/daily/year=2026/month=1/day=7/0_0_0.parquet" in keys
    file = s3.parquet(f"{PREFIX}/daily/year=2026/month=1/day=7/0_0_0.parquet")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    (row,) = file.read().to_pylist()
    assert (row["year"], row["month"], row["day"], str(row["amount"])) == (2026, 1, 7, "6.00")
    assert dremio.rows(f'select count(*) as c from {SCHEMA}.daily where "day" < 8') == [{"c": 7}]


def test_partition_transforms(dremio, s3):
    dremio.rows(f"create table {SCHEMA}.monthly partition by (month(d)) as select * from {DAYS} x")
    assert s3.keys(f"{PREFIX}/monthly/") == [f"{PREFIX}/monthly/d_month=2026-01/0_0_0.parquet"]
    assert "bucket" in dremio.error(
        f"create table {SCHEMA}.buckets partition by (bucket(4, n)) as select * from {DAYS} x"
    )
    assert "[nope]" in dremio.error(f"create table {SCHEMA}.nope partition by (nope) as select 1 as a")


def test_rebuilding_leaves_the_same_names_and_nothing_else(dremio, s3):
    listings = []
    for _ in range(2):
        dremio.rows(f"drop table if exists {SCHEMA}.again")
        assert s3.keys(f"{PREFIX}/again/") == []
        dremio.rows(f"create table {SCHEMA}.again partition by (d) as select d, n from {DAYS} x where n < 3")
        dremio.rows(f"insert into {SCHEMA}.again select d, n + 100 from {DAYS} x where n < 1")
        dremio.rows(f"update {SCHEMA}.again set n = -1 where n = 1")
        dremio.rows(f"delete from {SCHEMA}.again where n = 2")
        listings.append(s3.keys(f"{PREFIX}/again/"))
    assert listings[0] == listings[1]
    assert listings[0] == [
        f"{PREFIX}/again/d=2026-01-01/0_0_0.parquet",
        f"{PREFIX}/again/d=2026-01-01/0_0_1.parquet",
        f"{PREFIX}/again/d=2026-01-02/0_0_0.parquet",
    ]
    assert content(s3, listings[0][2])[0]["n"] == -1


def test_row_changes_keep_codec_and_partitions(dremio, s3):
    dremio.rows(
        f"create table {SCHEMA}.orders partition by (d) tblproperties ('write.parquet.compression-codec' = 'zstd') as "
        "select * from (values (1, 'open', date '2026-01-01'), (2, 'open', date '2026-01-02')) as v(id, status, d)"
    )
    dremio.rows(
        f"create table {SCHEMA}.news as select * from "
        "(values (2, 'paid', date '2026-01-02'), (3, 'open', date '2026-01-03')) as v(id, status, d)"
    )
    merge = (
        f"merge into {SCHEMA}.orders as DBT_INTERNAL_DEST using {SCHEMA}.news as DBT_INTERNAL_SOURCE "
        "on (DBT_INTERNAL_SOURCE.id = DBT_INTERNAL_DEST.id) "
        'when matched then update set "status" = DBT_INTERNAL_SOURCE."status" '
        'when not matched then insert ("id", "status", "d") '
        "values (DBT_INTERNAL_SOURCE.id, DBT_INTERNAL_SOURCE.status, DBT_INTERNAL_SOURCE.d)"
    )
    assert dremio.rows(merge) == [{"Records": 2}]
    assert dremio.rows(merge) == [{"Records": 2}]
    assert [tuple(row.values()) for row in dremio.rows(f"select id, status from {SCHEMA}.orders order by id")] == [
        (1, "open"),
        (2, "paid"),
        (3, "open"),
    ]
    keys = s3.keys(f"{PREFIX}/orders/")
    assert keys == [f"{PREFIX}/orders/d=2026-01-0{day}/0_0_0.parquet" for day in (1, 2, 3)]
    assert {s3.parquet(key).metadata.row_group(0).column(0).compression for key in keys} == {"ZSTD"}
    deleted = f"delete from {SCHEMA}.orders where id in (select id from {SCHEMA}.news where status = 'open')"
    assert dremio.rows(deleted) == [{"Records": 1}]
    assert s3.keys(f"{PREFIX}/orders/") == keys[:2]


def test_a_merge_that_matches_a_row_twice_changes_nothing(dremio):
    dremio.rows(f"create table {SCHEMA}.once as select 1 as id, 'a' as name")
    words = dremio.error(
        f"merge into {SCHEMA}.once as t using "
        "(select 1 as id, 'b' as name union all select 1, 'c') as s on (t.id = s.id) "
        "when matched then update set name = s.name"
    )
    assert "matched more than once" in words
    assert dremio.rows(f"select name from {SCHEMA}.once") == [{"name": "a"}]


def test_columns_come_and_go(dremio):
    dremio.rows(f"create table {SCHEMA}.columns_ as select 1 as a, 'x' as b")
    dremio.rows(f"alter table {SCHEMA}.columns_ add columns (c decimal(10,2), d varchar)")
    dremio.rows(f"insert into {SCHEMA}.columns_(c, a) values (1.5, 2)")
    dremio.rows(f"alter table {SCHEMA}.columns_ drop column b")
    assert dremio.rows(f"select * from {SCHEMA}.columns_ order by a") == [
        {"a": 1, "c": None, "d": None},
        {"a": 2, "c": "1.50", "d": None},
    ]
    assert "Column 'nope' not found" in dremio.error(f"insert into {SCHEMA}.columns_(nope) values (1)")
    assert "does not match" in dremio.error(f"insert into {SCHEMA}.columns_(a) values (1, 2)")


def test_create_insert_truncate_and_drop_without_query(dremio, s3):
    dremio.rows(f"create table if not exists {SCHEMA}.empty_ (a bigint, b varchar(10), c timestamp)")
    assert dremio.rows(f"select * from {SCHEMA}.empty_") == []
    assert dremio.rows(f"insert into {SCHEMA}.empty_ values (1, 'x', timestamp '2026-01-01 00:00:00.5')") == [
        {"Records": 1}
    ]
    assert dremio.rows(f"select * from {SCHEMA}.empty_") == [{"a": 1, "b": "x", "c": "2026-01-01 00:00:00.500"}]
    assert dremio.rows(f"create table if not exists {SCHEMA}.empty_ (a bigint)")[0]["ok"] is False
    assert "already exists" in dremio.error(f"create table {SCHEMA}.empty_ as select 1 as a")
    dremio.rows(f"truncate table {SCHEMA}.empty_")
    assert s3.keys(f"{PREFIX}/empty_/") == []
    dremio.rows(f"drop table {SCHEMA}.empty_")
    assert "does not exist" in dremio.error(f"drop table {SCHEMA}.empty_")


def test_somebody_elses_objects_are_not_overwritten(dremio, s3):
    s3.put(f"{PREFIX}/foreign/0_0_0.parquet", b"not mine")
    assert "is not empty" in dremio.error(
        f"create table {SCHEMA}.foreign_ as select 1 as a".replace("foreign_", '"foreign"')
    )
    assert s3.client.get_object(Bucket="datalake", Key=f"{PREFIX}/foreign/0_0_0.parquet")["Body"].read() == b"not mine"


def test_a_failing_query_leaves_no_table_and_no_object(dremio, s3):
    assert "divide by zero" in dremio.error(f"create table {SCHEMA}.failing as select 1 / (n - 29) as a from {DAYS} x")
    assert s3.keys(f"{PREFIX}/failing/") == []
    assert "not found" in dremio.error(f"select * from {SCHEMA}.failing")


def test_readers_see_the_old_rows_or_the_new_ones(dremio):
    dremio.rows(f"create table {SCHEMA}.balance partition by (k) as select 0 as k, 100 as v union all select 1, 0")
    sums, stop = set(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            sums.add(dremio.rows(f"select sum(v) as s from {SCHEMA}.balance")[0]["s"])

    readers = [threading.Thread(target=watch) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(8):
        dremio.rows(f"update {SCHEMA}.balance set v = 100 - v where k >= 0")
    stop.set()
    for reader in readers:
        reader.join()
    assert sums == {100}


def test_writers_do_not_lose_each_others_rows(dremio):
    dremio.rows(f"create table {SCHEMA}.shared (writer integer, n integer)")
    failures = []

    def write(number: int) -> None:
        for n in range(4):
            job = dremio.job(f"insert into {SCHEMA}.shared values ({number}, {n})")
            if job["jobState"] != "COMPLETED":
                failures.append(job["errorMessage"])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert dremio.rows(f"select count(*) as c, count(distinct writer) as w from {SCHEMA}.shared") == [{"c": 16, "w": 4}]


def test_row_groups_hold_a_million_rows_at_most(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    from sandbox.dremio.writer import ROWS_PER_GROUP, TableWriter

    schema = pa.schema([("n", pa.int64())])
    batch = pa.record_batch([pa.array(range(300_000), pa.int64())], schema=schema)
    with ThreadPoolExecutor(1) as pool:
        written = TableWriter(tmp_path / "out", schema, "snappy", pool).write(("", batch) for _ in range(5))
    (only,) = written
    metadata = pq.read_metadata(only.path)
    assert only.rows == metadata.num_rows == 1_500_000
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROWS_PER_GROUP, 500_000]


def test_what_a_statement_is_writing_or_deleting_is_not_promoted(dremio, s3):
    declared = {**s3.source("eager"), "metadataPolicy": {"autoPromoteDatasets": True}}
    assert dremio.http.post("/api/v3/catalog", json=declared).is_success
    table = "eager.datalake.tables.rebuilt"
    done = threading.Event()
    counts: set[int] = set()

    def read() -> None:
        while not done.is_set():
            job = dremio.job(f"select count(*) as n from {table}")
            if job["jobState"] == "COMPLETED":
                answer = dremio.http.get(f"/api/v3/job/{job['id']}/results")
                counts.add(int(answer.json()["rows"][0]["n"]))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(6):
            dremio.rows(f"create table {table} partition by (n) as select n from {DAYS} x")
            dremio.rows(f"drop table {table}")
    finally:
        done.set()
        reader.join()
    assert counts <= {30}
