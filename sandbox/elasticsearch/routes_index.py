"""Endpoints about indices, templates, aliases and the cluster."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from sandbox.elasticsearch.errors import ElasticsearchError, illegal_argument, missing
from sandbox.elasticsearch.mapping import Json
from sandbox.elasticsearch.names import Options
from sandbox.elasticsearch.node import CLUSTER, NODE_NAME, VERSION, Node, replicas, shards, shown_settings
from sandbox.elasticsearch.protocol import Reply, Request
from sandbox.elasticsearch.store import IndexRecord

_INDEX_OPTIONS = ("ignore_unavailable", "allow_no_indices")
_ACKNOWLEDGED = {"acknowledged": True}
_CAT_HEADERS = ("health", "status", "index", "uuid", "pri", "rep", "docs.count")


def root(node: Node, request: Request) -> Reply:
    """``GET /``: name and version."""
    request.allow()
    return Reply(
        {
            "name": NODE_NAME,
            "cluster_name": CLUSTER,
            "cluster_uuid": node.id,
            "version": {
                "number": VERSION,
                "build_flavor": "default",
                "build_type": "sandbox",
                "build_hash": "unknown",
                "build_date": "2025-01-01T00:00:00.000Z",
                "build_snapshot": False,
                "lucene_version": "9.12.2",
                "minimum_wire_compatibility_version": "7.17.0",
                "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "You Know, for Search",
        }
    )


def create_index(node: Node, request: Request) -> Reply:
    """``PUT /<index>``."""
    request.allow()
    record = node.create_index(request.names["index"], request.json())
    return Reply({**_ACKNOWLEDGED, "shards_acknowledged": True, "index": record.name})


def delete_index(node: Node, request: Request) -> Reply:
    """``DELETE /<index>``."""
    request.allow(*_INDEX_OPTIONS)
    node.delete_indices(request.names["index"], request.options())
    return Reply(_ACKNOWLEDGED)


def get_index(node: Node, request: Request) -> Reply:
    """``GET /<index>`` and ``HEAD /<index>``: aliases, mappings and settings."""
    request.allow(*_INDEX_OPTIONS)
    records = node.resolve(request.names["index"], request.options())
    if request.method == "HEAD":
        return Reply({}, 200 if records else 404)
    return Reply(
        {
            record.name: {
                "aliases": record.aliases,
                "mappings": record.mapping.declared,
                "settings": shown_settings(record),
            }
            for record in records
        }
    )


def get_mapping(node: Node, request: Request) -> Reply:
    """``GET /<index>/_mapping``."""
    request.allow(*_INDEX_OPTIONS)
    records = node.resolve(request.names.get("index", "_all"), request.options())
    return Reply({record.name: {"mappings": record.mapping.declared} for record in records})


def put_mapping(node: Node, request: Request) -> Reply:
    """``PUT /<index>/_mapping``."""
    request.allow(*_INDEX_OPTIONS)
    node.put_mapping(node.resolve(request.names["index"], _strict(request)), request.required_json())
    return Reply(_ACKNOWLEDGED)


def get_settings(node: Node, request: Request) -> Reply:
    """``GET /<index>/_settings``."""
    request.allow(*_INDEX_OPTIONS)
    records = node.resolve(request.names.get("index", "_all"), request.options())
    return Reply({record.name: {"settings": shown_settings(record)} for record in records})


def put_settings(node: Node, request: Request) -> Reply:
    """``PUT /<index>/_settings``."""
    request.allow(*_INDEX_OPTIONS)
    node.put_settings(node.resolve(request.names.get("index", "_all"), _strict(request)), request.required_json())
    return Reply(_ACKNOWLEDGED)


def _strict(request: Request) -> Options:
    return Options(request.flag("ignore_unavailable"), request.flag("allow_no_indices", False))


def refresh(node: Node, request: Request) -> Reply:
    """``POST /<index>/_refresh``."""
    request.allow(*_INDEX_OPTIONS)
    records = node.resolve(request.names.get("index", "_all"), request.options())
    node.after_commit = True
    copies = sum(shards(record) * (1 + replicas(record)) for record in records)
    return Reply({"_shards": {"total": copies, "successful": sum(map(shards, records)), "failed": 0}})


# Templates


def put_template(node: Node, request: Request) -> Reply:
    """``PUT /_index_template/<name>``."""
    request.allow("create")
    node.put_template(request.names["name"], request.required_json(), request.flag("create"))
    return Reply(_ACKNOWLEDGED)


def get_template(node: Node, request: Request) -> Reply:
    """``GET /_index_template/<name>`` and its HEAD form."""
    request.allow()
    name = request.names.get("name", "")
    if request.method == "HEAD":
        return Reply({}, 200 if any(fnmatchcase(each, name) for each in node.templates) else 404)
    found = node.find_templates(name)
    return Reply({"index_templates": [{"name": each, "index_template": body} for each, body in found.items()]})


def delete_template(node: Node, request: Request) -> Reply:
    """``DELETE /_index_template/<name>``."""
    request.allow()
    node.delete_template(request.names["name"])
    return Reply(_ACKNOWLEDGED)


# Aliases


def get_alias(node: Node, request: Request) -> Reply:
    """``GET /_alias``, ``GET /_alias/<name>``, ``GET /<index>/_alias`` and their HEAD forms."""
    request.allow(*_INDEX_OPTIONS)
    pattern = request.names.get("name")
    found: Json = {}
    for record in node.resolve(request.names.get("index", "_all"), request.options()):
        aliases = {name: body for name, body in record.aliases.items() if pattern is None or fnmatchcase(name, pattern)}
        if aliases or pattern is None:
            found[record.name] = {"aliases": aliases}
    if not found and pattern is not None and "*" not in pattern:
        return Reply({"error": f"alias [{pattern}] missing", "status": 404}, 404)
    return Reply(found)


def put_alias(node: Node, request: Request) -> Reply:
    """``PUT /<index>/_alias/<name>``."""
    request.allow()
    if request.json({}):
        raise missing("options of an alias")
    _alias(node, "add", {"index": request.names["index"], "alias": request.names["name"]})
    return Reply(_ACKNOWLEDGED)


def delete_alias(node: Node, request: Request) -> Reply:
    """``DELETE /<index>/_alias/<name>``."""
    request.allow()
    _alias(node, "remove", {"index": request.names["index"], "alias": request.names["name"]})
    return Reply(_ACKNOWLEDGED)


def update_aliases(node: Node, request: Request) -> Reply:
    """``POST /_aliases``: add and remove, all or none."""
    request.allow()
    body = request.required_json()
    for action in body.get("actions", []) if isinstance(body, dict) else []:
        ((kind, options),) = action.items()
        if kind not in ("add", "remove"):
            raise missing(f"the alias action [{kind}]")
        _alias(node, kind, options)
    return Reply(_ACKNOWLEDGED)


def _alias(node: Node, kind: str, options: Any) -> None:
    if not isinstance(options, dict) or not {"index", "alias"} <= set(options):
        raise illegal_argument("One of [index] or [indices] and one of [alias] or [aliases] is required")
    if set(options) - {"index", "alias"}:
        raise missing(f"[{sorted(set(options) - {'index', 'alias'})[0]}] of an alias action")
    name = str(options["alias"])
    if name in node.indices:
        raise ElasticsearchError(
            400,
            "invalid_alias_name_exception",
            f"Invalid alias name [{name}]: an index or data stream exists with the same name as the alias",
        )
    records = node.resolve(str(options["index"]), Options(allow_no_indices=False))
    if kind == "remove" and not any(name in record.aliases for record in records):
        raise ElasticsearchError(404, "aliases_not_found_exception", f"aliases [{name}] missing")
    for record in records:
        aliases = {each: body for each, body in record.aliases.items() if each != name}
        record.aliases = {**aliases, name: {}} if kind == "add" else aliases
        node.store.update_index(record)


# Cluster


def health(node: Node, request: Request) -> Reply:
    """``GET /_cluster/health``."""
    request.allow("wait_for_status")
    wanted = request.parameters.get("wait_for_status")
    if wanted not in (None, "green", "yellow", "red"):
        raise illegal_argument(f"unknown cluster health status [{wanted}]")
    records = node.resolve(request.names.get("index", "_all"))
    primaries = sum(map(shards, records))
    waiting = sum(shards(record) * replicas(record) for record in records)
    status = "yellow" if waiting else "green"
    late = wanted == "green" and status != "green"
    percent = 100.0 * primaries / (primaries + waiting) if primaries else 100.0
    return Reply(
        {
            "cluster_name": CLUSTER,
            "status": status,
            "timed_out": late,
            "number_of_nodes": 1,
            "number_of_data_nodes": 1,
            "active_primary_shards": primaries,
            "active_shards": primaries,
            "relocating_shards": 0,
            "initializing_shards": 0,
            "unassigned_shards": waiting,
            "unassigned_primary_shards": 0,
            "delayed_unassigned_shards": 0,
            "number_of_pending_tasks": 0,
            "number_of_in_flight_fetch": 0,
            "task_max_waiting_in_queue_millis": 0,
            "active_shards_percent_as_number": percent,
        },
        408 if late else 200,
    )


def cat_indices(node: Node, request: Request) -> Reply:
    """``GET /_cat/indices``: as a text table, or as JSON with ``format=json``; sizes are not kept per index."""
    request.allow("v", "h", "s")
    headers = request.parameters.get("h", ",".join(_CAT_HEADERS)).split(",")
    for name in headers:
        if name not in _CAT_HEADERS:
            raise missing(f"the column [{name}] of _cat/indices")
    order = request.parameters.get("s", "index")
    if order not in _CAT_HEADERS:
        raise missing(f"the order [{order}] of _cat/indices")
    records = node.resolve(request.names.get("index", "_all"))
    rows = sorted((_cat_row(node, record) for record in records), key=lambda row: row[order])
    shape = request.parameters.get("format", "text")
    if shape == "json":
        return Reply([{name: row[name] for name in headers} for row in rows])
    if shape != "text":
        raise missing(f"the format [{shape}] of _cat/indices")
    table = ([headers] if request.flag("v") else []) + [[row[name] for name in headers] for row in rows]
    widths = [max(len(line[at]) for line in table) for at in range(len(headers))] if table else []
    return Reply(
        "".join(" ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n" for line in table)
    )


def _cat_row(node: Node, record: IndexRecord) -> dict[str, str]:
    return {
        "health": "yellow" if replicas(record) else "green",
        "status": "open",
        "index": record.name,
        "uuid": record.uuid,
        "pri": str(shards(record)),
        "rep": str(replicas(record)),
        "docs.count": str(node.store.count(record.number)),
    }
