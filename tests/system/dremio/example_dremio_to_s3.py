"""A query's result as Parquet files on S3, streamed over Arrow Flight."""

from __future__ import annotations

from airflow.sdk import DAG
from dremio_provider.operators.sql import DremioRunSqlOperator
from dremio_provider.transfers.dremio_to_s3 import DremioToS3Operator

TABLE = "example_lake.datalake.example_export"

with DAG("example_dremio_to_s3", schedule=None, catchup=False, tags=["example", "dremio"], doc_md=__doc__) as dag:
    create_table = DremioRunSqlOperator(
        task_id="create_table",
        sql=f"CREATE TABLE IF NOT EXISTS {TABLE} AS SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t (id, name)",
    )

    # [START howto_transfer_dremio_to_s3]
    export = DremioToS3Operator(
        task_id="export",
        sql=f"SELECT id, name FROM {TABLE} ORDER BY id",
        s3_bucket="datalake",
        s3_prefix="exports/{{ dag.dag_id }}",
        aws_conn_id="lake_s3",
        max_rows_per_file=1_000_000,
        compression="zstd",
    )
    # [END howto_transfer_dremio_to_s3]

    create_table >> export
