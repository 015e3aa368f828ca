"""The errors of the server, in the JSON shape Elasticsearch gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ElasticsearchError(Exception):
    """An answer other than success.

    Args:
        status: the HTTP status.
        kind: Elasticsearch's name of the error, e.g. ``parsing_exception``.
        reason: what happened, to what.
        details: further members of the error object, e.g. ``{"index": "logs"}``.
        cause: the error behind this one, shown as ``caused_by``.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        reason: str,
        *,
        details: Mapping[str, Any] | None = None,
        cause: ElasticsearchError | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind
        self.reason = reason
        self.details = dict(details or {})
        self.cause = cause

    def summary(self) -> dict[str, Any]:
        """Return the error object without its root causes."""
        body: dict[str, Any] = {"type": self.kind, "reason": self.reason, **self.details}
        if self.cause is not None:
            body["caused_by"] = self.cause.summary()
        return body

    def body(self) -> dict[str, Any]:
        """Return the whole answer: ``{"error": {...}, "status": ...}``."""
        root = {"type": self.kind, "reason": self.reason, **self.details}
        return {"error": {"root_cause": [root], **self.summary()}, "status": self.status}


class PlainError(ElasticsearchError):
    """An error that Elasticsearch's HTTP layer answers as a bare string."""

    def body(self) -> dict[str, Any]:
        """Return ``{"error": "<text>", "status": ...}``."""
        return {"error": self.reason, "status": self.status}


class SearchPhaseError(ElasticsearchError):
    """A search that failed on every index it touched.

    Args:
        cause: what failed.
        index: name of the index it failed on.
        uuid: that index's uuid.
        node: id of this node.
    """

    def __init__(self, cause: ElasticsearchError, index: str, uuid: str, node: str) -> None:
        super().__init__(cause.status, "search_phase_execution_exception", "all shards failed", cause=cause)
        if cause.kind == "query_shard_exception":
            cause.details = {"index_uuid": uuid, "index": index, **cause.details}
        failed = {"shard": 0, "index": index, "node": node, "reason": cause.summary()}
        self.details = {"phase": "query", "grouped": True, "failed_shards": [failed]}

    def body(self) -> dict[str, Any]:
        """Return the answer, the root cause being what failed on the index."""
        assert self.cause is not None
        root = {"type": self.cause.kind, "reason": self.cause.reason, **self.cause.details}
        return {"error": {"root_cause": [root], **self.summary()}, "status": self.status}


def missing(what: str) -> ElasticsearchError:
    """Return the answer for something Elasticsearch can do and this server cannot: 501, naming it."""
    return ElasticsearchError(
        501,
        "unsupported_operation_exception",
        f"{what} is not implemented by the sandbox's Elasticsearch. Point ELASTICSEARCH_URL at a real Elasticsearch "
        "for it.",
    )


def illegal_argument(reason: str, cause: ElasticsearchError | None = None) -> ElasticsearchError:
    """Return a 400 ``illegal_argument_exception``."""
    return ElasticsearchError(400, "illegal_argument_exception", reason, cause=cause)


def parsing(reason: str) -> ElasticsearchError:
    """Return a 400 ``parsing_exception``."""
    return ElasticsearchError(400, "parsing_exception", reason, details={"line": 1, "col": 1})


def content_parse(reason: str, cause: ElasticsearchError | None = None) -> ElasticsearchError:
    """Return a 400 ``x_content_parse_exception``."""
    return ElasticsearchError(400, "x_content_parse_exception", reason, cause=cause)


def mapper_parsing(reason: str) -> ElasticsearchError:
    """Return a 400 ``mapper_parsing_exception``."""
    return ElasticsearchError(400, "mapper_parsing_exception", reason)


def query_shard(reason: str) -> ElasticsearchError:
    """Return a 400 ``query_shard_exception``; the search adds the index it happened on."""
    return ElasticsearchError(400, "query_shard_exception", reason)


def index_not_found(name: str) -> ElasticsearchError:
    """Return the 404 for an index or alias that does not exist."""
    details = {"resource.type": "index_or_alias", "resource.id": name, "index_uuid": "_na_", "index": name}
    return ElasticsearchError(404, "index_not_found_exception", f"no such index [{name}]", details=details)
