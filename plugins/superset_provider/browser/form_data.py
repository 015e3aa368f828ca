"""How the values of several filters are joined, and what they do to a query."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

# As in the browser: lists of several filters are joined, of these keys the last one wins.
_JOINED = (
    "adhoc_filters",
    "filters",
    "interactive_groupby",
    "interactive_highlight",
    "interactive_drilldown",
    "custom_form_data",
)
REPLACED = {
    "granularity": "granularity",
    "granularity_sqla": "granularity",
    "time_column": "time_column",
    "time_grain": "time_grain",
    "time_range": "time_range",
    "time_compare": "time_compare",
}
_REPLACED_EXTRAS = ("relative_start", "relative_end", "time_grain_sqla")


def merge_extra_form_data(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the values of several filters as the browser does: filters are collected, time range and grain replaced."""
    merged: dict[str, Any] = {}
    for part in parts:
        for key in _JOINED:
            if part.get(key):
                value = part[key]
                if isinstance(value, Mapping):
                    merged[key] = {**merged.get(key, {}), **value}
                else:
                    merged[key] = [*merged.get(key, []), *value]
        for key in (*REPLACED, *_REPLACED_EXTRAS):
            if part.get(key) is not None:
                merged[key] = part[key]
    return merged


def apply_to_query(query: Mapping[str, Any], extra_form_data: Mapping[str, Any]) -> dict[str, Any]:
    """A chart's query with the values of the dashboard's filters.

    :param query: One entry of ``query_context.queries``.
    :param extra_form_data: Result of :func:`merge_extra_form_data`.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(query))
    simple, clauses = split_adhoc_filters(extra_form_data.get("adhoc_filters") or ())
    changed["filters"] = [
        *copy.deepcopy(list(extra_form_data.get("filters") or ())),
        *(changed.get("filters") or []),
        *simple,
    ]
    extras = dict(changed.get("extras") or {})
    for clause, expressions in clauses.items():
        existing = [extras[clause]] if extras.get(clause) else []
        extras[clause] = " AND ".join([*existing, *(f"({expression})" for expression in expressions)])
    for key, target in REPLACED.items():
        if key in extra_form_data:
            changed[target] = extra_form_data[key]
    for key in _REPLACED_EXTRAS:
        if key in extra_form_data:
            extras[key] = extra_form_data[key]
    if extras or "extras" in changed:
        changed["extras"] = extras
    if extra_form_data.get("custom_form_data"):
        changed["custom_form_data"] = extra_form_data["custom_form_data"]
    return changed


def split_adhoc_filters(
    adhoc_filters: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Simple conditions become filters; SQL conditions become text for WHERE or HAVING.

    :returns: Filters, and ``{"where" | "having": [expressions]}``.
    """
    simple: list[dict[str, Any]] = []
    clauses: dict[str, list[str]] = {}
    for entry in adhoc_filters:
        clause = str(entry.get("clause") or "WHERE").lower()
        if entry.get("expressionType") == "SIMPLE" and clause == "where":
            condition = {"col": entry.get("subject"), "op": entry.get("operator")}
            if entry.get("operator") not in ("IS NULL", "IS NOT NULL"):
                condition["val"] = entry.get("comparator")
            simple.append(condition)
        elif entry.get("sqlExpression"):
            clauses.setdefault(clause, []).append(str(entry["sqlExpression"]))
    return simple, clauses
