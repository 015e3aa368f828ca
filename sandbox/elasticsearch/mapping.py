"""Index mappings: which fields an index has, checked when declared and merged when they grow."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.elasticsearch import dates, elsewhere
from sandbox.elasticsearch.errors import ElasticsearchError, illegal_argument, mapper_parsing, missing

Json = dict[str, Any]

TYPES = frozenset({"keyword", "text", "integer", "short", "byte", "long", "float", "double", "boolean", "date"})
"""Types of a field that holds values; ``object`` holds further fields."""

_PARAMETERS: dict[str, frozenset[str]] = {
    "keyword": frozenset({"type", "fields", "ignore_above"}),
    "text": frozenset({"type", "fields", "analyzer", "norms", "fielddata"}),
    "date": frozenset({"type", "fields", "format"}),
    "object": frozenset({"type", "properties", "dynamic"}),
}
_ROOT_MEMBERS = frozenset({"properties", "dynamic", "_meta"})
_OTHER_ROOT_MEMBERS = frozenset(
    {
        "dynamic_templates",
        "date_detection",
        "numeric_detection",
        "dynamic_date_formats",
        "_source",
        "_routing",
        "runtime",
    }
)
MAXIMUM_FIELDS = 1000
"""Elasticsearch's default of ``index.mapping.total_fields.limit``."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that holds values.

    Args:
        path: dotted name, e.g. ``message.keyword``.
        source: dotted name of the values in the document; differs from ``path`` for a sub-field.
        type: one of :data:`TYPES`.
        format: of a date.
        ignore_above: a keyword longer than this is not indexed.
    """

    path: str
    source: str
    type: str
    format: str = dates.DEFAULT_FORMAT
    ignore_above: int | None = None

    @property
    def column(self) -> str:
        """The kind of tantivy field: ``k``eyword, ``t``ext, ``i``nteger (dates, booleans) or ``f``loat."""
        return {"keyword": "k", "text": "t", "float": "f", "double": "f"}.get(self.type, "i")


class IndexMapping:
    """The mapping of one index.

    Args:
        declared: a checked mapping as :func:`check` returns it.
    """

    def __init__(self, declared: Json) -> None:
        self.declared = declared
        self.fields: dict[str, Field] = {}
        self.objects: dict[str, Json] = {"": declared}
        for path, node in _walk(declared.get("properties", {}), ""):
            if "properties" in node or node.get("type") == "object":
                self.objects[path] = node
                continue
            self.fields[path] = _field(path, path, node)
            for name, sub in node.get("fields", {}).items():
                self.fields[f"{path}.{name}"] = _field(f"{path}.{name}", path, sub)

    def dynamic(self, path: str) -> str:
        """Return ``true``, ``false`` or ``strict``: what an unmapped field below the object ``path`` meets."""
        while True:
            node = self.objects.get(path, {})
            if "dynamic" in node:
                return str(node["dynamic"]).lower()
            if not path:
                return "true"
            path = path.rpartition(".")[0]

    def matching(self, pattern: str) -> list[Field]:
        """Return the fields whose path matches ``pattern`` (``*`` stands for anything)."""
        from fnmatch import fnmatchcase

        return [field for path, field in self.fields.items() if fnmatchcase(path, pattern.replace("[", "[[]"))]


def _field(path: str, source: str, node: Json) -> Field:
    return Field(path, source, node["type"], node.get("format", dates.DEFAULT_FORMAT), node.get("ignore_above"))


def _walk(properties: Json, prefix: str) -> Iterator[tuple[str, Json]]:
    for name, node in properties.items():
        path = f"{prefix}{name}"
        yield path, node
        yield from _walk(node.get("properties", {}), path + ".")


def check(raw: Any) -> Json:
    """Return a mapping as Elasticsearch would show it, or refuse it.

    Args:
        raw: what a request gives under ``mappings``.

    Raises:
        ElasticsearchError: 400 if Elasticsearch refuses it, 501 if only this server does.
    """
    if not isinstance(raw, Mapping):
        raise mapper_parsing("Failed to parse mapping: expected an object")
    for member in raw:
        if member in _OTHER_ROOT_MEMBERS:
            raise missing(f"the mapping parameter [{member}]")
        if member not in _ROOT_MEMBERS:
            raise mapper_parsing(
                f"Failed to parse mapping: Root mapping definition has unsupported parameters:  [{member} : "
                f"{raw[member]}]"
            )
    declared = {member: copy.deepcopy(raw[member]) for member in raw if member != "properties"}
    _check_dynamic(declared)
    properties = _check_properties(raw.get("properties", {}))
    if properties:
        declared["properties"] = properties
    if len(IndexMapping(declared).fields) > MAXIMUM_FIELDS:
        raise illegal_argument(f"Limit of total fields [{MAXIMUM_FIELDS}] has been exceeded")
    return declared


def _check_dynamic(node: Json) -> None:
    if "dynamic" not in node:
        return
    value = str(node["dynamic"]).lower()
    if value == "runtime":
        raise missing("dynamic [runtime]")
    if value not in ("true", "false", "strict"):
        raise mapper_parsing(f"Failed to parse mapping: No enum constant for dynamic [{node['dynamic']}]")
    node["dynamic"] = value


def _check_properties(raw: Any, prefix: str = "") -> Json:
    if not isinstance(raw, Mapping):
        raise mapper_parsing("Failed to parse mapping: Expected map for property [properties]")
    properties: Json = {}
    for name in sorted(raw):
        node = raw[name]
        if not isinstance(node, Mapping):
            raise mapper_parsing(
                f"Failed to parse mapping: Expected map for property [fields] on field [{name}] but got a {node!r}"
            )
        head, dot, rest = name.partition(".")
        if dot:  # {"a.b": ...} declares the object a with the field b
            node, name = {"properties": {rest: node}}, head
        checked = _check_field(name, dict(node), prefix)
        properties[name] = _merge_node(properties[name], checked, prefix + name) if name in properties else checked
    return properties


def _check_field(name: str, node: Json, prefix: str = "") -> Json:
    kind = node.get("type", "object" if "properties" in node or "dynamic" in node else None)
    if kind is None:
        raise mapper_parsing(f"Failed to parse mapping: No type specified for field [{name}]")
    if kind in elsewhere.FIELD_TYPES:
        raise missing(f"the field type [{kind}] of [{prefix}{name}]")
    if kind not in TYPES and kind != "object":
        raise mapper_parsing(
            f"Failed to parse mapping: The mapper type [{kind}] declared on field [{name}] does not exist. It might "
            "have "
            "been created within a future version or requires a plugin to be installed. Check the documentation."
        )
    allowed = _PARAMETERS.get(kind, frozenset({"type", "fields"}))
    for member in node:
        if member in elsewhere.MAPPING_PARAMETERS:
            raise missing(f"the mapping parameter [{member}] of [{prefix}{name}]")
        if member not in allowed:
            raise mapper_parsing(
                f"Failed to parse mapping: unknown parameter [{member}] on mapper [{name}] of type [{kind}]"
            )
    return _checked_members(name, kind, node, prefix)


def _checked_members(name: str, kind: str, node: Json, prefix: str) -> Json:
    checked: Json = {} if kind == "object" else {"type": kind}
    if kind == "object":
        if "dynamic" in node:
            checked["dynamic"] = node["dynamic"]
            _check_dynamic(checked)
        checked["properties"] = _check_properties(node.get("properties", {}), f"{prefix}{name}.")
        if not checked["properties"]:
            del checked["properties"]
            checked["type"] = "object"
    if node.get("analyzer", "standard") != "standard":
        raise missing(f"the analyzer [{node['analyzer']}]")
    if node.get("fielddata") or node.get("norms", True) is not True:
        raise missing(f"fielddata or norms of the text field [{prefix}{name}]")
    if "format" in node:
        checked["format"] = dates.check_format(str(node["format"]))
    if "ignore_above" in node:
        checked["ignore_above"] = int(node["ignore_above"])
    if "fields" in node:
        checked["fields"] = {sub: _check_field(sub, dict(node["fields"][sub])) for sub in sorted(node["fields"])}
    return checked


def merge(old: Json, new: Json) -> Json:
    """Return ``old`` with the fields of ``new`` added.

    Raises:
        ElasticsearchError: 400 if a field would change its type.
    """
    merged = {**old, **{member: value for member, value in new.items() if member != "properties"}}
    properties = copy.deepcopy(old.get("properties", {}))
    for name, node in new.get("properties", {}).items():
        properties[name] = _merge_node(properties[name], node, name) if name in properties else node
    if properties:
        merged["properties"] = dict(sorted(properties.items()))
    if len(IndexMapping(merged).fields) > MAXIMUM_FIELDS:
        raise illegal_argument(f"Limit of total fields [{MAXIMUM_FIELDS}] has been exceeded")
    return merged


def _merge_node(old: Json, new: Json, path: str) -> Json:
    old_type, new_type = old.get("type", "object"), new.get("type", "object")
    if "object" in (old_type, new_type) and old_type != new_type:
        raise illegal_argument(
            f"can't merge a non object mapping [{path}] with an object mapping"
            if new_type == "object"
            else f"can't merge an object mapping [{path}] with a non object mapping"
        )
    if old_type != new_type:
        raise illegal_argument(f"mapper [{path}] cannot be changed from type [{old_type}] to [{new_type}]")
    merged = {**old, **new}
    for member in ("properties", "fields"):
        if member not in old and member not in new:
            continue
        children = dict(old.get(member, {}))
        for name, node in new.get(member, {}).items():
            children[name] = _merge_node(children[name], node, f"{path}.{name}") if name in children else node
        merged[member] = dict(sorted(children.items()))
        if member == "properties":
            merged.pop("type", None)
    return merged


def strict(name: str, parent: str) -> ElasticsearchError:
    """Return the error of a document that brings the unmapped field ``name`` to a strict object ``parent``."""
    return ElasticsearchError(
        400,
        "strict_dynamic_mapping_exception",
        f"mapping set to strict, dynamic introduction of [{name}] within [{parent or '_doc'}] is not allowed",
    )
