"""What the compilers of queries share: reading a query's members, and queries that need no field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from sandbox.elasticsearch.engine import Engine, Occur, Query
from sandbox.elasticsearch.errors import content_parse, missing, parsing
from sandbox.elasticsearch.mapping import Field, IndexMapping


class Compiler(Protocol):
    """What a compiler of one kind of query needs of the whole."""

    engine: Engine
    mapping: IndexMapping

    def field(self, path: str) -> tuple[Field, str] | None:
        """Return a field and its tantivy column; None if no document has a value in it."""


def nothing() -> Query:
    """Return the query that finds no document."""
    return Query.empty_query()


def everything() -> Query:
    """Return the query that finds every document, with score 1."""
    return Query.all_query()


def both(first: Query, filtering: Query) -> Query:
    """Return ``first`` narrowed by ``filtering``, which does not score."""
    return Query.boolean_query([(Occur.Must, first), (Occur.Must, Query.const_score_query(filtering, 0.0))])


def members(
    raw: Any, kind: str, allowed: set[str], other: set[str] | frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    """Return the members of a query object after checking their names.

    Args:
        raw: what the request gives.
        kind: name of the query, for the message.
        allowed: members this server knows.
        other: members only Elasticsearch knows.

    Raises:
        ElasticsearchError: 400 for an unknown member, 501 for one of ``other``.
    """
    if not isinstance(raw, Mapping):
        raise parsing(f"[{kind}] query malformed, no start_object after query name")
    for name in raw:
        if name in other or name == "_name":
            raise missing(f"[{name}] in the query [{kind}]")
        if name not in allowed:
            if kind == "bool":
                raise content_parse(f"[1:1] [bool] unknown field [{name}]")
            raise parsing(f"[{kind}] query does not support [{name}]")
    return raw


def single_field(raw: Any, kind: str, short: str | None = None) -> tuple[str, Mapping[str, Any]]:
    """Return the field and the members of ``{"<field>": {...}}``, or of ``{"<field>": value}`` where that is allowed.

    Raises:
        ElasticsearchError: 400 if there is not exactly one field.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise parsing(f"[{kind}] query malformed, no start_object after query name")
    path, *others = raw
    if others:
        raise parsing(f"[{kind}] query doesn't support multiple fields, found [{path}] and [{others[0]}]")
    value = raw[path]
    if isinstance(value, Mapping):
        return path, value
    if short is None or isinstance(value, list):
        raise parsing(f"[{kind}] query does not support [{path}]")
    return path, {short: value}


def minimum(raw: Any, clauses: int) -> int:
    """Return how many of ``clauses`` optional clauses have to match: a number, a negative number or a percentage.

    Raises:
        ElasticsearchError: 501 for a combination such as ``3<90%``.
    """
    text = str(raw).strip()
    try:
        if text.endswith("%"):
            share = int(text[:-1])
            part = math.floor(clauses * abs(share) / 100)
            return part if share >= 0 else clauses - part
        number = int(text)
    except ValueError:
        raise missing(f"minimum_should_match [{text}]") from None
    return number if number >= 0 else max(0, clauses + number)


def boosted(query: Query, raw: Mapping[str, Any]) -> Query:
    """Return ``query`` with its score multiplied by the member ``boost``."""
    return Query.boost_query(query, float(raw["boost"])) if "boost" in raw else query
