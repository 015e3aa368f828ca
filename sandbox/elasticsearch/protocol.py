"""The HTTP conventions: media types, parameters, bodies, and the shape of answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from sandbox.elasticsearch import elsewhere
from sandbox.elasticsearch.errors import ElasticsearchError, PlainError, illegal_argument, missing
from sandbox.elasticsearch.names import Options
from sandbox.elasticsearch.writing import read_json

MAXIMUM_BODY = 100 * 1024 * 1024
"""Elasticsearch's default of ``http.max_content_length``, in bytes."""

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}
COMPATIBLE = "application/vnd.elasticsearch+json;compatible-with=8"

_VENDOR = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson)\s*;\s*compatible-with=(\d+)", re.IGNORECASE)
_BODIES = ("application/json", "application/x-ndjson")
_EVERYWHERE = frozenset(
    {"pretty", "human", "error_trace", "timeout", "master_timeout", "wait_for_active_shards", "format"}
)


@dataclass(slots=True)
class Request:
    """One request, its headers already judged.

    Args:
        method: HTTP method.
        path: the path, decoded.
        names: the parts of the path that the route names.
        parameters: the query string.
        body: the bytes of the body.
    """

    method: str
    path: str
    names: dict[str, str]
    parameters: dict[str, str]
    body: bytes

    def allow(self, *names: str) -> None:
        """Refuse parameters other than ``names`` and the ones every request takes.

        Raises:
            ElasticsearchError: 400 for one Elasticsearch has not, 501 for one this server has not.
        """
        for name in self.parameters:
            if name in names or name in _EVERYWHERE:
                continue
            if name in elsewhere.PARAMETERS:
                raise missing(f"the parameter [{name}] of [{self.method} {self.path}]")
            raise illegal_argument(f"request [{self.path}] contains unrecognized parameter: [{name}]")

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean parameter; present without a value it is true.

        Raises:
            ElasticsearchError: 400 if it is neither true nor false.
        """
        value = self.parameters.get(name)
        if value is None:
            return default
        if value in ("true", "", "false"):
            return value != "false"
        raise illegal_argument(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")

    def options(self) -> Options:
        """Return what to do about index names that mean nothing."""
        return Options(self.flag("ignore_unavailable"), self.flag("allow_no_indices", True))

    def refreshes(self) -> bool:
        """Return whether the write has to be visible when it is answered.

        Raises:
            ElasticsearchError: 400 for an unknown value of ``refresh``.
        """
        value = self.parameters.get("refresh", "false")
        if value not in ("true", "false", "wait_for", ""):
            raise illegal_argument(f"Unknown value for refresh: [{value}].")
        return value != "false"

    def json(self, default: Any = None) -> Any:
        """Return the body as JSON, or ``default`` if there is none."""
        return read_json(self.body) if self.body.strip() else default

    def required_json(self) -> Any:
        """Return the body as JSON.

        Raises:
            ElasticsearchError: 400 if there is none.
        """
        if not self.body.strip():
            raise ElasticsearchError(400, "parse_exception", "request body is required")
        return read_json(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: HTTP status, and a JSON value or text."""

    body: Any
    status: int = 200


def check_headers(accept: str | None, content_type: str | None, has_body: bool) -> bool:
    """Judge the media types of a request; return whether it speaks the versioned ones.

    Raises:
        ElasticsearchError: 400 if it asks for another major version, 406 for a body of unknown type.
    """
    asked = _VENDOR.search(accept or "")
    sent = _VENDOR.search(content_type or "")
    wrong = [(name, found) for name, found in (("Accept", asked), ("Content-Type", sent)) if found and found[2] != "8"]
    if any(found[2] == "7" for _, found in wrong):
        raise missing("the REST API compatibility with version 7")
    if wrong:
        header = {"Accept": accept, "Content-Type": content_type}
        name, found = wrong[0]
        raise ElasticsearchError(
            400,
            "media_type_header_exception",
            f"Invalid media-type value on headers [{', '.join(name for name, _ in wrong)}]",
            cause=ElasticsearchError(
                400,
                "status_exception",
                f"{name} version must be either version 8 or 7, but found {found[2]}. {name}={header[name]}",
            ),
        )
    if has_body and not sent and (content_type or "").split(";")[0].strip().lower() not in _BODIES:
        raise PlainError(406, "", f"Content-Type header [{content_type or ''}] is not supported")
    if has_body and bool(asked) != bool(sent) and asked:
        raise ElasticsearchError(
            400,
            "media_type_header_exception",
            "Invalid media-type value on headers [Content-Type, Accept]",
            cause=ElasticsearchError(
                400,
                "status_exception",
                "A compatible version is required on both Content-Type and Accept headers if either one has "
                "requested a "
                f"compatible version. Accept={accept}, Content-Type={content_type}",
            ),
        )
    return bool(asked)


def encode(reply: Reply, versioned: bool, pretty: bool) -> tuple[bytes, str]:
    """Return the bytes and the media type of an answer."""
    if isinstance(reply.body, str):
        return reply.body.encode(), "text/plain; charset=UTF-8"
    text = json.dumps(
        reply.body, ensure_ascii=False, indent=2 if pretty else None, separators=None if pretty else (",", ":")
    )
    return (text + ("\n" if pretty else "")).encode(), COMPATIBLE if versioned else "application/json"
