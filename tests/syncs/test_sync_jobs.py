"""One sync and not two, against the sandbox's Airbyte over HTTP."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from lakehouse import sync_jobs, sync_watch
from lakehouse.airbyte import AirbyteBusy, AirbyteError, SyncProgress, public_api
from lakehouse.exceptions import SyncFailed, SyncMisconfigured, SyncStalled, SyncStopped, SyncTimedOut
from lakehouse.sync_jobs import newest_job, take_sync
from lakehouse.sync_watch import Progress, SyncWatch, run_sync

from tests.sandbox.airbyte.services import wait_until

from .conftest import ROWS, Shop

POLL = 0.05


def test_a_sync_runs_to_its_end_and_says_what_it_moved(shop: Shop, api: Any, config: Any) -> None:
    seen: list[Progress] = []
    outcome = run_sync(api, shop.connection, config=config, poll_seconds=POLL, progress=seen.append)
    assert (outcome.status, outcome.rows, outcome.attached) == ("succeeded", ROWS, False)
    assert outcome.bytes > 0
    assert abs(outcome.started_at.timestamp() - time.time()) < 60
    assert shop.jobs() == [(outcome.job_id, "succeeded")]
    assert shop.rows() == ROWS
    assert seen[-1] == Progress(outcome.job_id, "succeeded", ROWS, outcome.bytes, outcome.seconds)


def test_a_running_sync_is_waited_for(shop: Shop, api: Any) -> None:
    shop.open.clear()
    running = shop.start()
    shop.asked(2, shop.open.set)
    outcome = run_sync(api, shop.connection, poll_seconds=POLL)
    assert (outcome.job_id, outcome.attached) == (running, True)
    assert shop.rows() == ROWS


def test_what_has_succeeded_since_is_taken_and_what_went_before_is_not(shop: Shop, api: Any) -> None:
    earlier = run_sync(api, shop.connection, poll_seconds=POLL)
    assert newest_job(api, shop.connection) == earlier.job_id
    again = run_sync(api, shop.connection, poll_seconds=POLL, after_job=earlier.job_id)
    assert (again.job_id, again.attached) == (earlier.job_id + 1, False)
    taken = run_sync(api, shop.connection, poll_seconds=POLL, after_job=earlier.job_id)
    assert (taken.job_id, taken.attached, taken.rows) == (again.job_id, True, ROWS)
    assert run_sync(api, shop.connection, poll_seconds=POLL).job_id > again.job_id


def test_one_that_was_cancelled_since_is_run_again(shop: Shop, api: Any) -> None:
    shop.open.clear()
    job = shop.start()
    shop.client.call("DELETE", f"jobs/{job}")
    shop.open.set()
    outcome = run_sync(api, shop.connection, poll_seconds=POLL, after_job=job - 1)
    assert outcome.job_id > job
    assert shop.rows() == ROWS


def test_many_callers_at_once_share_one_sync(shop: Shop, api: Any) -> None:
    shop.open.clear()
    callers = 8
    barrier = threading.Barrier(callers)

    def call(_: int) -> Any:
        barrier.wait()
        return run_sync(public_api(), shop.connection, poll_seconds=POLL, after_job=before)

    before = newest_job(api, shop.connection)
    with ThreadPoolExecutor(callers) as pool:
        futures = [pool.submit(call, number) for number in range(callers)]
        wait_until(shop.jobs, "a job")
        shop.open.set()
        outcomes = [future.result(30) for future in futures]
    assert len({outcome.job_id for outcome in outcomes}) == 1
    assert [outcome.attached for outcome in outcomes].count(False) == 1
    assert shop.rows() == ROWS


def test_a_clear_that_runs_is_waited_for(shop: Shop, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox clears at once; what its list says of the clear is held up here."""
    cleared = shop.client.post("jobs", {"connectionId": shop.connection, "jobType": "clear"})["jobId"]
    original, looks = sync_jobs._jobs, []

    def slow_clear(*arguments: Any) -> Any:
        jobs = original(*arguments)
        looks.append(len(jobs))
        for job in jobs:
            if job.job_id == cleared and len(looks) < 3:
                job.status = type(job.status)("running")
        return jobs

    monkeypatch.setattr(sync_jobs, "_jobs", slow_clear)
    outcome = run_sync(api, shop.connection, poll_seconds=POLL, after_job=0)
    assert len(looks) == 3
    assert outcome.job_id > cleared
    looks.clear()
    with pytest.raises(SyncTimedOut, match=rf"Job {cleared} \(clear\)"):
        take_sync(api, shop.connection, after_job=outcome.job_id, timeout=0)


def test_a_timeout_cancels_what_the_caller_has_started(shop: Shop, api: Any) -> None:
    shop.open.clear()
    with pytest.raises(SyncTimedOut, match="cancelled"):
        run_sync(api, shop.connection, poll_seconds=POLL, timeout=0.3)
    assert shop.ended() == ["cancelled"]
    assert shop.rows() == 0


def test_a_timeout_leaves_what_somebody_else_has_started(shop: Shop, api: Any) -> None:
    shop.open.clear()
    job = shop.start()
    with pytest.raises(SyncTimedOut, match="left to whoever has started it"):
        run_sync(api, shop.connection, poll_seconds=POLL, timeout=0.3)
    assert shop.jobs() == [(job, "running")]


def test_a_sync_that_stands_still_is_cancelled(shop: Shop, api: Any, config: Any) -> None:
    shop.open.clear()
    job = shop.start()
    with pytest.raises(SyncStalled, match=f"job {job}, stood still at 0 records"):
        run_sync(api, shop.connection, config=config, poll_seconds=POLL, timeout=60, stalled_after=0.4)
    assert shop.ended() == ["cancelled"]


def test_a_sync_that_moves_is_not(shop: Shop, api: Any, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes several times as long as it may stand still, and is seen to move only through the Config API."""
    shop.open.clear()
    job = shop.start()
    started = time.monotonic()

    def moving(_: str) -> SyncProgress:
        rows = int((time.monotonic() - started) * 100)
        return SyncProgress(job, 1, rows, rows)

    monkeypatch.setattr(config, "sync_progress", moving)
    threading.Timer(1.2, shop.open.set).start()
    assert run_sync(api, shop.connection, config=config, poll_seconds=POLL, stalled_after=0.3).job_id == job
    assert time.monotonic() - started > 1.1


def test_while_the_machine_slept_nobody_saw_the_sync_stand_still(
    shop: Shop, api: Any, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.open.clear()
    taken = take_sync(api, shop.connection)
    wait_until(lambda: shop.api.requests, "the sync reads")
    clock = [0.0]
    monkeypatch.setattr(sync_watch, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    watch = SyncWatch(api, taken, config=config, timeout=100_000, stalled_after=100)
    for seconds in (0, 3_600, 3_625, 3_650):  # the hour counts for a quarter of what is allowed
        clock.append(seconds)
        assert watch.look() is None
    clock.append(3_675)
    with pytest.raises(SyncStalled, match="stood still at 0 records for 100 s"):
        watch.look()
    assert shop.ended() == ["cancelled"]


def test_the_caller_can_give_up(shop: Shop, api: Any) -> None:
    shop.open.clear()
    stop = threading.Event()
    shop.asked(1, stop.set)
    with pytest.raises(SyncStopped):
        run_sync(api, shop.connection, poll_seconds=30, cancelled=stop)
    assert shop.ended() == ["cancelled"]
    with pytest.raises(SyncStopped, match="No sync of connection"):
        take_sync(api, shop.connection, cancelled=stop)


def test_a_failure_says_why(shop: Shop, api: Any, config: Any) -> None:
    destination = shop.client.get(f"connections/{shop.connection}")["destinationId"]
    shop.client.call(
        "PATCH", f"destinations/{destination}", json={"configuration": {"s3_endpoint": "http://127.0.0.1:9"}}
    )
    with pytest.raises(SyncFailed, match=r"was failed: .*127\.0\.0\.1:9"):
        run_sync(api, shop.connection, config=config, poll_seconds=POLL)
    with pytest.raises(SyncFailed, match="Read the log of job"):
        run_sync(api, shop.connection, poll_seconds=POLL)


def test_a_configuration_at_fault_is_told_apart(shop: Shop, api: Any, config: Any) -> None:
    shop.api.handle = lambda *_: (401, {}, b"{}")
    with pytest.raises(SyncMisconfigured, match="401"):
        run_sync(api, shop.connection, config=config, poll_seconds=POLL)


def test_what_airbyte_refuses_is_an_error_at_once(shop: Shop, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirbyteError, match="404"):
        run_sync(api, "00000000-0000-4000-8000-000000000000", poll_seconds=POLL)
    shop.client.call("PATCH", f"connections/{shop.connection}", json={"status": "inactive"})
    with pytest.raises(AirbyteError, match="409"):
        run_sync(api, shop.connection, poll_seconds=POLL)


def test_wrong_credentials_are_named_and_not_shown(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = shop.airbyte.client_secret
    wrong = os.environ["AIRFLOW_CONN_AIRBYTE_DEFAULT"].replace(secret, "not-the-secret")
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", wrong)
    with pytest.raises(AirbyteError, match="Check login and password") as caught:
        newest_job(public_api(), shop.connection)
    assert not isinstance(caught.value, AirbyteBusy)
    assert "not-the-secret" not in str(caught.value)
