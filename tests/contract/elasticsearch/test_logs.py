"""The platform's log index: the architecture's mapping, its template, and its search."""

from __future__ import annotations

import datetime

import pytest
from elasticsearch import BadRequestError, NotFoundError
from elasticsearch.helpers import bulk

MAPPING = {
    "properties": {
        "timestamp": {"type": "date"},
        "level": {"type": "keyword"},
        "service": {"type": "keyword"},
        "message": {"type": "text"},
        "job_id": {"type": "keyword"},
        "connection_id": {"type": "keyword"},
        "records_synced": {"type": "integer"},
        "bytes_synced": {"type": "long"},
    }
}
NOW = datetime.datetime.now(datetime.UTC)


def _line(minutes_ago: int, level: str, service: str, **more: object) -> dict[str, object]:
    moment = (NOW - datetime.timedelta(minutes=minutes_ago)).isoformat(timespec="milliseconds")
    return {"timestamp": moment, "level": level, "service": service, **more}


LINES = [
    _line(5, "ERROR", "airbyte", message="Connection refused by the source host", job_id="7", records_synced=10),
    _line(10, "ERROR", "airbyte", message="Source host timed out", job_id="7", records_synced=30),
    _line(15, "ERROR", "dbt", message="Model stg_orders failed", bytes_synced=2**40),
    _line(20, "INFO", "airbyte", message="Sync of orders started", job_id="8"),
    _line(180, "ERROR", "airbyte", message="Yesterday's connection error", job_id="6"),
]


@pytest.fixture
def logs(client, prefix):
    template = {"index_patterns": [f"{prefix}-*"], "template": {"mappings": MAPPING}}
    client.indices.put_index_template(name=prefix, **template)
    actions = [
        {"_op_type": "index", "_index": f"{prefix}-{at % 2}", "_id": str(at), "_source": line}
        for at, line in enumerate(LINES)
    ]
    for _ in range(2):  # shipping the same lines again changes nothing
        bulk(client, actions, refresh=True)
    return f"{prefix}-*"


def _ids(answer) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def test_the_template_gives_new_indices_their_mapping(client, prefix, logs):
    for mapping in client.indices.get_mapping(index=logs).values():
        assert mapping["mappings"]["properties"] == MAPPING["properties"]
    assert client.count(index=logs)["count"] == len(LINES)


def test_the_search_of_the_architecture(client, logs):
    filters = [{"range": {"timestamp": {"gte": "now-1h"}}}, {"term": {"level": "ERROR"}}]
    answer = client.search(
        index=logs, query={"bool": {"filter": filters}}, aggs={"by_service": {"terms": {"field": "service"}}}
    )
    assert answer["hits"]["total"] == {"value": 3, "relation": "eq"}
    assert {hit["_score"] for hit in answer["hits"]["hits"]} == {0.0}
    assert answer["aggregations"]["by_service"] == {
        "doc_count_error_upper_bound": 0,
        "sum_other_doc_count": 0,
        "buckets": [{"key": "airbyte", "doc_count": 2}, {"key": "dbt", "doc_count": 1}],
    }


def test_words(client, logs):
    def found(query):
        return sorted(_ids(client.search(index=logs, query=query)))

    assert found({"match": {"message": "HOST refused"}}) == ["0", "1"]
    assert found({"match": {"message": {"query": "HOST refused", "operator": "and"}}}) == ["0"]
    assert found({"match_phrase": {"message": "source host"}}) == ["0", "1"]
    assert found({"match_phrase": {"message": "host source"}}) == []
    assert found({"match": {"message": "yesterday's"}}) == ["4"]
    assert found({"term": {"message": "Connection"}}) == []
    assert found({"prefix": {"message": "conn"}}) == ["0", "4"]
    assert found({"wildcard": {"service": "air*te"}}) == ["0", "1", "3", "4"]
    assert found({"query_string": {"query": 'level:ERROR AND message:"timed out"'}}) == ["1"]
    assert found({"ids": {"values": ["2", "9"]}}) == ["2"]
    assert found({"multi_match": {"query": "orders", "fields": ["message", "service"]}}) == ["3"]


def test_sorting_and_paging(client, logs):
    order = [{"timestamp": {"order": "desc"}}, {"service": "asc"}]
    seen, after = [], None
    for _ in range(3):
        page = client.search(index=logs, sort=order, size=2, search_after=after)
        seen += _ids(page)
        after = page["hits"]["hits"][-1]["sort"]
    assert seen == ["0", "1", "2", "3", "4"]
    assert after == [int((NOW - datetime.timedelta(minutes=180)).timestamp() * 1000), "airbyte"]
    assert _ids(client.search(index=logs, sort=order, from_=3, size=1)) == ["3"]
    missing = client.search(index=logs, sort=[{"records_synced": "desc"}, {"timestamp": "desc"}])
    assert _ids(missing) == ["1", "0", "2", "3", "4"]
    assert missing["hits"]["hits"][-1]["sort"][0] == -(2**63)
    assert missing["hits"]["max_score"] is None


def test_source_filtering_and_totals(client, logs):
    answer = client.search(index=logs, source=["level", "job*"], query={"ids": {"values": ["0"]}})
    assert answer["hits"]["hits"][0]["_source"] == {"level": "ERROR", "job_id": "7"}
    assert "_source" not in client.search(index=logs, source=False, size=1)["hits"]["hits"][0]
    assert client.search(index=logs, size=0, track_total_hits=2)["hits"]["total"] == {"value": 2, "relation": "gte"}
    assert "total" not in client.search(index=logs, size=0, track_total_hits=False)["hits"]


def test_metrics(client, logs):
    metrics = {
        kind: {kind: {"field": "records_synced"}} for kind in ("avg", "sum", "min", "max", "value_count", "stats")
    }
    metrics |= {"services": {"cardinality": {"field": "service"}}, "latest": {"max": {"field": "timestamp"}}}
    metrics |= {
        "half": {"percentiles": {"field": "records_synced", "percents": [50]}},
        "none": {"avg": {"field": "nope"}},
    }
    found = client.search(index=logs, size=0, aggs=metrics)["aggregations"]
    assert {kind: found[kind]["value"] for kind in ("avg", "sum", "min", "max", "value_count")} == {
        "avg": 20.0,
        "sum": 40.0,
        "min": 10.0,
        "max": 30.0,
        "value_count": 2,
    }
    assert found["stats"] == {"count": 2, "min": 10.0, "max": 30.0, "avg": 20.0, "sum": 40.0}
    assert found["services"] == {"value": 2}
    assert found["half"] == {"values": {"50.0": 20.0}}
    assert found["none"] == {"value": None}
    moment = NOW - datetime.timedelta(minutes=5)
    assert found["latest"]["value_as_string"] == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_buckets(client, logs):
    aggs = {
        "by_level": {
            "terms": {"field": "level", "order": {"records": "desc"}},
            "aggs": {"records": {"sum": {"field": "records_synced"}}, "dbt": {"filter": {"term": {"service": "dbt"}}}},
        },
        "ranges": {"range": {"field": "records_synced", "ranges": [{"to": 20}, {"from": 20, "to": 40}, {"from": 40}]}},
        "named": {"filters": {"filters": {"old": {"range": {"timestamp": {"lt": "now-1h"}}}}}},
        "steps": {"histogram": {"field": "records_synced", "interval": 10}},
        "without": {"missing": {"field": "job_id"}},
        "one": {"terms": {"field": "job_id", "size": 1}},
    }
    found = client.search(index=logs, size=0, aggs=aggs)["aggregations"]
    assert found["by_level"]["buckets"] == [
        {"key": "ERROR", "doc_count": 4, "records": {"value": 40.0}, "dbt": {"doc_count": 1}},
        {"key": "INFO", "doc_count": 1, "records": {"value": 0.0}, "dbt": {"doc_count": 0}},
    ]
    assert found["ranges"]["buckets"] == [
        {"key": "*-20.0", "to": 20.0, "doc_count": 1},
        {"key": "20.0-40.0", "from": 20.0, "to": 40.0, "doc_count": 1},
        {"key": "40.0-*", "from": 40.0, "doc_count": 0},
    ]
    assert found["named"] == {"buckets": {"old": {"doc_count": 1}}}
    assert found["steps"]["buckets"] == [
        {"key": 10.0, "doc_count": 1},
        {"key": 20.0, "doc_count": 0},
        {"key": 30.0, "doc_count": 1},
    ]
    assert found["without"] == {"doc_count": 1}
    assert found["one"]["buckets"] == [{"key": "7", "doc_count": 2}]
    assert found["one"]["sum_other_doc_count"] == 2


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        pytest.param(
            {"fixed_interval": "12h"}, ["2025-10-16T00", "2025-10-16T12", "2025-10-17T00", "2025-10-17T12"], id="12h"
        ),
        pytest.param({"calendar_interval": "day"}, ["2025-10-16T00", "2025-10-17T00"], id="day"),
        pytest.param({"calendar_interval": "week"}, ["2025-10-13T00"], id="week"),
        pytest.param({"calendar_interval": "1M"}, ["2025-10-01T00"], id="month"),
        pytest.param({"calendar_interval": "quarter"}, ["2025-10-01T00"], id="quarter"),
        pytest.param(
            {"calendar_interval": "day", "time_zone": "+02:00"}, ["2025-10-16T00", "2025-10-17T00"], id="zone"
        ),
    ],
)
def test_date_histograms(client, prefix, options, keys):
    for moment in ("2025-10-16T01:02:03.456Z", "2025-10-17T20:00:00Z"):
        client.index(index=prefix, document={"at": moment})
    client.indices.refresh(index=prefix)
    aggs = {"over_time": {"date_histogram": {"field": "at", **options}}}
    buckets = client.search(index=prefix, size=0, aggs=aggs)["aggregations"]["over_time"]["buckets"]
    assert [bucket["key_as_string"][:13] for bucket in buckets] == keys
    assert buckets[0]["doc_count"] >= 1
    assert sum(bucket["doc_count"] for bucket in buckets) == 2
    if "time_zone" not in options:
        assert buckets[0]["key_as_string"].endswith(":00:00.000Z")


def test_documents(client, prefix):
    first = client.index(index=prefix, id="a", document={"n": 1})
    again = client.index(index=prefix, id="a", document={"n": 2})
    assert (first["result"], again["result"], again["_version"]) == ("created", "updated", 2)
    assert client.update(index=prefix, id="a", doc={"m": {"x": 1}})["result"] == "updated"
    assert client.update(index=prefix, id="a", doc={"m": {"x": 1}})["result"] == "noop"
    assert client.get(index=prefix, id="a")["_source"] == {"n": 2, "m": {"x": 1}}
    assert client.delete(index=prefix, id="a")["result"] == "deleted"
    with pytest.raises(NotFoundError):
        client.get(index=prefix, id="a")


def test_bulk_reports_each_item(client, prefix):
    client.indices.create(index=prefix, mappings={"properties": {"n": {"type": "integer"}}})
    operations = [
        {"index": {"_id": "1"}}, {"n": 1},
        {"create": {"_id": "1"}}, {"n": 2},
        {"index": {"_id": "2"}}, {"n": "many"},
        {"update": {"_id": "3"}}, {"doc": {"n": 4}},
        {"delete": {"_id": "9"}},
    ]  # fmt: skip
    answer = client.bulk(index=prefix, operations=operations, refresh=True)
    outcomes = [next(iter(item.values())) for item in answer["items"]]
    assert answer["errors"] is True
    assert [outcome["status"] for outcome in outcomes] == [201, 409, 400, 404, 404]
    kinds = [outcome["error"]["type"] for outcome in outcomes if "error" in outcome]
    assert kinds == ["version_conflict_engine_exception", "document_parsing_exception", "document_missing_exception"]
    assert client.count(index=prefix)["count"] == 1


def test_delete_by_query(client, logs):
    answer = client.delete_by_query(index=logs, query={"range": {"timestamp": {"lt": "now-1h"}}}, refresh=True)
    assert (answer["total"], answer["deleted"], answer["failures"]) == (1, 1, [])
    assert client.count(index=logs)["count"] == len(LINES) - 1


def test_dynamic_mapping(client, prefix):
    document = {
        "t": "hello",
        "n": 1,
        "f": 1.5,
        "b": True,
        "d": "2025-10-16",
        "o": {"x": "y"},
        "none": None,
        "empty": [],
    }
    client.index(index=prefix, document=document, refresh=True)
    text = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}
    assert client.indices.get_mapping(index=prefix)[prefix]["mappings"]["properties"] == {
        "b": {"type": "boolean"}, "d": {"type": "date"}, "f": {"type": "float"}, "n": {"type": "long"},
        "o": {"properties": {"x": text}}, "t": text,
    }  # fmt: skip
    for query in (
        {"term": {"o.x.keyword": "y"}},
        {"term": {"b": True}},
        {"term": {"d": "2025-10-16"}},
        {"match": {"f": 1.5}},
    ):
        assert client.count(index=prefix, query=query)["count"] == 1, query


def test_aliases(client, prefix):
    client.indices.create(index=f"{prefix}-1")
    client.indices.put_alias(index=f"{prefix}-1", name=f"{prefix}-all")
    client.index(index=f"{prefix}-all", id="1", document={"a": 1}, refresh=True)
    assert client.search(index=f"{prefix}-all")["hits"]["hits"][0]["_index"] == f"{prefix}-1"
    assert client.indices.get_alias(name=f"{prefix}-all").body == {f"{prefix}-1": {"aliases": {f"{prefix}-all": {}}}}


def test_missing_indices(client, prefix):
    with pytest.raises(NotFoundError, match="index_not_found_exception"):
        client.search(index=prefix)
    assert client.search(index=f"{prefix}-*")["hits"]["total"]["value"] == 0
    assert client.search(index=prefix, ignore_unavailable=True)["_shards"]["total"] == 0
    with pytest.raises(NotFoundError):
        client.search(index=f"{prefix}-*", allow_no_indices=False)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        pytest.param({"like": {"a": 1}}, "parsing_exception", id="unknown query"),
        pytest.param({"bool": {"most": []}}, "x_content_parse_exception", id="unknown bool clause"),
        pytest.param({"range": {"n": {"above": 1}}}, "parsing_exception", id="unknown range member"),
        pytest.param({"term": {"n": "many"}}, "search_phase_execution_exception", id="text for a number"),
    ],
)
def test_refused_queries(client, prefix, query, kind):
    client.index(index=prefix, document={"n": 1}, refresh=True)
    with pytest.raises(BadRequestError) as refused:
        client.search(index=prefix, query=query)
    assert refused.value.body["error"]["type"] == kind
