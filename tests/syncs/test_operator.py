"""The operator: the stock one's interface, and what the stock one does not do."""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest
from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from airflow.sdk.exceptions import TaskDeferred
from lakehouse.exceptions import SyncMisconfigured, SyncStalled, SyncStopped, SyncTimedOut
from lakehouse.sync_watch import run_sync
from lakehouse_airbyte import operators
from lakehouse_airbyte.operators import AirbyteRunSyncOperator

from tests.sandbox.airbyte.services import wait_until

from .conftest import ROWS, Shop, TaskInstance


def operator(shop: Shop, **arguments: Any) -> AirbyteRunSyncOperator:
    settings = {"wait_seconds": 0.05, "timeout": 60, "config_conn_id": "airbyte_config", **arguments}
    return AirbyteRunSyncOperator(task_id="sync", connection_id=shop.connection, **settings)


def test_it_takes_what_the_stock_one_takes() -> None:
    stock = set(inspect.signature(AirbyteTriggerSyncOperator.__init__).parameters) - {"self", "kwargs"}
    values = {"connection_id": "c", "airbyte_conn_id": "a", "api_version": "v1"}
    made = AirbyteRunSyncOperator(task_id="t", **{name: values.get(name, 1) for name in stock})
    assert {name: getattr(made, name) for name in stock} == {name: values.get(name, 1) for name in stock}
    assert isinstance(made, AirbyteTriggerSyncOperator)
    assert set(AirbyteTriggerSyncOperator.template_fields) < set(made.template_fields)


def test_it_returns_the_job_and_pushes_what_it_moved(shop: Shop, context: dict[str, Any], capsys: Any) -> None:
    job = operator(shop).execute(context)
    assert shop.jobs() == [(job, "succeeded")]
    pushed = context["ti"].pushed
    assert pushed == {"job_id": job, "rows": ROWS, "bytes": pushed["bytes"]}
    assert pushed["bytes"] > 0
    assert f"Airbyte job {job}: {ROWS} records" in capsys.readouterr().out


def test_asynchronously_it_returns_at_once(shop: Shop, context: dict[str, Any]) -> None:
    shop.open.clear()
    job = operator(shop, asynchronous=True).execute(context)
    assert context["ti"].pushed == {"job_id": job}
    assert shop.jobs() == [(job, "running")]


def test_a_retry_takes_what_the_crashed_try_has_started(shop: Shop, context: dict[str, Any]) -> None:
    first = operator(shop, asynchronous=True).execute(context)
    wait_until(lambda: shop.jobs() == [(first, "succeeded")], "the sync ends")
    assert operator(shop).execute({**context, "ti": TaskInstance()}) == first
    assert shop.rows() == ROWS


def test_clearing_the_task_asks_for_a_new_sync(shop: Shop, context: dict[str, Any]) -> None:
    first = operator(shop).execute(context)
    second = operator(shop).execute({**context, "ti": TaskInstance(max_tries=3)})
    assert second > first
    assert shop.rows() == 2 * ROWS


def test_two_tasks_share_a_sync_that_runs(shop: Shop, context: dict[str, Any], api: Any) -> None:
    shop.open.clear()
    job = shop.start()
    shop.asked(2, shop.open.set)
    assert operator(shop).execute(context) == job


def test_a_failure_names_its_kind(shop: Shop, context: dict[str, Any]) -> None:
    shop.api.handle = lambda *_: (401, {}, b"{}")
    with pytest.raises(SyncMisconfigured, match="401"):
        operator(shop).execute(context)
    assert list(context["ti"].pushed) == ["job_id"]


@pytest.mark.parametrize(("limit", "kind"), [("timeout", SyncTimedOut), ("stalled_after", SyncStalled)])
def test_a_timeout_and_a_standstill_cancel_it(
    shop: Shop, context: dict[str, Any], limit: str, kind: type[Exception]
) -> None:
    shop.open.clear()
    with pytest.raises(kind):
        operator(shop, **{limit: 0.3}).execute(context)
    wait_until(lambda: shop.jobs()[0][1] == "cancelled", "the sync is cancelled")


@pytest.mark.parametrize("own", [True, False])
def test_killing_it_cancels_its_own_sync_only(shop: Shop, context: dict[str, Any], own: bool) -> None:
    shop.open.clear()
    if not own:
        shop.start()
    task = operator(shop, wait_seconds=30)
    shop.asked(1, task.on_kill)
    with pytest.raises(SyncStopped):
        task.execute(context)
    shop.open.set()
    wait_until(lambda: shop.jobs()[0][1] not in ("running", "pending"), "the sync ends")
    assert [status for _, status in shop.jobs()] == ["cancelled" if own else "succeeded"]


def test_a_try_that_another_has_replaced_leaves_the_sync_to_it(shop: Shop, context: dict[str, Any]) -> None:
    shop.open.clear()
    task = operator(shop, wait_seconds=0.5)

    def killed() -> None:
        context["task_state_store"].clear()  # Airflow finds no state for a try that is history
        task.on_kill()
        shop.open.set()

    shop.asked(1, killed)
    job = task.execute(context)
    assert shop.jobs() == [(job, "succeeded")]


def test_clearing_a_task_cancels_what_it_has_left_running(shop: Shop, context: dict[str, Any]) -> None:
    shop.open.clear()
    first = operator(shop, asynchronous=True).execute(context)
    second = operator(shop).execute({**context, "ti": TaskInstance(max_tries=3)})
    assert shop.jobs() == [(first, "cancelled"), (second, "succeeded")]
    assert shop.rows() == ROWS


def test_a_kill_before_the_start_starts_nothing(shop: Shop, context: dict[str, Any]) -> None:
    task = operator(shop)
    task.on_kill()
    wait_until(task._killed.is_set, "the kill is noted")
    with pytest.raises(SyncStopped):
        task.execute(context)
    assert shop.jobs() == []


def test_deferred_it_gives_the_trigger_all_it_needs(shop: Shop, context: dict[str, Any]) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        operator(shop, deferrable=True, stalled_after=600, execution_timeout=operators.timedelta(seconds=30)).execute(
            context
        )
    trigger = deferred.value.trigger
    assert trigger.poll_interval == 0.05
    assert trigger.stalled_after == 600
    assert trigger.deadline == pytest.approx(time.time() + 30, abs=5)
    assert deferred.value.timeout.total_seconds() > 60
    job = context["ti"].pushed["job_id"]
    assert trigger.taken == {"job_id": job, "connection_id": shop.connection, "attached": False, "own": True}


def test_after_the_trigger_it_reports_as_if_it_had_waited(shop: Shop, context: dict[str, Any], api: Any) -> None:
    outcome = {"job_id": 7, "rows": 25, "bytes": 99, "seconds": 1.5}
    assert operator(shop).execute_complete(context, {"outcome": outcome}) == 7
    assert context["ti"].pushed == {"rows": 25, "bytes": 99}
    with pytest.raises(SyncTimedOut, match="too late"):
        operator(shop).execute_complete(context, {"error": "SyncTimedOut", "message": "too late"})
    assert run_sync(api, shop.connection, poll_seconds=0.05).rows == ROWS
