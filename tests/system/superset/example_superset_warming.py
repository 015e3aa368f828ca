"""Dashboards that are warm in the morning: by name, by what has changed, and as people who see only some rows."""

from __future__ import annotations

from airflow.sdk import DAG
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

with DAG("example_superset_warming", schedule=None, catchup=False, tags=["example", "superset"], doc_md=__doc__) as dag:
    # [START howto_operator_warm_dashboard]
    warm_dashboard = SupersetWarmDashboardOperator(
        task_id="warm_dashboard",
        dashboards=["example-sales"],
        # What is warmed now has to last until the next run.
        fresh_for=6 * 3600,
    )
    # [END howto_operator_warm_dashboard]

    # [START howto_operator_warm_dashboard_stale]
    warm_what_is_stale = SupersetWarmDashboardOperator(
        task_id="warm_what_is_stale",
        # Every published dashboard with a chart on this dataset.
        datasets=["example_sales"],
        only_stale=True,
        # When this pipeline has written its data last.
        changed_since="{{ dag_run.run_after.isoformat() }}",
    )
    # [END howto_operator_warm_dashboard_stale]

    # [START howto_operator_warm_dashboard_users]
    warm_for_others = SupersetWarmDashboardOperator(
        task_id="warm_for_others",
        dashboards=["example-sales"],
        # A service user with these two roles, made for this and deactivated afterwards.
        roles=[["Alpha", "Example EU"]],
        # A real user, whose password is in an Airflow connection.
        as_users=["superset_analyst"],
        only_stale=True,
        deferrable=True,
    )
    # [END howto_operator_warm_dashboard_users]

    # [START howto_operator_warm_dashboard_policy]
    warm_with_patience = SupersetWarmDashboardOperator(
        task_id="warm_with_patience",
        tags=["example-morning"],
        concurrency=8,
        query_timeout=120,
        timeout=1800,
        # Up to a tenth of the charts may stay cold; more fails the task.
        max_failure_share=0.1,
        on_failure="fail",
    )
    # [END howto_operator_warm_dashboard_policy]

    warm_dashboard >> warm_what_is_stale >> warm_for_others >> warm_with_patience
