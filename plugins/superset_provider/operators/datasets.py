"""Operators for datasets: read their columns anew, and make their cache forget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from superset_provider.connection import DEFAULT_CONN_ID
from superset_provider.datasets import dataset_name, find_datasets, invalidate_cache, refresh_columns
from superset_provider.exceptions import SupersetTerminalError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.lineage import operator_lineage, tables_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class SupersetRefreshDatasetOperator(BaseOperator):
    """Have Superset read the columns of datasets anew after their tables have changed, and say what is new, removed or
    of another type, and which charts use a column that is gone.

    :param datasets: ``table``, ``schema.table``, ``database.schema.table``, uuids or ids.
    :param invalidate_cache: Whether the cache of datasets whose columns changed forgets: a refresh alone leaves the old
        answers in place (#43918). Warm afterwards.
    :param fail_on_broken_charts: Whether the task fails when a chart uses a column that is gone.
    :param superset_conn_id: Airflow connection of type ``superset``, of an owner of the datasets or an administrator.
    """

    template_fields: Sequence[str] = ("datasets", "superset_conn_id")
    ui_color = "#cfe8d5"

    def __init__(
        self,
        *,
        datasets: Sequence[str | int],
        invalidate_cache: bool = False,
        fail_on_broken_charts: bool = False,
        superset_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasets = datasets
        self.invalidate_cache = invalidate_cache
        self.fail_on_broken_charts = fail_on_broken_charts
        self.superset_conn_id = superset_conn_id
        self._lineage: Any = None

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Refresh the datasets.

        :returns: ``[{"dataset", "dataset_id", "added", "removed", "retyped", "broken_charts"}]``.
        :raises SupersetNotFoundError: There is no such dataset.
        :raises SupersetTerminalError: A table is gone; or a chart is broken and that was not wanted.
        """
        results = []
        with SupersetHook(self.superset_conn_id) as hook:
            found = find_datasets(hook, self.datasets)
            for dataset in found:
                refreshed = refresh_columns(hook, dataset)
                self.log.info("%s", refreshed)
                if refreshed.changed and self.invalidate_cache:
                    invalidate_cache(hook, dataset)
                    self.log.info("%s: what was cached is served no more", refreshed.dataset)
                results.append(refreshed)
            tables = hook.perform(tables_of(hook.address, found))
            self._lineage = (hook.address, tables, [dataset_name(dataset) for dataset in found])
        broken = [f"{entry.dataset}: {', '.join(entry.broken_charts)}" for entry in results if entry.broken_charts]
        if broken and self.fail_on_broken_charts:
            raise SupersetTerminalError(
                f"Charts use columns that are gone. {'; '.join(broken)}.",
                check="the charts in Superset, or the change of the table.",
                details={"refreshed": [entry.to_dict() for entry in results]},
            )
        return [entry.to_dict() for entry in results]

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """From the tables to the datasets of Superset; empty when nothing ran."""
        if self._lineage is None:
            return operator_lineage()
        address, tables, names = self._lineage
        return operator_lineage(address, tables, datasets=names)


class SupersetInvalidateCacheOperator(BaseOperator):
    """Make Superset forget what it has cached of datasets, for all users and filters: readers ask the database again.

    For tables that were repaired or filled out of turn. After a regular load, warm instead: until then every reader
    waits.

    :param datasets: ``table``, ``schema.table``, ``database.schema.table``, uuids or ids.
    :param dashboards: Slugs, uuids or ids of dashboards, all of whose datasets are meant.
    :param superset_conn_id: Airflow connection of type ``superset``, of an owner of the datasets or an administrator.
    """

    template_fields: Sequence[str] = ("datasets", "dashboards", "superset_conn_id")
    ui_color = "#cfe8d5"

    def __init__(
        self,
        *,
        datasets: Sequence[str | int] = (),
        dashboards: Sequence[str | int] = (),
        superset_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasets = datasets
        self.dashboards = dashboards
        self.superset_conn_id = superset_conn_id

    def execute(self, context: Context) -> list[str]:
        """Invalidate.

        :returns: Names of the datasets.
        :raises SupersetNotFoundError: There is no such dataset or dashboard.
        :raises SupersetTerminalError: A dataset's cache keys are as they were.
        """
        with SupersetHook(self.superset_conn_id) as hook:
            found = find_datasets(hook, self.datasets, self.dashboards)
            for dataset in found:
                invalidate_cache(hook, dataset)
                self.log.info("%s: what was cached is served no more", dataset_name(dataset))
        return [dataset_name(dataset) for dataset in found]
