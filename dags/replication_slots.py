"""replication_slots: whether the sources' replication slots can be kept up with, every five minutes.

A slot keeps its source's log until Airbyte has confirmed it, also while `cdc_micro_batch` is paused. The task fails
from half of what the source keeps for a slot (`max_slot_wal_keep_size`) on, and when a slot is lost. Triggered with
`{"start_over": true}` it makes lost slots anew; the next sync then loads their tables again. Every measurement is in
`replication_slot_history`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task
from lakehouse.services import require


@task(
    pre_execute=require("shop_postgres", "metadata_postgres"),
    retries=2,
    retry_delay=timedelta(seconds=10),
    execution_timeout=timedelta(minutes=2),
)
def watch(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Measure every slot; fail while there is still time to do something."""
    from dataclasses import asdict

    from airflow.sdk.exceptions import AirflowFailException
    from lakehouse import replication

    try:
        return [asdict(lag) for lag in replication.watch(start_over=bool((params or {}).get("start_over")))]
    except replication.SlotAlarm as alarm:
        raise AirflowFailException(str(alarm)) from alarm


with DAG(
    dag_id="replication_slots",
    schedule="*/5 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "start_over": Param(False, type="boolean", description="Make lost slots anew and load their tables again.")
    },
    default_args={"owner": "data-platform"},
    doc_md=__doc__,
    tags=["lakehouse", "live"],
):
    watch()
