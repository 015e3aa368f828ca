"""From Elasticsearch's query language to tantivy queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.elasticsearch import dates, elsewhere, fulltext, terms
from sandbox.elasticsearch.clauses import boosted, everything, members, minimum, nothing, single_field
from sandbox.elasticsearch.engine import Engine, Occur, Query
from sandbox.elasticsearch.errors import content_parse, missing, parsing
from sandbox.elasticsearch.mapping import Field, IndexMapping

MAXIMUM_DEPTH = 30
"""Elasticsearch's default of ``indices.query.bool.max_nested_depth``."""


class QueryCompiler:
    """Compiles queries for indices of one mapping.

    Args:
        engine: the tantivy index, for its columns and terms.
        mapping: the fields.
        now: the clock for date math, seconds since 1970; one moment for a whole search.
    """

    def __init__(self, engine: Engine, mapping: IndexMapping, now: float) -> None:
        self.engine = engine
        self.mapping = mapping
        self.now = now
        self._kinds: dict[str, Callable[[Any, int], Query]] = {
            "match_all": self._match_all,
            "match_none": self._match_none,
            "bool": self._bool,
            "constant_score": self._constant_score,
            "dis_max": self._dis_max,
            "exists": self._exists,
            "ids": self._ids,
            "range": self._range,
            **{
                kind: self._leaf(function)
                for kind, function in {
                    "term": terms.term_query,
                    "terms": terms.terms_query,
                    "prefix": terms.prefix_query,
                    "wildcard": terms.wildcard_query,
                    "match": fulltext.match_query,
                    "match_phrase": fulltext.phrase_query,
                    "match_phrase_prefix": fulltext.phrase_prefix_query,
                    "multi_match": fulltext.multi_match_query,
                    "query_string": fulltext.query_string_query,
                }.items()
            },
        }

    def compile(self, raw: Any, depth: int = 0) -> Query:
        """Return the tantivy query of ``{"<kind>": {...}}``.

        Raises:
            ElasticsearchError: 400 if Elasticsearch refuses it, 501 if only this server does.
        """
        if not isinstance(raw, Mapping):
            raise parsing("[_na] query malformed, no start_object after query name")
        if depth > MAXIMUM_DEPTH:
            raise parsing(
                f"The nested depth of the query exceeds the maximum nested depth for queries set in "
                f"[indices.query.bool.max_nested_depth]: {MAXIMUM_DEPTH}"
            )
        if not raw:
            raise parsing("query malformed, empty clause found")
        kind, *others = raw
        if others:
            raise parsing(f"[{kind}] malformed query, expected [END_OBJECT] but found [FIELD_NAME]")
        if kind in self._kinds:
            return self._kinds[kind](raw[kind], depth)
        if kind in elsewhere.QUERIES:
            raise missing(f"the query [{kind}]")
        error = parsing(f"unknown query [{kind}]")
        error.cause = content_parse(f"[1:1] unknown field [{kind}]")
        error.cause.kind = "named_object_not_found_exception"
        raise error

    def field(self, path: str) -> tuple[Field, str] | None:
        """Return a field and its tantivy column; None if no document has a value in it."""
        field = self.mapping.fields.get(path)
        column = self.engine.column(field) if field is not None else None
        return None if field is None or column is None else (field, column)

    def _leaf(self, function: Callable[[QueryCompiler, Any], Query]) -> Callable[[Any, int], Query]:
        return lambda raw, depth: function(self, raw)

    def _match_all(self, raw: Any, depth: int) -> Query:
        return boosted(everything(), members(raw, "match_all", {"boost"}))

    def _match_none(self, raw: Any, depth: int) -> Query:
        members(raw, "match_none", {"boost"})
        return nothing()

    def _bool(self, raw: Any, depth: int) -> Query:
        raw = members(raw, "bool", {"must", "filter", "should", "must_not", "minimum_should_match", "boost"})
        clauses = {name: self._clauses(raw.get(name), depth) for name in ("must", "filter", "should", "must_not")}
        parts = [(Occur.Must, query) for query in clauses["must"]]
        parts += [(Occur.Must, Query.const_score_query(query, 0.0)) for query in clauses["filter"]]
        default = 0 if parts or not clauses["should"] else 1
        needed = minimum(raw.get("minimum_should_match", default), len(clauses["should"]))
        if needed > len(clauses["should"]):
            return nothing()
        if clauses["should"]:
            should = Query.boolean_query([(Occur.Should, query) for query in clauses["should"]], max(needed, 1))
            parts.append((Occur.Must if needed else Occur.Should, should))
        if not any(occur is Occur.Must or occur == Occur.Must for occur, _ in parts):
            # Nothing is required: everything matches, scored by what else does.
            parts.append(
                (Occur.Must, everything() if not clauses["should"] else Query.const_score_query(everything(), 0.0))
            )
        parts += [(Occur.MustNot, query) for query in clauses["must_not"]]
        return boosted(Query.boolean_query(parts), raw)

    def _clauses(self, raw: Any, depth: int) -> list[Query]:
        if raw is None:
            return []
        return [self.compile(clause, depth + 1) for clause in (raw if isinstance(raw, list) else [raw])]

    def _constant_score(self, raw: Any, depth: int) -> Query:
        raw = members(raw, "constant_score", {"filter", "boost"})
        if "filter" not in raw:
            raise parsing("[constant_score] requires a 'filter' element")
        return Query.const_score_query(self.compile(raw["filter"], depth + 1), float(raw.get("boost", 1.0)))

    def _dis_max(self, raw: Any, depth: int) -> Query:
        raw = members(raw, "dis_max", {"queries", "tie_breaker", "boost"})
        if "queries" not in raw:
            raise parsing("[dis_max] requires 'queries' field with at least one clause")
        queries = self._clauses(raw["queries"], depth)
        return boosted(Query.disjunction_max_query(queries, float(raw.get("tie_breaker", 0.0))), raw)

    def _exists(self, raw: Any, depth: int) -> Query:
        raw = members(raw, "exists", {"field", "boost"})
        if not isinstance(raw.get("field"), str):
            raise parsing("[exists] must be provided with a [field]")
        query = Query.term_query(self.engine.schema, "present", raw["field"], "basic")
        return Query.const_score_query(query, float(raw.get("boost", 1.0)))

    def _ids(self, raw: Any, depth: int) -> Query:
        raw = members(raw, "ids", {"values", "boost"})
        values = raw.get("values", [])
        wanted = [str(value) for value in (values if isinstance(values, list) else [values])]
        query = Query.term_set_query(self.engine.schema, "id", wanted) if wanted else nothing()
        return Query.const_score_query(query, float(raw.get("boost", 1.0)))

    def _range(self, raw: Any, depth: int) -> Query:
        path, raw = single_field(raw, "range")
        raw = members(
            raw, "range", {"gt", "gte", "lt", "lte", "format", "time_zone", "boost", "relation"}, {"from", "to"}
        )
        found = self.field(path)
        if found is None:
            return nothing()
        field, column = found
        if field.column in ("k", "t"):
            query = terms.text_range(self.engine, column, raw)
        elif field.type == "date":
            query = terms.between(self.engine, field, column, *self._date_bounds(field, raw))
        else:
            query = terms.between(self.engine, field, column, *terms.bounds(field, raw))
        return Query.const_score_query(query, float(raw.get("boost", 1.0)))

    def _date_bounds(self, field: Field, raw: Mapping[str, Any]) -> tuple[int | None, int | None]:
        pattern = dates.check_format(str(raw["format"])) if "format" in raw else field.format

        def moment(name: str, round_up: bool) -> int:
            return dates.resolve(
                raw[name], pattern, zone_info=dates.zone(raw.get("time_zone")), round_up=round_up, now=lambda: self.now
            )

        low = high = None
        if raw.get("gte") is not None:
            low = moment("gte", False)
        elif raw.get("gt") is not None:
            low = moment("gt", True) + 1
        if raw.get("lte") is not None:
            high = moment("lte", True)
        elif raw.get("lt") is not None:
            high = moment("lt", False) - 1
        return low, high
