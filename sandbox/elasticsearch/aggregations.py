"""Aggregations: the tree of requests, and the buckets that are not histograms.

Each level is one question to tantivy, and each bucket's sub-aggregations are asked with the query narrowed to the
bucket: every count is exact, whatever the buckets overlap in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.elasticsearch import dates, elsewhere, histograms, metrics, terms
from sandbox.elasticsearch.clauses import both, everything, members, nothing
from sandbox.elasticsearch.engine import Occur, Query
from sandbox.elasticsearch.errors import ElasticsearchError, content_parse, illegal_argument, missing, parsing
from sandbox.elasticsearch.mapping import Field, Json
from sandbox.elasticsearch.target import Target

MAXIMUM_BUCKETS = 65_000
"""tantivy's limit, close to Elasticsearch's 65 536."""


class Aggregator:
    """Answers the aggregations of one search.

    Args:
        target: what is searched.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.buckets = 0
        self._kinds: dict[str, Callable[[Any, Any, Query], Json]] = {
            "terms": self._terms,
            "filter": self._filter,
            "filters": self._filters,
            "range": self._range,
            "missing": self._missing,
            "histogram": lambda raw, subs, query: histograms.histogram(self, raw, subs, query),
            "date_histogram": lambda raw, subs, query: histograms.date_histogram(self, raw, subs, query),
        }

    def run(self, raw: Any, query: Query) -> Json:
        """Return the answers, by name, to the aggregations ``raw`` over the matches of ``query``.

        Raises:
            ElasticsearchError: 400 if Elasticsearch refuses one, 501 if only this server does.
        """
        if not isinstance(raw, Mapping):
            raise parsing("Found [VALUE] under [aggs] but expected an object")
        return {name: self._one(name, node, query) for name, node in raw.items()}

    def _one(self, name: str, node: Any, query: Query) -> Json:
        if not isinstance(node, Mapping):
            raise parsing(f"Aggregation definition for [{name}] must be an object")
        kinds = [member for member in node if member not in ("aggs", "aggregations", "meta")]
        if not kinds:
            raise parsing(f"Missing definition for aggregation [{name}]")
        if len(kinds) > 1:
            raise parsing(f"Found two aggregation type definitions in [{name}]: [{kinds[0]}] and [{kinds[1]}]")
        kind, subs = kinds[0], node.get("aggs", node.get("aggregations", {}))
        if kind in metrics.KINDS:
            if subs:
                raise ElasticsearchError(
                    400,
                    "aggregation_initialization_exception",
                    f"Aggregator [{name}] of type [{kind}] cannot accept sub-aggregations",
                )
            answer = metrics.metric(self.target, kind, node[kind], query)
        elif kind in self._kinds:
            answer = self._kinds[kind](node[kind], subs, query)
        elif kind in elsewhere.AGGREGATIONS:
            raise missing(f"the aggregation [{kind}]")
        else:
            error = parsing(f"Unknown aggregation type [{kind}]")
            error.cause = content_parse(f"[1:1] unknown field [{kind}]")
            error.cause.kind = "named_object_not_found_exception"
            raise error
        return {"meta": dict(node["meta"]), **answer} if "meta" in node else answer

    def bucket(self, head: Json, count: int, subs: Any, query: Query) -> Json:
        """Return one bucket: its key, its count and its sub-aggregations over ``query``."""
        self.buckets += 1
        if self.buckets > MAXIMUM_BUCKETS:
            raise ElasticsearchError(
                400,
                "too_many_buckets_exception",
                f"Trying to create too many buckets. Must be less than or equal to: [{MAXIMUM_BUCKETS}] but was "
                f"[{self.buckets}]. This limit can be set by changing the [search.max_buckets] cluster level setting.",
                details={"max_buckets": MAXIMUM_BUCKETS},
            )
        return {**head, "doc_count": count, **(self.run(subs, query) if subs else {})}

    def numeric(self, raw: Mapping[str, Any], kind: str) -> Field | None:
        """Return the numeric field an aggregation names; None if it is not mapped.

        Raises:
            ElasticsearchError: 400 if there is none or it holds no numbers.
        """
        if not isinstance(raw.get("field"), str):
            raise illegal_argument(f"Required one of fields [field, script], but none were specified for [{kind}]")
        field = self.target.valued(raw["field"])
        if field is not None and field.column == "k":
            raise illegal_argument(
                f"Field [{field.path}] of type [{field.type}] is not supported for aggregation [{kind}]"
            )
        return field

    # terms

    def _terms(self, raw: Any, subs: Any, query: Query) -> Json:
        allowed = {
            "field",
            "size",
            "shard_size",
            "order",
            "min_doc_count",
            "show_term_doc_count_error",
            "collect_mode",
            "execution_hint",
        }
        other = {"missing", "include", "exclude", "script", "format", "value_type", "shard_min_doc_count"}
        raw = members(raw, "terms", allowed, other)
        if not isinstance(raw.get("field"), str):
            raise illegal_argument("Required one of fields [field, script], but none were specified. ")
        size, least = int(raw.get("size", 10)), int(raw.get("min_doc_count", 1))
        if size <= 0:
            raise illegal_argument(f"[size] must be greater than 0. Found [{size}] in [terms]")
        if least < 1:
            raise missing("a terms aggregation with min_doc_count 0")
        field = self.target.valued(raw["field"])
        column = self.target.engine.column(field) if field is not None else None
        answer: Json = {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}
        if field is None or column is None:
            return answer
        request = {"field": column, "size": MAXIMUM_BUCKETS, "segment_size": MAXIMUM_BUCKETS}
        found = self.target.engine.aggregate(query, {"terms": request})
        entries = [(each["key"], each["doc_count"]) for each in found["buckets"] if each["doc_count"] >= least]
        order = order_of(raw.get("order", {"_count": "desc"}), subs)
        shown = self._ordered_terms(field, entries, order, size, subs, query)
        total = sum(each["doc_count"] for each in found["buckets"]) + found["sum_other_doc_count"]
        answer["sum_other_doc_count"] = total - sum(bucket["doc_count"] for bucket in shown)
        answer["buckets"] = shown
        return answer

    def _ordered_terms(
        self,
        field: Field,
        entries: list[tuple[Any, int]],
        order: list[tuple[str, bool]],
        size: int,
        subs: Any,
        query: Query,
    ) -> list[Json]:
        entries.sort(key=lambda entry: entry[0])  # what is equal otherwise is ordered by key
        by_metric = any(name not in ("_count", "_key") for name, _ in order)
        if not by_metric:
            for name, descending in reversed(order):
                entries.sort(key=lambda entry: entry[1 if name == "_count" else 0], reverse=descending)  # used at once
            entries = entries[:size]
        buckets = [
            self.bucket(_key(field, key), count, subs, both(query, self._value(field, key))) for key, count in entries
        ]
        return sort_buckets(buckets, order)[:size] if by_metric else buckets

    def _value(self, field: Field, key: Any) -> Query:
        column = self.target.engine.column(field)
        assert column is not None
        if field.column == "k":
            return Query.term_query(self.target.engine.schema, column, key, "basic")
        return terms.between(self.target.engine, field, column, key, key)

    # filter, filters, missing, range

    def _filter(self, raw: Any, subs: Any, query: Query) -> Json:
        narrowed = both(query, self.target.compile(raw))
        return self.bucket({}, self.target.engine.count(narrowed), subs, narrowed)

    def _filters(self, raw: Any, subs: Any, query: Query) -> Json:
        raw = members(raw, "filters", {"filters", "keyed"}, {"other_bucket", "other_bucket_key"})
        wanted = raw.get("filters")
        if isinstance(wanted, Mapping):
            return {"buckets": {name: self._filter(each, subs, query) for name, each in sorted(wanted.items())}}
        if isinstance(wanted, list):
            return {"buckets": [self._filter(each, subs, query) for each in wanted]}
        raise illegal_argument("[filters] cannot be null")

    def _missing(self, raw: Any, subs: Any, query: Query) -> Json:
        raw = members(raw, "missing", {"field"}, {"missing"})
        if not isinstance(raw.get("field"), str):
            raise illegal_argument("Required one of fields [field], but none were specified. ")
        has = Query.term_query(self.target.engine.schema, "present", raw["field"], "basic")
        lacking = Query.boolean_query([(Occur.Must, everything()), (Occur.MustNot, has)])
        narrowed = both(query, lacking)
        return self.bucket({}, self.target.engine.count(narrowed), subs, narrowed)

    def _range(self, raw: Any, subs: Any, query: Query) -> Json:
        raw = members(raw, "range", {"field", "ranges", "keyed"}, {"missing", "script", "format"})
        field = self.numeric(raw, "range")
        ranges = raw.get("ranges")
        if not isinstance(ranges, list) or not ranges:
            raise illegal_argument("No [ranges] specified for the [range] aggregation")
        if field is not None and field.type in ("date", "boolean"):
            raise missing(f"a range aggregation on a field of type [{field.type}]")
        buckets = [self._range_bucket(field, each, subs, query) for each in sorted(ranges, key=_range_start)]
        if raw.get("keyed"):
            return {"buckets": {bucket.pop("key"): bucket for bucket in buckets}}
        return {"buckets": buckets}

    def _range_bucket(self, field: Field | None, raw: Any, subs: Any, query: Query) -> Json:
        raw = members(raw, "range", {"from", "to", "key"})
        low, high = (None if raw.get(name) is None else float(raw[name]) for name in ("from", "to"))
        head: Json = {"key": raw.get("key", f"{'*' if low is None else low}-{'*' if high is None else high}")}
        head |= {name: value for name, value in (("from", low), ("to", high)) if value is not None}
        inside = nothing()
        column = self.target.engine.column(field) if field is not None else None
        if field is not None and column is not None:
            limits = {"gte": low, "lt": high}
            inside = terms.between(self.target.engine, field, column, *terms.bounds(field, limits))
        narrowed = both(query, inside)
        return self.bucket(head, self.target.engine.count(narrowed), subs, narrowed)


def _range_start(raw: Any) -> tuple[float, float]:
    low, high = (raw.get(name) if isinstance(raw, Mapping) else None for name in ("from", "to"))
    return (float("-inf") if low is None else float(low), float("inf") if high is None else float(high))


def _key(field: Field, key: Any) -> Json:
    if field.type == "boolean":
        return {"key": int(key), "key_as_string": "true" if key else "false"}
    if field.type == "date":
        return {"key": int(key), "key_as_string": dates.render(int(key), field.format)}
    return {"key": int(key) if field.column == "i" else key}


def order_of(raw: Any, subs: Any) -> list[tuple[str, bool]]:
    """Return the order as (``_count``, ``_key`` or path of a metric, descending)."""
    order = []
    for entry in raw if isinstance(raw, list) else [raw]:
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise parsing("Must specify exactly one field for [order]")
        ((name, direction),) = entry.items()
        if str(direction).lower() not in ("asc", "desc"):
            raise parsing(f"Unknown order direction [{direction}]")
        if name not in ("_count", "_key") and (not isinstance(subs, Mapping) or name.partition(".")[0] not in subs):
            raise ElasticsearchError(
                400,
                "aggregation_execution_exception",
                f"Invalid aggregation order path [{name}]. The provided aggregation [{name.partition('.')[0]}] "
                "either does "
                "not exist, or is a pipeline aggregation and cannot be used to sort the buckets.",
            )
        if ">" in name or "[" in name:
            raise missing(f"the aggregation order path [{name}]")
        order.append((name, str(direction).lower() == "desc"))
    return order


def sort_buckets(buckets: list[Json], order: list[tuple[str, bool]]) -> list[Json]:
    """Return buckets, already ordered by key, in the order asked for; a metric without value comes last."""
    for name, descending in reversed(order):
        if name in ("_count", "_key"):
            member = "doc_count" if name == "_count" else "key"
            buckets = sorted(buckets, key=lambda bucket: bucket[member], reverse=descending)  # used at once
            continue
        path, _, part = name.partition(".")
        values = [bucket[path].get(part or "value", bucket[path].get("doc_count")) for bucket in buckets]
        present = [(value, at) for at, value in enumerate(values) if value is not None]
        present.sort(key=lambda pair: pair[0], reverse=descending)
        absent = [at for at, value in enumerate(values) if value is None]
        buckets = [buckets[at] for at in [at for _, at in present] + absent]
    return buckets
