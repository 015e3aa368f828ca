"""Large tables: read by several sessions at once, and still one table at one moment; numerics by their digits."""

from __future__ import annotations

import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pyarrow as pa
import pytest
from psycopg import errors, sql

from sandbox.airbyte.connectors.base import CancelledSync, ConfiguredStream, ConnectorError
from sandbox.airbyte.connectors.postgres import PostgresSource
from sandbox.airbyte.connectors.postgres_arrow import (
    BATCH_BYTES,
    BATCHES_AHEAD,
    RANGE_PAGES,
    SESSIONS,
    ArrowReader,
    _driver,
)
from sandbox.airbyte.connectors.postgres_process import ReadingProcess
from sandbox.airbyte.connectors.read_ahead import read_ahead
from tests.sandbox.airbyte.services import Postgres, free_port, wait_until

ROWS = 2 * SESSIONS * RANGE_PAGES + 100
SESSIONS_OF_SOURCE = "from pg_stat_activity where application_name = 'airbyte-source-postgres'"


@pytest.fixture
def source(postgres: Postgres, schema: str) -> PostgresSource:
    return PostgresSource(postgres.configuration(schemas=[schema]))


@pytest.fixture
def large(postgres: Postgres, schema: str) -> str:
    """A table of one row a page: more than what is read ahead, and more ranges of pages than sessions."""
    postgres.execute(
        f"create table {schema}.large (i int, note text storage plain)",
        f"insert into {schema}.large select i, repeat('x', 7000) from generate_series(1, {ROWS}) i",
    )
    with psycopg.connect(postgres.dsn) as session:
        (pages,) = session.execute(f"select pg_relation_size('{schema}.large') / 8192".encode()).fetchone() or (0,)
    assert pages > SESSIONS * RANGE_PAGES
    assert pages * 7000 > SESSIONS * (BATCHES_AHEAD + 1) * BATCH_BYTES
    return f"{schema}.large"


def batches(source: PostgresSource) -> Iterator[pa.RecordBatch]:
    (stream,) = source.discover()
    return iter(source.read(ConfiguredStream(stream, incremental=False, overwrite=True), None, print).batches())


def count(postgres: Postgres, what: str) -> int:
    with psycopg.connect(postgres.dsn) as session:
        row = session.execute(f"select count(*) {what}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_every_row_comes_once_as_it_was_when_reading_began(
    postgres: Postgres, source: PostgresSource, large: str
) -> None:
    reading = batches(source)
    found = [next(reading)]
    wait_until(lambda: count(postgres, SESSIONS_OF_SOURCE) == SESSIONS, "both sessions read", 5)
    postgres.execute(
        f"delete from {large} where i % 2 = 0",
        f"update {large} set i = -i",
        f"insert into {large} select i, 'late' from generate_series(100001, 101000) i",
    )
    found += reading
    assert sorted(pa.concat_batches(found)["i"].to_pylist()) == list(range(1, ROWS + 1))


def before_the_second_session(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Have a table read in this process, and something happen before its second session connects."""
    connect, connections = ArrowReader._connected, []

    def connected(reader: ArrowReader, sessions: Any) -> Any:
        if connections:
            happens()
        connections.append(connect(reader, sessions))
        return connections[-1]

    def read_here(process: ReadingProcess, reading: Any, *arguments: Any) -> Any:
        return reading(ArrowReader(process._uri), *arguments)

    monkeypatch.setattr(ArrowReader, "_connected", connected)
    monkeypatch.setattr(ReadingProcess, "read", read_here)


def test_what_happens_before_the_second_session_is_not_seen_by_it(
    postgres: Postgres, source: PostgresSource, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = []

    def happens() -> None:
        with pytest.raises(errors.LockNotAvailable):
            postgres.execute("set lock_timeout = '100ms'", f"truncate {large}")
        postgres.execute(f"delete from {large}")
        happened.append(True)

    before_the_second_session(monkeypatch, happens)
    assert sum(batch.num_rows for batch in batches(source)) == ROWS
    assert happened == [True] * (SESSIONS - 1)


def test_a_truncate_that_waits_already_does_not_stop_the_reading(
    postgres: Postgres, source: PostgresSource, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = "from pg_stat_activity where wait_event_type = 'Lock'"
    with ThreadPoolExecutor() as threads:
        truncates = []

        def happens() -> None:
            truncates.append(threads.submit(postgres.execute, "set lock_timeout = '60s'", f"truncate {large}"))
            wait_until(lambda: count(postgres, waiting) == 1, "it waits", 10)

        before_the_second_session(monkeypatch, happens)
        assert sum(batch.num_rows for batch in batches(source)) == ROWS
        (truncate,) = truncates
        truncate.result()
    assert count(postgres, f"from {large}") == 0


def test_a_truncate_waits_for_the_reading_to_end(postgres: Postgres, source: PostgresSource, large: str) -> None:
    reading = batches(source)
    first = next(reading)
    with pytest.raises(errors.LockNotAvailable):
        postgres.execute("set lock_timeout = '100ms'", f"truncate {large}")
    assert first.num_rows + sum(batch.num_rows for batch in reading) == ROWS
    postgres.execute("set lock_timeout = '5s'", f"truncate {large}")


def test_an_interrupt_ends_all_sessions(postgres: Postgres, source: PostgresSource, large: str) -> None:
    reading = batches(source)
    next(reading)
    source.interrupt()
    with pytest.raises((ConnectorError, CancelledSync)):
        list(reading)
    wait_until(lambda: count(postgres, SESSIONS_OF_SOURCE) == 0, "the sessions end", 2)


def test_a_session_that_dies_fails_the_reading(postgres: Postgres, source: PostgresSource, large: str) -> None:
    reading = batches(source)
    next(reading)
    postgres.execute(f"select pg_terminate_backend((select min(pid) {SESSIONS_OF_SOURCE}))")
    with pytest.raises(ConnectorError) as caught:
        list(reading)
    assert caught.value.failure_type == "transient_error"
    wait_until(lambda: count(postgres, SESSIONS_OF_SOURCE) == 0, "the other session ends", 2)


def test_a_caller_that_stops_early_ends_all_sessions(postgres: Postgres, source: PostgresSource, large: str) -> None:
    reading: Any = batches(source)
    next(reading)
    reading.close()
    wait_until(lambda: count(postgres, SESSIONS_OF_SOURCE) == 0, "the sessions end", 2)


def lose_the_connection(reader: ArrowReader, dsn: str) -> Iterator[pa.RecordBatch]:
    with ExitStack() as sessions:
        connection = reader._connected(sessions)
        with psycopg.connect(dsn, autocommit=True) as session:
            session.execute(f"select pg_terminate_backend(pid, 5000) {SESSIONS_OF_SOURCE}".encode())
        yield from reader._landed(connection, [sql.SQL("select 1")], [])


def test_a_connection_lost_before_a_statement_fails_the_reading_and_nothing_else(
    postgres: Postgres, source: PostgresSource
) -> None:
    with pytest.raises(ConnectorError) as caught:
        list(source.process.read(lose_the_connection, postgres.dsn))
    assert caught.value.failure_type == "transient_error"


def test_connections_lost_at_many_moments(postgres: Postgres, source: PostgresSource, large: str) -> None:
    lost = 0
    with psycopg.connect(postgres.dsn, autocommit=True) as session, ThreadPoolExecutor(1) as thread:
        for moment in range(12):
            reading = thread.submit(lambda: sum(batch.num_rows for batch in batches(source)))
            looks = 0
            while not reading.done() and looks < moment:
                found = session.execute(f"select count(*) {SESSIONS_OF_SOURCE}".encode()).fetchone()
                looks += found is not None and found[0] > moment % SESSIONS
            session.execute(f"select pg_terminate_backend(pid) {SESSIONS_OF_SOURCE}".encode())
            error = reading.exception(timeout=60)
            if error is None:
                assert reading.result() == ROWS
            else:
                assert isinstance(error, ConnectorError)
                assert error.failure_type == "transient_error", error
                lost += 1
    assert lost


def test_a_process_that_is_killed_is_a_lost_connection_and_has_shown_no_secret(
    postgres: Postgres, source: PostgresSource, large: str
) -> None:
    for number in (signal.SIGKILL, signal.SIGABRT):
        reading = batches(source)
        next(reading)
        (child,) = multiprocessing.active_children()
        assert child.pid is not None
        process = psutil.Process(child.pid)
        assert postgres.password not in f"{process.cmdline()} {process.parent()} {process.environ()}"
        process.send_signal(number)
        with pytest.raises(ConnectorError, match="the process that read from it has died") as caught:
            list(reading)
        assert caught.value.failure_type == "transient_error"
        wait_until(lambda: count(postgres, SESSIONS_OF_SOURCE) == 0, "the sessions end", 5)


def read_for_a_minute(configuration: dict[str, Any]) -> None:
    list(PostgresSource(configuration).process.read(ArrowReader.query, sql.SQL("select pg_sleep(60)"), []))


def test_the_process_ends_with_the_one_that_reads_from_it(postgres: Postgres) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=read_for_a_minute, args=(postgres.configuration(),))
    parent.start()
    try:
        asleep = f"{SESSIONS_OF_SOURCE} and wait_event = 'PgSleep'"
        wait_until(lambda: count(postgres, asleep) == 1, "it reads", 60)
    finally:
        parent.kill()
    wait_until(lambda: count(postgres, SESSIONS_OF_SOURCE) == 0, "the session ends", 5)


def test_a_process_without_a_task_ends_with_its_source(postgres: Postgres) -> None:
    source = PostgresSource(postgres.configuration())
    source.process.prepare()
    wait_until(lambda: count(postgres, SESSIONS_OF_SOURCE) == 1, "it connects", 60)
    del source
    wait_until(lambda: count(postgres, SESSIONS_OF_SOURCE) == 0, "the session ends", 5)


def test_a_process_that_cannot_connect_says_why(postgres: Postgres) -> None:
    source = PostgresSource({**postgres.configuration(), "port": free_port()})
    for seconds in (0.0, 1.0):  # one that gets its task while it connects, and one that has failed before
        source.process.prepare()
        time.sleep(seconds)
        with pytest.raises(ConnectorError, match="refused") as caught:
            list(source.process.read(ArrowReader.query, sql.SQL("select 1"), []))
        assert caught.value.failure_type == "transient_error"


def test_a_fault_of_ours_is_not_a_lost_connection(source: PostgresSource) -> None:
    with pytest.raises(RuntimeError, match="exit status 1"):
        list(source.process.read(ArrowReader.query, "not a statement", []))


def test_the_driver_is_the_one_that_is_fast() -> None:
    assert Path(_driver()).is_relative_to(Path(sys.prefix).with_name("adbc"))


def test_read_ahead_raises_what_one_source_raises_although_another_goes_on() -> None:
    closed = []

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append("endless")

    def failing() -> Generator[int, None, None]:
        yield 2
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        for _ in read_ahead(endless(), failing()):
            pass
    assert closed == ["endless"]


@pytest.mark.parametrize(
    ("precision", "scale"),
    [(1, 0), (3, 3), (4, 1), (9, 2), (12, 2), (12, 5), (18, 0), (18, 2), (18, 9), (18, 17), (18, 18)],
)
def test_numerics_keep_every_digit(
    postgres: Postgres, source: PostgresSource, schema: str, precision: int, scale: int
) -> None:
    draw = random.Random(precision * 100 + scale)
    numbers = [draw.choice((1, -1)) * draw.randrange(10 ** draw.randint(0, precision)) for _ in range(300)]
    numbers += [0, 10**precision - 1, 1 - 10**precision, 1, 10 ** (precision - 1)]
    values = [f"{number}e-{scale}" for number in numbers] + ["NaN", None, "0", None]
    with psycopg.connect(postgres.dsn) as session:
        kind = f"numeric({precision}, {scale})"
        session.execute(f"create table {schema}.n (i int, v {kind}, t text)".encode())
        session.cursor().executemany(
            f"insert into {schema}.n select i, v, v::text from (select %s::int, %s::{kind}) s(i, v)".encode(),
            list(enumerate(values)),
        )
    landed = pa.concat_batches(list(batches(source)))
    assert landed.schema.field("v").type == pa.decimal128(precision, scale)
    texts = [None if text == "NaN" else text for text in landed["t"].to_pylist()]
    assert [None if value is None else f"{value:f}" for value in landed["v"].to_pylist()] == texts
