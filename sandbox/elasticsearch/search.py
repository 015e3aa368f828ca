"""The body of a search: which hits, in which order, how much of them, and the aggregations."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from sandbox.elasticsearch import elsewhere
from sandbox.elasticsearch.aggregations import Aggregator
from sandbox.elasticsearch.engine import Query
from sandbox.elasticsearch.errors import ElasticsearchError, SearchPhaseError, illegal_argument, missing, parsing
from sandbox.elasticsearch.mapping import Json
from sandbox.elasticsearch.sorting import Sorted, SortKey, collect, read_sort
from sandbox.elasticsearch.store import Document
from sandbox.elasticsearch.target import Target

MAXIMUM_WINDOW = 10_000
"""Elasticsearch's default of ``index.max_result_window``."""

_MEMBERS = frozenset(
    {"query", "aggs", "aggregations", "sort", "from", "size", "_source", "track_total_hits", "search_after", "timeout"}
    | {"version", "seq_no_primary_term", "track_scores"}
)


def run(target: Target, body: Any, node: str) -> Json:
    """Return the answer to one search.

    Args:
        target: the indices.
        body: the request.
        node: id of this node, named where a search fails.

    Raises:
        ElasticsearchError: 400 if Elasticsearch refuses the request, 501 if only this server does.
    """
    started = time.monotonic()
    body = checked(body)
    size, offset = _window(body)
    try:
        query = target.compile(body.get("query"))
        keys = read_sort(body["sort"], target) if body.get("sort") else []
        total = target.engine.count(query)
        found, best = _hits(target, query, keys, body, offset, size)
        aggregations = body.get("aggs", body.get("aggregations"))
        answers = Aggregator(target).run(aggregations, query) if aggregations is not None else None
    except ElasticsearchError as error:
        raise _located(error, target, node) from error
    count = len(target.records)
    hits: Json = {"total": _total(total, body.get("track_total_hits", MAXIMUM_WINDOW))}
    hits |= {"max_score": best, "hits": _shown(target, found, keys, body)}
    if hits["total"] is None:
        del hits["total"]
    answer: Json = {
        "took": int((time.monotonic() - started) * 1000),
        "timed_out": False,
        "_shards": {"total": count, "successful": count, "skipped": 0, "failed": 0},
        "hits": hits,
    }
    return answer if answers is None else {**answer, "aggregations": answers}


def checked(body: Any) -> Mapping[str, Any]:
    """Return a search body after checking the names in it.

    Raises:
        ElasticsearchError: 400 for an unknown name, 501 for one only Elasticsearch knows.
    """
    if not isinstance(body, Mapping):
        raise parsing("Expected [START_OBJECT] but found [VALUE]")
    for name in body:
        if name in elsewhere.SEARCH:
            raise missing(f"[{name}] in a search")
        if name not in _MEMBERS:
            raise parsing(f"Unknown key for a {_token(body[name])} in [{name}].")
    return body


def _token(value: Any) -> str:
    if isinstance(value, Mapping):
        return "START_OBJECT"
    if isinstance(value, list):
        return "START_ARRAY"
    if isinstance(value, bool):
        return f"VALUE_{str(value).upper()}"
    if value is None:
        return "VALUE_NULL"
    return "VALUE_STRING" if isinstance(value, str) else "VALUE_NUMBER"


def _located(error: ElasticsearchError, target: Target, node: str) -> ElasticsearchError:
    """Return ``error`` as Elasticsearch reports it when it happens on an index and not while reading the request."""
    if error.status != 400 or error.kind not in (
        "query_shard_exception",
        "illegal_argument_exception",
        "parse_exception",
    ):
        return error
    record = next(iter(target.records.values()), None)
    return error if record is None else SearchPhaseError(error, record.name, record.uuid, node)


def _window(body: Mapping[str, Any]) -> tuple[int, int]:
    try:
        size, offset = int(body.get("size", 10)), int(body.get("from", 0))
    except (TypeError, ValueError):
        raise parsing("[size] and [from] must be whole numbers") from None
    if size < 0:
        raise illegal_argument(f"[size] parameter cannot be negative, found [{size}]")
    if offset < 0:
        raise illegal_argument(f"[from] parameter cannot be negative but was [{offset}]")
    if offset + size > MAXIMUM_WINDOW:
        raise illegal_argument(
            f"Result window is too large, from + size must be less than or equal to: [{MAXIMUM_WINDOW}] but was "
            f"[{offset + size}]. See the scroll api for a more efficient way to request large data sets. This limit "
            "can be "
            "set by changing the [index.max_result_window] index level setting."
        )
    return size, offset


def _hits(
    target: Target, query: Query, keys: list[SortKey], body: Mapping[str, Any], offset: int, size: int
) -> tuple[list[Sorted], float | None]:
    after = body.get("search_after")
    if after is not None and not keys:
        raise illegal_argument("Sort must contain at least one field.")
    if after is not None and offset > 0:
        raise illegal_argument("`from` parameter must be set to 0 when `search_after` is used")
    if keys:
        return collect(target, query, keys, offset + size, after)[offset:], None
    best = target.engine.top(query, max(offset + size, 1)) if size else []
    hits = [Sorted(score, row, []) for score, row in best]
    return hits[offset : offset + size], (hits[0].score if hits else None)


def _total(total: int, track: Any) -> Json | None:
    if track is False:
        return None
    if track is True:
        return {"value": total, "relation": "eq"}
    limit = int(track)
    return {"value": min(total, limit), "relation": "eq" if total <= limit else "gte"}


def _shown(target: Target, found: list[Sorted], keys: list[SortKey], body: Mapping[str, Any]) -> list[Json]:
    documents = target.store.rows([hit.row for hit in found])
    scored = not keys or any(key.name == "_score" for key in keys) or bool(body.get("track_scores"))
    shown = []
    for hit in found:
        document = documents[hit.row]
        entry: Json = {
            "_index": target.records[document.number].name,
            "_id": document.id,
            **_version(document, body),
            "_score": hit.score if scored else None,
        }
        source = filter_source(json.loads(document.source), body.get("_source", True))
        if source is not None:
            entry["_source"] = source
        if keys:
            entry["sort"] = hit.values
        shown.append(entry)
    return shown


def _version(document: Document, body: Mapping[str, Any]) -> Json:
    shown: Json = {"_version": document.version} if body.get("version") else {}
    return shown | ({"_seq_no": document.seq, "_primary_term": 1} if body.get("seq_no_primary_term") else {})


def filter_source(source: Json, wanted: Any) -> Json | None:
    """Return the part of a document that ``_source`` asks for; None if it asks for none of it.

    Args:
        source: the document.
        wanted: a boolean, a pattern, patterns, or ``{"includes": [...], "excludes": [...]}``.
    """
    if isinstance(wanted, bool):
        return source if wanted else None
    if isinstance(wanted, Mapping):
        for name in wanted:
            if name not in ("includes", "include", "excludes", "exclude"):
                raise parsing(f"Unknown key for a {_token(wanted[name])} in [{name}].")
        includes = _patterns(wanted.get("includes", wanted.get("include", [])))
        excludes = _patterns(wanted.get("excludes", wanted.get("exclude", [])))
    else:
        includes, excludes = _patterns(wanted), []
    kept = _part(source, "", includes, excludes)
    return kept if isinstance(kept, dict) else {}


def _patterns(raw: Any) -> list[str]:
    return [str(pattern) for pattern in (raw if isinstance(raw, list) else [raw])]


def _matches(path: str, patterns: list[str]) -> bool:
    """Return whether ``path`` or an object around it is named."""
    parts = path.split(".")
    return any(
        fnmatchcase(".".join(parts[:length]), pattern) for pattern in patterns for length in range(1, len(parts) + 1)
    )


def _part(value: Any, path: str, includes: list[str], excludes: list[str]) -> Any:
    """Return what is kept of ``value``; None if nothing."""
    if path and _matches(path, excludes):
        return None
    if isinstance(value, dict):
        kept = {
            name: _part(each, f"{path}.{name}" if path else name, includes, excludes) for name, each in value.items()
        }
        kept = {
            name: each for name, each in kept.items() if each is not None or _keeps_null(value, name, path, includes)
        }
        return kept if kept or (path and (not includes or _matches(path, includes))) else None
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        parts = [_part(each, path, includes, excludes) for each in value]
        return [each for each in parts if each is not None] or None
    return value if not includes or _matches(path, includes) else None


def _keeps_null(value: Json, name: str, path: str, includes: list[str]) -> bool:
    return value[name] is None and (not includes or _matches(f"{path}.{name}" if path else name, includes))
