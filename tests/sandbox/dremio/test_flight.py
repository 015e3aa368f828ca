"""Arrow Flight, as pyarrow and as sqlalchemy-dremio speak it."""

from __future__ import annotations

import json
import subprocess

import pyarrow as pa
import pytest
from pyarrow import flight

from tests.sandbox.dremio.services import PASSWORD, REPOSITORY, USER, read, wait_until

ALCHEMY = """
import json, sys
from sqlalchemy import create_engine, inspect
engine = create_engine(sys.argv[1])
with engine.connect() as connection:
    inspector = inspect(engine)
    query = '''SELECT DATE_TRUNC('month', "day") AS __timestamp, SUM(n) AS "SUM(n)", COUNT(*) AS "count"
        FROM (select * from "gold"."flight_view") AS virtual_table
        WHERE "day" >= TO_DATE('2026-01-01', 'YYYY-MM-DD')
        AND "day" < TO_TIMESTAMP('2027-01-01 00:00:00.000', 'YYYY-MM-DD HH24:MI:SS.FFF')
        GROUP BY DATE_TRUNC('month', "day") ORDER BY "SUM(n)" DESC LIMIT 10000'''
    print(json.dumps({
        "schemas": inspector.get_schema_names(),
        "tables": inspector.get_table_names("lake.datalake.flight"),
        "views": inspector.get_table_names("gold"),
        "columns": [(c["name"], str(c["type"])) for c in inspector.get_columns("types", "lake.datalake.flight")],
        "has": [engine.dialect.has_table(connection, name, "lake.datalake.flight") for name in ("types", "nope")],
        "chart": [[str(value) for value in row] for row in connection.execute(query)],
        "empty": connection.execute("SELECT i, s FROM types WHERE 1 = 0").fetchall(),
        "rows": [[str(value) for value in row] for row in connection.execute("SELECT i, b, f, d, t, s, dt FROM types")],
    }))
"""


@pytest.fixture(scope="module", autouse=True)
def data(dremio):
    dremio.rows(
        "create table lake.datalake.flight.types as select 1 as i, cast(2 as bigint) as b, cast(1.5 as double) as f, "
        "cast(2.5 as float) as f4, cast(3.25 as decimal(12,2)) as d, true as t, 'x' as s, date '2026-01-02' as dt, "
        "timestamp '2026-01-02 03:04:05.678' as ts, cast('01:02:03' as time) as tm"
    )
    dremio.rows(
        "create or replace view gold.flight_view as select * from "
        "(values (date '2026-01-02', 1), (date '2026-01-31', 2), "
        "(date '2026-02-01', 10)) as v(\"day\", n)"
    )


def test_the_architectures_client(dremio):
    client = flight.FlightClient(f"grpc://127.0.0.1:{dremio.flight_port}")
    token = client.authenticate_basic_token(USER, PASSWORD)
    options = flight.FlightCallOptions(headers=[token])
    descriptor = flight.FlightDescriptor.for_command(b"SELECT * FROM gold.flight_view LIMIT 1000")
    flight_info = client.get_flight_info(descriptor, options)
    reader = client.do_get(flight_info.endpoints[0].ticket, options)
    assert reader.read_all().num_rows == 3


def test_credentials(dremio):
    client = flight.FlightClient(f"grpc://127.0.0.1:{dremio.flight_port}")
    with pytest.raises(flight.FlightUnauthenticatedError, match="Invalid username or password"):
        client.authenticate_basic_token(USER, "wrong")
    with pytest.raises(flight.FlightUnauthenticatedError):
        client.get_flight_info(flight.FlightDescriptor.for_command(b"select 1"))
    options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {dremio.token()}".encode())])
    assert read(client, options, "select 1 as a").to_pylist() == [{"a": 1}]


def test_types_are_those_dremio_sends(dremio):
    client, options = dremio.flight(schema="lake.datalake.flight")
    table = read(
        client, options, "select *, current_timestamp as now_, sum(i) over () as total, null as nothing from types"
    )
    assert table.schema == pa.schema(
        [
            ("i", pa.int32()),
            ("b", pa.int64()),
            ("f", pa.float64()),
            ("f4", pa.float32()),
            ("d", pa.decimal128(12, 2)),
            ("t", pa.bool_()),
            ("s", pa.string()),
            ("dt", pa.date32()),
            ("ts", pa.timestamp("ms")),
            ("tm", pa.time32("ms")),
            ("now_", pa.timestamp("ms")),
            ("total", pa.int64()),
            ("nothing", pa.string()),
        ]
    )


def test_no_rows_are_one_empty_batch(dremio):
    client, options = dremio.flight()
    info = client.get_flight_info(
        flight.FlightDescriptor.for_command(b"select 1 as a from sys.version where 1 = 0"), options
    )
    batches = [chunk.data for chunk in client.do_get(info.endpoints[0].ticket, options)]
    assert [batch.num_rows for batch in batches] == [0]
    assert not info.endpoints[0].locations


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        ("selec", pa.ArrowInvalid, "Failure parsing"),
        ("select * from nowhere", pa.ArrowInvalid, "Object 'nowhere' not found"),
        ("select 1/0", flight.FlightInternalError, "divide by zero"),
        ("select hash64('a')", pa.ArrowNotImplementedError, "not implemented in the sandbox"),
    ],
)
def test_errors(dremio, sql, error, words):
    client, options = dremio.flight()
    with pytest.raises(error, match=words):
        read(client, options, sql)


def test_streams_are_not_held_in_memory_and_are_jobs(dremio):
    client, options = dremio.flight()
    numbers = "(values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))"
    sql = f"select a.n from {numbers} a(n)" + "".join(f", {numbers} t{i}(n)" for i in range(5)) + " order by 1"
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), options)
    chunks = [chunk.data.num_rows for chunk in client.do_get(info.endpoints[0].ticket, options)]
    assert sum(chunks) == 1_000_000
    assert max(chunks) <= 65_536
    jobs = dremio.rows("select query_type, status, rows_returned from sys.jobs_recent where rows_returned = 1000000")
    assert jobs == [{"query_type": "FLIGHT", "status": "COMPLETED", "rows_returned": 1_000_000}]


def test_a_client_that_hangs_up_cancels_its_job(dremio):
    client, options = dremio.flight()
    digits = "(values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))"
    endless = f"select count(*) as hung_up from {digits} a(n)" + "".join(f", {digits} t{i}(n)" for i in range(12))
    endless += " where a.n" + "".join(f" + t{i}.n" for i in range(12)) + " = -1"
    info = client.get_flight_info(flight.FlightDescriptor.for_command(endless.encode()), options)
    token = client.authenticate_basic_token(USER, PASSWORD)
    with pytest.raises(flight.FlightTimedOutError):
        client.do_get(info.endpoints[0].ticket, flight.FlightCallOptions(headers=[token], timeout=1)).read_all()

    def cancelled():
        return dremio.rows("select status from sys.jobs_recent where query like '%hung_up%' and query_type = 'FLIGHT'")

    wait_until(lambda: cancelled() == [{"status": "CANCELED"}], 20, "the job's end")


def test_sqlalchemy_as_superset_uses_it(dremio):
    python = REPOSITORY / ".venv" / "superset" / "bin" / "python"
    url = f"dremio+flight://{USER}:{PASSWORD}@127.0.0.1:{dremio.flight_port}/lake.datalake.flight?UseEncryption=false"
    done = subprocess.run([python, "-c", ALCHEMY, url], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"gold", "lake.datalake.flight", "sys"} <= set(found["schemas"])
    assert found["tables"] == ["types"]
    assert "flight_view" in found["views"]
    assert found["columns"] == [
        ["i", "INTEGER"], ["b", "BIGINT"], ["f", "FLOAT"], ["f4", "FLOAT"], ["d", "DECIMAL"], ["t", "BOOLEAN"],
        ["s", "VARCHAR"], ["dt", "DATE"], ["ts", "TIMESTAMP"], ["tm", "TIME"],
    ]  # fmt: skip
    assert found["has"] == [True, False]
    assert found["chart"] == [["2026-02-01", "10", "1"], ["2026-01-01", "3", "2"]]
    assert found["empty"] == []
    assert found["rows"][0] == ["1", "2", "1.5", "3.25", "True", "x", "2026-01-02"]
