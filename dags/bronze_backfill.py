"""bronze_backfill: load days of the past anew, from landing and bronze, and rebuild what depends on them.

Never asks a source: what it says today is not what it said then. Two ways to start it:

- Trigger it with `first_date`, `last_date` and, when not all are meant, `streams`. dbt runs once for the whole range.
- `airflow backfill create --dag-id bronze_backfill --from-date 2026-11-01 --to-date 2026-11-03`: one run a day, which
  Airflow keeps account of. Unpause the DAG first.

The build waits until no other task has to do with the tables, of the nightly batch or of another run, and then they
wait for it: it takes every slot of the pool `dbt_tables`.

The schedule is there for the second way, which needs one. A scheduled run itself has nothing to do and skips.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, task
from airflow.sdk.exceptions import AirflowSkipException
from cosmos.operators.local import DbtBuildLocalOperator
from lakehouse import dag_parts
from lakehouse.config import load_plan, load_streams
from lakehouse.services import require

plan = load_plan()
streams = {f"{source.name}.{name}": (source, name) for source in load_streams().nightly for name in source.streams}


@task
def days(dag_run: Any = None, params: dict[str, Any] | None = None) -> dict[str, str]:
    """Say which days are meant: those of the parameters, else the one of the run."""
    if dag_run.run_type == "scheduled":
        raise AirflowSkipException("Nobody has asked for a backfill: trigger the DAG, or use airflow backfill.")
    own = dag_run.logical_date.date().isoformat() if dag_run.logical_date else None
    asked = params or {}
    first = asked.get("first_date") or own
    last = asked.get("last_date") or first
    if first is None:
        raise ValueError("Which days? Trigger the DAG with first_date and last_date, or with a logical date.")
    return {"first": first, "last": last}


@task(pre_execute=require("lake_s3"), execution_timeout=timedelta(hours=2))
def reload(source: str, span: dict[str, str], params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Load the days of one source anew, those of its streams that are meant."""
    from datetime import date

    from lakehouse.bronze import reload_bronze

    meant = [streams[name][1] for name in (params or {})["streams"] if streams[name][0].name == source]
    if not meant:
        return []
    first, last = date.fromisoformat(span["first"]), date.fromisoformat(span["last"])
    return [load.to_dict() for load in reload_bronze(source, first, last, streams=meant)]


@task(pre_execute=require("dremio_default"))
def show_to_dremio(params: dict[str, Any] | None = None) -> str:
    """Tell Dremio about the files; return what dbt has to build: everything that reads the streams."""
    from lakehouse.setup import dremio

    meant = sorted({streams[name][1] for name in (params or {})["streams"]})
    dremio.refresh_bronze_metadata(meant)
    return " ".join(f"source:bronze.raw_{name}+" for name in meant)


with DAG(
    dag_id="bronze_backfill",
    schedule=CronTriggerTimetable(plan.schedule, timezone=plan.timezone, run_immediately=timedelta()),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=1,
    default_args=dag_parts.default_args(),
    params={
        "first_date": Param(None, type=["null", "string"], format="date", description="The first day; else the run's."),
        "last_date": Param(None, type=["null", "string"], format="date", description="The last day; else the first."),
        "streams": Param(
            list(streams),
            type="array",
            items={"type": "string", "enum": list(streams)},
            minItems=1,
            description="What to load, and to rebuild what reads it: source.stream.",
        ),
    },
    doc_md=__doc__,
    tags=["lakehouse", "backfill"],
):
    span = days()
    shown = show_to_dremio()
    for source in load_streams().nightly:
        reload.override(task_id=f"reload_{source.name}")(source.name, span) >> shown
    built = DbtBuildLocalOperator(
        task_id="build",
        select=shown,
        # What was loaded late is older than what an incremental model has seen. Snapshots of the past are not touched.
        full_refresh=True,
        retry_policy=dag_parts.once_dbt_has_spoken(),
        **dag_parts.dbt_task("{{ dag_run.run_after | ds }}") | dag_parts.alone_with_the_tables(),
    )
    built >> dag_parts.refresh_reflections() >> dag_parts.warm_dashboards()
