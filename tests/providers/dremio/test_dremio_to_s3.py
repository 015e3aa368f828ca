"""Flight to Parquet on S3: what arrives, when it can be seen, and how much memory it takes."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dremio_provider.exceptions import DremioConfigurationError, DremioError, DremioTransientError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.transfers.dremio_to_s3 import DremioToS3Operator
from dremio_provider.transfers.s3_objects import ResultObjects

from tests.providers.dremio.real import RealDremio

ROWS = 100_000
# Prints by how much a transfer made this process grow, in bytes, beyond what a small one needs.
MEMORY = """
import json, resource, sys
from pathlib import Path

def now():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

import pyarrow, pyarrow.flight, pyarrow.parquet
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from dremio_provider.transfers.dremio_to_s3 import DremioToS3Operator

def run(sql, prefix):
    task = DremioToS3Operator(task_id="transfer", sql=sql, s3_bucket=sys.argv[1], s3_prefix=prefix,
                              row_group_bytes=4 << 20, compression="none", max_bytes_per_file=64 << 20)
    return task.execute({})

run(sys.argv[2] + " LIMIT 10", sys.argv[3] + "/warm")
before = now()
done = run(sys.argv[2], sys.argv[3] + "/large")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"growth": peak - before, "bytes": done["bytes"], "rows": done["rows"], "files": len(done["files"])}))
"""


@pytest.fixture
def s3(real_dremio: RealDremio, monkeypatch: pytest.MonkeyPatch) -> Any:
    """boto3's client as Airflow's own connection makes it."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    address = real_dremio.s3_address
    extra = {"endpoint_url": address if "://" in address else f"http://{address}", "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": real_dremio.s3_key, "password": real_dremio.s3_secret, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    return S3Hook("aws_default").get_conn()


@pytest.fixture(scope="module")
def numbers(real_hook: DremioHook, real_dremio: RealDremio) -> Iterator[str]:
    """A query with a known result of ROWS rows."""
    name = f"numbers_{secrets.token_hex(4)}"
    source = real_hook.create_catalog_entity(real_dremio.source(name))
    digits = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))"
    letters = "abcde"
    joined = ", ".join(f"{digits} AS {letter} (n)" for letter in letters)
    value = " + ".join(f"{letter}.n * {10**power}" for power, letter in enumerate(letters))
    table = f'"{name}"."{real_dremio.bucket}"."numbers_{name}"'
    real_hook.run_sql(f"CREATE TABLE {table} AS SELECT {value} AS n, 'row ' || ({value}) AS label FROM {joined}")
    yield f"SELECT n, label FROM {table}"
    real_hook.run_sql(f"DROP TABLE {table}")
    real_hook.delete_catalog_entity(source["id"])


@pytest.fixture
def prefix() -> str:
    return f"results/{secrets.token_hex(4)}"


def transfer(bucket: str, prefix: str, sql: str, **arguments: Any) -> dict[str, Any]:
    task = DremioToS3Operator(task_id="transfer", sql=sql, s3_bucket=bucket, s3_prefix=prefix, **arguments)
    return task.execute({})  # type: ignore[arg-type,no-any-return]


def keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    return sorted(entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []))


def uploads(s3: Any, bucket: str, prefix: str) -> list[str]:
    """Keys of what has been begun and neither completed nor thrown away."""
    try:
        return [entry["Key"] for entry in s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])]
    except s3.exceptions.NoSuchUpload:
        return []


def read(s3: Any, bucket: str, key: str) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))


def manifest(s3: Any, bucket: str, prefix: str) -> dict[str, Any]:
    body = s3.get_object(Bucket=bucket, Key=f"{prefix}/_manifest.json")["Body"].read()
    return dict(json.loads(body))


def test_every_row_arrives_once(s3: Any, real_dremio: RealDremio, numbers: str, prefix: str) -> None:
    bucket = real_dremio.bucket
    done = transfer(bucket, f"/{prefix}/", numbers, max_rows_per_file=30_000, row_group_rows=12_000)
    assert done["rows"] == ROWS
    assert keys(s3, bucket, prefix) == sorted([*done["files"], done["manifest"]])
    files = [read(s3, bucket, key) for key in done["files"]]
    assert [file.metadata.num_rows for file in files] == [30_000, 30_000, 30_000, 10_000]
    groups = [files[0].metadata.row_group(number) for number in range(files[0].metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [12_000, 12_000, 6_000]
    assert groups[0].column(0).compression == "ZSTD"
    table = pa.concat_tables(file.read() for file in files)
    assert sorted(table["n"].to_pylist()) == list(range(ROWS))
    assert table["label"][5].as_py() == f"row {table['n'][5].as_py()}"
    told = manifest(s3, bucket, prefix)
    assert [file["key"] for file in told["files"]] == done["files"]
    assert sum(file["bytes"] for file in told["files"]) == done["bytes"]


def test_files_are_split_by_bytes(s3: Any, real_dremio: RealDremio, numbers: str, prefix: str) -> None:
    limit = 400_000
    done = transfer(
        real_dremio.bucket, prefix, numbers, max_bytes_per_file=limit, row_group_rows=10_000, compression="none"
    )
    sizes = [file["bytes"] for file in manifest(s3, real_dremio.bucket, prefix)["files"]]
    assert len(sizes) > 2
    assert all(limit <= size < 2 * limit for size in sizes[:-1])
    assert done["rows"] == ROWS


def test_an_empty_result_is_a_table_without_rows(s3: Any, real_dremio: RealDremio, numbers: str, prefix: str) -> None:
    done = transfer(real_dremio.bucket, prefix, f"{numbers} WHERE n < 0")
    assert done["rows"] == 0
    [key] = done["files"]
    assert read(s3, real_dremio.bucket, key).schema_arrow.names == ["n", "label"]


def test_running_it_again_replaces_the_result_and_nothing_else(
    s3: Any, real_dremio: RealDremio, numbers: str, prefix: str
) -> None:
    bucket = real_dremio.bucket
    s3.put_object(Bucket=bucket, Key=f"{prefix}/notes.txt", Body=b"not ours")
    s3.put_object(Bucket=bucket, Key=f"{prefix}/deeper/result-{'0' * 32}-00000.parquet", Body=b"of another result")
    first = transfer(bucket, prefix, numbers, max_rows_per_file=40_000)
    again = transfer(bucket, prefix, f"{numbers} WHERE n < 10")
    assert again["rows"] == 10
    left = keys(s3, bucket, prefix)
    assert not set(first["files"]) & set(left)
    assert set(left) == {
        *again["files"],
        again["manifest"],
        f"{prefix}/notes.txt",
        f"{prefix}/deeper/result-{'0' * 32}-00000.parquet",
    }


def broken(bucket: str, prefix: str, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when half of the rows have been written."""
    original = DremioHook.get_arrow_batches

    def half(self: DremioHook, *arguments: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in original(self, *arguments, **options):
            yield batch
            rows += batch.num_rows
            if rows >= ROWS // 2:
                raise DremioTransientError("The network went away.")

    with monkeypatch.context() as patch:
        patch.setattr(DremioHook, "get_arrow_batches", half)
        with pytest.raises(DremioTransientError):
            transfer(bucket, prefix, sql, row_group_rows=1_000, max_rows_per_file=20_000)


def test_a_failure_half_way_leaves_the_earlier_result(
    s3: Any, real_dremio: RealDremio, numbers: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = real_dremio.bucket
    broken(bucket, prefix, numbers, monkeypatch)
    assert keys(s3, bucket, prefix) == []
    transfer(bucket, prefix, numbers)
    before = {key: s3.head_object(Bucket=bucket, Key=key)["ETag"] for key in keys(s3, bucket, prefix)}
    broken(bucket, prefix, numbers, monkeypatch)
    assert {key: s3.head_object(Bucket=bucket, Key=key)["ETag"] for key in keys(s3, bucket, prefix)} == before
    assert uploads(s3, bucket, prefix) == []


def test_a_store_that_fails_while_files_appear_is_named_by_its_own_error(
    s3: Any, real_dremio: RealDremio, prefix: str
) -> None:
    """The second of two files is refused: its upload is thrown away, and the first one is no upload any more."""
    completed: list[str] = []

    def refuse_the_second(params: dict[str, Any], **_: Any) -> None:
        completed.append(params["url_path"])
        if len(completed) == 2:
            raise OSError("the disk of the store is full")

    def write() -> None:
        with ResultObjects(s3, real_dremio.bucket, prefix, 8 << 20) as result:
            for _ in range(2):
                file = result.new()
                file.write(b"rows")
                file.close()
            result.publish([])

    s3.meta.events.register("before-call.s3.CompleteMultipartUpload", refuse_the_second)
    with pytest.raises(OSError, match="the disk of the store is full"):
        write()
    s3.meta.events.unregister("before-call.s3.CompleteMultipartUpload", refuse_the_second)
    with ResultObjects(s3, real_dremio.bucket, prefix, 8 << 20) as result:
        result.publish([])
    assert uploads(s3, real_dremio.bucket, prefix) == []
    assert keys(s3, real_dremio.bucket, prefix) == [f"{prefix}/_manifest.json"]


def test_what_a_killed_worker_left_is_taken_away(
    s3: Any, real_dremio: RealDremio, numbers: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = real_dremio.bucket
    other = f"{prefix}/result-of-somebody-else.parquet"
    upload = s3.create_multipart_upload(Bucket=bucket, Key=other)
    with monkeypatch.context() as patch:
        # A worker that is gone aborts nothing.
        patch.setattr(ResultObjects, "__exit__", lambda *_: None)
        broken(bucket, prefix, numbers, monkeypatch)
    assert len(uploads(s3, bucket, prefix)) > 1
    transfer(bucket, prefix, numbers)
    assert uploads(s3, bucket, prefix) == [other]
    s3.abort_multipart_upload(Bucket=bucket, Key=other, UploadId=upload["UploadId"])


def test_killed_between_the_files_and_the_manifest_the_old_result_stands(
    s3: Any, real_dremio: RealDremio, numbers: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = real_dremio.bucket
    first = transfer(bucket, prefix, numbers)
    with monkeypatch.context() as patch:
        patch.setattr("json.dumps", lambda *_: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            transfer(bucket, prefix, f"{numbers} WHERE n < 10")
    assert [file["key"] for file in manifest(s3, bucket, prefix)["files"]] == first["files"]
    assert set(first["files"]) < set(keys(s3, bucket, prefix))
    again = transfer(bucket, prefix, f"{numbers} WHERE n < 10")
    assert keys(s3, bucket, prefix) == sorted([*again["files"], again["manifest"]])


def test_a_kill_ends_it(s3: Any, real_dremio: RealDremio, numbers: str, prefix: str) -> None:
    task = DremioToS3Operator(task_id="transfer", sql=numbers, s3_bucket=real_dremio.bucket, s3_prefix=prefix)
    task.on_kill()
    with pytest.raises(DremioTransientError, match="ended by a kill"):
        task.execute({})  # type: ignore[arg-type]
    assert keys(s3, real_dremio.bucket, prefix) == []


def test_a_wrong_query_writes_nothing(s3: Any, real_dremio: RealDremio, prefix: str, real_hook: DremioHook) -> None:
    with pytest.raises(DremioError, match="nowhere"):
        transfer(real_dremio.bucket, prefix, "SELECT * FROM nowhere")
    assert keys(s3, real_dremio.bucket, prefix) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"prefix": "/"}, "folder that belongs to this result"), ({"compression": "zip"}, "allowed are zstd, snappy")],
)
def test_arguments_are_checked_before_anything_is_sent(arguments: Any, said: str) -> None:
    prefix = arguments.pop("prefix", "results")
    with pytest.raises(DremioConfigurationError, match=said):
        transfer("bucket", prefix, "SELECT 1", **arguments)


def test_lineage_names_the_folder(s3: Any, real_dremio: RealDremio, numbers: str, prefix: str) -> None:
    task = DremioToS3Operator(task_id="transfer", sql=numbers, s3_bucket=real_dremio.bucket, s3_prefix=f"{prefix}/")
    assert task.get_openlineage_facets_on_complete(None).outputs == []
    task.execute({})  # type: ignore[arg-type]
    [output] = task.get_openlineage_facets_on_complete(None).outputs
    assert (output.namespace, output.name) == (f"s3://{real_dremio.bucket}", prefix)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_memory_does_not_grow_with_the_result(s3: Any, real_dremio: RealDremio, numbers: str, prefix: str) -> None:
    columns = "q.n, q.label, q.n * v.m AS product, q.label || ' again' AS other"

    def run(times: int) -> dict[str, int]:
        repeated = ", ".join(f"({number})" for number in range(times))
        sql = f"SELECT {columns} FROM ({numbers}) q, (VALUES {repeated}) AS v (m)"
        command = [sys.executable, "-c", MEMORY, real_dremio.bucket, sql, f"{prefix}/{times}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    small, large = run(10), run(60)
    assert (small["rows"], large["rows"]) == (ROWS * 10, ROWS * 60)
    assert large["bytes"] > 4 * small["bytes"]
    assert large["growth"] < 1.5 * small["growth"]
