"""Queries on whole values: term, terms, prefix, wildcard and the bounds of a range."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from operator import ge, gt, le, lt
from typing import Any

import tantivy

from sandbox.elasticsearch import dates
from sandbox.elasticsearch.clauses import Compiler, boosted, members, nothing, single_field
from sandbox.elasticsearch.documents import single
from sandbox.elasticsearch.engine import Engine, Query
from sandbox.elasticsearch.errors import ElasticsearchError, illegal_argument, missing, parsing, query_shard
from sandbox.elasticsearch.mapping import Field

MAXIMUM_TERMS = 65_536
"""Elasticsearch's default of ``index.max_terms_count``."""

Bound = int | float | None


def term_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"term": {"<field>": value}}``."""
    path, raw = single_field(raw, "term", "value")
    raw = members(raw, "term", {"value", "boost"}, {"case_insensitive"})
    if "value" not in raw or raw["value"] is None:
        raise illegal_argument("value cannot be null")
    return boosted(value_query(compiler, path, raw["value"]), raw)


def value_query(compiler: Compiler, path: str, value: Any) -> Query:
    """Return the query for documents that have ``value`` in the field ``path``."""
    if isinstance(value, Mapping | list):
        raise parsing(f"[term] query does not support [{path}]")
    if path == "_id":
        return Query.const_score_query(Query.term_query(compiler.engine.schema, "id", str(value), "basic"), 1.0)
    if path.startswith("_"):
        raise missing(f"a query on the metadata field [{path}]")
    found = compiler.field(path)
    if found is None:
        return nothing()
    field, column = found
    if field.column in ("k", "t"):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return Query.term_query(compiler.engine.schema, column, text, "position" if field.column == "t" else "basic")
    return Query.const_score_query(between(compiler.engine, field, column, *_exact(field, value)), 1.0)


def _exact(field: Field, value: Any) -> tuple[Bound, Bound]:
    """Return the bounds of the values equal to ``value``; for a date that is a span, ``2025-10-16`` being a whole "
    "day."""
    if field.type == "date":
        return dates.resolve(value, field.format), dates.resolve(value, field.format, round_up=True)
    number = _number(field, value)
    if field.column == "f":
        try:
            exact = single(number) if field.type == "float" else float(number)
        except OverflowError:
            return 1, 0
        return exact, exact
    return (int(number), int(number)) if number == math.floor(number) else (1, 0)


def _number(field: Field, value: Any) -> int | float:
    if field.type == "boolean":
        if str(value).lower() not in ("true", "false"):
            raise query_shard(
                f"failed to create query: Can't parse boolean value [{value}], expected [true] or [false]"
            )
        return int(str(value).lower() == "true")
    try:
        number = float(value) if not isinstance(value, int) or isinstance(value, bool) else value
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError
        return int(str(value)) if re.fullmatch(r"[+-]?\d+", str(value)) else number
    except (ValueError, TypeError):
        cause = ElasticsearchError(400, "number_format_exception", f'For input string: "{value}"')
        error = query_shard(f'failed to create query: For input string: "{value}"')
        error.cause = cause
        raise error from None


def terms_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"terms": {"<field>": [value, ...]}}``."""
    if not isinstance(raw, Mapping):
        raise parsing("[terms] query malformed, no start_object after query name")
    paths = [name for name in raw if name not in ("boost", "_name")]
    if len(paths) != 1:
        raise parsing(
            "[terms] query requires a field name, followed by array of terms or a document lookup specification"
        )
    values = raw[paths[0]]
    if isinstance(values, Mapping):
        raise missing("a terms lookup")
    if not isinstance(values, list):
        raise parsing(f"[terms] query does not support [{paths[0]}]")
    if len(values) > MAXIMUM_TERMS:
        raise illegal_argument(
            f"The number of terms [{len(values)}] used in the Terms Query request has exceeded the allowed maximum of "
            f"[{MAXIMUM_TERMS}]. This maximum can be set by changing the [index.max_terms_count] index level setting."
        )
    query = _any_of(compiler, paths[0], values)
    return Query.const_score_query(query, float(raw.get("boost", 1.0)))


def _any_of(compiler: Compiler, path: str, values: list[Any]) -> Query:
    found = compiler.field(path)
    if found is not None and found[0].column == "k":
        texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        return Query.term_set_query(compiler.engine.schema, found[1], texts) if texts else nothing()
    queries = [value_query(compiler, path, value) for value in values]
    return Query.boolean_query([(tantivy.Occur.Should, query) for query in queries], 1) if queries else nothing()


def prefix_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"prefix": {"<field>": "text"}}``."""
    path, raw = single_field(raw, "prefix", "value")
    raw = members(raw, "prefix", {"value", "boost", "rewrite"}, {"case_insensitive"})
    return pattern_query(compiler, path, re.escape(str(raw.get("value", ""))) + "(?s:.*)", "prefix", raw)


def wildcard_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"wildcard": {"<field>": "te?t*"}}``."""
    path, raw = single_field(raw, "wildcard", "value")
    raw = members(raw, "wildcard", {"value", "wildcard", "boost", "rewrite"}, {"case_insensitive"})
    return pattern_query(compiler, path, wildcard(str(raw.get("value", raw.get("wildcard", "")))), "wildcard", raw)


def wildcard(pattern: str) -> str:
    """Return the regular expression of a pattern of ``*``, ``?`` and characters escaped by ``\\``."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    meaning = {"*": "(?s:.*)", "?": "(?s:.)"}
    return "".join(meaning.get(part) or re.escape(part[1:] if len(part) > 1 else part) for part in parts)


def pattern_query(compiler: Compiler, path: str, expression: str, kind: str, raw: Mapping[str, Any]) -> Query:
    """Return the query for documents with a term of ``path`` that matches a regular expression as a whole.

    Raises:
        ElasticsearchError: 400 if the field holds no text.
    """
    declared = compiler.mapping.fields.get(path)
    if declared is not None and declared.column not in ("k", "t"):
        raise query_shard(
            f"Can only use {kind} queries on keyword, text and wildcard fields - not on [{path}] which is of type "
            f"[{declared.type}]"
        )
    found = compiler.field(path)
    if found is None:
        return nothing()
    # The terms are matched here, not by tantivy, whose regular expressions have no flags and few escapes.
    matches = re.compile(expression).fullmatch
    literal = re.match(r"(?:[^\\(\[.*?+^$|{]|\\.)*", expression)
    assert literal is not None
    prefix = re.sub(r"\\(.)", r"\1", literal[0], flags=re.DOTALL)
    wanted = [term for term in compiler.engine.terms(found[1], prefix) if matches(term)]
    query = Query.term_set_query(compiler.engine.schema, found[1], wanted) if wanted else nothing()
    return Query.const_score_query(query, float(raw.get("boost", 1.0)))


def text_range(engine: Engine, column: str, raw: Mapping[str, Any]) -> Query:
    """Return the query for documents with a term between the ``gt``, ``gte``, ``lt`` and ``lte`` of a range."""
    checks: list[Callable[[str], bool]] = []
    for name, compare in _COMPARISONS.items():
        if raw.get(name) is not None:
            checks.append(partial(_compared, compare, str(raw[name])))
    wanted = [term for term in engine.terms(column) if all(check(term) for check in checks)]
    return Query.term_set_query(engine.schema, column, wanted) if wanted else nothing()


def _compared(compare: Callable[[str, str], bool], end: str, term: str) -> bool:
    return compare(term, end)


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def bounds(field: Field, raw: Mapping[str, Any]) -> tuple[Bound, Bound]:
    """Return the first and the last number inside a range; None where it is open.

    Args:
        field: a field of numbers.
        raw: ``gt``, ``gte``, ``lt``, ``lte`` of the range.
    """
    return _bound(field, raw, "gte", "gt"), _bound(field, raw, "lte", "lt")


def _bound(field: Field, raw: Mapping[str, Any], inclusive: str, exclusive: str) -> Bound:
    name = inclusive if raw.get(inclusive) is not None else exclusive
    value = raw.get(name)
    if value is None:
        return None
    number, upper = _number(field, value), inclusive == "lte"
    if field.column == "f":
        return _next_float(float(number), upper) if name == exclusive else float(number)
    whole = math.floor(number) if upper else math.ceil(number)
    if name == exclusive and whole == number:
        whole += -1 if upper else 1
    return whole


def _next_float(number: float, upper: bool) -> float:
    return math.nextafter(number, -math.inf if upper else math.inf)


def between(engine: Engine, field: Field, column: str, low: Bound, high: Bound) -> Query:
    """Return the query for documents with a value of ``field`` from ``low`` to ``high``, both included, None being "
    "open."""
    if field.column == "i":
        # tantivy takes 64-bit bounds only; beyond them a range is open or empty.
        if (low is not None and low >= 1 << 63) or (high is not None and high < -(1 << 63)):
            return nothing()
        low = None if low is not None and low < -(1 << 63) else low
        high = None if high is not None and high >= 1 << 63 else high
    if low is not None and high is not None and low > high:
        return nothing()
    if low is None and high is None:
        return Query.exists_query(column)
    kind = tantivy.FieldType.Integer if field.column == "i" else tantivy.FieldType.Float
    return Query.range_query(engine.schema, column, kind, low, high)
