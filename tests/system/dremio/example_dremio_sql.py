"""SQL on Dremio: statements as jobs, a job waited for, a result waited for, and Airflow's stock check on the result."""

from __future__ import annotations

from airflow.providers.common.sql.operators.sql import SQLColumnCheckOperator
from airflow.sdk import DAG
from dremio_provider.operators.sql import DremioRunSqlOperator
from dremio_provider.sensors.jobs import DremioJobSensor
from dremio_provider.sensors.sql import DremioQueryResultSensor

TABLE = "example_lake.datalake.example_visits"

with DAG("example_dremio_sql", schedule=None, catchup=False, tags=["example", "dremio"], doc_md=__doc__) as dag:
    # [START howto_operator_run_sql]
    run_sql = DremioRunSqlOperator(
        task_id="run_sql",
        sql=[
            f"DROP TABLE IF EXISTS {TABLE}",
            f"CREATE TABLE {TABLE} AS SELECT * FROM (VALUES (1, 'ann'), (2, 'bob')) AS t (visit_id, visitor)",
        ],
    )
    # [END howto_operator_run_sql]

    # [START howto_sensor_job]
    wait_for_job = DremioJobSensor(
        task_id="wait_for_job",
        job_id="{{ ti.xcom_pull(task_ids='run_sql')['job_ids'][-1] }}",
        timeout=60,
        poke_interval=1,
        deferrable=True,
    )
    # [END howto_sensor_job]

    # [START howto_sensor_query_result]
    wait_for_rows = DremioQueryResultSensor(
        task_id="wait_for_rows",
        sql=f"SELECT COUNT(*) FROM {TABLE} WHERE visitor = %(visitor)s",
        parameters={"visitor": "bob"},
        timeout=60,
        poke_interval=1,
    )
    # [END howto_sensor_query_result]

    # [START howto_stock_sql_check]
    check_columns = SQLColumnCheckOperator(
        task_id="check_columns",
        conn_id="dremio_default",
        table=TABLE,
        column_mapping={"visit_id": {"null_check": {"equal_to": 0}, "distinct_check": {"equal_to": 2}}},
    )
    # [END howto_stock_sql_check]

    run_sql >> wait_for_job >> wait_for_rows >> check_columns
