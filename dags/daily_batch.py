"""daily_batch: the shop's data, from its sources to warmed dashboards, every night at 01:00.

The nine stages, their order and their windows come from ``include/config/plan.yml``; this file says only what each
stage runs. A stage is a task group; it starts when the stages it needs are done, not when the clock says so.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, TaskGroup, task
from cosmos import DbtTaskGroup, ExecutionConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior
from cosmos.operators.local import DbtDocsS3LocalOperator, DbtSourceLocalOperator, DbtTestLocalOperator
from lakehouse import dag_parts
from lakehouse.config import load_plan, load_streams
from lakehouse.dag_parts import DBT_EXECUTABLE, DBT_PROJECT
from lakehouse.services import require
from lakehouse_airbyte.tasks import BATCH_DATE, record_syncs, show_to_dremio, sync_source, write_partitions

plan = load_plan()
streams = load_streams()

project = ProjectConfig(
    dbt_project_path=DBT_PROJECT,
    manifest_path=DBT_PROJECT / "target" / "manifest.json",
    project_name="lakehouse",
    install_dbt_deps=False,
)
# Cosmos makes it an ObjectStoragePath, which loads the file systems of every provider: half a second in each task.
project.manifest_path = DBT_PROJECT / "target" / "manifest.json"

profile = dag_parts.dbt_profile()
dbt_arguments = dag_parts.dbt_arguments(BATCH_DATE)
dbt_task = dag_parts.dbt_task(BATCH_DATE)


@task(pre_execute=require("airbyte_default", "lake_s3", "dremio_default", "metadata_postgres"))
def catch_up(source: str, connection_id: str) -> dict[str, Any]:
    """Load what has changed since, unless ``cdc_micro_batch`` does it: a slot that nobody reads fills a disk.

    Change data that is stuck must not keep the night's figures from anybody: why it is, ``caught_up`` says.
    """
    from lakehouse import live
    from lakehouse.airbyte import AirbyteError
    from lakehouse.exceptions import ContractViolation, SyncError

    try:
        loaded = live.catch_up(source, connection_id)
    except (AirbyteError, ContractViolation, SyncError) as error:
        return {"stuck": str(error)}
    return loaded.to_dict() if loaded else {"live": True}


@task
def caught_up(found: dict[str, Any]) -> None:
    """Fail, and with it the run, when change data is stuck."""
    if "stuck" in found:
        raise RuntimeError(f"Change data is stuck, and its replication slot keeps the source's log: {found['stuck']}")


@task(pre_execute=require("metadata_postgres"))
def record_warming(result: dict[str, Any] | None, dag_id: str, run: str) -> int:
    """Keep what became of each chart, cold and warm, in PostgreSQL; ``run_id`` as a name is Airflow's own."""
    from lakehouse.history import record_warming

    return record_warming(result, dag_id, run)


@task(pool=dag_parts.DBT_TABLES, pre_execute=require("dremio_default"))
def publish() -> list[dict[str, Any]]:
    """Point what people query at the tested tables, and declare the reflections on it."""
    from lakehouse.setup import dremio

    changes = [*dremio.apply_views("silver"), *dremio.apply_views("gold"), *dremio.apply_reflections()]
    return [change.to_dict() for change in changes]


with DAG(
    dag_id=plan.dag_id,
    # Unpausing waits for the next 01:00; Airflow's default would start the one just missed at once.
    schedule=CronTriggerTimetable(plan.schedule, timezone=plan.timezone, run_immediately=timedelta()),
    catchup=False,
    max_active_runs=1,
    default_args=dag_parts.default_args(),
    doc_md=__doc__,
    tags=["lakehouse", "batch"],
) as dag:
    groups: dict[str, TaskGroup] = {}

    for stage_id in ("extract_postgres", "extract_apis"):
        with TaskGroup(stage_id) as groups[stage_id]:
            sources = streams.for_stage(stage_id)
            # A teardown: it also runs when a sync failed, and the next stage does not wait for it.
            recorded = record_syncs([source.connection for source in sources])
            [sync_source(source) for source in sources] >> recorded.as_teardown(on_failure_fail_dagrun=True)

    with TaskGroup("load_bronze") as groups["load_bronze"]:
        shown = show_to_dremio()
        for source in streams.nightly:
            synced = dag.get_task(f"{source.stage}.sync_{source.connection}")
            loaded = write_partitions.override(task_id=f"write_{source.name}")(source.name, synced.output, BATCH_DATE)
            loaded >> shown
        for source in (source for source in streams.sources.values() if source.frequency == "live"):
            found = catch_up.override(task_id=f"catch_up_{source.name}")(
                source.name, f"{{{{ var.json.airbyte_connections.{source.connection} }}}}"
            )
            found >> shown
            caught_up.override(task_id=f"caught_up_{source.name}")(found).as_teardown(on_failure_fail_dagrun=True)

    groups["transform"] = transform = DbtTaskGroup(
        group_id="transform",
        project_config=project,
        profile_config=profile,
        # One dbt start for all models; a start per model costs three times the run (see docs/decisions).
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.WATCHER,
            dbt_executable_path=DBT_EXECUTABLE,
            invocation_mode=InvocationMode.SUBPROCESS,
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=["path:models"],
            exclude=[dag_parts.CHANGE_DATA],
            test_behavior=TestBehavior.NONE,
            group_nodes_by_folder=True,
            emit_datasets=False,
        ),
        operator_args={**dbt_arguments, "poke_interval": 1, "deferrable": False},
    )

    # Beside the batch's own models, which read none of it, in a dbt start of its own: `cdc_micro_batch` does the same.
    merged = dag_parts.merge_change_data(BATCH_DATE)

    with TaskGroup("dbt_tests") as groups["dbt_tests"]:
        DbtTestLocalOperator(task_id="test", retry_policy=dag_parts.once_dbt_has_spoken(), **dbt_task)
        DbtSourceLocalOperator(task_id="source_freshness", **dbt_task)

    with TaskGroup("refresh_reflections") as groups["refresh_reflections"]:
        publish() >> dag_parts.refresh_reflections()

    with TaskGroup("warm_dashboards") as groups["warm_dashboards"]:
        warm = dag_parts.warm_dashboards()
        # A teardown: what was cold, and why, is worth most when the warm-up has failed. It must not fail the run: then
        # it alone would decide how the run has ended, and a failed warm-up would leave it green.
        recorded = record_warming(warm.output, "{{ dag.dag_id }}", "{{ run_id }}")
        warm >> recorded.as_teardown()

    docs = DbtDocsS3LocalOperator(
        task_id="dbt_docs", connection_id="lake_s3", bucket_name="datalake", folder_dir="docs/dbt", **dbt_task
    )
    # Its own callback uploads the site; the history wants to know of this dbt as of every other.
    docs.callback = [docs.callback, dbt_arguments["callback"]]
    groups["dbt_tests"] >> docs

    groups["load_bronze"] >> [transform, merged] >> groups["dbt_tests"]
    # The layers are groups inside Cosmos's group; the plan ties them to each other and to the rest.
    groups |= {name: group for name, group in dag.task_group.get_task_group_dict().items() if name is not None}
    for stage in plan.stages:
        for need in stage.needs:
            groups[plan.stage(need).task_group] >> groups[stage.task_group]
