"""From tables to dashboards, for OpenLineage: the names that other integrations use for the same tables.

Names follow https://openlineage.io/docs/spec/naming; a table in Dremio is called as Dremio's and dbt's integrations
call it, so that the chain from there to the dashboard connects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from superset_provider.exceptions import SupersetAuthenticationError, SupersetNotFoundError
from superset_provider.hooks.calls import Call, Calls
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.warmer.selection import Selection, select

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

# Namespace and name, as OpenLineage wants them.
Table = tuple[str, str]
_SCHEMES = {"postgresql": "postgres"}
_PORTS = {"postgres": 5432, "mysql": 3306, "trino": 8080}
# Superset speaks Flight, others REST; Dremio's two ports keep their distance when both are moved.
_DREMIO_REST_BEHIND_FLIGHT = 9047 - 32010


def tables_of(address: str, datasets: Sequence[Mapping[str, Any]]) -> Calls[list[Table]]:
    """The tables that datasets read; of a virtual dataset those in its query.

    To be performed by a hook: ``hook.perform(tables_of(hook.address, datasets))``, awaited for the async one.

    :param address: Root of Superset, the namespace of tables in a database whose address this user may not see.
    :param datasets: As ``GET /api/v1/dataset/<id>`` or ``GET /api/v1/dashboard/<id>/datasets`` has them.
    """
    uris: dict[int, str | None] = {}
    found: dict[Table, None] = {}
    for dataset in datasets:
        database = dataset.get("database") or {}
        number = int(database.get("id") or 0)
        if number not in uris:
            uris[number] = yield from _uri(number)
        name = str(database.get("database_name") or database.get("name") or number)
        for path in _paths(dataset):
            found[table_name(uris[number], path) or (_namespace(address), ".".join((name, *path)))] = None
    return list(found)


def table_name(uri: str | None, path: Sequence[str]) -> Table | None:
    """A table as OpenLineage names it.

    :param uri: SQLAlchemy URI of its database.
    :param path: Catalog, schema and name, as far as they are known.
    :returns: None when the URI does not say where the database is.
    """
    if uri is None:
        return None
    split = urlsplit(uri)
    scheme = split.scheme.partition("+")[0]
    scheme = _SCHEMES.get(scheme, scheme)
    database = unquote(split.path).strip("/")
    if scheme == "dremio":
        return f"dremio://{split.hostname}:{_dremio_port(split)}", ".".join(path)
    if not split.hostname:
        # A file, such as SQLite's and DuckDB's.
        return "file", ".".join((f"/{database}", *path))
    port = split.port or _PORTS.get(scheme)
    namespace = f"{scheme}://{split.hostname}" + (f":{port}" if port else "")
    if scheme == "postgres" and len(path) == 1:
        path = ("public", *path)
    in_front = (database,) if database and not (scheme == "mysql" and len(path) > 1) else ()
    return namespace, ".".join((*in_front, *path))


def selected_lineage(superset_conn_id: str, selection: Selection) -> OperatorLineage | None:
    """From the tables to the dashboards of a selection, asked of Superset.

    :param superset_conn_id: Airflow connection of type ``superset``.
    :raises SupersetError: Superset cannot be asked.
    """
    return asyncio.run(_selected(superset_conn_id, selection))


async def _selected(superset_conn_id: str, selection: Selection) -> OperatorLineage | None:
    async with SupersetAsyncHook(superset_conn_id) as hook:
        ids = dict.fromkeys(page.dashboard_id for page in (await select(hook, selection)).pages)
        dashboards = await asyncio.gather(*(hook.get_dashboard(number) for number in ids))
        datasets = await asyncio.gather(*(hook.get_dashboard_datasets(number) for number in ids))
        tables = await hook.perform(tables_of(hook.address, [entry for group in datasets for entry in group]))
        return operator_lineage(hook.address, tables, dashboards=dashboards)


def operator_lineage(
    address: str = "",
    tables: Iterable[Table] = (),
    *,
    dashboards: Iterable[Mapping[str, Any]] = (),
    datasets: Iterable[str] = (),
    files: Iterable[Table] = (),
) -> OperatorLineage | None:
    """The lineage of an operator: what it read, and which objects of Superset show it; empty when nothing ran.

    :param address: Root of Superset.
    :param tables: Result of :func:`tables_of`.
    :param dashboards: ``{"id", "slug", "dashboard_title"}`` of each.
    :param datasets: Names of Superset's datasets.
    :param files: What was written outside of Superset.
    :returns: None where OpenLineage's provider is not installed.
    """
    try:
        from airflow.providers.common.compat.openlineage.facet import Dataset
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import dataset_type_dataset, datasource_dataset
    except ImportError:
        return None

    def shown(kind: str, name: str, title: str, path: str) -> Any:
        facets = {
            "dataSource": datasource_dataset.DatasourceDatasetFacet(name=title, uri=f"{address}{path}"),
            "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(datasetType=kind.upper()),
        }
        return Dataset(namespace=_namespace(address), name=f"{kind}.{name}", facets=facets)

    outputs = [
        shown(
            "dashboard",
            str(entry.get("slug") or entry["id"]),
            str(entry.get("dashboard_title") or entry["id"]),
            f"/superset/dashboard/{entry.get('slug') or entry['id']}/",
        )
        for entry in dashboards
    ]
    outputs += [shown("dataset", name, name, "/tablemodelview/list/") for name in datasets]
    return OperatorLineage(
        inputs=[Dataset(namespace=namespace, name=name) for namespace, name in tables],
        outputs=outputs + [Dataset(namespace=namespace, name=name) for namespace, name in files],
    )


def _namespace(address: str) -> str:
    return f"superset://{address.rpartition('://')[2]}"


def _dremio_port(split: SplitResult) -> int:
    port = split.port or 32010
    moved = port + _DREMIO_REST_BEHIND_FLIGHT
    return moved if moved > 0 else port


def _uri(database_id: int) -> Calls[str | None]:
    if not database_id:
        return None
    try:
        answer = yield Call("GET", f"/api/v1/database/{database_id}/connection")
    except (SupersetAuthenticationError, SupersetNotFoundError):
        # Not everybody who sees a dashboard may see where its data is.
        return None
    return str(answer["result"]["sqlalchemy_uri"])


def _paths(dataset: Mapping[str, Any]) -> list[tuple[str, ...]]:
    place = tuple(str(dataset[key]) for key in ("catalog", "schema") if dataset.get(key))
    if not dataset.get("sql"):
        return [(*place, str(dataset.get("table_name") or dataset.get("datasource_name")))]
    return [path if len(path) > 1 else (*place, *path) for path in _tables_in(str(dataset["sql"]))]


def _tables_in(sql: str) -> list[tuple[str, ...]]:
    """Tables of a query; none where it cannot be read, such as one with Jinja: lineage must not fail a task."""
    import sqlglot
    from sqlglot import exp

    try:
        trees = [tree for tree in sqlglot.parse(sql) if tree is not None]
    except sqlglot.errors.SqlglotError:
        return []
    found: dict[tuple[str, ...], None] = {}
    for tree in trees:
        local = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            path = tuple(part.name for part in table.parts if isinstance(part, exp.Identifier))
            if path and len(path) == len(table.parts) and not (len(path) == 1 and path[0] in local):
                found[path] = None
    return list(found)
