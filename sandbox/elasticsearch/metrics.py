"""Aggregations that answer one number or a few."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from sandbox.elasticsearch import dates
from sandbox.elasticsearch.clauses import members
from sandbox.elasticsearch.engine import Query
from sandbox.elasticsearch.errors import illegal_argument, parsing
from sandbox.elasticsearch.mapping import Field, Json
from sandbox.elasticsearch.target import Target

KINDS = frozenset({"avg", "sum", "min", "max", "value_count", "stats", "percentiles", "cardinality"})
"""Names of the aggregations answered here."""

_PERCENTS = [1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0]
_EXACT_CARDINALITY = 60_000


def metric(target: Target, kind: str, raw: Any, query: Query) -> Json:
    """Return the answer to one metric aggregation over the matches of ``query``.

    Args:
        target: what is searched.
        kind: one of :data:`KINDS`.
        raw: the members of the aggregation.
        query: the matches.

    Raises:
        ElasticsearchError: 400 if Elasticsearch refuses it, 501 if only this server does.
    """
    allowed = {"field"} | ({"percents", "keyed"} if kind == "percentiles" else set())
    allowed |= {"precision_threshold"} if kind == "cardinality" else set()
    raw = members(raw, kind, allowed, {"missing", "script", "format", "tdigest", "hdr", "value_type", "execution_hint"})
    if not isinstance(raw.get("field"), str):
        raise illegal_argument(f"Required one of fields [field, script], but none were specified for [{kind}]. ")
    field = target.valued(raw["field"])
    if field is not None and field.column == "k" and kind not in ("value_count", "cardinality"):
        raise illegal_argument(f"Field [{field.path}] of type [{field.type}] is not supported for aggregation [{kind}]")
    column = target.engine.column(field) if field is not None else None
    if kind == "percentiles":
        return _percentiles(target, field, raw, query)
    if kind == "value_count":
        return {"value": 0 if column is None else int(_value(target, query, kind, column))}
    if kind == "cardinality":
        return {"value": 0 if column is None else _cardinality(target, query, column)}
    stats: Json = {"count": 0, "min": None, "max": None, "avg": None, "sum": 0.0}
    if column is not None:
        found = target.engine.aggregate(query, {"stats": {"field": column}})
        stats = {name: found[name] for name in stats}
    if kind == "stats":
        return _with_text(field, stats, ("min", "max", "avg", "sum"))
    return _with_text(field, {"value": stats[kind]}, ("value",))


def _with_text(field: Field | None, answer: Json, names: tuple[str, ...]) -> Json:
    if field is None or field.type != "date":
        return answer
    texts = {
        f"{name}_as_string": dates.render(int(answer[name]), field.format) for name in names if answer[name] is not None
    }
    return {**answer, **texts}


def _value(target: Target, query: Query, kind: str, column: str) -> float:
    value: float = target.engine.aggregate(query, {kind: {"field": column}})["value"]
    return value


def _cardinality(target: Target, query: Query, column: str) -> int:
    request = {"terms": {"field": column, "size": _EXACT_CARDINALITY, "segment_size": _EXACT_CARDINALITY}}
    found = target.engine.aggregate(query, request)
    if not found["sum_other_doc_count"]:
        return len(found["buckets"])
    return round(_value(target, query, "cardinality", column))


def _percentiles(target: Target, field: Field | None, raw: Mapping[str, Any], query: Query) -> Json:
    percents = raw.get("percents", _PERCENTS)
    if not isinstance(percents, list) or not all(
        isinstance(each, int | float) and 0 <= each <= 100 for each in percents
    ):
        raise parsing(f"percent must be in [0,100], got {percents}")
    values = array("d")
    if field is not None and target.engine.column(field) is not None:
        for _, _, (found,) in target.matches(query, [field]):
            values.extend(float(value) for value in found)
    ordered = array("d", sorted(values))
    answers = [(float(percent), _quantile(ordered, percent / 100)) for percent in sorted(percents)]
    if raw.get("keyed", True):
        answer: Json = {}
        for percent, value in answers:
            answer[str(percent)] = value
            if field is not None and field.type == "date" and value is not None:
                answer[f"{percent}_as_string"] = dates.render(int(value), field.format)
        return {"values": answer}
    return {"values": [{"key": percent, "value": value} for percent, value in answers]}


def _quantile(ordered: array[float], share: float) -> float | None:
    if not ordered:
        return None
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
