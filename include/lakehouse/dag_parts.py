"""What several DAGs share: how tasks are retried, dbt, reflections, warming, and what a backfill must not do.

Airflow, Cosmos and the providers are imported where they are used: only a DAG file pays for them.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.config import load_dashboards, load_reflections
from lakehouse.dbt_statements import NothingLeft, end_statements_of_task
from lakehouse.files import include_dir, read_yaml
from lakehouse.services import Requirement, require

if TYPE_CHECKING:
    from airflow.sdk import ExceptionRetryPolicy
    from cosmos import ProfileConfig
    from cosmos.operators.local import DbtRunLocalOperator
    from dremio_provider.operators.reflections import DremioRefreshReflectionsOperator
    from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

DBT_PROJECT = Path(os.environ.get("DBT_PROJECT_DIR") or Path(__file__).resolve().parents[2] / "dbt")
DBT_EXECUTABLE = os.environ.get("DBT_EXECUTABLE", "dbt")
DBT_TABLES = "dbt_tables"
"""The Airflow pool of the tasks that read or write dbt's tables, one slot each (``include/airflow/pools.json``)."""
CHANGE_DATA = "tag:change_data"
"""dbt's selection of the models over change data."""
MERGE_WAIT_SECONDS = 120.0
"""So long a merge waits for another one."""
_held = ExitStack()


@dataclass(frozen=True)
class FromTheSource:
    """A hook for ``pre_execute`` of a task that reads a source: a backfill of the past must not get there.

    What a source says today is not what it said then; it would replace the bronze of a past day.

    Args:
        requirement: What the task needs besides.
    """

    requirement: Requirement

    def __call__(self, context: Any) -> None:
        """Raise AirflowFailException in a run of ``airflow backfill``, else ask for what is required."""
        from airflow.sdk.exceptions import AirflowFailException

        if context["dag_run"].run_type == "backfill":
            raise AirflowFailException(
                "A backfill does not read the source again: what it says today is not what it said then. Load days of "
                "the past from landing and bronze: trigger bronze_backfill with first_date and last_date, or "
                "`airflow backfill create --dag-id bronze_backfill`."
            )
        self.requirement(context)


@dataclass(frozen=True)
class OneAtATime:
    """A hook for ``pre_execute``: the task waits until no other process is at the same, in whichever DAG.

    The lock is the process's and goes with it, however the task ends.

    Args:
        name: What only one may do at a time.
        requirement: What the task needs besides.
    """

    name: str
    requirement: Requirement

    def __call__(self, context: Any = None) -> None:
        """Ask for what is required, then take the lock; raises LockHeld when somebody has it for too long."""
        from lakehouse.metadata_store import exclusive

        self.requirement(context)
        _held.close()  # of a task before, where one process runs several
        _held.enter_context(exclusive(self.name, wait_seconds=MERGE_WAIT_SECONDS))


def default_args() -> dict[str, Any]:
    """Return the arguments that every task of the batch has: the owner, retries, and what is not retried."""
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    return {
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
    }


def alone_with_the_tables() -> dict[str, Any]:
    """Return the arguments of a task that drops dbt's tables: it waits until no other has to do with them, they for it.

    Raises:
        ConfigError: When ``include/airflow/pools.json`` is not there.
    """
    return {"pool": DBT_TABLES, "pool_slots": read_yaml(include_dir() / "airflow" / "pools.json")[DBT_TABLES]["slots"]}


def once_dbt_has_spoken() -> ExceptionRetryPolicy:
    """Return the policy of dbt's tests: a failed one fails again; reaching Dremio is asked before dbt starts."""
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    return ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception="airflow.exceptions.AirflowException",
                action=RetryAction.FAIL,
                reason="dbt ran and found something",
            )
        ]
    )


def dbt_profile() -> ProfileConfig:
    """Return dbt's profile, made of the Airflow connection ``dremio_default``."""
    from cosmos import ProfileConfig
    from cosmos.profiles import DbtProfileConfigVars
    from dremio_provider.profiles import DremioProfileMapping

    return ProfileConfig(
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


def dbt_arguments(snapshot_date: str) -> dict[str, Any]:
    """Return what every dbt operator gets, in a task group or alone.

    Args:
        snapshot_date: The day that snapshots belong to, "YYYY-MM-DD" or a template of it.
    """
    return {
        "install_deps": False,
        "env": {"LAKEHOUSE_SNAPSHOT_DATE": snapshot_date},
        "append_env": True,
        "callback": "lakehouse.history.record_dbt_invocation",
        "pool": DBT_TABLES,
        "pre_execute": NothingLeft(require("dremio_default")),
        "execution_timeout": timedelta(hours=2),
        # Interrupted, dbt-dremio fails to cancel, with a traceback, and leaves its statements. So dbt is terminated,
        # and what it has left is ended afterwards.
        "cancel_query_on_kill": False,
        "on_failure_callback": end_statements_of_task,
        "on_retry_callback": end_statements_of_task,
    }


def dbt_task(snapshot_date: str) -> dict[str, Any]:
    """Return what a dbt operator that stands alone gets; the argument is that of ``dbt_arguments``."""
    from cosmos.constants import InvocationMode

    return {
        **dbt_arguments(snapshot_date),
        "project_dir": str(DBT_PROJECT),
        "profile_config": dbt_profile(),
        "dbt_executable_path": DBT_EXECUTABLE,
        "invocation_mode": InvocationMode.SUBPROCESS,
        # The parse state that `dbt parse` left in the project: without it every start parses all models again.
        "cache_dir": DBT_PROJECT,
    }


def merge_change_data(day: str, **arguments: Any) -> DbtRunLocalOperator:
    """Return the task that merges change data into the cold tables and declares the views over hot and cold.

    One dbt start for all of them. Two at a time would take each other's temporary tables, and the later one could put
    older versions back: whoever comes second waits. A backfill builds none of these tables, so it is not waited for,
    or the live loop would stand still meanwhile.

    Args:
        day: As of ``dbt_arguments``.
        arguments: More arguments of the operator.
    """
    from cosmos.operators.local import DbtRunLocalOperator

    ready = OneAtATime("merge change data", require("dremio_default", "metadata_postgres"))
    own = {"pool": "default_pool", "pre_execute": NothingLeft(ready, one_at_a_time=True), **arguments}
    return DbtRunLocalOperator(task_id="merge_change_data", select=CHANGE_DATA, **{**dbt_task(day), **own})


def refresh_reflections() -> DremioRefreshReflectionsOperator:
    """Return the task that refreshes the declared reflections and waits until they can accelerate."""
    from dremio_provider.operators.reflections import DremioRefreshReflectionsOperator

    return DremioRefreshReflectionsOperator(
        task_id="refresh",
        dremio_conn_id="dremio_default",
        reflections=[reflection.name for reflection in load_reflections() if reflection.enabled],
        pool=DBT_TABLES,
        pre_execute=require("dremio_default"),
    )


def warm_dashboards() -> SupersetWarmDashboardOperator:
    """Return the task that warms the declared dashboards."""
    from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

    dashboards = load_dashboards()
    return SupersetWarmDashboardOperator(
        task_id="warm",
        superset_conn_id="superset_default",
        dashboards=[dashboard.slug for dashboard in dashboards],
        # Row-level security gives these roles cache entries of their own; a dashboard they do not see is left out.
        roles=list(dict.fromkeys(role for dashboard in dashboards for role in dashboard.roles)),
        # What is warmed tonight has to last until tomorrow night's is there.
        fresh_for=timedelta(days=1).total_seconds(),
        pool=DBT_TABLES,
        pre_execute=require("superset_default"),
    )
