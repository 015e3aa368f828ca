"""Button on a task's page that leads to the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class SupersetDashboardLink(BaseOperatorLink):
    """The first of the dashboards; its address is written before the operator starts to warm."""

    name = "Superset dashboard"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the dashboard, or an empty text as long as none was found."""
        from airflow.sdk.execution_time.xcom import XCom

        return str(XCom.get_value(ti_key=ti_key, key=self.xcom_key) or "")

    @classmethod
    def persist(cls, context: Any, url: str) -> None:
        """Write the address.

        :param context: Context of the running task.
        """
        context["ti"].xcom_push(key=cls().xcom_key, value=url)
