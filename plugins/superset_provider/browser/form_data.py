"""How the values of several filters are joined, and what becomes of a chart's form data on a dashboard."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from superset_provider.browser.query_object import REPLACED, REPLACED_EXTRAS, split_adhoc_filters

# Lists of several filters are joined, of everything else the last one counts.
_JOINED = (
    "adhoc_filters",
    "filters",
    "interactive_groupby",
    "interactive_highlight",
    "interactive_drilldown",
    "custom_form_data",
)


def merge_extra_form_data(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the values of several filters, in the order of the filters.

    As ``mergeExtraFormData`` in superset-frontend/src/dashboard/components/nativeFilters/utils.ts: what it does not
    know gets lost.
    """
    merged: dict[str, Any] = {}
    for part in parts:
        for key in _JOINED:
            if isinstance(part.get(key), list | tuple) and part[key]:
                merged[key] = [*merged.get(key, ()), *part[key]]
        for key in (*REPLACED, *REPLACED_EXTRAS):
            if key in part:
                merged[key] = part[key]
    return merged


def with_time_range(form_data: Mapping[str, Any]) -> dict[str, Any]:
    """A chart's parameters as the server gives them to the page (``update_time_range`` in superset/legacy.py)."""
    changed = dict(form_data)
    if "since" in changed or "until" in changed:
        since, until = changed.pop("since", "") or "", changed.pop("until", "") or ""
        changed["time_range"] = f"{since} : {until}"
    column = changed.get("granularity_sqla")
    if column and any(
        entry.get("subject") == column and entry.get("comparator") == "No filter"
        for entry in changed.get("adhoc_filters") or ()
    ):
        changed.setdefault("time_range", "No filter")
    return changed


def apply_to_query(query: Mapping[str, Any], extra_form_data: Mapping[str, Any]) -> dict[str, Any]:
    """A saved query with the values of the dashboard's filters, for charts whose query cannot be built.

    :param query: One entry of ``query_context.queries``.
    :param extra_form_data: Result of :func:`merge_extra_form_data`.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(query))
    simple, clauses = split_adhoc_filters(extra_form_data.get("adhoc_filters") or ())
    changed["filters"] = [
        *copy.deepcopy(list(extra_form_data.get("filters") or ())),
        *(changed.get("filters") or ()),
        *simple,
    ]
    extras = dict(changed.get("extras") or {})
    for clause, text in clauses.items():
        if text:
            extras[clause] = f"{extras[clause]} AND {text}" if extras.get(clause) else text
    for key, target in REPLACED.items():
        if key in extra_form_data:
            changed[target] = extra_form_data[key]
    extras |= {key: extra_form_data[key] for key in REPLACED_EXTRAS if key in extra_form_data}
    changed["extras"] = extras
    if "time_grain_sqla" in extra_form_data:
        changed["columns"] = [_regrained(column, extras) for column in changed.get("columns") or ()]
    return changed


def _regrained(column: Any, extras: Mapping[str, Any]) -> Any:
    if isinstance(column, Mapping) and column.get("columnType") == "BASE_AXIS":
        return {**column, "timeGrain": extras["time_grain_sqla"]}
    return column


def url_params_of(state: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that a permalink puts into the address."""
    pairs: Sequence[Sequence[str]] = state.get("urlParams") or ()
    return {str(name): str(value) for name, value in pairs}
