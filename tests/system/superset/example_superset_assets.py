"""Dashboards as files: show what an import would change, import what differs, write back what people changed."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG
from superset_provider.operators.assets import SupersetExportAssetsOperator, SupersetImportAssetsOperator

ASSETS = str(Path(__file__).parent / "assets")
EXPORT = str(Path(os.environ.get("AIRFLOW_HOME", ".")) / "superset_export")

with DAG("example_superset_assets", schedule=None, catchup=False, tags=["example", "superset"], doc_md=__doc__) as dag:
    # [START howto_operator_import_assets_plan]
    show_plan = SupersetImportAssetsOperator(task_id="show_plan", folder=ASSETS, plan_only=True)
    # [END howto_operator_import_assets_plan]

    # [START howto_operator_import_assets]
    import_assets = SupersetImportAssetsOperator(
        task_id="import_assets",
        folder=ASSETS,
        # A chart that was taken off the declared dashboards goes, unless another dashboard shows it.
        delete_removed_charts=True,
    )
    # [END howto_operator_import_assets]

    # [START howto_operator_export_assets]
    export_assets = SupersetExportAssetsOperator(
        task_id="export_assets",
        folder=EXPORT,
        # Besides what the folder declares already: this dashboard with all it needs.
        dashboards=["example-orders"],
    )
    # [END howto_operator_export_assets]

    show_plan >> import_assets >> export_assets
