"""Writing documents: index, create, update, delete, in bulk and by query."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from typing import Any

from sandbox.elasticsearch import mapping
from sandbox.elasticsearch.documents import index_values, new_fields
from sandbox.elasticsearch.errors import ElasticsearchError, content_parse, illegal_argument, missing
from sandbox.elasticsearch.mapping import IndexMapping, Json
from sandbox.elasticsearch.node import Node, replicas
from sandbox.elasticsearch.store import Document, IndexRecord

MAXIMUM_ID_BYTES = 512
_BATCH = 1000
_UPDATE = frozenset({"doc", "doc_as_upsert", "upsert", "detect_noop"})
_OTHER_UPDATE = frozenset({"script", "scripted_upsert", "_source"})

Outcome = tuple[int, Json]
"""HTTP status and the answer for one document."""


def new_id() -> str:
    """Return an id for a document that came without one."""
    return base64.urlsafe_b64encode(secrets.token_bytes(15)).decode()


def read_json(raw: bytes | str) -> Any:
    """Return the JSON value in ``raw``.

    Raises:
        ElasticsearchError: 400 ``x_content_parse_exception`` if it is none.
    """
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        cause = ElasticsearchError(400, "json_parse_exception", str(error))
        raise content_parse(f"[{line}:{column}] {getattr(error, 'msg', error)}", cause) from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"Non-standard token '{name}': enable JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS to allow")


def put(node: Node, name: str, document_id: str, source: Any, *, create: bool = False) -> Outcome:
    """Store a document, new or in place of the old one.

    Args:
        node: the server's state.
        name: index or alias; created if missing.
        document_id: its id.
        source: the document.
        create: refuse if there is one with this id.

    Raises:
        ElasticsearchError: 400 if the document does not fit the mapping, 409 if it exists and must not.
    """
    if not isinstance(source, dict):
        raise ElasticsearchError(400, "document_parsing_exception", "failed to parse: expected an object at the root")
    if len(document_id.encode()) > MAXIMUM_ID_BYTES:
        raise illegal_argument(
            f"id [{document_id}] is too long, must be no longer than {MAXIMUM_ID_BYTES} bytes but was: "
            f"{len(document_id.encode())}"
        )
    if document_id == "":
        raise illegal_argument("if _id is specified it must not be empty")
    record = node.writable(name)
    old = node.store.live(record.number, document_id)
    if create and old is not None:
        raise _conflict(record, document_id, f"document already exists (current version [{old.version}])")
    _fit(node, record, source)
    text = json.dumps(source, ensure_ascii=False, separators=(",", ":"))
    written = node.store.write(record.number, document_id, text, old)
    return (201 if old is None else 200), _outcome(record, written, "created" if old is None else "updated")


def _fit(node: Node, record: IndexRecord, source: Json) -> None:
    """Check a document against the mapping and add the fields it brings."""
    new = new_fields(record.mapping, source)
    if not new:
        index_values(record.mapping, source)
        return
    grown = IndexMapping(mapping.merge(record.mapping.declared, mapping.check(new)))
    index_values(grown, source)
    record.mapping = grown
    node.store.update_index(record)


def _outcome(record: IndexRecord, document: Document, result: str, seq: int | None = None, version: int = 0) -> Json:
    return {
        "_index": record.name,
        "_id": document.id,
        "_version": version or document.version,
        "result": result,
        "_shards": {"total": 1 + replicas(record), "successful": 1, "failed": 0},
        "_seq_no": document.seq if seq is None else seq,
        "_primary_term": 1,
    }


def _conflict(record: IndexRecord, document_id: str, what: str) -> ElasticsearchError:
    return ElasticsearchError(
        409,
        "version_conflict_engine_exception",
        f"[{document_id}]: version conflict, {what}",
        details={"index_uuid": record.uuid, "shard": "0", "index": record.name},
    )


def delete(node: Node, name: str, document_id: str) -> Outcome:
    """Delete a document; 404 with ``not_found`` if there is none.

    Raises:
        ElasticsearchError: 404 if the index does not exist.
    """
    record = node.existing(name)
    old = node.store.live(record.number, document_id)
    if old is None:
        return 404, _outcome(record, Document(0, record.number, document_id, 0, 1, ""), "not_found")
    seq = node.store.remove(old)
    return 200, _outcome(record, old, "deleted", seq, old.version + 1)


def update(node: Node, name: str, document_id: str, raw: Any) -> Outcome:
    """Merge a partial document into a stored one, or store ``upsert`` if there is none.

    Raises:
        ElasticsearchError: 404 if there is nothing to update, 400 if the request or the result is not valid.
    """
    if not isinstance(raw, Mapping):
        raise content_parse("[1:1] [UpdateRequest] Expected START_OBJECT but was: VALUE")
    for member in raw:
        if member in _OTHER_UPDATE:
            raise missing(f"[{member}] in an update")
        if member not in _UPDATE:
            raise content_parse(f"[1:1] [UpdateRequest] unknown field [{member}]")
    if not isinstance(raw.get("doc"), dict):
        raise ElasticsearchError(
            400, "action_request_validation_exception", "Validation Failed: 1: script or doc is missing;"
        )
    record = node.writable(name) if raw.get("doc_as_upsert") or "upsert" in raw else node.existing(name)
    old = node.store.live(record.number, document_id)
    if old is None:
        if raw.get("doc_as_upsert") or "upsert" in raw:
            return put(node, name, document_id, raw["doc"] if raw.get("doc_as_upsert") else raw["upsert"])
        raise ElasticsearchError(
            404,
            "document_missing_exception",
            f"[{document_id}]: document missing",
            details={"index_uuid": record.uuid, "shard": "0", "index": record.name},
        )
    before = json.loads(old.source)
    after = _merged(before, raw["doc"])
    if after == before and raw.get("detect_noop", True):
        shards = {"total": 0, "successful": 0, "failed": 0}
        return 200, {**_outcome(record, old, "noop"), "_shards": shards}
    return put(node, name, document_id, after)


def _merged(old: Json, new: Json) -> Json:
    merged = dict(old)
    for name, value in new.items():
        known = merged.get(name)
        merged[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def bulk(node: Node, raw: bytes, default_index: str | None) -> tuple[bool, list[Json]]:
    """Run a bulk request and return whether an item failed, and the items.

    Raises:
        ElasticsearchError: 400 if the request cannot be taken apart; then nothing of it is done.
    """
    if not raw.strip():
        raise ElasticsearchError(400, "parse_exception", "request body is required")
    if not raw.endswith(b"\n"):
        raise illegal_argument("The bulk request must be terminated by a newline [\\n]")
    actions = _actions(raw.split(b"\n")[:-1])
    items, failed = [], False
    for kind, target, document_id, line in actions:
        name = target or default_index
        try:
            if name is None:
                raise ElasticsearchError(
                    400, "action_request_validation_exception", "Validation Failed: 1: index is missing;"
                )
            status, answer = _run_action(node, kind, name, document_id, line)
        except ElasticsearchError as error:
            failed = True
            status, answer = error.status, {"_index": name, "_id": document_id, "error": error.summary()}
        items.append({kind: {**answer, "status": status}})
    return failed, items


def _actions(lines: list[bytes]) -> list[tuple[str, str | None, str | None, bytes | None]]:
    actions = []
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        if not line.strip():
            continue
        head = read_json(line)
        if not isinstance(head, dict) or len(head) != 1:
            raise illegal_argument(f"Malformed action/metadata line [{number}], expected START_OBJECT or END_OBJECT")
        ((kind, options),) = head.items()
        if kind not in ("index", "create", "update", "delete"):
            raise illegal_argument(
                f"Malformed action/metadata line [{number}], expected field [create], [delete], [index] or [update] "
                "but found "
                f"[{kind}]"
            )
        if not isinstance(options, dict):
            raise illegal_argument(f"Malformed action/metadata line [{number}], expected START_OBJECT")
        _check_options(options, number)
        body = None
        if kind != "delete":
            _, body = next(numbered, (0, None))
            if body is None:
                raise illegal_argument(
                    f"Malformed content, found extra data after parsing: no source after line [{number}]"
                )
        document_id = options.get("_id")
        if document_id is None and kind in ("index", "create"):
            document_id = new_id()
        actions.append((kind, options.get("_index"), None if document_id is None else str(document_id), body))
    return actions


def _check_options(options: Json, number: int) -> None:
    other = {
        "routing",
        "version",
        "version_type",
        "if_seq_no",
        "if_primary_term",
        "pipeline",
        "require_alias",
        "_source",
    }
    other |= {"dynamic_templates", "list_executed_pipelines", "require_data_stream"}
    for name in options:
        if name in other:
            raise missing(f"[{name}] in a bulk action")
        if name not in ("_index", "_id", "retry_on_conflict"):
            raise illegal_argument(f"Action/metadata line [{number}] contains an unknown parameter [{name}]")


def _run_action(node: Node, kind: str, name: str, document_id: str | None, line: bytes | None) -> Outcome:
    if document_id is None:
        raise ElasticsearchError(400, "action_request_validation_exception", "Validation Failed: 1: id is missing;")
    if kind == "delete":
        return delete(node, name, document_id)
    assert line is not None
    source = read_json(line)
    if kind == "update":
        return update(node, name, document_id, source)
    return put(node, name, document_id, source, create=kind == "create")


def delete_by_query(node: Node, expression: str, query: Any, proceed: bool, options: Any) -> Json:
    """Delete what a query finds and return the counts.

    Args:
        node: the server's state.
        expression: the indices.
        query: the query.
        proceed: pass over documents that changed since the last refresh instead of failing.
        options: see :class:`names.Options`.

    Raises:
        ElasticsearchError: 409 if a document changed since the last refresh.
    """
    target = node.target(expression, options)
    rows = [row for _, row, _ in target.matches(target.compile(query), [])]
    deleted = conflicts = 0
    for start in range(0, len(rows), _BATCH):
        for document in node.store.rows(rows[start : start + _BATCH]).values():
            live = node.store.live(document.number, document.id)
            if live is not None and live.row == document.row:
                node.store.remove(live)
                deleted += 1
                continue
            conflicts += 1
            if not proceed:
                record = target.records[document.number]
                raise _conflict(record, document.id, f"required seqNo [{document.seq}], but it has changed since")
    batches = (len(rows) + _BATCH - 1) // _BATCH
    return {"total": len(rows), "deleted": deleted, "batches": batches, "version_conflicts": conflicts}
