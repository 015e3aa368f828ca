"""Sorting: the order asked for, the sort values of a hit, and where ``search_after`` continues."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from sandbox.elasticsearch import dates
from sandbox.elasticsearch.engine import Query
from sandbox.elasticsearch.errors import illegal_argument, missing, parsing, query_shard
from sandbox.elasticsearch.mapping import Field
from sandbox.elasticsearch.target import Target

_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1
_UNMAPPABLE = {"mode", "nested", "numeric_type", "nested_path", "nested_filter"}


@dataclass(frozen=True, slots=True)
class SortKey:
    """One member of the order.

    Args:
        name: ``_score``, ``_doc`` or a field's path.
        descending: the direction.
        field: the field; None for the special names and for a field without mapping that may lack one.
        missing_first: where documents without a value go.
        pattern: date format of the sort value shown; None shows milliseconds.
    """

    name: str
    descending: bool
    field: Field | None
    missing_first: bool
    pattern: str | None


@total_ordering
class _Descending:
    """Turns an order around."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(self.value == other.value)

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    def __hash__(self) -> int:
        return hash(self.value)


def read_sort(raw: Any, target: Target) -> list[SortKey]:
    """Return the order a request asks for.

    Raises:
        ElasticsearchError: 400 if a field has no mapping or cannot be sorted.
    """
    return [_read_key(entry, target) for entry in (raw if isinstance(raw, list) else [raw])]


def _read_key(entry: Any, target: Target) -> SortKey:
    name, options = _named(entry)
    direction = str(options.get("order", "desc" if name == "_score" else "asc")).lower()
    if direction not in ("asc", "desc"):
        raise illegal_argument(f"Unknown SortOrder [{direction}]")
    where = options.get("missing", "_last")
    if where not in ("_last", "_first"):
        raise missing(f"sorting with missing [{where}]")
    field = None if name in ("_score", "_doc") else target.valued(name)
    if field is None and not name.startswith("_") and target.records and "unmapped_type" not in options:
        raise query_shard(f"No mapping found for [{name}] in order to sort on")
    pattern = dates.check_format(options["format"]) if "format" in options else None
    return SortKey(name, direction == "desc", field, where == "_first", pattern)


def _named(entry: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the options of one member of ``sort``."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise illegal_argument(
            "malformed sort format, within the sort array, an object, or an actual string are allowed"
        )
    ((name, options),) = entry.items()
    if isinstance(options, str):
        options = {"order": options}
    if name.startswith("_") and name not in ("_score", "_doc"):
        raise missing(f"sorting by [{name}]")
    for member in options:
        if member in _UNMAPPABLE:
            raise missing(f"sorting by [{name}] with [{member}]")
        if member not in ("order", "missing", "unmapped_type", "format"):
            raise parsing(f"[field_sort] unknown field [{member}]")
    return name, options


@dataclass(frozen=True, slots=True)
class Sorted:
    """One hit in its place: score, row and the sort values to show."""

    score: float
    row: int
    values: list[Any]


def collect(target: Target, query: Query, keys: list[SortKey], limit: int, after: list[Any] | None) -> list[Sorted]:
    """Return the first ``limit`` matches in order, in bounded memory.

    Args:
        target: what is searched.
        query: the matches.
        keys: the order; equal hits keep the order they were written in.
        limit: how many.
        after: sort values of the hit to continue behind.
    """
    if limit <= 0:
        return []
    border = None if after is None else _border(keys, after)
    return [
        hit
        for _, _, hit in heapq.nsmallest(limit, _candidates(target, query, keys, border), key=lambda found: found[:2])
    ]


def _candidates(
    target: Target, query: Query, keys: list[SortKey], border: tuple[Any, ...] | None
) -> Iterator[tuple[tuple[Any, ...], int, Sorted]]:
    fields = [key.field for key in keys if key.field is not None]
    for score, row, values in target.matches(query, fields):
        found = iter(values)
        raw = [_raw(key, score, row, next(found) if key.field is not None else []) for key in keys]
        place = tuple(_place(key, value) for key, value in zip(keys, raw, strict=True))
        if border is not None and not border < place:
            continue
        shown = [_shown(key, value) for key, value in zip(keys, raw, strict=True)]
        yield place, row, Sorted(score, row, shown)


def _raw(key: SortKey, score: float, row: int, values: list[Any]) -> Any:
    if key.name == "_score":
        return score
    if key.name == "_doc":
        return row
    return None if not values else values[-1 if key.descending else 0]


def _place(key: SortKey, value: Any) -> tuple[int, Any]:
    if value is None:
        return (-1 if key.missing_first else 1, 0)
    return (0, _Descending(value) if key.descending else value)


def _shown(key: SortKey, value: Any) -> Any:
    if key.field is None or value is not None:
        if value is not None and key.pattern is not None and key.field is not None and key.field.type == "date":
            return dates.render(value, key.pattern)
        return value
    if key.field.column == "k":
        return None
    low = key.missing_first != key.descending
    if key.field.column == "f":
        return "-Infinity" if low else "Infinity"
    return _LOWEST if low else _HIGHEST


def _border(keys: list[SortKey], after: Any) -> tuple[Any, ...]:
    if not isinstance(after, list):
        raise parsing("[search_after] must be an array")
    if len(after) != len(keys):
        raise illegal_argument(f"search_after has {len(after)} value(s) but sort has {len(keys)}.")
    return tuple(_place(key, _read_value(key, value)) for key, value in zip(keys, after, strict=True))


def _read_value(key: SortKey, value: Any) -> Any:
    if value is None or value in (_LOWEST, _HIGHEST, "Infinity", "-Infinity"):
        return None
    if key.field is None:
        return float(value)
    if key.field.column == "k":
        return str(value)
    if key.field.type == "date":
        return dates.parse(value, key.pattern or dates.DEFAULT_FORMAT)
    try:
        return float(value) if key.field.column == "f" else int(value)
    except ValueError:
        raise illegal_argument(f"Failed to parse search_after value for field [{key.name}].") from None
