"""lake_maintenance: what keeps the lake small and quick to read, every night before the batch.

The change files of the days that are over become one a day and stream: a micro-batch every few seconds leaves thousands
of small ones, and every query pays for each. Then what is older than `retention` in `streams.yml` says goes. What has
gone, in objects and bytes, is what the tasks return; `{"dry_run": true}` only says what would go.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, task
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


@task(pre_execute=require("lake_s3", "dremio_default", "metadata_postgres"), execution_timeout=timedelta(hours=1))
def expire(source: str, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Delete what the retention of a source's streams lets go, and show Dremio what is left."""
    from dataclasses import asdict

    from lakehouse import expiry
    from lakehouse.metadata_store import exclusive
    from lakehouse.setup import dremio

    dry_run = bool((params or {}).get("dry_run"))
    with exclusive(f"bronze {source}"):
        done = expiry.expire(source, dremio.merged_up_to, dry_run=dry_run)
    streams = sorted({item.stream for item in done if item.area == "bronze"})
    if streams and not dry_run:
        dremio.refresh_bronze_metadata(streams, source)
    return [asdict(item) for item in done]


with DAG(
    dag_id="lake_maintenance",
    schedule=CronTriggerTimetable("30 0 * * *", timezone="UTC", run_immediately=timedelta()),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "data-platform", "retries": 2},
    params={"dry_run": Param(False, type="boolean", description="Delete nothing by age, only say what would go.")},
    doc_md=__doc__,
    tags=["lakehouse", "maintenance"],
):
    for source in load_streams().sources.values():
        expired = expire.override(task_id=f"expire_{source.name}")(source.name)
        if source.frequency == "live":
            compact_changes.override(task_id=f"compact_{source.name}")(source.name) >> expired
