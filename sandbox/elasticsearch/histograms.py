"""histogram and date_histogram, with the empty buckets between and the keys Elasticsearch gives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from sandbox.elasticsearch import dates, terms
from sandbox.elasticsearch.clauses import both, members
from sandbox.elasticsearch.engine import Query
from sandbox.elasticsearch.errors import illegal_argument, missing, parsing
from sandbox.elasticsearch.mapping import Field, Json

if TYPE_CHECKING:
    from sandbox.elasticsearch.aggregations import Aggregator

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_CALENDAR = {
    "1s": "second",
    "1m": "minute",
    "1h": "hour",
    "1d": "day",
    "1w": "week",
    "1M": "month",
    "1q": "quarter",
    "1y": "year",
}
_CALENDAR |= {name: name for name in list(_CALENDAR.values())}
_MEMBERS = {"field", "min_doc_count", "offset", "keyed", "order", "extended_bounds"}
_OTHER_MEMBERS = {"missing", "script", "hard_bounds", "params"}

Edge = int | float
Next = Callable[[Edge], Edge]


def histogram(owner: Aggregator, raw: Any, subs: Any, query: Query) -> Json:
    """Return the answer to a histogram of a number.

    Args:
        owner: the running aggregations.
        raw: the members of the aggregation.
        subs: its sub-aggregations.
        query: the matches.
    """
    raw = members(raw, "histogram", _MEMBERS | {"interval"}, _OTHER_MEMBERS | {"format"})
    interval = float(raw.get("interval", 0))
    if interval <= 0:
        raise illegal_argument(f"[interval] must be >0 for histogram aggregation [histogram], got [{interval}]")
    field = owner.numeric(raw, "histogram")
    if field is not None and field.type == "date":
        raise missing("a histogram of a date; use date_histogram")
    offset = float(raw.get("offset", 0.0))

    def start(value: Edge) -> Edge:
        return math.floor((value - offset) / interval) * interval + offset

    def following(edge: Edge) -> Edge:
        return (round((edge - offset) / interval) + 1) * interval + offset

    bounds = _bounds(raw, float)
    heads = _Heads(start, following, lambda edge: {"key": float(edge)})
    return _answer(owner, raw, subs, query, field, heads, bounds)


def date_histogram(owner: Aggregator, raw: Any, subs: Any, query: Query) -> Json:
    """Return the answer to a histogram of a date; see :func:`histogram` for the arguments."""
    allowed = _MEMBERS | {"fixed_interval", "calendar_interval", "time_zone", "format"}
    raw = members(raw, "date_histogram", allowed, _OTHER_MEMBERS)
    field = owner.numeric(raw, "date_histogram")
    if field is not None and field.type != "date":
        raise illegal_argument(
            f"Field [{field.path}] of type [{field.type}] is not supported for aggregation [date_histogram]"
        )
    pattern = dates.check_format(raw["format"]) if "format" in raw else (field.format if field else None)
    zone = dates.zone(raw.get("time_zone"))
    start, following = _date_steps(raw, zone)

    def head(edge: Edge) -> Json:
        return {"key_as_string": dates.render(int(edge), pattern, zone), "key": int(edge)}

    bounds = _bounds(
        raw, lambda value: dates.resolve(value, pattern or dates.DEFAULT_FORMAT, now=lambda: owner.target.now)
    )
    return _answer(owner, raw, subs, query, field, _Heads(start, following, head), bounds)


class _Heads:
    """How values fall into buckets: where a bucket starts, where the next one does, and what it is called."""

    def __init__(self, start: Next, following: Next, head: Callable[[Edge], Json]) -> None:
        self.start = start
        self.following = following
        self.head = head


def _date_steps(raw: Mapping[str, Any], zone: tzinfo) -> tuple[Next, Next]:
    fixed, calendar = raw.get("fixed_interval"), raw.get("calendar_interval")
    if (fixed is None) == (calendar is None):
        if fixed is None:
            raise illegal_argument("Invalid interval specified, must be non-null and non-empty")
        raise illegal_argument("Cannot use [fixed_interval] with [calendar_interval] configuration option.")
    offset = _offset(raw.get("offset", "0s"))
    if fixed is not None:
        width = _duration(str(fixed), "date_histogram.fixedInterval")
        if zone is not UTC:
            raise missing("a fixed_interval in a time zone other than UTC")
        return (lambda value: (int(value) - offset) // width * width + offset, lambda edge: edge + width)
    unit = _CALENDAR.get(str(calendar))
    if unit is None:
        raise illegal_argument(f"The supplied interval [{calendar}] could not be parsed as a calendar interval.")

    def start(value: Edge) -> Edge:
        local = dates.from_millis(int(value) - offset).astimezone(zone)
        return dates.to_millis(dates.floor(local, unit)) + offset

    def following(edge: Edge) -> Edge:
        local = dates.from_millis(int(edge) - offset).astimezone(zone)
        return dates.to_millis(dates.add(local, unit, 1)) + offset

    return start, following


def _duration(text: str, setting: str) -> int:
    found = re.fullmatch(r"(\d+)\s*(ms|s|m|h|d)", text)
    if not found or not int(found[1]):
        raise illegal_argument(
            f"failed to parse setting [{setting}] with value [{text}] as a time value: unit is missing or unrecognized"
        )
    return int(found[1]) * _UNITS[found[2]]


def _offset(raw: Any) -> int:
    if isinstance(raw, int):
        return raw
    text = str(raw)
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("+-")
    return 0 if re.fullmatch(r"0[a-z]*", text) else sign * _duration(text, "date_histogram.offset")


def _bounds(raw: Mapping[str, Any], read: Callable[[Any], Edge]) -> tuple[Edge, Edge] | None:
    bounds = raw.get("extended_bounds")
    if bounds is None:
        return None
    if not isinstance(bounds, Mapping) or set(bounds) != {"min", "max"}:
        raise missing("extended_bounds without both min and max")
    low, high = read(bounds["min"]), read(bounds["max"])
    if low > high:
        raise illegal_argument(
            f"[extended_bounds.min][{bounds['min']}] cannot be greater than [extended_bounds.max][{bounds['max']}]"
        )
    return low, high


def _answer(
    owner: Aggregator,
    raw: Mapping[str, Any],
    subs: Any,
    query: Query,
    field: Field | None,
    heads: _Heads,
    bounds: tuple[Edge, Edge] | None,
) -> Json:
    from sandbox.elasticsearch.aggregations import order_of, sort_buckets

    least = int(raw.get("min_doc_count", 0))
    if least < 0:
        raise parsing("[min_doc_count] must be greater than or equal to 0")
    order = order_of(raw.get("order", {"_key": "asc"}), subs)
    buckets = []
    for edge, count in _counts(owner, query, field, heads, bounds if least == 0 else None, least == 0):
        if count < least:
            continue
        buckets.append(owner.bucket(heads.head(edge), count, subs, both(query, _inside(owner, field, heads, edge))))
    buckets = sort_buckets(buckets, order)
    if raw.get("keyed"):
        name = "key_as_string" if buckets and "key_as_string" in buckets[0] else "key"
        return {"buckets": {str(bucket[name]): bucket for bucket in buckets}}
    return {"buckets": buckets}


def _counts(
    owner: Aggregator, query: Query, field: Field | None, heads: _Heads, bounds: tuple[Edge, Edge] | None, gaps: bool
) -> Iterator[tuple[Edge, int]]:
    """Yield the start and the count of each bucket, ascending; the empty ones between the others if ``gaps``."""
    engine, ends = owner.target.engine, list(bounds or ())
    column = engine.column(field) if field is not None else None
    if column is not None:
        stats = engine.aggregate(query, {"stats": {"field": column}})
        ends += [value for value in (stats["min"], stats["max"]) if value is not None]
    if not ends:
        return
    edge, last = heads.start(min(ends)), heads.start(max(ends))
    while edge <= last:
        count = engine.count(both(query, _inside(owner, field, heads, edge))) if column is not None else 0
        if count or gaps:
            yield edge, count
            edge = heads.following(edge)
        else:
            # Nothing here and gaps are not shown: go to the bucket of the next value there is.
            coming = _next_value(owner, query, field, heads.following(edge))
            if coming is None:
                return
            edge = heads.start(coming)


def _next_value(owner: Aggregator, query: Query, field: Field | None, edge: Edge) -> Edge | None:
    assert field is not None
    column = owner.target.engine.column(field)
    assert column is not None
    beyond = terms.between(owner.target.engine, field, column, *_ends(field, edge, None))
    value: Edge | None = owner.target.engine.aggregate(both(query, beyond), {"min": {"field": column}})["value"]
    # A document with several values may be here for a later one: never step back.
    return None if value is None else max(value, edge)


def _inside(owner: Aggregator, field: Field | None, heads: _Heads, edge: Edge) -> Query:
    column = owner.target.engine.column(field) if field is not None else None
    if field is None or column is None:
        return Query.empty_query()
    return terms.between(owner.target.engine, field, column, *_ends(field, edge, heads.following(edge)))


def _ends(field: Field, low: Edge, high: Edge | None) -> tuple[terms.Bound, terms.Bound]:
    limits = {"gte": low, "lt": high}
    if field.type in ("date", "boolean"):
        return math.ceil(low), None if high is None else math.ceil(high) - 1
    return terms.bounds(field, limits)
