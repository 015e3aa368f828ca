"""platform_setup: apply everything declared under ``include/`` to the five systems it is declared for.

Run it by hand after a change of the declared files. Applied twice, the second run changes nothing and says so: every
task logs its list of changes, and ``report`` the sum of them.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Variable, task
from lakehouse.services import require
from lakehouse.setup import SYSTEMS

CONNECTIONS = {
    "postgres": ["metadata_postgres"],
    "elasticsearch": ["elasticsearch_default"],
    "airbyte": ["airbyte_default"],
    "dremio": ["dremio_default"],
    "superset": ["superset_default"],
}


@task
def apply(system: str) -> list[dict[str, Any]]:
    """Bring one system to what is declared for it."""
    from lakehouse import setup

    changes = setup.apply(system)
    print(setup.summary(changes))
    if system == "airbyte":
        Variable.set("airbyte_connections", setup.airbyte.connection_ids(), serialize_json=True)
    return [change.to_dict() for change in changes]


@task
def report(applied: list[list[dict[str, Any]]]) -> str:
    """Say in one place what this run changed."""
    from lakehouse import setup

    summary = setup.summary([setup.Change(**change) for changes in applied for change in changes])
    print(summary)
    return summary


with DAG(
    dag_id="platform_setup",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "data-platform", "retries": 2},
    doc_md=__doc__,
    tags=["lakehouse", "setup"],
):
    applied = {
        system: apply.override(task_id=system, pre_execute=require(*CONNECTIONS[system]))(system) for system in SYSTEMS
    }
    # PostgreSQL holds the fingerprints of the secrets that the other systems do not show again.
    applied["postgres"] >> [applied[system] for system in SYSTEMS if system != "postgres"]
    report(list(applied.values()))
