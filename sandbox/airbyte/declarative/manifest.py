"""Low-code manifests: the subset this server interprets, everything else refused by name.

Interpreted: DeclarativeSource, CheckStream, DeclarativeStream, SimpleRetriever, HttpRequester, BearerAuthenticator,
ApiKeyAuthenticator, NoAuth, RecordSelector, DpathExtractor, DefaultPaginator with CursorPagination, OffsetIncrement or
PageIncrement, NoPagination, RequestOption, RequestPath, DefaultErrorHandler, HttpResponseFilter,
ExponentialBackoffStrategy, ConstantBackoffStrategy, WaitTimeFromHeader, InlineSchemaLoader, Spec; ``$ref`` and
``$parameters``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.airbyte.problems import not_implemented, unprocessable

# Component -> (required fields, optional fields). A field that is not listed is refused: it would be silently ignored.
COMPONENTS: dict[str, tuple[set[str], set[str]]] = {
    "DeclarativeSource": (
        {"streams"},
        {"version", "check", "definitions", "spec", "metadata", "description", "schemas", "id"},
    ),
    "CheckStream": ({"stream_names"}, set()),
    "DeclarativeStream": ({"name", "retriever"}, {"primary_key", "schema_loader"}),
    "SimpleRetriever": ({"requester", "record_selector"}, {"paginator"}),
    "HttpRequester": (
        set(),
        {
            "url_base",
            "url",
            "path",
            "http_method",
            "request_parameters",
            "request_headers",
            "request_body_json",
            "authenticator",
            "error_handler",
        },
    ),
    "BearerAuthenticator": ({"api_token"}, set()),
    "ApiKeyAuthenticator": (set(), {"api_token", "inject_into", "header"}),
    "NoAuth": (set(), set()),
    "RecordSelector": ({"extractor"}, set()),
    "DpathExtractor": ({"field_path"}, set()),
    "DefaultPaginator": ({"pagination_strategy"}, {"page_size_option", "page_token_option"}),
    "NoPagination": (set(), set()),
    "CursorPagination": ({"cursor_value"}, {"page_size", "stop_condition"}),
    "OffsetIncrement": (set(), {"page_size", "inject_on_first_request"}),
    "PageIncrement": (set(), {"page_size", "start_from_page", "inject_on_first_request"}),
    "RequestOption": ({"inject_into"}, {"field_name"}),
    "RequestPath": (set(), set()),
    "DefaultErrorHandler": (set(), {"max_retries", "backoff_strategies", "response_filters"}),
    "HttpResponseFilter": ({"action"}, {"http_codes", "error_message"}),
    "ExponentialBackoffStrategy": (set(), {"factor"}),
    "ConstantBackoffStrategy": ({"backoff_time_in_seconds"}, set()),
    "WaitTimeFromHeader": ({"header"}, {"max_waiting_time_in_seconds"}),
    "InlineSchemaLoader": ({"schema"}, set()),
    "Spec": (set(), {"connection_specification", "documentation_url"}),
}
_IMPLIED = {
    "streams": "DeclarativeStream",
    "check": "CheckStream",
    "spec": "Spec",
    "retriever": "SimpleRetriever",
    "requester": "HttpRequester",
    "record_selector": "RecordSelector",
    "extractor": "DpathExtractor",
    "paginator": "DefaultPaginator",
    "page_size_option": "RequestOption",
    "page_token_option": "RequestOption",
    "inject_into": "RequestOption",
    "error_handler": "DefaultErrorHandler",
    "response_filters": "HttpResponseFilter",
    "schema_loader": "InlineSchemaLoader",
}
_CHOICES = {
    "DeclarativeSource": {"streams": {"DeclarativeStream"}, "check": {"CheckStream"}, "spec": {"Spec"}},
    "DeclarativeStream": {"retriever": {"SimpleRetriever"}, "schema_loader": {"InlineSchemaLoader"}},
    "SimpleRetriever": {
        "requester": {"HttpRequester"},
        "record_selector": {"RecordSelector"},
        "paginator": {"DefaultPaginator", "NoPagination"},
    },
    "HttpRequester": {
        "authenticator": {"BearerAuthenticator", "ApiKeyAuthenticator", "NoAuth"},
        "error_handler": {"DefaultErrorHandler"},
    },
    "ApiKeyAuthenticator": {"inject_into": {"RequestOption"}},
    "RecordSelector": {"extractor": {"DpathExtractor"}},
    "DefaultPaginator": {
        "pagination_strategy": {"CursorPagination", "OffsetIncrement", "PageIncrement"},
        "page_size_option": {"RequestOption"},
        "page_token_option": {"RequestOption", "RequestPath"},
    },
    "DefaultErrorHandler": {
        "backoff_strategies": {"ExponentialBackoffStrategy", "ConstantBackoffStrategy", "WaitTimeFromHeader"},
        "response_filters": {"HttpResponseFilter"},
    },
}
_VALUES = {
    ("HttpRequester", "http_method"): {"GET", "POST"},
    ("HttpResponseFilter", "action"): {"SUCCESS", "FAIL", "RETRY", "IGNORE"},
    ("RequestOption", "inject_into"): {"request_parameter", "header", "body_json"},
}
MAX_DEPTH = 40


@dataclass(frozen=True)
class Manifest:
    """A manifest whose every component is interpreted.

    Attributes:
        streams: the streams, references resolved and parameters pushed down.
        check_streams: names of the streams that the check reads.
        specification: JSON schema of the configuration.
    """

    streams: list[dict[str, Any]]
    check_streams: list[str]
    specification: dict[str, Any]

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Manifest:
        """Read a manifest.

        Raises:
            Problem: 422 naming what is wrong and where; 501 naming the component or field that is not interpreted.
        """
        whole = _resolve(raw, raw, 0)
        source = _component(whole, "DeclarativeSource", {"DeclarativeSource"}, {}, "manifest")
        streams = source["streams"]
        if not isinstance(streams, list) or not streams:
            raise unprocessable("manifest.streams: must be a list with at least one DeclarativeStream")
        for number, stream in enumerate(streams):
            _check_requester(stream["retriever"]["requester"], f"manifest.streams.{number}.retriever.requester")
        names = [stream["name"] for stream in streams]
        specification = source.get("spec", {}).get("connection_specification") or {"type": "object"}
        check = source.get("check", {}).get("stream_names") or names[:1]
        for name in check:
            if name not in names:
                raise unprocessable(f"manifest.check.stream_names: there is no stream {name}")
        return cls(streams, check, specification)


def _resolve(node: Any, root: dict[str, Any], depth: int) -> Any:
    """Replace every ``$ref`` by what it points to."""
    if depth > MAX_DEPTH:
        raise unprocessable(f"manifest: references or objects nested deeper than {MAX_DEPTH}")
    if isinstance(node, str) and node.startswith("#/"):
        return _resolve(_target(node, root), root, depth + 1)
    if isinstance(node, list):
        return [_resolve(item, root, depth + 1) for item in node]
    if not isinstance(node, dict):
        return node
    result: dict[str, Any] = {}
    if isinstance(node.get("$ref"), str):
        target = _resolve(_target(node["$ref"], root), root, depth + 1)
        if not isinstance(target, dict):
            raise unprocessable(f"manifest: {node['$ref']} is not an object")
        result.update(target)
    for key, value in node.items():
        if key == "definitions" and node is root:
            continue  # only what is used is looked at
        if key != "$ref":
            result[key] = _resolve(value, root, depth + 1)
    return result


def _target(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for step in reference.removeprefix("#/").split("/"):
        if isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        elif isinstance(node, dict) and step in node:
            node = node[step]
        else:
            raise unprocessable(f"manifest: {reference} points to nothing")
    return node


def _component(
    node: Any, implied: str | None, allowed: set[str], parameters: dict[str, Any], where: str
) -> dict[str, Any]:
    """Check one component and return it with its parameters pushed down."""
    if not isinstance(node, dict):
        raise unprocessable(f"{where}: must be an object")
    kind = node.get("type", implied)
    if not isinstance(kind, str):
        raise unprocessable(f"{where}.type: required field is missing")
    if kind not in COMPONENTS:
        raise not_implemented(f"{where}: component {kind} is not interpreted by this server.")
    if kind not in allowed:
        raise unprocessable(f"{where}: {kind} cannot be used here, only {', '.join(sorted(allowed))}")
    required, optional = COMPONENTS[kind]
    parameters = {**parameters, **(node.get("$parameters") or {})}
    fields = {key: value for key, value in node.items() if key not in ("type", "$parameters")}
    for name in (required | optional) - fields.keys():
        if name in parameters:
            fields[name] = parameters[name]
    for name in fields.keys() - required - optional:
        raise not_implemented(f"{where}.{name}: field {name} of component {kind} is not interpreted by this server.")
    for name in sorted(name for name in required if fields.get(name) is None):
        raise unprocessable(f"{where}.{name}: required field is missing")
    _check_values(kind, fields, where)
    result: dict[str, Any] = {"type": kind, "parameters": parameters}
    for name, value in fields.items():
        choice = _CHOICES.get(kind, {}).get(name)
        nested = choice is not None and value is not None
        result[name] = _below(value, name, choice or set(), parameters, f"{where}.{name}") if nested else value
    return result


def _below(value: Any, name: str, choice: set[str], parameters: dict[str, Any], where: str) -> Any:
    if isinstance(value, list):
        places = [f"{where}.{number}" for number in range(len(value))]
        implied = _IMPLIED.get(name)
        return [_component(item, implied, choice, parameters, at) for item, at in zip(value, places, strict=True)]
    return _component(value, _IMPLIED.get(name), choice, parameters, where)


def _check_values(kind: str, fields: dict[str, Any], where: str) -> None:
    for (component, name), values in _VALUES.items():
        if component == kind and name in fields and fields[name] not in values:
            allowed = ", ".join(sorted(values))
            raise not_implemented(f"{where}.{name}: {fields[name]!r} is not interpreted; this server knows {allowed}.")
    for name in ("name", "http_method"):
        if name in fields and not isinstance(fields[name], str):
            raise unprocessable(f"{where}.{name}: must be a string")
    for name in ("streams", "field_path", "stream_names", "backoff_strategies", "response_filters"):
        if name in fields and not isinstance(fields[name], list):
            raise unprocessable(f"{where}.{name}: must be a list")
    for name in ("schema", "connection_specification"):
        if name in fields and not isinstance(fields[name], dict):
            raise unprocessable(f"{where}.{name}: must be an object")


def _check_requester(requester: dict[str, Any], where: str) -> None:
    if not (requester.get("url_base") or requester.get("url")):
        raise unprocessable(f"{where}.url_base: required field is missing")
    for name in ("request_parameters", "request_headers", "request_body_json"):
        if name in requester and not isinstance(requester[name], dict):
            raise unprocessable(f"{where}.{name}: must be an object")
