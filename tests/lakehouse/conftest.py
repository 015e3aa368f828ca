"""Servers for the lakehouse tests: a real S3 server, a real PostgreSQL, and Airflow connections to them."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lakehouse.lake import Lake

from .servers import free_offset, free_port, postgres, running, sandbox

ACCESS_KEY, SECRET_KEY = "lakehouse-tests", "not-a-secret-of-anything"


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    executable = shutil.which("rclone") or str(Path(os.sys.executable).with_name("rclone"))
    port = free_port()
    command = [executable, "serve", "s3", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--addr", f"127.0.0.1:{port}"]
    command += ["--config", os.devnull, str(tmp_path_factory.mktemp("s3"))]
    with running(command, port):
        yield f"http://127.0.0.1:{port}"


def lake_connection(endpoint: str, bucket: str) -> str:
    """The Airflow connection of one bucket, as AIRFLOW_CONN_LAKE_S3 holds it."""
    checksums = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    return json.dumps(
        {
            "conn_type": "aws",
            "login": ACCESS_KEY,
            "password": SECRET_KEY,
            "extra": {
                "endpoint_url": endpoint,
                "region_name": "us-east-1",
                "service_config": {"s3": {"bucket_name": bucket}},
                "config_kwargs": {"s3": {"addressing_style": "path"}, **checksums},
            },
        }
    )


@pytest.fixture(scope="session")
def lake_client(s3_endpoint: str) -> Any:
    """The client that the Airflow connection gives; made once, because boto3 takes its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_LAKE_S3", lake_connection(s3_endpoint, "unused"))
        return Lake.from_connection()._client


@pytest.fixture
def lake(s3_endpoint: str, fresh_lake: Callable[[], Lake], monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty bucket, and the Airflow connection lake_s3 to it."""
    made = fresh_lake()
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_S3", lake_connection(s3_endpoint, made.bucket))
    return made


@pytest.fixture(scope="session")
def fresh_lake(lake_client: Any) -> Callable[[], Lake]:
    """Makes empty buckets, as many as one likes."""

    def make() -> Lake:
        bucket = f"lake-{uuid.uuid4().hex[:12]}"
        lake_client.create_bucket(Bucket=bucket)
        return Lake(lake_client, bucket)

    return make


@dataclass(frozen=True)
class Platform:
    """The servers behind the platform, and the Airflow connections to them."""

    postgres_port: int
    offset: int
    connections: dict[str, str]
    lake: Lake

    def dsn(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.postgres_port}/{database}"


SHOP = """
    CREATE TABLE customers (customer_id bigint, name text, email text, phone text, address text, city text, state text,
        zip_code text, created_at timestamp, updated_at timestamp);
    CREATE TABLE products (product_id bigint, name text, brand text, category text, price numeric(12,2),
        created_at timestamp, updated_at timestamp);
    CREATE TABLE orders (order_id bigint, customer_id bigint, order_date date, amount numeric(12,2), status text,
        updated_at timestamp);
    CREATE TABLE order_items (order_id bigint, line_number integer, product_id bigint, quantity integer,
        unit_price numeric(12,2), discount numeric(4,2), amount numeric(12,2), updated_at timestamp);
    INSERT INTO customers SELECT n, ' Customer ' || n, n || '@example.org', '1', 'a', 'c', 'CA', '9', now(), now()
        FROM generate_series(1, 20) n;
    INSERT INTO products SELECT n, 'Product ' || n, 'b', 'c', n + 0.99, now(), now() FROM generate_series(1, 10) n;
    INSERT INTO orders SELECT n, n % 20, date '2026-01-01' + n % 300, n + 0.01, 'completed',
        timestamp '2026-01-01' + n * interval '1 hour' FROM generate_series(1, 200) n;
    INSERT INTO order_items SELECT n, line, n % 10, 1, 1.5, 0.05, 1.42, timestamp '2026-01-01' + n * interval '1 hour'
        FROM generate_series(1, 200) n, generate_series(1, 3) line;
"""


@pytest.fixture(scope="session")
def platform_servers(lake_client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """PostgreSQL with a small shop, Elasticsearch, Airbyte and the payment provider; port and offset."""
    import psycopg2
    import pyarrow as pa
    import pyarrow.parquet as pq

    var = tmp_path_factory.mktemp("var")
    (var / "shop").mkdir()
    payments = [
        {
            "payment_id": f"pay_{number:08d}",
            "order_id": number * 10,
            "amount": Decimal(number) / 4,
            "currency": "USD",
            "method": "card",
            "status": "captured",
            "created_at": datetime(2026, 10, 31, 12, number),
        }
        for number in range(1, 21)
    ]
    texts = [(name, pa.string()) for name in ("currency", "method", "status")]
    keys = [("payment_id", pa.string()), ("order_id", pa.int64()), ("amount", pa.decimal128(12, 2))]
    schema = pa.schema([*keys, *texts, ("created_at", pa.timestamp("us"))])
    pq.write_table(pa.Table.from_pylist(payments, schema=schema), var / "shop" / "payments.parquet")
    lake_client.create_bucket(Bucket="dropzone")
    header = "return_id,order_id,returned_at,reason,refund_amount\n"
    for number in (1, 2):
        body = header + f"RET-{number},{number},2026-10-31 12:00:00,broken,12.5\n"
        lake_client.put_object(Bucket="dropzone", Key=f"returns/batch_00{number}.csv", Body=body.encode())
    offset = free_offset()
    environment = {
        "SANDBOX_PORT_OFFSET": str(offset),
        "SANDBOX_VAR": str(var),
        "AIRBYTE_CLIENT_ID": "client",
        "AIRBYTE_CLIENT_SECRET": "client-secret",
        "PAYMENT_PROVIDER_TOKEN": "provider-token",
    }
    with ExitStack() as stack:
        port = stack.enter_context(postgres(["shop", "platform"]))
        for name in ("elasticsearch", "airbyte", "payment_provider"):
            stack.enter_context(sandbox(name, offset, environment))
        connection = psycopg2.connect(host="127.0.0.1", port=port, dbname="shop", user="postgres")
        with connection, connection.cursor() as cursor:
            cursor.execute(SHOP)
        connection.close()
        yield port, offset


@pytest.fixture
def platform(platform_servers: tuple[int, int], lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The running platform, with Airflow connections to it and an empty bucket."""
    port, offset = platform_servers
    local = "127.0.0.1"
    root = f"http://{local}:{8000 + offset}"
    connections: dict[str, dict[str, Any]] = {
        "airbyte_default": {"conn_type": "airbyte", "host": f"{root}/api/public/v1", "login": "client"},
        "airbyte_config": {"conn_type": "http", "host": f"http://{local}:{8001 + offset}"},
        "elasticsearch_default": {"conn_type": "elasticsearch", "host": local, "port": 9200 + offset, "schema": "http"},
        "metadata_postgres": {"conn_type": "postgres", "host": local, "port": port, "schema": "platform"},
        "shop_postgres": {"conn_type": "postgres", "host": local, "port": port, "schema": "shop"},
        "payment_provider": {"conn_type": "http", "host": f"http://{local}:{8070 + offset}"},
    }
    connections["airbyte_default"]["password"] = "client-secret"
    connections["payment_provider"]["password"] = "provider-token"
    for name in ("metadata_postgres", "shop_postgres"):
        connections[name] |= {"login": "postgres", "password": "trusted-anyway"}
    texts = {name: json.dumps(value) for name, value in connections.items()}
    for name, text in texts.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", text)
    return Platform(port, offset, texts, lake)
