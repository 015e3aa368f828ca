"""A lock in PostgreSQL, by which two DAGs take turns."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from lakehouse.metadata_store import LockHeld, LockLost, exclusive

from .conftest import Platform


def test_a_lock_is_held_by_one_at_a_time_and_goes_with_its_holder(platform: Platform) -> None:
    order: list[str] = []
    held = threading.Event()

    def first() -> None:
        with exclusive("bronze shop"):
            held.set()
            wait_until_blocked(platform)
            order.append("first")
            raise RuntimeError("its holder dies")

    with ThreadPoolExecutor() as pool:
        dying = pool.submit(first)
        assert held.wait(10)
        with exclusive("bronze files"):
            order.append("another")
        with exclusive("bronze shop"):
            order.append("second")
        assert isinstance(dying.exception(10), RuntimeError)
    assert order == ["another", "first", "second"]


def wait_until_blocked(platform: Platform) -> None:
    """Wait until somebody waits for a lock."""
    with psycopg2.connect(platform.dsn("platform")) as connection, connection.cursor() as cursor:
        for _ in range(200):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if cursor.fetchone() == (1,):
                return
            time.sleep(0.05)
    raise AssertionError("nobody waits for the lock")


def test_who_cannot_wait_is_told_and_gets_the_lock_when_it_is_free(platform: Platform) -> None:
    with exclusive("changes shop"):
        with psycopg2.connect(platform.dsn("platform")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
            assert cursor.fetchone() == (0,), "a lock that is held for hours must not keep vacuum from its work"
        with pytest.raises(LockHeld, match="'changes shop'"), exclusive("changes shop", wait_seconds=0.0):
            pass
    with exclusive("changes shop", wait_seconds=0.0):
        pass


def test_a_lock_whose_session_the_database_has_ended_is_lost(platform: Platform) -> None:
    def held() -> None:
        with exclusive("changes shop") as lock:
            lock.check()
            with psycopg2.connect(platform.dsn("platform")) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
                assert cursor.fetchall() == [(True,)]
            with exclusive("changes shop", wait_seconds=5.0):
                lock.check()

    with pytest.raises(LockLost, match="'changes shop' is lost"):
        held()
