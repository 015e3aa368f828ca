"""Buttons on a task's page that lead into Dremio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from dremio_provider.paths import parse_path

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class DremioLink(BaseOperatorLink):
    """Base: the address is written to XCom before the operator waits, so that it is there while it waits."""

    name = "Dremio"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the page, or an empty text as long as nothing was sent to Dremio."""
        from airflow.sdk.execution_time.xcom import XCom

        return str(XCom.get_value(ti_key=ti_key, key=self.xcom_key) or "")

    @classmethod
    def persist(cls, context: Any, url: str) -> None:
        """Write the address.

        :param context: Context of the running task.
        """
        context["ti"].xcom_push(key=cls().xcom_key, value=url)


class DremioJobLink(DremioLink):
    """The page of the newest job."""

    name = "Dremio job"


class DremioDatasetLink(DremioLink):
    """The page of the dataset whose reflections are refreshed."""

    name = "Dremio dataset"


def dataset_page(address: str, path: str) -> str:
    """Address of a dataset's page in Dremio's user interface.

    :param address: Root of Dremio.
    :param path: Path of the dataset.
    """
    parts = parse_path(path)
    rest = ".".join(quote(part, safe="") for part in parts[1:])
    return f"{address}/new_query?context={quote(parts[0], safe='')}&queryPath={quote(parts[0], safe='')}.{rest}"
