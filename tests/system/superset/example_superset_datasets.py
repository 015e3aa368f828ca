"""Around a dashboard: columns of a changed table, a cache that forgets, repaired charts, numbers, freshness."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG
from superset_provider.operators.charts import SupersetChartDataOperator, SupersetRepairChartsOperator
from superset_provider.operators.datasets import SupersetInvalidateCacheOperator, SupersetRefreshDatasetOperator
from superset_provider.sensors.freshness import SupersetDashboardFreshnessSensor

REPORT = str(Path(os.environ.get("AIRFLOW_HOME", ".")) / "revenue.parquet")

with DAG(
    "example_superset_datasets", schedule=None, catchup=False, tags=["example", "superset"], doc_md=__doc__
) as dag:
    # [START howto_operator_refresh_dataset]
    refresh_dataset = SupersetRefreshDatasetOperator(
        task_id="refresh_dataset",
        datasets=["example_warehouse.example_orders"],
        # Only of datasets whose columns have changed.
        invalidate_cache=True,
        fail_on_broken_charts=True,
    )
    # [END howto_operator_refresh_dataset]

    # [START howto_operator_invalidate_cache]
    invalidate_cache = SupersetInvalidateCacheOperator(
        task_id="invalidate_cache",
        # All datasets behind it.
        dashboards=["example-orders"],
    )
    # [END howto_operator_invalidate_cache]

    # [START howto_operator_repair_charts]
    repair_charts = SupersetRepairChartsOperator(
        task_id="repair_charts",
        # All its charts.
        dashboards=["example-orders"],
    )
    # [END howto_operator_repair_charts]

    # [START howto_operator_chart_data]
    revenue = SupersetChartDataOperator(
        task_id="revenue",
        chart="Example revenue by region",
        filters=[{"col": "region", "op": "IN", "val": ["EU"]}],
    )
    # [END howto_operator_chart_data]

    # [START howto_operator_chart_data_parquet]
    report = SupersetChartDataOperator(
        task_id="report",
        chart="Example revenue by region",
        force=True,
        # Or s3://lake_s3@bucket/reports/revenue.parquet, with the Airflow connection in front of the bucket.
        path=REPORT,
    )
    # [END howto_operator_chart_data_parquet]

    # [START howto_sensor_dashboard_freshness]
    dashboard_is_fresh = SupersetDashboardFreshnessSensor(
        task_id="dashboard_is_fresh",
        dashboards=["example-orders"],
        max_age=timedelta(hours=6),
        timeout=1800,
        poke_interval=60,
        deferrable=True,
    )
    # [END howto_sensor_dashboard_freshness]

    # [START howto_sensor_data_freshness]
    data_is_there = SupersetDashboardFreshnessSensor(
        task_id="data_is_there",
        time_columns={"example_warehouse.example_orders": "ordered_at"},
        since="2026-11-03T00:00:00",
        timeout=1800,
        poke_interval=60,
    )
    # [END howto_sensor_data_freshness]

    refresh_dataset >> repair_charts >> invalidate_cache >> [revenue, report] >> dashboard_is_fresh >> data_is_there
