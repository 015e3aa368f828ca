"""One sync each, waited for in a worker and in the triggerer; which connection's, the run says."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from lakehouse_airbyte.operators import AirbyteRunSyncOperator

for name, deferrable in (("waiting", False), ("deferred", True)):
    with DAG(
        dag_id=f"sync_{name}",
        schedule=None,
        params={"connection_id": Param("", type="string")},
        is_paused_upon_creation=False,
    ):
        AirbyteRunSyncOperator(
            task_id="sync",
            connection_id="{{ params.connection_id }}",
            config_conn_id="airbyte_config",
            deferrable=deferrable,
            wait_seconds=0.2,
            timeout=600,
            retries=3,
            retry_delay=timedelta(seconds=1),
        )
