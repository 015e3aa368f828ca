"""Charts outside of a browser: which one is meant, what it asks, and whether what is stored of that is right."""

from __future__ import annotations

import difflib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from superset_provider.browser.form_data import apply_to_query
from superset_provider.browser.query_context import build_query_context, is_known
from superset_provider.exceptions import SupersetConfigurationError, SupersetNotFoundError
from superset_provider.hooks.calls import Calls, get_chart, get_dashboard_charts, list_charts

_WITHOUT_MEANING = ("url_params", "datasource")


@dataclass(frozen=True)
class ChartCheck:
    """What is stored of a chart's query, compared with what a browser would ask.

    :param reason: Why it has to be repaired, or why it cannot be; None when it is as it should be.
    :param query_context: What a browser would ask; None when that is not known.
    """

    chart_id: int
    name: str
    reason: str | None = None
    query_context: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom."""
        return {"chart": self.name, "chart_id": self.chart_id, "reason": self.reason}


def find_charts(charts: Sequence[str | int], dashboards: Sequence[str | int] = ()) -> Calls[list[dict[str, Any]]]:
    """Charts with all their fields and ``id``; to be performed by a hook.

    :param charts: Ids, uuids or names.
    :param dashboards: Slugs, uuids or ids of dashboards, all of whose charts are meant.
    :raises SupersetNotFoundError: One of them does not exist; near names are told.
    :raises SupersetConfigurationError: Nothing was named, or a name means several charts.
    """
    if not charts and not dashboards:
        raise SupersetConfigurationError(
            "Neither charts nor dashboards are named.", check="the arguments charts and dashboards."
        )
    ids: list[int] = []
    for chart in charts:
        ids.append((yield from _chart_id(chart)))
    for dashboard in dashboards:
        ids += [int(entry["id"]) for entry in (yield from get_dashboard_charts(dashboard))]
    found = []
    for number in dict.fromkeys(ids):
        found.append({**(yield from get_chart(number)), "id": number})
    return found


def _chart_id(chart: str | int) -> Calls[int]:
    name = str(chart).strip()
    if name.isdigit():
        return int(name)
    column = "uuid" if _is_uuid(name) else "slice_name"
    found = yield from list_charts([{"col": column, "opr": "eq", "value": name}])
    if len(found) > 1:
        raise SupersetConfigurationError(
            f"{len(found)} charts have the name {name!r}.",
            check=f"give one of the ids {', '.join(str(entry['id']) for entry in found)}.",
        )
    if not found:
        names = [str(entry["slice_name"]) for entry in (yield from list_charts())]
        near = ", ".join(repr(other) for other in difflib.get_close_matches(name, names, n=3))
        raise SupersetNotFoundError(
            f"Superset has no chart {name!r}, or this user may not see it.",
            check=f"the name; near ones are {near}." if near else "the id, uuid or name.",
        )
    return int(found[0]["id"])


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def query_of(
    chart: Mapping[str, Any],
    *,
    filters: Sequence[Mapping[str, Any]] = (),
    time_range: str | None = None,
    row_limit: int | None = None,
) -> dict[str, Any]:
    """The body that asks for a chart's numbers.

    :param chart: As :func:`find_charts` returns it.
    :param filters: ``{"col", "op", "val"}``, as a dashboard's filters would give them.
    :param time_range: In Superset's words, for example ``Last week`` or ``2026-01-01 : 2026-02-01``.
    :param row_limit: Rows at most, instead of the chart's own limit.
    :raises SupersetConfigurationError: What it asks is neither stored nor known.
    """
    stored = chart.get("query_context")
    context = json.loads(stored) if stored else check_chart(chart).query_context
    if context is None:
        raise SupersetConfigurationError(
            f"What chart {chart.get('slice_name')!r} asks is not known: Superset has no query context of it, and none "
            f"can be built for the kind {chart.get('viz_type')!r}.",
            check="open the chart in Superset and save it.",
        )
    extra: dict[str, Any] = {"filters": [dict(entry) for entry in filters]} if filters else {}
    if time_range is not None:
        extra["time_range"] = time_range
    body = {**context, "queries": [apply_to_query(query, extra) for query in context["queries"]]}
    if row_limit is not None:
        body["queries"] = [{**query, "row_limit": row_limit} for query in body["queries"]]
    return {**body, "result_format": "json", "result_type": "full"}


def check_chart(chart: Mapping[str, Any], *, only_missing: bool = False) -> ChartCheck:
    """Whether the stored query context of a chart is what a browser would ask.

    Superset itself uses what is stored, for its own warm-up, for alerts and for ``GET chart/<id>/data``; a browser
    builds it from the parameters.

    :param chart: As :func:`find_charts` returns it.
    :param only_missing: Leave alone what is stored, whatever it says.
    """
    number, name, kind = int(chart["id"]), str(chart.get("slice_name")), chart.get("viz_type")
    stored = _decoded(chart.get("query_context"))
    if stored is not None and only_missing:
        return ChartCheck(number, name)
    missing = "it has no query context" if stored is None else None
    if chart.get("datasource_id") is None:
        return ChartCheck(number, name, "it has no dataset")
    if not is_known(kind):
        return ChartCheck(number, name, missing and f"{missing}, and none can be built for the kind {kind!r}")
    params = _decoded(chart.get("params")) or {}
    try:
        wanted = build_query_context(
            params, dataset_id=int(chart["datasource_id"]), viz_type=str(kind), chart_id=number
        )
    except ValueError as error:
        return ChartCheck(number, name, missing and f"{missing}, and none can be built: {error}")
    if stored is not None and _meaning(stored) == _meaning(wanted):
        return ChartCheck(number, name)
    return ChartCheck(number, name, missing or "its query context is not what a browser asks", wanted)


def time_value(value: Any) -> datetime:
    """A time in the rows of an answer: milliseconds since 1970, or the database's own text; UTC without a zone.

    :raises ValueError: It is none.
    """
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value / 1000, UTC)
    read = datetime.fromisoformat(str(value))
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read


def _decoded(text: Any) -> dict[str, Any] | None:
    try:
        value = json.loads(text) if text else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _meaning(context: Mapping[str, Any]) -> Any:
    """What decides about the answer."""
    queries = context.get("queries") or ()
    cleaned = [{key: value for key, value in query.items() if key not in _WITHOUT_MEANING} for query in queries]
    return (context.get("datasource") or {}).get("id"), cleaned
