"""Arrow Flight: the legacy protocol and Flight SQL."""

from __future__ import annotations

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager as adbc
import pyarrow as pa
import pytest
from pyarrow import flight


def read(target, sql, **headers):
    client, options = target.flight_call(**headers)
    info = client.get_flight_info(flight.FlightDescriptor.for_command(sql.encode()), options)
    return client.do_get(info.endpoints[0].ticket, options).read_all()


def connect(target, password):
    return flight_sql.connect(target.flight, {"username": target.user, "password": password}, autocommit=True)


def test_types(target):
    moment, number = "timestamp '2026-01-02 03:04:05' as ts", "cast(1.5 as decimal(9, 2)) as d"
    table = read(target, f"select 1 as a, {moment}, {number}, date '2026-01-02' as dt")
    assert table.column_names == ["a", "ts", "d", "dt"]
    assert table.schema.types[:3] == [pa.int32(), pa.timestamp("ms"), pa.decimal128(9, 2)]
    assert pa.types.is_date(table.schema.field("dt").type)


def test_the_schema_header(target):
    target.rows(f'create or replace view "{target.space}".short as select 5 as five')
    assert read(target, "select five from short", schema=target.space).to_pylist() == [{"five": 5}]


def test_credentials_and_failures(target):
    with pytest.raises(flight.FlightUnauthenticatedError):
        flight.FlightClient(target.flight).authenticate_basic_token(target.user, "definitely wrong")
    with pytest.raises(pa.ArrowInvalid):
        read(target, "select nowhere")
    client, options = target.flight_call()
    with pytest.raises(pa.ArrowNotImplementedError):
        list(client.list_flights(options=options))


def test_adbc(target):
    target.rows(f'create or replace view "{target.space}".adbc as select 5 as five')
    with connect(target, target.password) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f'select five from "{target.space}".adbc')
            assert cursor.fetch_arrow_table().to_pylist() == [{"five": 5}]
        objects = connection.adbc_get_objects(depth="all", db_schema_filter=target.space, table_name_filter="adbc")
        (catalog,) = objects.read_all().to_pylist()
        (schema,) = catalog["catalog_db_schemas"]
        (table,) = schema["db_schema_tables"]
        assert [column["column_name"] for column in table["table_columns"]] == ["five"]
        assert {"TABLE", "SYSTEM_TABLE", "VIEW"} <= set(connection.adbc_get_table_types())


def test_adbc_refuses(target):
    with pytest.raises(adbc.Error) as refused:
        connect(target, "definitely wrong")
    assert refused.value.status_code == adbc.AdbcStatusCode.UNAUTHENTICATED
    with connect(target, target.password) as connection, connection.cursor() as cursor:
        with pytest.raises(adbc.Error) as failed:
            cursor.execute("select nowhere")
        assert failed.value.status_code == adbc.AdbcStatusCode.INVALID_ARGUMENT
