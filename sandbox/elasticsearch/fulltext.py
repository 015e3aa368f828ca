"""Queries on words: match, match_phrase, multi_match and the query string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tantivy

from sandbox.elasticsearch import terms
from sandbox.elasticsearch.analysis import words
from sandbox.elasticsearch.clauses import Compiler, boosted, everything, members, minimum, nothing, single_field
from sandbox.elasticsearch.dates import resolve
from sandbox.elasticsearch.engine import Occur, Query
from sandbox.elasticsearch.errors import ElasticsearchError, missing, parsing, query_shard

_MATCH = {"query", "operator", "minimum_should_match", "boost", "lenient", "zero_terms_query"}
_MATCH_OTHER = {"fuzziness", "analyzer", "prefix_length", "max_expansions", "fuzzy_transpositions", "fuzzy_rewrite"}
_MATCH_OTHER |= {"auto_generate_synonyms_phrase_query", "cutoff_frequency"}
_STRING = {"query", "default_field", "fields", "default_operator", "boost", "analyze_wildcard", "lenient"}
_STRING_OTHER = {"analyzer", "fuzziness", "type", "minimum_should_match", "allow_leading_wildcard", "phrase_slop"}
_STRING_OTHER |= {"quote_analyzer", "quote_field_suffix", "time_zone", "tie_breaker", "rewrite", "escape"}


def match_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"match": {"<field>": "some words"}}``."""
    path, raw = single_field(raw, "match", "query")
    raw = members(raw, "match", _MATCH, _MATCH_OTHER)
    if raw.get("query") is None:
        raise parsing("No text specified for text query")
    return boosted(_match(compiler, path, raw), raw)


def _match(compiler: Compiler, path: str, raw: Mapping[str, Any]) -> Query:
    field = compiler.mapping.fields.get(path)
    if field is None or field.column != "t":
        return _value(compiler, path, raw["query"], bool(raw.get("lenient")))
    found = compiler.field(path)
    tokens = words(_text(raw["query"]))
    if not tokens:
        return everything() if raw.get("zero_terms_query", "none") == "all" else nothing()
    if found is None:
        return nothing()
    queries = [Query.term_query(compiler.engine.schema, found[1], token) for token in tokens]
    operator = str(raw.get("operator", "or")).lower()
    if operator not in ("and", "or"):
        raise parsing(f"operator needs to be either OR or AND, but not [{raw['operator']}]")
    needed = len(queries) if operator == "and" else max(1, minimum(raw.get("minimum_should_match", 1), len(queries)))
    if needed > len(queries):
        return nothing()
    return Query.boolean_query([(Occur.Should, query) for query in queries], needed)


def _value(compiler: Compiler, path: str, value: Any, lenient: bool) -> Query:
    try:
        return terms.value_query(compiler, path, value)
    except ElasticsearchError:
        if lenient:
            return nothing()
        raise


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def phrase_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"match_phrase": {"<field>": "some words"}}``."""
    path, raw = single_field(raw, "match_phrase", "query")
    raw = members(raw, "match_phrase", {"query", "slop", "boost", "zero_terms_query"}, {"analyzer"})
    if raw.get("query") is None:
        raise parsing("No text specified for text query")
    return boosted(phrase(compiler, path, _text(raw["query"]), int(raw.get("slop", 0))), raw)


def phrase(compiler: Compiler, path: str, text: str, slop: int = 0) -> Query:
    """Return the query for documents with the words of ``text`` in a row in ``path``."""
    field = compiler.mapping.fields.get(path)
    if field is None or field.column != "t":
        return terms.value_query(compiler, path, text)
    found, tokens = compiler.field(path), words(text)
    if found is None or not tokens:
        return nothing()
    if len(tokens) == 1:
        return Query.term_query(compiler.engine.schema, found[1], tokens[0])
    return Query.phrase_query(compiler.engine.schema, found[1], tokens, slop)


def phrase_prefix_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"match_phrase_prefix": {"<field>": "some wor"}}``."""
    path, raw = single_field(raw, "match_phrase_prefix", "query")
    raw = members(
        raw, "match_phrase_prefix", {"query", "boost"}, {"slop", "analyzer", "max_expansions", "zero_terms_query"}
    )
    field = compiler.mapping.fields.get(path)
    if field is not None and field.column != "t":
        raise query_shard(
            f"Can only use phrase prefix queries on text fields - not on [{path}] which is of type [{field.type}]"
        )
    found, tokens = compiler.field(path), words(_text(raw.get("query", "")))
    if found is None or not tokens:
        return nothing()
    if len(tokens) == 1:
        return terms.pattern_query(compiler, path, terms.wildcard(tokens[0] + "*"), "prefix", raw)
    return boosted(Query.phrase_prefix_query(compiler.engine.schema, found[1], tokens), raw)


def multi_match_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"multi_match": {"query": "words", "fields": [...]}}``: the best field counts."""
    other = _MATCH_OTHER | {"slop"}
    raw = members(raw, "multi_match", _MATCH | {"fields", "type", "tie_breaker"}, other)
    if raw.get("type", "best_fields") != "best_fields":
        raise missing(f"multi_match of type [{raw['type']}]")
    if raw.get("query") is None:
        raise parsing("No text specified for multi_match query")
    queries = []
    for path, boost in _fields(compiler, raw.get("fields", ["*"])):
        # A text in a number field is no error here: it is another field's text.
        queries.append(Query.boost_query(_match(compiler, path, {**raw, "lenient": True}), boost))
    if not queries:
        return nothing()
    return boosted(Query.disjunction_max_query(queries, float(raw.get("tie_breaker", 0.0))), raw)


def _fields(compiler: Compiler, names: Any) -> list[tuple[str, float]]:
    found = []
    for name in names if isinstance(names, list) else [names]:
        path, _, boost = str(name).partition("^")
        paths = [field.path for field in compiler.mapping.matching(path)] if "*" in path else [path]
        found += [(each, float(boost or 1.0)) for each in paths]
    return found


def query_string_query(compiler: Compiler, raw: Any) -> Query:
    """Compile ``{"query_string": {"query": "level:ERROR AND \\"time out\\""}}``."""
    raw = members(raw, "query_string", _STRING, _STRING_OTHER)
    if raw.get("query") is None:
        raise parsing("[query_string] must be provided with a [query]")
    text = str(raw["query"])
    if text.strip() in ("", "*", "*:*"):
        return boosted(everything() if text.strip() else nothing(), raw)
    try:
        tree = tantivy.parse_query(text)
    except ValueError:
        raise query_shard(f"Failed to parse query [{text}]") from None
    fields = _fields(compiler, raw.get("fields", raw.get("default_field", "*")))
    conjunction = str(raw.get("default_operator", "or")).lower() == "and"
    return boosted(_QueryString(compiler, fields, conjunction, bool(raw.get("lenient"))).compile(tree), raw)


class _QueryString:
    """Compiles the syntax tree of a query string."""

    def __init__(self, compiler: Compiler, fields: list[tuple[str, float]], conjunction: bool, lenient: bool) -> None:
        self._compiler = compiler
        self._fields = fields
        self._default = "must" if conjunction else "should"
        self._lenient = lenient

    def compile(self, node: dict[str, Any]) -> Query:
        """Return the query of one node of the tree."""
        if node["type"] == "bool":
            return self._bool(node["clauses"])
        if node["type"] == "literal":
            return self._literal(node)
        if node["type"] == "range" and node["field"]:
            return self._range(node)
        if node["type"] == "exists":
            return Query.const_score_query(
                Query.term_query(self._compiler.engine.schema, "present", node["field"], "basic"), 1.0
            )
        if node["type"] == "boost":
            inner = node.get("underlying") or node.get("ast") or node.get("query")
            if isinstance(inner, dict) and isinstance(node.get("boost"), int | float):
                return Query.boost_query(self.compile(inner), float(node["boost"]))
        raise missing(f"[{node['type']}] in a query string")

    def _bool(self, clauses: list[tuple[str | None, dict[str, Any]]]) -> Query:
        meaning = {"must": Occur.Must, "should": Occur.Should, "must_not": Occur.MustNot}
        parts = [(occur or self._default, self.compile(node)) for occur, node in clauses]
        queries = [(meaning[occur], query) for occur, query in parts]
        if all(occur == "must_not" for occur, _ in parts):
            queries.append((Occur.Must, everything()))
        return Query.boolean_query(queries)

    def _literal(self, node: dict[str, Any]) -> Query:
        text, quoted = node["phrase"], node["delimiter"] != "none"
        if node["prefix"]:
            raise missing("a phrase prefix in a query string")
        if not quoted and "~" in text:
            raise missing("a fuzzy term in a query string")
        fields = [(node["field_name"], 1.0)] if node["field_name"] else self._fields
        lenient = self._lenient or node["field_name"] is None
        queries = [
            Query.boost_query(self._word(path, text, quoted, node["slop"], lenient), boost) for path, boost in fields
        ]
        return Query.disjunction_max_query(queries) if queries else nothing()

    def _word(self, path: str, text: str, quoted: bool, slop: int, lenient: bool) -> Query:
        try:
            if quoted:
                return phrase(self._compiler, path, text, slop)
            if "*" in text or "?" in text:
                field = self._compiler.mapping.fields.get(path)
                lowered = text.lower() if field is not None and field.column == "t" else text
                return terms.pattern_query(self._compiler, path, terms.wildcard(lowered), "wildcard", {})
            return _match(self._compiler, path, {"query": text, "operator": self._operator})
        except ElasticsearchError:
            if lenient:
                return nothing()
            raise

    @property
    def _operator(self) -> str:
        return "and" if self._default == "must" else "or"

    def _range(self, node: dict[str, Any]) -> Query:
        found = self._compiler.field(node["field"])
        if found is None:
            return nothing()
        field, column = found
        ends = {"lower": ("gte", "gt"), "upper": ("lte", "lt")}
        raw = {
            ends[side][0 if node[side]["type"] == "inclusive" else 1]: node[side]["value"]
            for side in ends
            if node[side]["type"] != "unbounded"
        }
        if field.type == "date":
            raw = {name: resolve(value, field.format, round_up=name in ("lte", "gt")) for name, value in raw.items()}
        if field.column in ("k", "t"):
            return Query.const_score_query(terms.text_range(self._compiler.engine, column, raw), 1.0)
        inside = terms.between(self._compiler.engine, field, column, *terms.bounds(field, raw))
        return Query.const_score_query(inside, 1.0)
