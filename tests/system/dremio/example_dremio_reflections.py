"""Reflections of a view: declared, refreshed until queries are served from the new data, and waited for by others."""

from __future__ import annotations

from airflow.sdk import DAG
from dremio_provider.operators.catalog import DremioApplyCatalogOperator
from dremio_provider.operators.reflections import DremioApplyReflectionsOperator, DremioRefreshReflectionsOperator
from dremio_provider.operators.sql import DremioRunSqlOperator
from dremio_provider.sensors.reflections import DremioReflectionSensor

DATASET = "example_speed.sales"

with DAG("example_dremio_reflections", schedule=None, catchup=False, tags=["example", "dremio"], doc_md=__doc__) as dag:
    apply_space = DremioApplyCatalogOperator(task_id="apply_space", catalog={"spaces": ["example_speed"]})

    create_view = DremioRunSqlOperator(
        task_id="create_view",
        sql=[
            "CREATE TABLE IF NOT EXISTS example_lake.datalake.example_sales AS SELECT * FROM "
            "(VALUES (1, 'paid', 10), (2, 'paid', 20), (3, 'open', 40)) AS t (order_id, status, amount)",
            f"CREATE OR REPLACE VIEW {DATASET} AS SELECT * FROM example_lake.datalake.example_sales",
        ],
    )

    # [START howto_operator_apply_reflections]
    apply_reflections = DremioApplyReflectionsOperator(
        task_id="apply_reflections",
        reflections=[
            {
                "name": "sales_by_status",
                "dataset": DATASET,
                "type": "aggregation",
                "dimensions": ["status"],
                "measures": [{"name": "amount", "functions": ["SUM", "COUNT"]}],
            },
            {
                "name": "sales_detail",
                "dataset": DATASET,
                "type": "raw",
                "display": ["order_id", "status", "amount"],
                "sort_by": ["order_id"],
            },
        ],
        delete_undeclared=True,
    )
    # [END howto_operator_apply_reflections]

    # [START howto_sensor_reflection]
    wait_until_ready = DremioReflectionSensor(
        task_id="wait_until_ready",
        datasets=[DATASET],
        timeout=300,
        poke_interval=1,
        deferrable=True,
    )
    # [END howto_sensor_reflection]

    insert = DremioRunSqlOperator(
        task_id="insert", sql="INSERT INTO example_lake.datalake.example_sales VALUES (4, 'open', 80)"
    )

    # [START howto_operator_refresh_reflections]
    refresh_reflections = DremioRefreshReflectionsOperator(
        task_id="refresh_reflections",
        reflections=[{"dataset": DATASET, "name": "sales_by_status"}, {"dataset": DATASET, "name": "sales_detail"}],
        # New Parquet files are invisible to Dremio, and so to its reflections, until their metadata is read.
        refresh_metadata=True,
        timeout=300,
        poll_interval=1,
    )
    # [END howto_operator_refresh_reflections]

    # [START howto_operator_refresh_reflections_deferrable]
    refresh_dataset = DremioRefreshReflectionsOperator(
        task_id="refresh_dataset",
        datasets=[DATASET],
        timeout=300,
        poll_interval=1,
        deferrable=True,
    )
    # [END howto_operator_refresh_reflections_deferrable]

    apply_space >> create_view >> apply_reflections >> wait_until_ready >> insert
    insert >> refresh_reflections >> refresh_dataset
