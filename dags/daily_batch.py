"""daily_batch: the shop's data, from its sources to warmed dashboards, every night at 01:00.

The nine stages, their order and their windows come from ``include/config/plan.yml``; this file says only what each
stage runs. A stage is a task group; it starts when the stages it needs are done, not when the clock says so.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, ExceptionRetryPolicy, RetryAction, RetryRule, TaskGroup, task
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior
from cosmos.operators.local import DbtDocsS3LocalOperator, DbtSourceLocalOperator, DbtTestLocalOperator
from cosmos.profiles import DbtProfileConfigVars
from dremio_provider.operators.reflections import DremioRefreshReflectionsOperator
from dremio_provider.profiles import DremioProfileMapping
from lakehouse.config import load_dashboards, load_plan, load_reflections, load_streams
from lakehouse.services import require
from lakehouse_airbyte.operators import AirbyteRunSyncOperator
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

DBT_PROJECT = Path(os.environ.get("DBT_PROJECT_DIR") or Path(__file__).resolve().parent.parent / "dbt")
DBT_EXECUTABLE = os.environ.get("DBT_EXECUTABLE", "dbt")
BATCH_DATE = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
"""The day a run belongs to. A run triggered by hand may have no logical date; the template then lacks the name."""

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

profile = ProfileConfig(
    profile_name="lakehouse",
    target_name="dremio",
    profile_mapping=DremioProfileMapping(
        conn_id="dremio_default",
        # As dbt/profiles.yml has it for those who call dbt by hand.
        profile_args={
            "object_storage_source": "lake",
            "object_storage_path": "no_schema",
            "dremio_space": "silver",
            "dremio_space_folder": "no_schema",
            "threads": 8,
        },
        dbt_config_vars=DbtProfileConfigVars(send_anonymous_usage_stats=False),
    ),
)
dbt_arguments: dict[str, Any] = {
    "install_deps": False,
    "env": {"LAKEHOUSE_SNAPSHOT_DATE": BATCH_DATE},
    "append_env": True,
    "callback": "lakehouse.history.record_dbt_invocation",
    "pre_execute": require("dremio_default"),
    "execution_timeout": timedelta(hours=2),
}
dbt_task: dict[str, Any] = {
    **dbt_arguments,
    "project_dir": str(DBT_PROJECT),
    "profile_config": profile,
    "dbt_executable_path": DBT_EXECUTABLE,
    "invocation_mode": InvocationMode.SUBPROCESS,
    # The parse state that `dbt parse` left in the project: without it every start parses all models again.
    "cache_dir": DBT_PROJECT,
}


# A failed test fails again: what is retried is reaching Dremio, which is asked before dbt starts.
once_dbt_has_spoken = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception="airflow.exceptions.AirflowException",
            action=RetryAction.FAIL,
            reason="dbt ran and found something",
        )
    ]
)


def sync(connection: str, **arguments: Any) -> AirbyteRunSyncOperator:
    """Return the task that runs one Airbyte connection, named as ``include/airbyte`` names it, to its end."""
    return AirbyteRunSyncOperator(
        task_id=f"sync_{connection}",
        airbyte_conn_id="airbyte_default",
        config_conn_id="airbyte_config",
        connection_id=f"{{{{ var.json.airbyte_connections.{connection} }}}}",
        wait_seconds=1,
        timeout=3600,
        stalled_after=900,
        execution_timeout=timedelta(hours=1, minutes=5),
        pre_execute=require("airbyte_default"),
        **arguments,
    )


@task(pre_execute=require("airbyte_config", "elasticsearch_default", "lake_s3"))
def record_syncs(connections: list[str]) -> list[dict[str, Any]]:
    """Keep what the syncs said and where they stopped: log lines in Elasticsearch and the lake, state in PostgreSQL."""
    from lakehouse.syncs import record_latest_sync

    return [record_latest_sync(connection) for connection in connections]


@task(pre_execute=require("lake_s3", "airbyte_config"))
def write_partitions(source: str, job_id: int, batch_date: str) -> list[dict[str, Any]]:
    """Turn what a sync landed, to the last row that Airbyte counts, into the canonical bronze files of the day."""
    from datetime import date

    from lakehouse.bronze import load_sync

    return [load.to_dict() for load in load_sync(source, int(job_id), date.fromisoformat(batch_date))]


@task(pre_execute=require("dremio_default"))
def show_to_dremio() -> list[dict[str, Any]]:
    """Tell Dremio about the new files (invisible to it until then) and point the bronze views at them."""
    from lakehouse.setup import dremio

    return [change.to_dict() for change in [*dremio.refresh_bronze_metadata(), *dremio.apply_views("bronze")]]


@task(pre_execute=require("airbyte_default", "lake_s3", "dremio_default", "metadata_postgres"))
def catch_up(source: str, connection_id: str) -> dict[str, Any] | None:
    """Load what has changed since, unless ``cdc_micro_batch`` does it: a slot that nobody reads fills a disk."""
    from lakehouse import live

    loaded = live.catch_up(source, connection_id)
    return loaded.to_dict() if loaded else None


@task(pre_execute=require("metadata_postgres"))
def record_warming(result: dict[str, Any] | None, dag_id: str, run: str) -> int:
    """Keep what became of each chart, cold and warm, in PostgreSQL; ``run_id`` as a name is Airflow's own."""
    from lakehouse.history import record_warming

    return record_warming(result, dag_id, run)


@task(pre_execute=require("dremio_default"))
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
    default_args={
        "owner": "data-platform",
        # How long to wait in between is the deployment's to say: [core] default_task_retry_delay.
        "retries": 2,
        "retry_policy": ExceptionRetryPolicy(
            rules=[
                RetryRule(
                    exception=[
                        "dremio_provider.exceptions.DremioTerminalError",
                        "superset_provider.exceptions.SupersetTerminalError",
                        "lakehouse.exceptions.ContractViolation",
                        "lakehouse.exceptions.RowCountMismatch",
                        "lakehouse.exceptions.SyncMisconfigured",
                        "lakehouse.config.ConfigError",
                    ],
                    action=RetryAction.FAIL,
                    reason="the same attempt would end the same way",
                )
            ]
        ),
    },
    doc_md=__doc__,
    tags=["lakehouse", "batch"],
) as dag:
    groups: dict[str, TaskGroup] = {}

    for stage_id in ("extract_postgres", "extract_apis"):
        with TaskGroup(stage_id) as groups[stage_id]:
            names = [source.connection for source in streams.for_stage(stage_id)]
            # A teardown: it also runs when a sync failed, and the next stage does not wait for it.
            [sync(name) for name in names] >> record_syncs(names).as_teardown(on_failure_fail_dagrun=True)

    with TaskGroup("load_bronze") as groups["load_bronze"]:
        shown = show_to_dremio()
        for source in streams.nightly:
            synced = dag.get_task(f"{source.stage}.sync_{source.connection}")
            loaded = write_partitions.override(task_id=f"write_{source.name}")(source.name, synced.output, BATCH_DATE)
            loaded >> shown
        for source in (source for source in streams.sources.values() if source.frequency == "live"):
            caught_up = catch_up.override(task_id=f"catch_up_{source.name}")(
                source.name, f"{{{{ var.json.airbyte_connections.{source.connection} }}}}"
            )
            # A teardown: change data that is stuck must not keep the night's figures from anybody.
            shown >> caught_up.as_teardown(on_failure_fail_dagrun=True)

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
            test_behavior=TestBehavior.NONE,
            group_nodes_by_folder=True,
            emit_datasets=False,
        ),
        operator_args={**dbt_arguments, "poke_interval": 1, "deferrable": False},
    )

    with TaskGroup("dbt_tests") as groups["dbt_tests"]:
        DbtTestLocalOperator(task_id="test", retry_policy=once_dbt_has_spoken, **dbt_task)
        DbtSourceLocalOperator(task_id="source_freshness", **dbt_task)

    with TaskGroup("refresh_reflections") as groups["refresh_reflections"]:
        publish() >> DremioRefreshReflectionsOperator(
            task_id="refresh",
            dremio_conn_id="dremio_default",
            reflections=[reflection.name for reflection in load_reflections() if reflection.enabled],
            pre_execute=require("dremio_default"),
        )

    with TaskGroup("warm_dashboards") as groups["warm_dashboards"]:
        dashboards = load_dashboards()
        warm = SupersetWarmDashboardOperator(
            task_id="warm",
            superset_conn_id="superset_default",
            dashboards=[dashboard.slug for dashboard in dashboards],
            # Row-level security gives these roles cache entries of their own; a dashboard they do not see is left out.
            roles=list(dict.fromkeys(role for dashboard in dashboards for role in dashboard.roles)),
            # What is warmed tonight has to last until tomorrow night's is there.
            fresh_for=timedelta(days=1).total_seconds(),
            pre_execute=require("superset_default"),
        )
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

    groups["load_bronze"] >> transform >> groups["dbt_tests"]
    # The layers are groups inside Cosmos's group; the plan ties them to each other and to the rest.
    groups |= {name: group for name, group in dag.task_group.get_task_group_dict().items() if name is not None}
    for stage in plan.stages:
        for need in stage.needs:
            groups[plan.stage(need).task_group] >> groups[stage.task_group]
