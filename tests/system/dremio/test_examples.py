"""The example DAGs of the documentation run against a running Dremio, twice: the second time nothing is new."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from dremio_provider.hooks.dremio import DremioHook

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.providers.dremio.real import RealDremio, running_dremio

FOLDER = Path(__file__).parent
EXAMPLES = sorted(path.stem for path in FOLDER.glob("example_*.py"))


@pytest.fixture(scope="module")
def dremio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealDremio]:
    with running_dremio(tmp_path_factory.mktemp("dremio")) as running:
        yield running


@pytest.fixture(scope="module")
def store(dremio: RealDremio) -> Any:
    """The object store, with the files that the first example makes a table of."""
    address = dremio.s3_address
    client = boto3.client(
        "s3",
        endpoint_url=address if "://" in address else f"http://{address}",
        aws_access_key_id=dremio.s3_key,
        aws_secret_access_key=dremio.s3_secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    orders = pa.table({"order_id": [1, 2], "status": ["paid", "open"], "amount": [10.0, 20.0]})
    for day in ("2026-11-01", "2026-11-02"):
        sink = io.BytesIO()
        pq.write_table(orders, sink)
        key = f"example_orders/day={day}/data.parquet"
        client.put_object(Bucket=dremio.bucket, Key=key, Body=sink.getvalue())
    return client


@pytest.fixture(scope="module")
def environment(dremio: RealDremio, store: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    extra = {
        "endpoint_url": store.meta.endpoint_url,
        "dremio_endpoint": store.meta.endpoint_url.partition("://")[2],
        "region_name": "us-east-1",
    }
    lake = {"conn_type": "aws", "login": dremio.s3_key, "password": dremio.s3_secret, "extra": extra}
    home = tmp_path_factory.mktemp("airflow")
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_DREMIO_DEFAULT": json.dumps(dremio.connection),
        "AIRFLOW_CONN_LAKE_S3": json.dumps(lake),
    }


@pytest.fixture(scope="module")
def first(environment: dict[str, str]) -> dict[str, dict[str, str]]:
    return run(environment)


def run(environment: dict[str, str]) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run_examples.py")],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    secret = json.loads(environment["AIRFLOW_CONN_LAKE_S3"])["password"]
    password = json.loads(environment["AIRFLOW_CONN_DREMIO_DEFAULT"])["password"]
    for hidden in (secret, password):
        assert hidden not in done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, first: dict[str, dict[str, str]]) -> None:
    assert first[name]
    skipped = {task for task, state in first[name].items() if state == "skipped"}
    assert {state for task, state in first[name].items() if task not in skipped} == {"success"}, first[name]
    # The sandbox is of the community edition, which has no grants.
    assert skipped <= {"apply_grants"}


def test_what_the_examples_made_is_there(
    first: dict[str, dict[str, str]], environment: dict[str, str], store: Any, dremio: RealDremio,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", environment["AIRFLOW_CONN_DREMIO_DEFAULT"])
    with DremioHook() as hook:
        sql = "SELECT status, SUM(amount) AS total FROM example_speed.sales GROUP BY status"
        assert {row["status"]: int(row["total"]) for row in hook.execute_sql(sql).rows} == {"paid": 30, "open": 120}
        assert {r["name"] for r in hook.list_reflections("example_speed.sales")} == {"sales_by_status", "sales_detail"}
        rows = hook.execute_sql("SELECT order_day FROM example_gold.daily.orders").rows
        assert sorted(row["order_day"] for row in rows) == ["day=2026-11-01"] * 2 + ["day=2026-11-02"] * 2
    body = store.get_object(Bucket=dremio.bucket, Key="exports/example_dremio_to_s3/_manifest.json")["Body"].read()
    assert json.loads(body)["rows"] == 2


def test_running_the_examples_again_changes_nothing_that_is_as_declared(
    first: dict[str, dict[str, str]], environment: dict[str, str]
) -> None:
    assert run(environment) == first


def test_a_dag_processor_reads_them_without_a_dremio() -> None:
    for name in EXAMPLES:
        spec = importlib.util.spec_from_file_location(f"parsed_{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.dag.dag_id == name
        assert module.dag.doc_md
