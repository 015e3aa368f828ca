"""The one form of an object that files are written in and that two sides are compared in.

What a person did not choose is taken out: ids of the instance, defaults, what the frontend computes anew each time a
page is opened (superset-frontend/src/dashboard/actions/hydrate.ts), and copies of what stands elsewhere.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from superset_provider.assets.layout import normal_dashboard
from superset_provider.assets.models import FILES, Column, Metric, Model, defaults, field_order

# Superset's own names for what belongs to one instance, or to the page a chart was last opened on.
_CHART_PARAMS_OF_THE_INSTANCE = ("datasource", "slice_id", "dashboards", "dashboardId", "slice_name")
_DATABASE_EXTRA = {
    "allow_multi_catalog": False,
    "allows_virtual_table_explore": True,
    "cancel_query_on_windows_unload": False,
    "cost_estimate_enabled": False,
    "disable_data_preview": False,
    "disable_drill_to_detail": False,
    "per_user_caching": False,
}
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def normal_form(kind: str, body: Mapping[str, Any], charts: Mapping[int, str] | None = None) -> dict[str, Any]:
    """An object as it is written and compared.

    :param kind: One of :data:`superset_provider.assets.models.FILES`.
    :param body: What a file or Superset's export holds.
    :param charts: Ids of charts at the instance and their uuids: a layout that was made over the API names charts by
        nothing else.
    :returns: New values; a field that has its default is not there.
    """
    model = FILES[kind]
    value = copy.deepcopy(dict(body))
    if kind == "dashboard":
        value = normal_dashboard(value, charts or {})
    elif kind in _NORMAL:
        value = _NORMAL[kind](value)
    for key in value.keys() - {"columns", "metrics"}:
        value[key] = _sorted(value[key])
    if isinstance(value.get("tags"), list):
        value["tags"] = sorted(value["tags"])
    return _short(model, value)


def without_hidden(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What can be compared: an object without the fields that Superset takes but does not show."""
    return {key: entry for key, entry in body.items() if key not in FILES[kind].hidden}


def complete(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """An object as it is sent: every field is there, because the importer leaves what it is not told (#22127).

    :param kind: Kind of the object.
    :param body: Its normal form.
    """
    model = FILES[kind]
    whole = {key: entry for key, entry in defaults(model).items() if key not in model.hidden} | copy.deepcopy(
        dict(body)
    )
    if kind == "dataset":
        whole["columns"] = [defaults(Column) | column for column in whole["columns"]]
        whole["metrics"] = [defaults(Metric) | metric for metric in whole["metrics"]]
    elif kind == "chart":
        whole["params"] = {"viz_type": whole["viz_type"], **whole["params"]}
        whole["query_context"] = _whole_query_context(whole)
    return whole


def _short(model: type[Model], body: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what has its default, and order the rest as the model does."""
    standard = defaults(model)
    order = field_order(model)
    kept = {
        key: value
        for key, value in body.items()
        if key in model.always or not (value in _EMPTY or (key in standard and value == standard[key]))
    }
    return {key: kept[key] for key in sorted(kept, key=lambda name: (order.get(name, len(order)), name))}


def _database(body: dict[str, Any]) -> dict[str, Any]:
    if "allow_file_upload" in body:
        body["allow_csv_upload"] = body.pop("allow_file_upload")
    extra = body.setdefault("extra", {})
    if isinstance(extra, dict):
        if "schemas_allowed_for_file_upload" in extra:
            extra["schemas_allowed_for_csv_upload"] = extra.pop("schemas_allowed_for_file_upload")
        body["extra"] = {key: extra[key] for key in extra if extra[key] not in (*_EMPTY, _DATABASE_EXTRA.get(key))}
    return body


def _dataset(body: dict[str, Any]) -> dict[str, Any]:
    for key in ("extra", "params", "template_params"):
        body[key] = _decoded(body.get(key))
    for key, model, name in (("columns", Column, "column_name"), ("metrics", Metric, "metric_name")):
        entries = []
        for entry in body.get(key) or ():
            extra = _decoded(entry.get("extra"))
            if isinstance(extra, dict):
                # The dataset editor writes these empty for every column and metric that it saves.
                extra = _sorted({field: extra[field] for field in extra if extra[field] not in _EMPTY})
            entries.append(_short(model, {**entry, "extra": extra, "currency": _decoded(entry.get("currency"))}))
        # Superset sorts them by the letters of all their values, so that any change moves them.
        body[key] = sorted(entries, key=lambda entry: str(entry.get(name)))
    return body


def _chart(body: dict[str, Any]) -> dict[str, Any]:
    body["params"] = params = _decoded(body.get("params")) or {}
    if isinstance(params, dict):
        body["params"] = {
            key: params[key]
            for key in params
            if key not in _CHART_PARAMS_OF_THE_INSTANCE
            and not (key in ("annotation_layers", "extra_form_data", "url_params") and not params[key])
            and not (key == "viz_type" and params[key] == body.get("viz_type"))
        }
    for key in ("datasource_type", "datasource_name", "url_params"):
        body.pop(key, None)
    body["query_context"] = _normal_query_context(body.get("query_context"))
    return body


def _normal_query_context(text: Any) -> Any:
    context = _decoded(text)
    if not isinstance(context, dict):
        return text
    for key in ("datasource", "form_data", "force"):
        context.pop(key, None)
    for query in context.get("queries") or ():
        for key in ("datasource", "url_params"):
            query.pop(key, None)
    return json.dumps(context, indent=1, sort_keys=True, ensure_ascii=False)


def _whole_query_context(chart: Mapping[str, Any]) -> str | None:
    if not chart["query_context"]:
        return None
    # The importer puts its own ids where these stand.
    datasource = {"id": 0, "type": "table"}
    context = {
        "datasource": datasource,
        "force": False,
        "form_data": {**chart["params"], "datasource": "0__table"},
        **json.loads(chart["query_context"]),
    }
    for query in context.get("queries") or ():
        query["url_params"] = {}
    return json.dumps(context, ensure_ascii=False)


def _theme(body: dict[str, Any]) -> dict[str, Any]:
    body["json_data"] = _decoded(body.get("json_data"))
    return body


def _sorted(value: Any) -> Any:
    """The same with the keys of every object in order: the frontend writes them as it comes."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(entry) for entry in value] if isinstance(value, list) else value


def _decoded(value: Any) -> Any:
    """Superset exports a field as text if it could not read it, and sometimes if it could."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


_NORMAL: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "database": _database,
    "dataset": _dataset,
    "chart": _chart,
    "theme": _theme,
}
