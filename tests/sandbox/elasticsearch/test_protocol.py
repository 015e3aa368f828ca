from __future__ import annotations

import json

import httpx
import pytest
from elasticsearch import Elasticsearch

V8 = "application/vnd.elasticsearch+json; compatible-with=8"
V9 = "application/vnd.elasticsearch+json; compatible-with=9"


def test_root_is_what_the_clients_look_for(http):
    answer = http.get("/")
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    assert answer.json()["version"]["number"].startswith("8.")
    assert answer.json()["tagline"] == "You Know, for Search"


def test_versioned_media_types_are_answered_in_kind(http):
    answer = http.post("/_search", headers={"accept": V8, "content-type": V8}, content=b"{}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.elasticsearch+json;compatible-with=8"
    assert http.get("/").headers["content-type"] == "application/json"


def test_version_9_is_refused_as_by_elasticsearch_8(http):
    answer = http.get("/", headers={"accept": V9})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "media_type_header_exception"
    assert "found 9" in answer.json()["error"]["caused_by"]["reason"]


def test_a_body_of_unknown_type_is_refused(http):
    answer = http.post("/_search", headers={"content-type": "application/x-www-form-urlencoded"}, content=b"{}")
    assert answer.status_code == 406
    assert answer.json()["error"] == "Content-Type header [application/x-www-form-urlencoded] is not supported"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        pytest.param("GET", "/none/_search", None, 404, "index_not_found_exception", id="no index"),
        pytest.param("DELETE", "/none", None, 404, "index_not_found_exception", id="delete no index"),
        pytest.param("PUT", "/Upper", None, 400, "invalid_index_name_exception", id="upper case name"),
        pytest.param("PUT", "/_x", None, 400, "invalid_index_name_exception", id="underscore name"),
        pytest.param("POST", "/_search", "{not json", 400, "x_content_parse_exception", id="bad json"),
        pytest.param("POST", "/_search", {"query": {"like": {}}}, 400, "parsing_exception", id="unknown query"),
        pytest.param("POST", "/_search", {"quary": {}}, 400, "parsing_exception", id="unknown key"),
        pytest.param(
            "POST", "/_search", {"aggs": {"a": {"tems": {}}}}, 400, "parsing_exception", id="unknown aggregation"
        ),
        pytest.param("POST", "/_search", {"from": 9999, "size": 2}, 400, "illegal_argument_exception", id="window"),
        pytest.param("GET", "/_search?colour=red", None, 400, "illegal_argument_exception", id="unknown parameter"),
        pytest.param("GET", "/_nodes", None, 501, "unsupported_operation_exception", id="endpoint not served"),
        pytest.param("POST", "/_reindex", {}, 501, "unsupported_operation_exception", id="post endpoint not served"),
        pytest.param(
            "GET", "/_search?scroll=1m", None, 501, "unsupported_operation_exception", id="parameter not served"
        ),
        pytest.param(
            "POST",
            "/_search",
            {"aggs": {"a": {"composite": {}}}},
            501,
            "unsupported_operation_exception",
            id="aggregation",
        ),
        pytest.param(
            "PUT",
            "/i",
            {"mappings": {"properties": {"a": {"type": "ip"}}}},
            501,
            "unsupported_operation_exception",
            id="field type not served",
        ),
        pytest.param(
            "PUT",
            "/i",
            {"mappings": {"properties": {"a": {"type": "colour"}}}},
            400,
            "mapper_parsing_exception",
            id="unknown field type",
        ),
        pytest.param("PUT", "/i", {"settings": {"index.colour": 1}}, 400, "illegal_argument_exception", id="setting"),
        pytest.param("PUT", "/i", {"maps": {}}, 400, "parse_exception", id="unknown key of an index"),
        pytest.param(
            "PUT",
            "/_index_template/t",
            {"index_patterns": ["a*"], "colour": 1},
            400,
            "x_content_parse_exception",
            id="unknown key of a template",
        ),
    ],
)
def test_errors(http, method, path, body, status, kind):
    http.put("/known", json={"mappings": {"properties": {"n": {"type": "long"}}}})
    content = body if isinstance(body, str) or body is None else json.dumps(body)
    answer = http.request(method, path, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), answer.text
    assert answer.json()["status"] == status
    assert answer.json()["error"]["root_cause"][0]["type"]


def test_an_unknown_path_and_a_wrong_method(http):
    assert http.get("/a/b/c").json() == {"error": "no handler found for uri [/a/b/c] and method [GET]", "status": 400}
    wrong = http.post("/")
    assert wrong.status_code == 405
    assert wrong.json()["error"].startswith("Incorrect HTTP method for uri [/] and method [POST]")


def test_errors_on_an_index_name_the_shard(http):
    http.put("/logs", json={"mappings": {"properties": {"message": {"type": "text"}}}})
    answer = http.post("/logs/_search", json={"sort": ["message"]})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "search_phase_execution_exception"
    assert error["failed_shards"][0]["index"] == "logs"
    assert error["root_cause"][0]["reason"].startswith("Fielddata is disabled on [message] in [logs]")


def test_creating_twice(http):
    assert http.put("/twice").status_code == 200
    answer = http.put("/twice")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "resource_already_exists_exception")


def test_a_strict_mapping_refuses_new_fields_and_a_dynamic_false_ignores_them(http):
    http.put("/strict", json={"mappings": {"dynamic": "strict", "properties": {"a": {"type": "long"}}}})
    answer = http.post("/strict/_doc", json={"b": 1})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "strict_dynamic_mapping_exception")
    http.put("/quiet", json={"mappings": {"dynamic": False, "properties": {"a": {"type": "long"}}}})
    assert http.post("/quiet/_doc?refresh=true", json={"a": 1, "b": 1}).status_code == 201
    assert "b" not in http.get("/quiet/_mapping").json()["quiet"]["mappings"]["properties"]
    assert http.post("/quiet/_count", json={"query": {"exists": {"field": "b"}}}).json()["count"] == 0


def test_a_failed_request_leaves_nothing_behind(http):
    http.put("/whole", json={"mappings": {"properties": {"a": {"type": "long"}}}})
    before = http.get("/whole").json()
    refused = http.put("/whole/_mapping", json={"properties": {"b": {"type": "long"}, "a": {"type": "keyword"}}})
    assert refused.status_code == 400
    assert http.get("/whole").json() == before


def test_the_official_client_of_version_8(server, http):
    with Elasticsearch(server.url) as client:
        client.index(index="official", id="1", document={"a": 1}, refresh="wait_for")
        assert client.get(index="official", id="1")["_source"] == {"a": 1}
        assert client.exists(index="official", id="1")
        assert not client.exists(index="official", id="2")
        assert client.indices.exists(index="official")
        assert not client.indices.exists(index="other")
        assert client.search(index="official", query={"match_all": {}})["hits"]["total"]["value"] == 1
        answers = client.msearch(searches=[{"index": "official"}, {"size": 0}, {"index": "none"}, {"size": 0}])
        assert [answer["status"] for answer in answers["responses"]] == [200, 404]


def test_loopback_only(server):
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.2:{server.port}/", timeout=5)
