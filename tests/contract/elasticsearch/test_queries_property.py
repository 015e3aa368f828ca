"""Searches against a plain Python filter over random documents."""

from __future__ import annotations

from typing import Any

import pytest
from elasticsearch.helpers import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MAPPING = {
    "properties": {
        "n": {"type": "long"}, "x": {"type": "double"}, "k": {"type": "keyword"}, "b": {"type": "boolean"},
        "d": {"type": "date"},
    }
}  # fmt: skip
DAY = 86_400_000
NUMBERS = st.integers(-5, 5)
REALS = st.sampled_from([-2.5, -1.0, 0.0, 0.5, 1.0, 2.25])
KEYWORDS = st.sampled_from(["", "a", "A", "b c", "ä", "x*y", "7"])
DATES = st.integers(0, 4).map(lambda day: 1_760_572_800_000 + day * DAY)


def _one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, max_size=3), st.none())


DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "n": _one_or_more(NUMBERS), "x": _one_or_more(REALS), "k": _one_or_more(KEYWORDS), "b": st.booleans(),
            "d": _one_or_more(DATES),
        },
    ),
    max_size=12,
)  # fmt: skip
FIELDS = {"n": NUMBERS, "x": REALS, "k": KEYWORDS, "d": DATES}


def _ranges(name: str) -> st.SearchStrategy[dict[str, Any]]:
    lower = st.one_of(st.just({}), FIELDS[name].map(lambda v: {"gt": v}), FIELDS[name].map(lambda v: {"gte": v}))
    upper = st.one_of(st.just({}), FIELDS[name].map(lambda v: {"lt": v}), FIELDS[name].map(lambda v: {"lte": v}))
    return st.tuples(lower, upper).map(lambda ends: {"range": {name: {**ends[0], **ends[1]}}})


LEAVES = st.one_of(
    st.just({"match_all": {}}),
    st.sampled_from(["n", "x", "k", "b", "d", "nope"]).map(lambda name: {"exists": {"field": name}}),
    st.booleans().map(lambda value: {"term": {"b": value}}),
    *(FIELDS[name].map(lambda value, name=name: {"term": {name: value}}) for name in FIELDS),
    *(st.lists(FIELDS[name], max_size=3).map(lambda values, name=name: {"terms": {name: values}}) for name in FIELDS),
    *(_ranges(name) for name in FIELDS),
)


def _bools(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    clauses = st.lists(children, max_size=2)
    names = ("must", "filter", "should", "must_not")
    parts = st.fixed_dictionaries(
        {}, optional={name: clauses for name in names} | {"minimum_should_match": st.integers(0, 2)}
    )
    return parts.map(lambda body: {"bool": body})


QUERIES = st.recursive(LEAVES, _bools, max_leaves=6)


def _values(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    return [] if value is None else value if isinstance(value, list) else [value]


def _inside(value: Any, ends: dict[str, Any]) -> bool:
    checks = {
        "gt": lambda end: value > end, "gte": lambda end: value >= end,
        "lt": lambda end: value < end, "lte": lambda end: value <= end,
    }  # fmt: skip
    return all(checks[name](end) for name, end in ends.items())


def matches(query: dict[str, Any], document: dict[str, Any]) -> bool:
    """Return what the query language says, in plain Python."""
    ((kind, body),) = query.items()
    if kind == "match_all":
        return True
    if kind == "exists":
        return bool(_values(document, body["field"]))
    if kind == "bool":
        return _bool_matches(body, document)
    ((name, wanted),) = body.items()
    if kind == "term":
        return wanted in _values(document, name)
    if kind == "terms":
        return any(value in wanted for value in _values(document, name))
    return any(_inside(value, wanted) for value in _values(document, name))


def _bool_matches(body: dict[str, Any], document: dict[str, Any]) -> bool:
    required = [*body.get("must", []), *body.get("filter", [])]
    optional = body.get("should", [])
    needed = body.get("minimum_should_match", 0 if required or not optional else 1)
    return (
        all(matches(each, document) for each in required)
        and not any(matches(each, document) for each in body.get("must_not", []))
        and sum(matches(each, document) for each in optional) >= needed
    )


@pytest.fixture
def index(client, prefix):
    client.indices.create(index=prefix, mappings=MAPPING)
    return prefix


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=DOCUMENTS, queries=st.lists(QUERIES, min_size=1, max_size=5))
def test_a_search_finds_what_a_plain_filter_finds(client, index, documents, queries):
    client.delete_by_query(index=index, query={"match_all": {}}, refresh=True)
    actions = [{"_index": index, "_id": str(at), "_source": document} for at, document in enumerate(documents)]
    bulk(client, actions, refresh=True)
    for query in queries:
        terms = {"k": {"terms": {"field": "k", "size": 50}}}
        answer = client.search(index=index, query=query, size=20, track_total_hits=True, aggs=terms)
        expected = {str(at) for at, document in enumerate(documents) if matches(query, document)}
        assert {hit["_id"] for hit in answer["hits"]["hits"]} == expected, query
        assert answer["hits"]["total"]["value"] == len(expected)
        buckets = {bucket["key"]: bucket["doc_count"] for bucket in answer["aggregations"]["k"]["buckets"]}
        chosen = [set(_values(documents[int(at)], "k")) for at in expected]
        assert buckets == {key: sum(key in keys for keys in chosen) for key in set().union(*chosen)}
