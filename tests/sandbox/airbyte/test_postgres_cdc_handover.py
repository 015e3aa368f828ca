"""From the snapshot to the stream while others write: nothing is lost, doubled or older than it was."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.sandbox.airbyte.change_data import ChangeData
from tests.sandbox.airbyte.services import wait_until

WRITERS = 4


def write(cdc: ChangeData, seed: int, stop: threading.Event) -> int:
    """Change random accounts in transactions of a few statements until told to stop; returns how many committed."""
    choice, count = random.Random(seed), 0
    with psycopg.connect(cdc.postgres.dsn, options=f"-c search_path={cdc.schema}") as session:
        while not stop.is_set():
            try:
                for _ in range(choice.randint(1, 4)):
                    key = choice.randint(1, 60)
                    session.execute(
                        choice.choice(
                            [
                                f"insert into accounts values ({key}, 1, {seed}) on conflict (id) do "
                                f"update set balance = accounts.balance + 1, writer = {seed}",
                                f"update accounts set balance = balance + 1, writer = {seed} where id = {key}",
                                f"delete from accounts where id = {key}",
                                f"update accounts set id = {key + 60} where id = {key}",
                                f"insert into ledger (writer) values ({seed})",
                            ]
                        )
                    )
                    session.execute("select pg_sleep(0.001)")
                session.commit() if choice.random() < 0.9 else session.rollback()
                count += 1
            except (psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation):
                session.rollback()
    return count


def test_writers_that_never_stop_lose_nothing(cdc: ChangeData) -> None:
    cdc.create(
        "create table accounts (id int primary key, balance int, writer int)",
        "create table ledger (id bigint generated always as identity primary key, writer int)",
        "insert into accounts select n, 0, 0 from generate_series(1, 40) n",
    )
    cdc.connect("accounts", "ledger")
    stop = threading.Event()
    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(write, cdc, seed, stop) for seed in range(1, WRITERS + 1)]
        wait_until(lambda: cdc.rows("select count(*) > 20 from ledger")[0][0], "the writers write")
        for _ in range(4):
            cdc.sync()
        stop.set()
        assert sum(writer.result() for writer in writers) > 0
    cdc.sync()
    accounts = sorted((row["id"], row["balance"], row["writer"]) for row in cdc.current("accounts", "id").values())
    assert accounts == cdc.rows("select id, balance, writer from accounts order by id")
    # Rows of the ledger are written once and stay: each landed exactly once, in the snapshot or as a change.
    assert sorted(record["id"] for record in cdc.landed("ledger")) == [
        row[0] for row in cdc.rows("select id from ledger order by id")
    ]


def test_a_transaction_that_wrote_before_the_snapshot_and_committed_after_it_wins(cdc: ChangeData) -> None:
    cdc.create(
        "create table accounts (id int primary key, balance int)", "insert into accounts values (1, 0), (2, 0), (3, 0)"
    )
    cdc.connect("accounts")

    def waiting(session: psycopg.Connection[object]) -> bool:
        """Whether the making of the snapshot waits for the session's transaction."""
        found = session.execute(
            "select exists (select from pg_locks where locktype = 'transactionid' and not granted "
            "and transactionid = pg_current_xact_id()::xid)"
        ).fetchone()
        assert isinstance(found, tuple)
        return bool(found[0])

    sessions = [psycopg.connect(cdc.postgres.dsn, options=f"-c search_path={cdc.schema}") for _ in range(3)]
    first, second, straddling = sessions
    # PostgreSQL waits for those that run when it begins, then for those that began in the meantime, and no longer.
    first.execute("update accounts set balance = 1 where id = 1")
    job = cdc.client.post("jobs", {"connectionId": cdc.connection, "jobType": "sync"})["jobId"]
    wait_until(lambda: waiting(first), "the snapshot waits for the first transaction")
    second.execute("update accounts set balance = 2 where id = 2")
    first.commit()
    wait_until(lambda: waiting(second), "the snapshot waits for the second transaction")
    straddling.execute("update accounts set balance = 3 where id = 3")
    straddling.execute("insert into accounts values (4, 4)")
    second.commit()
    cdc.client.wait(job)
    straddling.commit()
    cdc.sync()
    for session in sessions:
        session.close()
    records = cdc.landed("accounts")
    assert sorted((record["id"], record["balance"]) for record in records[:3]) == [(1, 1), (2, 2), (3, 0)]
    assert [(record["id"], record["balance"]) for record in records[3:]] == [(3, 3), (4, 4)]
    assert records[3]["_ab_cdc_lsn"] > records[2]["_ab_cdc_lsn"]
