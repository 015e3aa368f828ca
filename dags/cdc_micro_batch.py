"""cdc_micro_batch: changes of the shop on the live charts, seconds after they were made, all day.

One task loops over micro-batches: sync the changes, load them to bronze, show them to Dremio, warm the live charts.
After `minutes` it ends and the next run begins, so that a new version of the DAG, or of the dashboard, is taken up.
Pausing the DAG ends it after the run that is at it. How old changes were when they were shown is in
`micro_batch_history`.

Beside it, once a run, dbt merges what has changed into the cold tables. So what the charts have to rank is what has
changed in `minutes`, not in the whole day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task
from lakehouse import dag_parts
from lakehouse.services import require

SOURCE = "postgres_cdc"
CONNECTION = "shop_cdc"
DASHBOARD = "daily-revenue"
DATASETS = ["gold.fct_orders_hot", "gold.fct_orders_unified"]


@task(
    pre_execute=require("airbyte_default", "lake_s3", "dremio_default", "superset_default", "metadata_postgres"),
    # A loop that has died is to be back before anybody notices; what it had begun, the next one finds.
    retries=3,
    retry_delay=timedelta(seconds=5),
)
def micro_batches(connection_id: str, minutes: float, dag_id: str, run: str) -> dict[str, Any]:
    """Carry changes to the charts for some minutes; ``run_id`` as a name is Airflow's own."""
    from dataclasses import asdict

    from lakehouse.live import run_micro_batches

    summary = run_micro_batches(
        SOURCE,
        connection_id,
        seconds=60 * float(minutes),
        dashboard=DASHBOARD,
        datasets=DATASETS,
        dag_id=dag_id,
        run_id=run,
    )
    return asdict(summary)


with DAG(
    dag_id="cdc_micro_batch",
    schedule="@continuous",
    # Without it the first run's interval has no length, the second begins where the first did, and Airflow takes it for
    # the same run: there would never be a second.
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    params={"minutes": Param(30, type="number", exclusiveMinimum=0, description="How long one run loops.")},
    default_args={"owner": "data-platform", "retries": 2, "retry_delay": timedelta(seconds=30)},
    doc_md=__doc__,
    tags=["lakehouse", "live"],
):
    # The next run begins when both have ended: a merge that hangs must be over before the loop is.
    dag_parts.merge_change_data("{{ dag_run.run_after | ds }}", execution_timeout=timedelta(minutes=7))
    micro_batches(
        f"{{{{ var.json.airbyte_connections.{CONNECTION} }}}}",
        "{{ params.minutes }}",
        "{{ dag.dag_id }}",
        "{{ run_id }}",
    )
