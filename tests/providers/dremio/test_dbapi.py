"""DB-API 2.0, frames and streams on a running Dremio."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from dremio_provider.exceptions import (
    DremioAuthenticationError,
    DremioConfigurationError,
    DremioTerminalError,
    DremioTransientError,
)
from dremio_provider.hooks import dbapi
from dremio_provider.hooks.dremio import DremioHook


@pytest.fixture(scope="module")
def numbers(real_hook: DremioHook, lake: str) -> Any:
    """A table with the numbers from 0 to 99 999; every hundredth text is missing."""
    ten = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))"
    tables = ", ".join(f"{ten} AS t{place} (d)" for place in range(5))
    value = " + ".join(f"t{place}.d * {10**place}" for place in range(5))
    name = f"{lake}.numbers"
    real_hook.run(
        f"CREATE TABLE {name} AS SELECT n, CASE WHEN MOD(n, 100) = 0 THEN NULL ELSE CAST(n AS VARCHAR) END AS word "
        f"FROM (SELECT {value} AS n FROM {tables}) AS q"
    )
    yield name
    real_hook.run(f"DROP TABLE {name}")


def eventually(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def states(hook: DremioHook, sql: str) -> list[str]:
    rows = hook.execute_sql("SELECT status FROM sys.jobs_recent WHERE query = %s", parameters=[sql]).rows
    return [row["status"] for row in rows]


def test_the_module_says_what_pep_249_wants() -> None:
    assert (dbapi.apilevel, dbapi.threadsafety, dbapi.paramstyle) == ("2.0", 1, "pyformat")
    assert issubclass(DremioTransientError, dbapi.OperationalError)
    assert issubclass(dbapi.ProgrammingError, dbapi.Error)


def test_a_cursor_describes_and_fetches(real_hook: DremioHook) -> None:
    with real_hook.get_conn() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM (VALUES (1, 'a', 1.50), (2, 'b', 2.25), (3, NULL, NULL)) AS t (n, word, amount)")
        assert [column[0] for column in cursor.description] == ["n", "word", "amount"]
        assert cursor.description[2][4:6] == (3, 2)
        assert cursor.fetchone() == (1, "a", Decimal("1.50"))
        assert cursor.fetchmany(1) == [(2, "b", Decimal("2.25"))]
        assert cursor.fetchall() == [(3, None, None)]
        assert cursor.fetchone() is None
        assert cursor.fetchmany(5) == []
        assert cursor.rowcount == -1


def test_changes_count_their_rows(real_hook: DremioHook, lake: str) -> None:
    with real_hook.get_conn() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {lake}.changed (n INTEGER, word VARCHAR)")
        cursor.executemany(f"INSERT INTO {lake}.changed VALUES (%s, %s)", [(1, "it's"), (2, None)])
        assert cursor.rowcount == 2
        cursor.execute(f"UPDATE {lake}.changed SET word = %(word)s WHERE n > %(n)s", {"word": "x", "n": -5})
        assert cursor.rowcount == 2
        assert cursor.fetchall() == [(2,)]
        cursor.execute(f"DELETE FROM {lake}.changed WHERE n = %s", [7])
        assert cursor.rowcount == 0
        cursor.execute(f"DROP TABLE {lake}.changed")


def test_rows_are_streamed_and_what_is_left_is_cancelled(real_hook: DremioHook, numbers: str) -> None:
    # A hundred thousand times ten thousand rows: whoever reads all of it first, never comes back.
    sql = f"SELECT a.n AS x, b.word AS y FROM {numbers} a, {numbers} b WHERE b.n < 10000"
    started = time.monotonic()
    with real_hook.get_conn() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        assert len(cursor.fetchmany(2500)) == 2500
    assert time.monotonic() - started < 60
    assert eventually(lambda: states(real_hook, sql) == ["CANCELED"])


def test_a_stream_of_batches_ends_with_its_reader(real_hook: DremioHook, numbers: str) -> None:
    sql = f"SELECT a.n AS left_n, b.n AS right_n FROM {numbers} a, {numbers} b WHERE b.n < 10000"
    batches = real_hook.get_arrow_batches(sql)
    assert next(batches).num_rows > 0
    batches.close()
    assert eventually(lambda: states(real_hook, sql) == ["CANCELED"])


def test_a_stream_that_somebody_still_holds_is_cancelled_as_well(real_hook: DremioHook, numbers: str) -> None:
    sql = f"SELECT a.n AS l, b.n AS r FROM {numbers} a, {numbers} b WHERE b.n < 10000"
    with real_hook.flight.reader(sql) as reader:
        assert reader.read_chunk().data.num_rows > 0
    assert eventually(lambda: states(real_hook, sql) == ["CANCELED"])
    assert reader.schema.names == ["l", "r"]


def test_a_new_statement_ends_the_one_before(real_hook: DremioHook, numbers: str) -> None:
    sql = f"SELECT b.n AS x, a.n AS y FROM {numbers} a, {numbers} b WHERE b.n < 10000"
    with real_hook.get_conn() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        cursor.fetchone()
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]
        assert eventually(lambda: states(real_hook, sql) == ["CANCELED"])


def test_a_statement_that_was_read_to_its_end_is_completed(real_hook: DremioHook, numbers: str) -> None:
    sql = f"SELECT n FROM {numbers} WHERE n >= 0"
    assert sum(batch.num_rows for batch in real_hook.get_arrow_batches(sql)) == 100_000
    assert real_hook.get_arrow_table(f"SELECT n FROM {numbers} WHERE n >= %s", parameters=[0]).num_rows == 100_000
    assert eventually(lambda: states(real_hook, sql) == ["COMPLETED", "COMPLETED"])


def test_a_closed_connection_is_refused(real_hook: DremioHook) -> None:
    connection = real_hook.get_conn()
    cursor = connection.cursor()
    with pytest.raises(DremioTerminalError, match="no result"):
        cursor.fetchone()
    connection.close()
    with pytest.raises(DremioTerminalError, match="closed"):
        connection.cursor()
    with pytest.raises(DremioTerminalError, match="closed"):
        cursor.execute("SELECT 1")
    with pytest.raises(DremioTerminalError, match="no transactions"):
        connection.rollback()


def test_run_splits_statements_and_returns_what_common_sql_promises(real_hook: DremioHook) -> None:
    two = "SELECT 1 AS a; SELECT ';' AS b;"
    first_row = lambda cursor: cursor.fetchone()  # noqa: E731
    assert real_hook.run(two, handler=first_row) == (";",)
    assert real_hook.run(two, handler=first_row, return_last=False) == [(1,), (";",)]
    assert real_hook.run(["SELECT 1", "SELECT 2"], handler=first_row) == [(1,), (2,)]
    assert real_hook.run("SELECT 1") is None
    assert real_hook.get_records("SELECT %s AS a", ["x"]) == [("x",)]
    assert real_hook.get_first("SELECT 1, NULL") == (1, None)


def test_the_context_is_the_connections_or_the_hooks(
    real_hook: DremioHook, real_dremio: Any, lake: str, numbers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    extra = {**real_dremio.connection["extra"], "default_context": lake}
    monkeypatch.setenv("AIRFLOW_CONN_WITH_CONTEXT", json.dumps({**real_dremio.connection, "extra": extra}))
    with DremioHook("with_context") as hook:
        assert hook.get_first("SELECT COUNT(*) FROM numbers") == (100_000,)
        assert hook.execute_sql("SELECT COUNT(*) AS c FROM numbers").rows == [{"c": 100_000}]
        assert hook.get_arrow_table("SELECT COUNT(*) AS c FROM numbers").to_pydict() == {"c": [100_000]}
    with DremioHook(schema=lake) as hook:
        assert hook.get_first("SELECT COUNT(*) FROM numbers") == (100_000,)


def test_a_pandas_frame(real_hook: DremioHook, numbers: str) -> None:
    frame = real_hook.get_df(f"SELECT n, word FROM {numbers} WHERE n < %s ORDER BY n", [150])
    assert frame["n"].tolist() == list(range(150))
    assert frame["word"].isna().sum() == 2


def test_a_polars_frame(real_hook: DremioHook, numbers: str) -> None:
    frame = real_hook.get_df(f"SELECT n, word FROM {numbers} WHERE n < %s ORDER BY n", [150], df_type="polars")
    assert frame["n"].to_list() == list(range(150))
    assert frame["word"].null_count() == 2


@pytest.mark.parametrize(("kind", "size"), [("pandas", 30_000), ("polars", 30_000), ("pandas", 7)])
def test_frames_in_parts(real_hook: DremioHook, numbers: str, kind: Any, size: int) -> None:
    sql = f"SELECT n FROM {numbers} WHERE n < {size * 3 + 1}"
    parts = list(real_hook.get_df_by_chunks(sql, chunksize=size, df_type=kind))
    assert [len(part) for part in parts] == [size, size, size, 1]


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_missing_library_is_named(real_hook: DremioHook, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(DremioConfigurationError, match=f"pip install {kind}"):
        real_hook.get_df("SELECT 1", df_type=kind)


def test_the_columns_of_a_table(real_hook: DremioHook, numbers: str) -> None:
    assert real_hook.dialect.get_column_names(numbers) == ["n", "word"]
    assert real_hook.dialect.get_target_fields(numbers) == ["n", "word"]
    assert real_hook.dialect.escape_word('od"d') == '"od""d"'
    with pytest.raises(DremioTerminalError, match=r"no columns of lake\.nothing"):
        real_hook.dialect.get_column_names("lake.nothing")


def test_the_flight_login_is_done_once_and_renewed(real_hook: DremioHook, connected: Any) -> None:
    with DremioHook() as hook:
        hook.get_arrow_table("SELECT 1")
        first = hook.flight._token
        hook.get_arrow_table("SELECT 2")
        assert hook.flight._token is first
        hook.flight._token = (b"authorization", b"Bearer of-a-server-that-was-restarted")
        assert hook.get_arrow_table("SELECT 3").num_rows == 1
        assert hook.flight._token not in (first, (b"authorization", b"Bearer of-a-server-that-was-restarted"))


def test_a_wrong_token_is_not_renewed(real_dremio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    connection = {**real_dremio.connection, "password": "wrong-token"}
    connection["extra"] = {**connection["extra"], "auth": "personal_access_token"}
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps(connection))
    with DremioHook("wrong") as hook:
        for attempt in (lambda: hook.get_arrow_table("SELECT 1"), lambda: hook.request("GET", "/api/v3/catalog")):
            with pytest.raises(DremioAuthenticationError, match="personal access token") as caught:
                attempt()
            assert "wrong-token" not in str(caught.value)


def test_a_token_logs_in_on_both_wires(
    real_hook: DremioHook, real_dremio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    # What a login grants is taken as a bearer token as well, as a personal access token would be.
    login = real_hook.rest.request(
        "POST",
        "/apiv2/login",
        json={"userName": real_dremio.connection["login"], "password": real_dremio.connection["password"]},
        logged_in=False,
    )
    connection = {**real_dremio.connection, "login": None, "password": login["token"]}
    connection["extra"] = {**connection["extra"], "auth": "personal_access_token"}
    monkeypatch.setenv("AIRFLOW_CONN_WITH_TOKEN", json.dumps(connection))
    worked, message = DremioHook("with_token").test_connection()
    assert worked, message
