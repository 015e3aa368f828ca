"""ingest_small, ingest_large, ingest_dimension: the sources that are synced by day, one DAG for each frequency.

Which source belongs to which DAG, and whether there is a DAG at all, is what `include/config/streams.yml` says; nothing
has to be kept in step by hand. A source that the nightly batch extracts once a day needs no other, and change data has
`cdc_micro_batch`. A source may be in the nightly batch and in one of these: a sync that runs already is waited for and
not fought over.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from lakehouse import dag_parts
from lakehouse.config import SCHEDULES, load_plan, load_streams
from lakehouse_airbyte.tasks import BATCH_DATE, record_syncs, show_to_dremio, sync_source, write_partitions

plan = load_plan()

for frequency, sources in load_streams().by_day.items():
    with DAG(
        dag_id=f"ingest_{frequency}",
        schedule=CronTriggerTimetable(
            SCHEDULES.get(frequency, plan.schedule), timezone=plan.timezone, run_immediately=timedelta()
        ),
        catchup=False,
        max_active_runs=1,
        default_args=dag_parts.default_args(),
        doc_md=__doc__,
        tags=["lakehouse", "ingestion"],
    ):
        for source in sources:
            synced = sync_source(source)
            loaded = write_partitions.override(task_id=f"write_{source.name}")(source.name, synced.output, BATCH_DATE)
            loaded >> show_to_dremio.override(task_id=f"show_{source.name}")(source.name)
            recorded = record_syncs.override(task_id=f"record_{source.connection}")([source.connection])
            synced >> recorded.as_teardown(on_failure_fail_dagrun=True)
