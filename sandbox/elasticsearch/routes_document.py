"""Endpoints about documents and searches."""

from __future__ import annotations

import json
import time
from typing import Any

from sandbox.elasticsearch import search, writing
from sandbox.elasticsearch.errors import ElasticsearchError, illegal_argument, missing
from sandbox.elasticsearch.mapping import Json
from sandbox.elasticsearch.names import Options
from sandbox.elasticsearch.node import Node
from sandbox.elasticsearch.protocol import Reply, Request

_INDEX_OPTIONS = ("ignore_unavailable", "allow_no_indices")
_SOURCE = ("_source", "_source_includes", "_source_excludes")
_SEARCH = ("q", "size", "from", "sort", "track_total_hits", "version", "seq_no_primary_term", *_SOURCE, *_INDEX_OPTIONS)


def put_document(node: Node, request: Request) -> Reply:
    """``PUT|POST /<index>/_doc/<id>``, ``POST /<index>/_doc`` and ``/<index>/_create/<id>``."""
    request.allow("refresh", "op_type")
    kind = request.parameters.get("op_type", "index")
    if kind not in ("index", "create"):
        raise illegal_argument(f"opType must be 'create' or 'index', found: [{kind}]")
    create = kind == "create" or "/_create/" in request.path
    document_id = request.names.get("id") or writing.new_id()
    status, answer = writing.put(node, request.names["index"], document_id, request.required_json(), create=create)
    return Reply(_refreshed(node, request, answer), status)


def _refreshed(node: Node, request: Request, answer: Json) -> Json:
    if not request.refreshes():
        return answer
    node.after_commit = True
    return {**answer, "forced_refresh": True} if request.parameters["refresh"] != "wait_for" else answer


def get_document(node: Node, request: Request) -> Reply:
    """``GET /<index>/_doc/<id>``: what was last written, refreshed or not; and its HEAD form."""
    request.allow("realtime", "refresh", *_SOURCE)
    record = node.existing(request.names["index"])
    document = node.store.live(record.number, request.names["id"])
    head = {"_index": record.name, "_id": request.names["id"]}
    if document is None:
        return Reply({**head, "found": False}, 404)
    answer: Json = {**head, "_version": document.version, "_seq_no": document.seq, "_primary_term": 1, "found": True}
    source = search.filter_source(json.loads(document.source), _source_parameter(request, True))
    return Reply(answer if source is None else {**answer, "_source": source})


def _source_parameter(request: Request, default: Any) -> Any:
    includes, excludes = (request.parameters.get(f"_source_{name}") for name in ("includes", "excludes"))
    if includes or excludes:
        parts = {"includes": includes, "excludes": excludes}
        return {name: value.split(",") for name, value in parts.items() if value}
    value = request.parameters.get("_source")
    if value is None:
        return default
    return value != "false" if value in ("true", "false", "") else value.split(",")


def delete_document(node: Node, request: Request) -> Reply:
    """``DELETE /<index>/_doc/<id>``."""
    request.allow("refresh")
    status, answer = writing.delete(node, request.names["index"], request.names["id"])
    return Reply(_refreshed(node, request, answer), status)


def update_document(node: Node, request: Request) -> Reply:
    """``POST /<index>/_update/<id>``."""
    request.allow("refresh", "retry_on_conflict")
    status, answer = writing.update(node, request.names["index"], request.names["id"], request.required_json())
    return Reply(_refreshed(node, request, answer), status)


def bulk(node: Node, request: Request) -> Reply:
    """``POST /_bulk`` and ``POST /<index>/_bulk``."""
    request.allow("refresh")
    started = time.monotonic()
    failed, items = writing.bulk(node, request.body, request.names.get("index"))
    node.after_commit = request.refreshes()
    return Reply({"errors": failed, "took": int((time.monotonic() - started) * 1000), "items": items})


def delete_by_query(node: Node, request: Request) -> Reply:
    """``POST /<index>/_delete_by_query``."""
    request.allow("refresh", "conflicts", "wait_for_completion", *_INDEX_OPTIONS)
    if not request.flag("wait_for_completion", True):
        raise missing("_delete_by_query as a task (wait_for_completion=false)")
    body = request.json({})
    _only(body, "query", {"query", "conflicts"}, {"max_docs", "slice", "sort", "size"})
    if "query" not in body:
        raise ElasticsearchError(400, "action_request_validation_exception", "Validation Failed: 1: query is missing;")
    started = time.monotonic()
    conflicts = body.get("conflicts", request.parameters.get("conflicts", "abort"))
    if conflicts not in ("abort", "proceed"):
        raise illegal_argument(f'conflicts may only be "proceed" or "abort" but was [{conflicts}]')
    counts = writing.delete_by_query(
        node, request.names["index"], body["query"], conflicts == "proceed", request.options()
    )
    node.after_commit = request.refreshes()
    return Reply(
        {
            "took": int((time.monotonic() - started) * 1000),
            "timed_out": False,
            **counts,
            "noops": 0,
            "retries": {"bulk": 0, "search": 0},
            "throttled_millis": 0,
            "requests_per_second": -1.0,
            "throttled_until_millis": 0,
            "failures": [],
        }
    )


def _only(body: Any, what: str, allowed: set[str], other: set[str]) -> None:
    if not isinstance(body, dict):
        raise ElasticsearchError(400, "parsing_exception", "Expected [START_OBJECT] but found [VALUE]")
    for name in body:
        if name in other:
            raise missing(f"[{name}] beside [{what}]")
        if name not in allowed:
            raise ElasticsearchError(400, "parsing_exception", f"request does not support [{name}]")


def count(node: Node, request: Request) -> Reply:
    """``GET|POST /<index>/_count``."""
    request.allow("q", *_INDEX_OPTIONS)
    body = request.json({})
    _only(body, "query", {"query"}, set())
    target = node.target(request.names.get("index", "_all"), request.options())
    found = target.engine.count(target.compile(_with_q(request, body).get("query")))
    total = len(target.records)
    return Reply({"count": found, "_shards": {"total": total, "successful": total, "skipped": 0, "failed": 0}})


def run_search(node: Node, request: Request) -> Reply:
    """``GET|POST /<index>/_search``."""
    request.allow(*_SEARCH)
    target = node.target(request.names.get("index", "_all"), request.options())
    return Reply(search.run(target, _with_parameters(request, request.json({})), node.id))


def _with_q(request: Request, body: Any) -> Any:
    if "q" not in request.parameters:
        return body
    return {**body, "query": {"query_string": {"query": request.parameters["q"]}}}


def _with_parameters(request: Request, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    body = dict(_with_q(request, body))
    for name in ("size", "from"):
        if name in request.parameters:
            body[name] = _whole(request, name)
    for name in ("version", "seq_no_primary_term"):
        if name in request.parameters:
            body[name] = request.flag(name)
    if "track_total_hits" in request.parameters:
        text = request.parameters["track_total_hits"]
        body["track_total_hits"] = (
            text != "false" if text in ("true", "false", "") else _whole(request, "track_total_hits")
        )
    if "sort" in request.parameters:
        parts = (part.partition(":") for part in request.parameters["sort"].split(","))
        body["sort"] = [{name: {"order": order}} if order else name for name, _, order in parts]
    source = _source_parameter(request, None)
    return body if source is None else {**body, "_source": source}


def _whole(request: Request, name: str) -> int:
    try:
        return int(request.parameters[name])
    except ValueError:
        raise illegal_argument(
            f"Failed to parse int parameter [{name}] with value [{request.parameters[name]}]"
        ) from None


def multi_search(node: Node, request: Request) -> Reply:
    """``POST /_msearch``: several searches, each with its own answer or error."""
    request.allow()
    started = time.monotonic()
    if not request.body.endswith(b"\n"):
        raise illegal_argument("The msearch request must be terminated by a newline [\\n]")
    lines = request.body.split(b"\n")[:-1]
    answers = []
    for at in range(0, len(lines) - 1, 2):
        head = writing.read_json(lines[at]) if lines[at].strip() else {}
        body = writing.read_json(lines[at + 1])
        answers.append(_one_search(node, request, head, body))
    return Reply({"took": int((time.monotonic() - started) * 1000), "responses": answers})


def _one_search(node: Node, request: Request, head: Any, body: Any) -> Json:
    try:
        _only(
            head,
            "a search's header",
            {"index", "ignore_unavailable", "allow_no_indices"},
            {"preference", "search_type"},
        )
        names = head.get("index", request.names.get("index", "_all"))
        names = ",".join(names) if isinstance(names, list) else names
        options = Options(bool(head.get("ignore_unavailable", False)), bool(head.get("allow_no_indices", True)))
        return {**search.run(node.target(names, options), body, node.id), "status": 200}
    except ElasticsearchError as error:
        return error.body()
