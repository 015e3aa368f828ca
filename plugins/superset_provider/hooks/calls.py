"""What is asked of Superset, without asking: each use of its REST API once, for the blocking and for the async hook."""

from __future__ import annotations

import difflib
import json as json_module
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from superset_provider import protocol
from superset_provider.exceptions import (
    SupersetChartDataError,
    SupersetNotFoundError,
    SupersetTerminalError,
)

T = TypeVar("T")
PAGE_SIZE = 100


@dataclass(frozen=True)
class Call:
    """One request.

    :param options: ``json, params, files, data, idempotent`` as the hooks' ``request`` takes them.
    """

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


# Yields calls, is sent their answers (or thrown their errors), and returns the result.
Calls = Generator[Call, Any, T]
Filters = Sequence[Mapping[str, Any]]


def _get(path: str, **params: Any) -> Call:
    return Call("GET", path, {"params": params} if params else {})


def _path(kind: str, identifier: str | int, *rest: str) -> str:
    return "/".join((f"/api/v1/{kind}", quote(str(identifier), safe=""), *rest))


# -- objects ----------------------------------------------------------------------------------------------------------


def get_dashboard(id_or_slug: str | int) -> Calls[dict[str, Any]]:
    """A dashboard with ``position_json`` and ``json_metadata``.

    :param id_or_slug: Its id, uuid or slug.
    :raises SupersetNotFoundError: There is none, or this user may not see it; near slugs are named.
    """
    try:
        return (yield from _one(_path("dashboard", id_or_slug)))
    except SupersetNotFoundError as error:
        near = _near(str(id_or_slug), (yield from list_dashboards()))
        error.message = f"Superset has no dashboard {id_or_slug!r}, or this user may not see it."
        error.check = f"the slug; near ones are {near}." if near else error.check
        raise


def _near(wanted: str, dashboards: Sequence[Mapping[str, Any]]) -> str:
    """Dashboards whose slug or title is like what was asked for."""
    names = {
        name.lower(): str(entry.get("slug") or entry["id"])
        for entry in dashboards
        for name in (str(entry.get("dashboard_title") or ""), str(entry.get("slug") or ""))
        if name
    }
    close = difflib.get_close_matches(wanted.lower(), names, n=5, cutoff=0.5)
    return ", ".join(repr(slug) for slug in dict.fromkeys(names[name] for name in close))


def get_dashboard_charts(id_or_slug: str | int) -> Calls[list[dict[str, Any]]]:
    """The charts of a dashboard: ``id, slice_name, form_data``."""
    return list((yield _get(_path("dashboard", id_or_slug, "charts")))["result"])


def get_dashboard_datasets(id_or_slug: str | int) -> Calls[list[dict[str, Any]]]:
    """The datasets a dashboard reads, as its page gets them."""
    return list((yield _get(_path("dashboard", id_or_slug, "datasets")))["result"])


def get_chart(chart_id: int) -> Calls[dict[str, Any]]:
    """A chart with ``query_context`` and ``params``, both JSON in text."""
    return _one(_path("chart", chart_id))


def get_dataset(dataset_id: int) -> Calls[dict[str, Any]]:
    """A dataset with columns and metrics."""
    return _one(_path("dataset", dataset_id))


def get_current_user() -> Calls[dict[str, Any]]:
    """Who is logged in: ``id, username, ..``."""
    return _one("/api/v1/me/")


def _one(path: str) -> Calls[dict[str, Any]]:
    result: dict[str, Any] = (yield _get(path))["result"]
    return result


def list_dashboards(filters: Filters | None = None) -> Calls[list[dict[str, Any]]]:
    """All dashboards this user sees.

    :param filters: ``[{"col": "slug", "opr": "eq", "value": "sales"}]``.
    """
    return _list("dashboard", filters, "dashboard_title")


def list_charts(filters: Filters | None = None) -> Calls[list[dict[str, Any]]]:
    """All charts this user sees."""
    return _list("chart", filters, "slice_name")


def list_datasets(filters: Filters | None = None) -> Calls[list[dict[str, Any]]]:
    """All datasets this user sees."""
    return _list("dataset", filters, "table_name")


def list_databases(filters: Filters | None = None) -> Calls[list[dict[str, Any]]]:
    """All databases this user sees."""
    return _list("database", filters, "database_name")


def list_themes() -> Calls[list[dict[str, Any]]]:
    """All themes; Superset has them since version 6."""
    return _list("theme", None, "theme_name")


def _list(kind: str, filters: Filters | None, order: str) -> Calls[list[dict[str, Any]]]:
    found: dict[int, dict[str, Any]] = {}
    page = 0
    while True:
        # Ordered by something that a warming does not change, so that no page repeats or leaves out an entry.
        query = {
            "page": page,
            "page_size": PAGE_SIZE,
            "filters": [dict(entry) for entry in filters or ()],
            "order_column": order,
            "order_direction": "asc",
        }
        answer = yield _get(f"/api/v1/{kind}/", q=json_module.dumps(query))
        found.update((int(entry["id"]), entry) for entry in answer["result"])
        page += 1
        if len(answer["result"]) < PAGE_SIZE or page * PAGE_SIZE >= int(answer["count"]):
            return list(found.values())


# -- bundles ----------------------------------------------------------------------------------------------------------


def export_assets() -> Calls[bytes]:
    """Everything as one zip bundle, without passwords."""
    return _file(_get("/api/v1/assets/export/"))


def export_dashboards(dashboard_ids: Sequence[int]) -> Calls[bytes]:
    """Dashboards with all they need as one zip bundle, without passwords."""
    ids = ",".join(str(int(number)) for number in dashboard_ids)
    return _file(_get("/api/v1/dashboard/export/", q=f"!({ids})"))


def _file(call: Call) -> Calls[bytes]:
    content: bytes = yield call
    return content


def import_assets(bundle: bytes, *, passwords: Mapping[str, str] | None = None, sparse: bool = False) -> Calls[None]:
    """Import a bundle and overwrite everything in it; its datasets get new cache keys, all others keep theirs.

    :param bundle: Zip of type ``assets``.
    :param passwords: ``{"databases/<name>.yaml": password}``.
    :param sparse: Whether the bundle may refer to objects that are not in it but at the instance.
    :raises SupersetTerminalError: Superset says no more than "unknown reason" for a wrong bundle: see its log.
    """
    yield _import("/api/v1/assets/import/", "bundle", bundle, {"sparse": "true"} if sparse else {}, passwords)


def import_dashboards(
    bundle: bytes, *, overwrite: bool = True, passwords: Mapping[str, str] | None = None
) -> Calls[None]:
    """Import a bundle; ``overwrite`` replaces the dashboard only, charts and datasets that exist stay as they are.

    :param bundle: Zip of type ``Dashboard``.
    """
    fields = {"overwrite": "true"} if overwrite else {}
    yield _import("/api/v1/dashboard/import/", "formData", bundle, fields, passwords)


def _import(
    path: str, part: str, bundle: bytes, fields: Mapping[str, str], passwords: Mapping[str, str] | None
) -> Call:
    data = {**fields, "passwords": json_module.dumps(dict(passwords or {}))}
    return Call("POST", path, {"data": data, "files": {part: ("bundle.zip", bundle, "application/zip")}})


# -- chart data -------------------------------------------------------------------------------------------------------


def chart_data(
    body: Mapping[str, Any],
    *,
    form_data: Mapping[str, Any] | None = None,
    dashboard_id: int | None = None,
    chart: str | None = None,
    dataset: str | None = None,
) -> Calls[list[dict[str, Any]]]:
    """Ask for a chart's data exactly as a browser does.

    :param body: A query context: datasource, queries, force, result_format, result_type.
    :param form_data: What the browser puts into the address; not part of the cache key.
    :param dashboard_id: Likewise.
    :param chart: Name of the chart, for errors.
    :param dataset: Name of the dataset, for errors; by default its id.
    :returns: One entry a query: ``cache_key, is_cached, cached_dttm, rowcount, status, error, data, ..``.
    :raises SupersetChartDataError: The query failed; it names the chart, the dataset and the database's message.
    """
    params: dict[str, Any] = {}
    if form_data is not None:
        params["form_data"] = json_module.dumps(form_data)
    if dashboard_id is not None:
        params["dashboard_id"] = dashboard_id
    options = {"json": body, "params": params or None, "idempotent": True}
    dataset = dataset or str(body.get("datasource", {}).get("id", "?"))
    try:
        answer = yield Call("POST", protocol.CHART_DATA_PATH, options)
    except SupersetTerminalError as error:
        raise protocol.chart_data_error(error, chart, dataset) from error
    failed = [str(entry["error"]) for entry in answer.get("result", ()) if entry.get("error")]
    if failed:
        raise SupersetChartDataError.about(chart, dataset, failed[0][:1000], asked=f"POST {protocol.CHART_DATA_PATH}")
    if "result" not in answer:
        raise SupersetTerminalError(
            "Superset has put the query into a queue instead of answering it.",
            asked=f"POST {protocol.CHART_DATA_PATH}",
            check="the feature flag GLOBAL_ASYNC_QUERIES of Superset: it must be off.",
        )
    result: list[dict[str, Any]] = answer["result"]
    return result
