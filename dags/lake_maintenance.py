"""lake_maintenance: what keeps the lake quick to read, every night before the batch.

The change files of the days that are over become one a day and stream: a micro-batch every few seconds leaves thousands
of small ones, and every query pays for each.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task
from lakehouse.config import load_streams
from lakehouse.services import require


@task(pre_execute=require("lake_s3", "dremio_default"), execution_timeout=timedelta(hours=1))
def compact_changes(source: str) -> list[dict[str, Any]]:
    """Compact the change files of the days that are over, and show Dremio the new ones at once."""
    from dataclasses import asdict

    from lakehouse import compaction
    from lakehouse.setup import dremio

    done = compaction.compact_changes(source)
    if done:
        dremio.refresh_bronze_metadata(sorted({item.stream for item in done}))
    return [{**asdict(item), "superseded": len(item.superseded)} for item in done]


with DAG(
    dag_id="lake_maintenance",
    schedule=CronTriggerTimetable("30 0 * * *", timezone="UTC", run_immediately=timedelta()),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "data-platform", "retries": 2},
    doc_md=__doc__,
    tags=["lakehouse", "maintenance"],
):
    for source in load_streams().sources.values():
        if source.frequency == "live":
            compact_changes.override(task_id=f"compact_{source.name}")(source.name)
