"""The ways from a PostgreSQL table to Parquet that ``postgres_to_parquet.py`` compares, each in a process of its own.

``python parquet_contenders.py <name> <dsn> <directory>`` copies the table ``sales`` and prints what it took as JSON.
The clock starts after the imports.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil

TABLE = "sales"
GROUP_ROWS = 1_000_000
REPOSITORY = Path(__file__).resolve().parent.parent


def source_postgres(dsn: str, out: Path) -> Callable[[], None]:
    """The sandbox's source-postgres, its batches written as they come."""
    import pyarrow.parquet as pq

    source, stream = _source(dsn)
    from sandbox.airbyte.connectors.part_writers import encodings

    def run() -> None:
        writer = None
        for batch in source.read(stream, None, lambda *_: None).batches():
            if writer is None:
                options = {"compression": "snappy", **encodings(batch)}
                writer = pq.ParquetWriter(out / "sales.parquet", batch.schema, **options)
            writer.write_batch(batch, row_group_size=GROUP_ROWS)
        writer.close()

    return run


def whole_sync(dsn: str, out: Path) -> Callable[[], None]:
    """The sandbox's source-postgres into destination-s3's files: the same with Airbyte's four columns, ids included."""
    source, stream = _source(dsn)
    from sandbox.airbyte.connectors.part_writers import ParquetWriter

    def run() -> None:
        writer = ParquetWriter({"format_type": "Parquet", "compression_codec": "SNAPPY"}, stream.stream, 1, 1)
        writer.open(out / "sales.parquet")
        for batch in source.read(stream, None, lambda *_: None).batches():
            writer.write(batch)
        writer.close()

    return run


def copy_csv(dsn: str, out: Path) -> Callable[[], None]:
    """COPY as CSV, parsed by pyarrow with the types given by hand."""
    import psycopg
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    money = pa.decimal128(12, 2)
    types = {
        "id": pa.int64(), "customer_id": pa.int32(), "product_id": pa.int32(), "quantity": pa.int16(),
        "amount": money, "discount": money, "day": pa.date32(), "sold_at": pa.timestamp("us"),
        "updated_at": pa.timestamp("us", tz="UTC"), "paid": pa.bool_(), "status": pa.string(), "note": pa.string(),
    }  # fmt: skip
    sys.path.insert(0, str(REPOSITORY))
    from sandbox.airbyte.connectors.postgres_cdc.snapshot import _CopyFile

    def run() -> None:
        options = pa_csv.ConvertOptions(column_types=types, true_values=["t"], false_values=["f"])
        read = pa_csv.ReadOptions(column_names=list(types), block_size=4 << 20)
        with (
            psycopg.connect(dsn, options="-c timezone=UTC") as session,
            session.cursor() as cursor,
            cursor.copy(f"copy {TABLE} to stdout (format csv)") as copy,
            pa_csv.open_csv(_CopyFile(copy), read_options=read, convert_options=options) as batches,
            pq.ParquetWriter(out / "sales.parquet", pa.schema(types), compression="snappy") as writer,
        ):
            for batch in batches:
                writer.write_batch(batch, row_group_size=GROUP_ROWS)

    return run


def duckdb_scanner(dsn: str, out: Path) -> Callable[[], None]:
    """DuckDB's postgres extension."""
    import duckdb
    import duckdb_extension_postgres_scanner as package

    (extension,) = Path(package.__file__).parent.rglob("postgres_scanner.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"load '{extension}'")
    connection.execute(f"attach '{dsn}' as shop (type postgres, read_only)")

    def run() -> None:
        target = out / "sales.parquet"
        connection.execute(f"copy shop.public.{TABLE} to '{target}' (format parquet, compression snappy)")

    return run


def connectorx_stream(dsn: str, out: Path) -> Callable[[], None]:
    """connectorx, one stream of Arrow batches."""
    import connectorx
    import pyarrow.parquet as pq

    def run() -> None:
        batches = connectorx.read_sql(dsn, f"select * from {TABLE}", return_type="arrow_stream", batch_size=100_000)
        with pq.ParquetWriter(out / "sales.parquet", batches.schema, compression="snappy") as writer:
            for batch in batches:
                writer.write_batch(batch, row_group_size=GROUP_ROWS)

    return run


def dlt_connectorx(dsn: str, out: Path) -> Callable[[], None]:
    """dlt's sql_database with its connectorx backend, streaming."""
    return _dlt(dsn, out, "connectorx", {"return_type": "arrow_stream", "batch_size": 100_000})


def dlt_pyarrow(dsn: str, out: Path) -> Callable[[], None]:
    """dlt's sql_database with its pyarrow backend."""
    return _dlt(dsn, out, "pyarrow", {})


def _dlt(dsn: str, out: Path, backend: str, backend_kwargs: dict[str, object]) -> Callable[[], None]:
    import os

    os.environ.update(
        {
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "DATA_WRITER__DISABLE_COMPRESSION": "true",
            "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
        }
    )
    import dlt
    from dlt.sources.sql_database import sql_table

    def run() -> None:
        table = sql_table(
            dsn, table=TABLE, backend=backend, chunk_size=100_000, backend_kwargs=backend_kwargs,
            reflection_level="full_with_precision",
        )  # fmt: skip
        destination = dlt.destinations.filesystem(out.as_uri())
        pipeline = dlt.pipeline("sales", pipelines_dir=str(out / "state"), destination=destination, dataset_name="out")
        pipeline.run(table, loader_file_format="parquet").raise_on_failed_jobs()

    return run


def _source(dsn: str):  # type: ignore[no-untyped-def]  # the sandbox is imported here only
    sys.path.insert(0, str(REPOSITORY))
    from psycopg import sql

    from sandbox.airbyte.connectors.base import ConfiguredStream
    from sandbox.airbyte.connectors.postgres import PostgresSource

    at = urlsplit(dsn)
    source = PostgresSource(
        {
            "host": at.hostname,
            "port": at.port,
            "database": at.path[1:],
            "username": at.username,
            "password": at.password,
            "ssl_mode": {"mode": "disable"},
        }
    )
    (stream,) = [stream for stream in source.discover() if stream.name == TABLE]
    configured = ConfiguredStream(stream, incremental=False, overwrite=True)
    # The server from which readers are forked loads its libraries, as the imports of the others do.
    list(source.read(configured, None, lambda *_: None).ordered(sql.SQL("limit 0")))
    return source, configured


def main() -> None:
    """Run one contender and print seconds and processor seconds, those of its processes included."""
    name, dsn, directory = sys.argv[1:]
    run = globals()[name](dsn, Path(directory))
    began, before = time.perf_counter(), _cpu_seconds()
    run()
    seconds, after = time.perf_counter() - began, _cpu_seconds()
    print(json.dumps({"seconds": seconds, "cpu_seconds": after - before}))


def _cpu_seconds() -> float:
    """Return the processor time of this process and those below it, those that have ended as well."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


if __name__ == "__main__":
    main()
