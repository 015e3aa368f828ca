"""Dremio's catalog from an object store to a view: source, space, table over Parquet, metadata, policy, grants."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from dremio_provider.operators.catalog import (
    DremioApplyCatalogOperator,
    DremioApplyGrantsOperator,
    DremioRefreshMetadataOperator,
    DremioSetRefreshPolicyOperator,
)

SOURCE = {
    "name": "example_lake",
    "type": "S3",
    "config": {
        "credentialType": "ACCESS_KEY",
        # Taken from the Airflow connection when it is sent; never shown, templated or compared in clear.
        "accessKey": {"from_connection": "lake_s3.login"},
        "accessSecret": {"from_connection": "lake_s3.password"},
        "secure": False,
        "rootPath": "/",
        "compatibilityMode": True,
        "propertyList": [
            {"name": "fs.s3a.path.style.access", "value": "true"},
            {"name": "fs.s3a.endpoint", "value": {"from_connection": "lake_s3.extra.dremio_endpoint"}},
        ],
    },
    "metadataPolicy": {"autoPromoteDatasets": False},
}

with DAG("example_dremio_catalog", schedule=None, catchup=False, tags=["example", "dremio"], doc_md=__doc__) as dag:
    # [START howto_operator_apply_catalog]
    apply_catalog = DremioApplyCatalogOperator(
        task_id="apply_catalog",
        catalog={
            "sources": [SOURCE],
            "spaces": [{"name": "example_gold", "description": "What dashboards read."}],
            "folders": ["example_gold.daily"],
            "tables": [{"path": "example_lake.datalake.example_orders", "format": {"type": "Parquet"}}],
            "views": [
                {
                    "path": "example_gold.daily.orders",
                    "sql": "SELECT order_id, status, dir0 AS order_day FROM example_lake.datalake.example_orders",
                    "description": "One row for each order.",
                }
            ],
        },
    )
    # [END howto_operator_apply_catalog]

    # [START howto_operator_apply_catalog_dry_run]
    show_plan = DremioApplyCatalogOperator(
        task_id="show_plan",
        catalog={"views": [{"path": "example_gold.daily.orders", "sql": "SELECT 1 AS order_id"}]},
        dry_run=True,
    )
    # [END howto_operator_apply_catalog_dry_run]

    # [START howto_operator_refresh_metadata]
    refresh_metadata = DremioRefreshMetadataOperator(
        task_id="refresh_metadata",
        table="example_lake.datalake.example_orders",
    )
    # [END howto_operator_refresh_metadata]

    # [START howto_operator_set_refresh_policy]
    set_refresh_policy = DremioSetRefreshPolicyOperator(
        task_id="set_refresh_policy",
        datasets=["example_lake.datalake.example_orders"],
        # This pipeline refreshes when its data is there; Dremio is not to do it on its own in between.
        never=True,
        grace_period=timedelta(days=2),
    )
    # [END howto_operator_set_refresh_policy]

    # [START howto_operator_apply_grants]
    apply_grants = DremioApplyGrantsOperator(
        task_id="apply_grants",
        grants={"example_gold.daily.orders": [{"role": "analysts", "privileges": ["SELECT"]}]},
        # The community edition has no grants: there the task is skipped.
        skip_on_community=True,
    )
    # [END howto_operator_apply_grants]

    apply_catalog >> [show_plan, refresh_metadata] >> set_refresh_policy >> apply_grants
