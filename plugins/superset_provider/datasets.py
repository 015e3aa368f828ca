"""Datasets: their columns after a change of the table, and a cache that really forgets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from json import loads
from typing import Any

from superset_provider.exceptions import SupersetConfigurationError, SupersetError, SupersetTerminalError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.warmer.selection import match_datasets

_UNPROCESSABLE = 422


@dataclass(frozen=True)
class Refreshed:
    """What reading a dataset's columns anew has changed.

    :param dataset: ``schema.table``.
    :param retyped: ``{column: "OLD -> NEW"}``.
    :param broken_charts: Charts that use a removed column.
    """

    dataset: str
    dataset_id: int
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    retyped: dict[str, str] = field(default_factory=dict)
    broken_charts: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything is different now."""
        return bool(self.added or self.removed or self.retyped)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"new: {', '.join(self.added)}"] if self.added else []
        parts += [f"removed: {', '.join(self.removed)}"] if self.removed else []
        parts += [f"{column}: {types}" for column, types in self.retyped.items()]
        parts += [f"charts that use a removed column: {', '.join(self.broken_charts)}"] if self.broken_charts else []
        return f"{self.dataset}: {'; '.join(parts) or 'the same columns'}"


def find_datasets(
    hook: SupersetHook, datasets: Sequence[str | int] = (), dashboards: Sequence[str | int] = ()
) -> list[dict[str, Any]]:
    """Datasets with their columns.

    :param datasets: ``table``, ``schema.table``, ``database.schema.table``, uuids or ids.
    :param dashboards: Slugs, uuids or ids of dashboards, all of whose datasets are meant.
    :raises SupersetNotFoundError: One of them does not exist; near names are told.
    :raises SupersetConfigurationError: Nothing was named, or a name means several datasets.
    """
    if not datasets and not dashboards:
        raise SupersetConfigurationError(
            "Neither datasets nor dashboards are named.", check="the arguments datasets and dashboards."
        )
    ids = match_datasets(hook.list_datasets(), datasets) if datasets else []
    for dashboard in dashboards:
        ids += [int(entry["id"]) for entry in hook.get_dashboard_datasets(dashboard)]
    return [hook.get_dataset(number) for number in dict.fromkeys(ids)]


def refresh_columns(hook: SupersetHook, dataset: Mapping[str, Any]) -> Refreshed:
    """Have Superset read the columns of a table or query anew.

    :param dataset: As the hook returns it, before the refresh.
    :raises SupersetTerminalError: The table is gone, or its database cannot read it; in the database's words.
    """
    number = int(dataset["id"])
    try:
        hook.request("PUT", f"/api/v1/dataset/{number}/refresh")
    except SupersetTerminalError as error:
        if error.status_code != _UNPROCESSABLE:
            raise
        raise _unreadable(hook, dataset, error) from error
    before, after = _types(dataset), _types(hook.get_dataset(number))
    removed = sorted(before.keys() - after.keys())
    return Refreshed(
        dataset_name(dataset),
        number,
        added=sorted(after.keys() - before.keys()),
        removed=removed,
        retyped={
            name: f"{before[name]} -> {after[name]}"
            for name in sorted(before.keys() & after.keys())
            if before[name] != after[name]
        },
        broken_charts=sorted(_charts_using(hook, number, set(removed))) if removed else [],
    )


def invalidate_cache(hook: SupersetHook, dataset: Mapping[str, Any]) -> None:
    """Make everything unreachable that Superset has cached of a dataset, for all users and filters.

    The time of a dataset's last change is part of the cache keys (superset/common/query_context_processor.py), and only
    a change of a field moves it: a space at the end of the description comes and goes. Superset's own
    ``cachekey/invalidate`` deletes nothing that charts are served from (#40489).

    :param dataset: As the hook returns it.
    :raises SupersetTerminalError: The time of the last change has not moved.
    """
    path = f"/api/v1/dataset/{int(dataset['id'])}"
    description = dataset.get("description")
    hook.request("PUT", path, json={"description": f"{description or ''} "})
    hook.request("PUT", path, json={"description": description})
    if hook.get_dataset(int(dataset["id"]))["changed_on"] == dataset["changed_on"]:
        raise SupersetTerminalError(
            f"The cache of dataset {dataset_name(dataset)} is as it was: its time of change has not moved.",
            address=hook.address,
            check="Superset's version, and whether something resets changed_on in its metadata.",
        )


def dataset_name(dataset: Mapping[str, Any]) -> str:
    """``schema.table`` of a dataset."""
    return ".".join(str(part) for part in (dataset.get("schema"), dataset["table_name"]) if part)


def _types(dataset: Mapping[str, Any]) -> dict[str, str]:
    """Physical columns and their types: what is computed in Superset is not the table's."""
    return {
        str(column["column_name"]): str(column.get("type"))
        for column in dataset["columns"]
        if not column.get("expression")
    }


def _unreadable(hook: SupersetHook, dataset: Mapping[str, Any], error: SupersetTerminalError) -> SupersetTerminalError:
    """Superset says no more than "could not be updated"; a query over the dataset says why."""
    columns = list(_types(dataset))[:1]
    body = {
        "datasource": {"id": int(dataset["id"]), "type": "table"},
        "force": True,
        "queries": [{"columns": columns, "metrics": [], "row_limit": 1}],
        "result_format": "json",
        "result_type": "full",
    }
    name, reason = dataset_name(dataset), str(error.received)
    try:
        hook.chart_data(body, dataset=name)
    except SupersetError as refused:
        reason = str(refused.details.get("database_message") or refused.received or refused)
    database = (dataset.get("database") or {}).get("database_name")
    what = "query" if dataset.get("sql") else "table"
    return SupersetTerminalError(
        f"The columns of dataset {name} cannot be read: its {what} is gone or broken in database {database!r}.",
        asked=error.asked,
        address=error.address,
        received=reason,
        check=f"the {what} in the database, and whether the database's user may read it.",
        status_code=error.status_code,
    )


def _charts_using(hook: SupersetHook, dataset_id: int, columns: Collection[str]) -> Iterator[str]:
    for chart in hook.list_charts([{"col": "datasource_id", "opr": "eq", "value": dataset_id}]):
        texts = (chart.get("params"), hook.get_chart(int(chart["id"])).get("query_context"))
        if any(_mentions(loads(text), columns) for text in texts if text):
            yield str(chart["slice_name"])


def _mentions(value: Any, columns: Collection[str]) -> bool:
    if isinstance(value, dict):
        return any(_mentions(entry, columns) for entry in value.values())
    if isinstance(value, list):
        return any(_mentions(entry, columns) for entry in value)
    return isinstance(value, str) and value in columns
