"""Flight SQL, as ADBC, JDBC and ODBC speak it."""

from __future__ import annotations

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager as adbc
import pyarrow as pa
import pytest
from pyarrow import flight

from sandbox.dremio.flight_messages import CLASSES, pack, unpack
from tests.sandbox.dremio.services import PASSWORD, USER


@pytest.fixture(scope="module", autouse=True)
def data(dremio):
    dremio.rows("create table lake.datalake.adbc.numbers as select 1 as n, 'one' as word, cast(1.5 as decimal(9,2)) d")
    dremio.rows("create or replace view gold.adbc_view as select n from lake.datalake.adbc.numbers")


def connect(dremio, password=PASSWORD, **options):
    address = f"grpc://127.0.0.1:{dremio.flight_port}"
    return flight_sql.connect(address, {"username": USER, "password": password, **options}, autocommit=True)


@pytest.fixture
def connection(dremio):
    with connect(dremio) as opened:
        yield opened


def test_a_query_is_fetched_as_arrow_and_is_a_job(dremio, connection):
    with connection.cursor() as cursor:
        cursor.execute("select n, word, d from lake.datalake.adbc.numbers where word = 'one'")
        table = cursor.fetch_arrow_table()
    assert table.schema == pa.schema([("n", pa.int32()), ("word", pa.string()), ("d", pa.decimal128(9, 2))])
    assert [str(row["d"]) for row in table.to_pylist()] == ["1.50"]
    jobs = dremio.rows("select query_type, status from sys.jobs_recent where query like 'select n, word, d%'")
    assert jobs == [{"query_type": "FLIGHT", "status": "COMPLETED"}]


def test_changes_of_rows_are_queries(dremio, connection):
    dremio.rows("create table lake.datalake.adbc.changed as select 1 as n")
    with connection.cursor() as cursor:
        cursor.execute("insert into lake.datalake.adbc.changed values (2), (3)")
        assert cursor.fetchall() == [(2,)]
    assert dremio.rows("select count(*) as c from lake.datalake.adbc.changed") == [{"c": 3}]


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_is_refused(dremio, password):
    with pytest.raises(adbc.ProgrammingError, match="Invalid username or password") as refused:
        connect(dremio, password)
    assert refused.value.status_code == adbc.AdbcStatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("selec", "INVALID_ARGUMENT", "Failure parsing"),
        ("select nope from lake.datalake.adbc.numbers", "INVALID_ARGUMENT", "Column 'nope' not found"),
        ("select n from lake.datalake.adbc.numbers where n = ?", "INVALID_ARGUMENT", "dynamic parameter"),
        ('grant select on table x to user "y"', "INTERNAL", "only supported in Enterprise Edition"),
        ("select 1 / 0", "INTERNAL", "divide by zero"),
    ],
)
def test_failing_statements(connection, sql, code, words):
    def run():
        with connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.fetchall()

    with pytest.raises(adbc.Error, match=words) as failed:
        run()
    assert failed.value.status_code == adbc.AdbcStatusCode[code]


def test_objects_are_listed_without_catalogs(connection):
    (catalog,) = connection.adbc_get_objects(depth="all", db_schema_filter="lake.datalake.ad__").read_all().to_pylist()
    assert catalog["catalog_name"] == ""
    (schema,) = catalog["catalog_db_schemas"]
    assert schema["db_schema_name"] == "lake.datalake.adbc"
    columns = {table["table_name"]: table["table_columns"] for table in schema["db_schema_tables"]}
    assert [column["column_name"] for column in columns["numbers"]] == ["n", "word", "d"]
    views = connection.adbc_get_objects(
        depth="tables", db_schema_filter="gold", table_name_filter="ADBC%", table_types_filter=["VIEW"]
    )
    (found,) = views.read_all().to_pylist()[0]["catalog_db_schemas"]
    assert [(table["table_name"], table["table_type"]) for table in found["db_schema_tables"]] == [
        ("adbc_view", "VIEW")
    ]
    assert connection.adbc_get_table_types() == ["TABLE", "SYSTEM_TABLE", "VIEW"]
    schema = connection.adbc_get_table_schema("numbers", db_schema_filter="lake.datalake.adbc")
    assert schema.field("d").type == pa.decimal128(9, 2)
    assert connection.adbc_get_info()["vendor_name"] == "Dremio Server"


def test_the_current_schema_is_a_header_or_used(dremio):
    header = {"adbc.flight.sql.rpc.call_header.schema": "lake.datalake.adbc"}
    with connect(dremio, **header) as opened, opened.cursor() as cursor:
        cursor.execute("select n from numbers")
        assert cursor.fetchall() == [(1,)]
    with connect(dremio) as opened, opened.cursor() as cursor:
        with pytest.raises(adbc.ProgrammingError, match="Object 'numbers' not found"):
            cursor.execute("select n from numbers")
        cursor.execute("use lake.datalake.adbc")
        cursor.fetchall()
        cursor.execute("select n from numbers")
        assert cursor.fetchall() == [(1,)]


# -- the protocol itself, for what ADBC does not send


def info(client, options, command):
    return client.get_flight_info(flight.FlightDescriptor.for_command(command), options)


@pytest.mark.parametrize(
    ("command", "fields", "columns", "rows"),
    [
        ("CommandGetCatalogs", {}, ["catalog_name"], 0),
        ("CommandGetPrimaryKeys", {"table": "numbers"}, None, 0),
        ("CommandGetImportedKeys", {"table": "numbers"}, None, 0),
        ("CommandGetDbSchemas", {"db_schema_filter_pattern": "GOLD"}, ["catalog_name", "db_schema_name"], 1),
        ("CommandGetDbSchemas", {"catalog": "DREMIO"}, ["catalog_name", "db_schema_name"], 0),
        ("CommandGetXdbcTypeInfo", {"data_type": 12}, None, 1),
        ("CommandGetSqlInfo", {"info": [0, 504, 99_999]}, ["info_name", "value"], 2),
    ],
)
def test_metadata(dremio, command, fields, columns, rows):
    client, options = dremio.flight()
    found = info(client, options, pack(command, **fields))
    table = client.do_get(found.endpoints[0].ticket, options).read_all()
    assert table.schema == found.schema
    assert table.num_rows == rows
    assert columns is None or table.column_names == columns


def test_a_prepared_statement_from_creation_to_close(dremio):
    client, options = dremio.flight()
    request = pack("ActionCreatePreparedStatementRequest", query="select 7 as n")
    (answer,) = client.do_action(flight.Action("CreatePreparedStatement", request), options)
    result = unpack(answer.body.to_pybytes())
    schema = pa.ipc.read_schema(pa.py_buffer(result.dataset_schema))
    assert schema == pa.schema([("n", pa.int32())])
    command = pack("CommandPreparedStatementQuery", prepared_statement_handle=result.prepared_statement_handle)
    for _ in range(2):
        found = info(client, options, command)
        assert client.do_get(found.endpoints[0].ticket, options).read_all().to_pylist() == [{"n": 7}]
    close = pack("ActionClosePreparedStatementRequest", prepared_statement_handle=result.prepared_statement_handle)
    assert list(client.do_action(flight.Action("ClosePreparedStatement", close), options)) == []
    with pytest.raises(pa.ArrowInvalid, match="Invalid PreparedStatementHandle"):
        info(client, options, command)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("CommandPreparedStatementQuery", "parameter binding not supported"),
        ("CommandStatementUpdate", "acceptPut is not implemented"),
    ],
)
def test_what_dremio_refuses_to_be_given(dremio, command, words):
    client, options = dremio.flight()
    parameters = pa.table({"p": [1]})
    descriptor = flight.FlightDescriptor.for_command(pack(command))

    def put():
        writer, _ = client.do_put(descriptor, parameters.schema, options)
        writer.write_table(parameters)
        writer.close()

    with pytest.raises(pa.ArrowNotImplementedError, match=words):
        put()
    with pytest.raises(pa.ArrowNotImplementedError, match="doAction is not implemented"):
        list(client.do_action(flight.Action("SetSessionOptions", b""), options))


def test_a_ticket_is_nothing_to_guess(dremio):
    client, options = dremio.flight()
    for ticket in (b"guessed", pack("TicketStatementQuery", statement_handle=b"guessed")):
        with pytest.raises(pa.ArrowInvalid, match="unknown or has expired"):
            client.do_get(flight.Ticket(ticket), options).read_all()


def test_sql_text_is_not_taken_for_a_message():
    assert unpack(b"select 1") is None
    assert unpack(pack("CommandStatementQuery", query="select 1")) == CLASSES["CommandStatementQuery"](query="select 1")
