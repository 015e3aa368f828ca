"""Every command of the architecture document, run against the platform as it is written there.

Only ports and credentials are put in; where the document's text cannot work as written, the test says what it takes.
"""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import suppress

import httpx
import pytest
from pyarrow import flight

from .conftest import REPOSITORY, make_environment


def curl(platform, command: str) -> dict:
    """Run a curl command of the document, its ports moved to where this platform listens."""
    for port, name in (("8001", "AIRBYTE_CONFIG_URL"), ("9047", "DREMIO_URL"), ("9200", "ELASTICSEARCH_URL")):
        command = command.replace(f"http://localhost:{port}", platform[name])
        command = command.replace(f'"localhost:{port}', f'"{platform[name]}')
    done = subprocess.run(["bash", "-c", command + " -sS"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_airbyte_sync_and_job_status(platform):
    connection = platform["AIRBYTE_CONNECTION_ORDERS"]
    started = curl(
        platform,
        f"""curl -X POST http://localhost:8001/api/v1/connections/sync \\
  -H "Content-Type: application/json" \\
  -d '{{
    "connectionId": "{connection}"
  }}'""",
    )
    job = started["job"]["id"]
    deadline = time.monotonic() + 60
    while True:
        status = curl(
            platform,
            f"""curl -X POST http://localhost:8001/api/v1/jobs/get \\
  -H "Content-Type: application/json" \\
  -d '{{
    "id": {job}
  }}'""",
        )
        assert status["job"]["configId"] == connection
        if status["job"]["status"] not in {"pending", "running"}:
            break
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert status["job"]["status"] == "succeeded"
    assert status["attempts"][-1]["attempt"]["status"] == "succeeded"


def test_elasticsearch_pipeline_search(platform):
    answer = curl(
        platform,
        """curl -X GET "localhost:9200/airbyte-logs-*/_search" \\
  -H 'Content-Type: application/json' \\
  -d '{
    "query": {
      "bool": {
        "filter": [
          {"range": {"timestamp": {"gte": "now-1h"}}},
          {"term": {"level": "ERROR"}}
        ]
      }
    },
    "aggs": {
      "by_service": {
        "terms": {"field": "service"}
      }
    }
  }'""",
    )
    assert answer["timed_out"] is False
    assert answer["hits"]["total"]["relation"] == "eq"
    buckets = answer["aggregations"]["by_service"]["buckets"]
    assert sum(bucket["doc_count"] for bucket in buckets) == answer["hits"]["total"]["value"]


def test_arrow_flight_client(platform):
    client = flight.FlightClient(platform["DREMIO_FLIGHT"])
    # The document drops what this call returns; it is a pair, and every later call needs it as a header.
    token = client.authenticate_basic_token(platform["DREMIO_USER"], platform["DREMIO_PASSWORD"])
    options = flight.FlightCallOptions(headers=[token])
    descriptor = flight.FlightDescriptor.for_command(b"SELECT * FROM gold.customer_metrics LIMIT 1000")
    flight_info = client.get_flight_info(descriptor, options)
    reader = client.do_get(flight_info.endpoints[0].ticket, options)
    table = reader.read_all()
    assert 0 < table.num_rows <= 1000
    assert len(table.to_pandas()) == table.num_rows
    with pytest.raises(flight.FlightUnauthenticatedError):
        flight.FlightClient(platform["DREMIO_FLIGHT"]).authenticate_basic_token(platform["DREMIO_USER"], "wrong")


def dremio_token(platform) -> str:
    login = {"userName": platform["DREMIO_USER"], "password": platform["DREMIO_PASSWORD"]}
    return (
        httpx.post(f"{platform['DREMIO_URL']}/apiv2/login", json=login, timeout=10).raise_for_status().json()["token"]
    )


def test_dremio_rest_sql(platform):
    answer = curl(
        platform,
        f"""TOKEN={dremio_token(platform)}; curl -X POST http://localhost:9047/api/v3/sql \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{{
    "sql": "SELECT COUNT(*) FROM gold.customers"
  }}'""",
    )
    assert answer["id"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT order_date, SUM(amount) as daily_revenue FROM gold.fct_daily_revenue "
        "WHERE order_date >= CURRENT_DATE - INTERVAL '30 days' GROUP BY order_date ORDER BY order_date",
        "SELECT * FROM gold.orders WHERE order_date >= '2025-10-01' AND order_date < '2025-11-01'",
        "SELECT order_id, amount FROM gold.orders LIMIT 1000",
        "SELECT * FROM gold.customers WHERE state = 'CA' AND lifetime_value > 1000",
    ],
)
def test_query_examples(platform, sql):
    assert isinstance(platform.dremio(sql), list)


def test_superset_runs_the_dashboard_query_on_dremio(platform):
    """The document asks Superset's own metadata database; the chart's database is reached through SQL Lab."""
    with httpx.Client(base_url=platform["SUPERSET_URL"], timeout=60) as client:
        login = {"username": platform["SUPERSET_USER"], "password": platform["SUPERSET_PASSWORD"], "provider": "db"}
        token = client.post("/api/v1/security/login", json=login).raise_for_status().json()["access_token"]
        client.headers.update({"Authorization": f"Bearer {token}", "Accept": "application/json"})
        client.headers["X-CSRFToken"] = client.get("/api/v1/security/csrf_token/").raise_for_status().json()["result"]
        databases = client.get("/api/v1/database/").raise_for_status().json()["result"]
        dremio = next(entry["id"] for entry in databases if "dremio" in entry["database_name"].lower())
        query = """
SELECT
    order_date,
    SUM(amount) as daily_revenue
FROM gold.fct_daily_revenue
WHERE order_date >= CURRENT_DATE - INTERVAL '365' DAY
GROUP BY order_date
ORDER BY order_date
"""
        answer = client.post("/api/v1/sqllab/execute/", json={"database_id": dremio, "sql": query, "runAsync": False})
        assert answer.status_code == 200, answer.text
        assert {column["name"] for column in answer.json()["columns"]} == {"order_date", "daily_revenue"}
        assert answer.json()["data"]


def test_reflection_sql_corrected(platform):
    """`CREATE REFLECTION .. ON .. USING MEASURES (SUM(amount))` is not Dremio's grammar; this is."""
    statements = [
        "ALTER VIEW bronze.customers CREATE RAW REFLECTION doc_raw_customers "
        "USING DISPLAY (customer_id, name, email, created_at)",
        "ALTER VIEW gold.orders CREATE AGGREGATE REFLECTION doc_agg_daily_revenue USING DIMENSIONS (order_date) "
        "MEASURES (amount (SUM, COUNT))",
    ]
    try:
        for statement in statements:
            platform.dremio(statement)
        names = {row["reflection_name"] for row in platform.dremio("SELECT reflection_name FROM sys.reflections")}
        assert {"doc_raw_customers", "doc_agg_daily_revenue"} <= names
    finally:
        for view, name in (("bronze.customers", "doc_raw_customers"), ("gold.orders", "doc_agg_daily_revenue")):
            with suppress(AssertionError):
                platform.dremio(f"ALTER VIEW {view} DROP REFLECTION {name}")


def dbt_environment(platform) -> dict[str, str]:
    return make_environment(platform.var) | platform.environment


@pytest.mark.parametrize(
    "command",
    [
        "run --select staging",
        "test --select staging",
        "run --select intermediate",
        "test --select intermediate",
        "run --select marts",
        "test --select marts",
        "docs generate",
    ],
)
def test_dbt_commands(platform, command):
    done = subprocess.run(
        [str(REPOSITORY / ".venv/dbt/bin/dbt"), *command.split()],
        cwd=REPOSITORY / "dbt",
        env=dbt_environment(platform),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_dbt_docs_serve(platform):
    port = 8085 + 500
    server = subprocess.Popen(
        [
            str(REPOSITORY / ".venv/dbt/bin/dbt"),
            "docs",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-browser",
        ],
        cwd=REPOSITORY / "dbt",
        env=dbt_environment(platform),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(httpx.HTTPError):
                assert "dbt" in httpx.get(f"http://127.0.0.1:{port}/", timeout=5).text.lower()
                break
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.3)
    finally:
        server.terminate()
        server.wait(timeout=20)
