"""What a request may declare of an index or a template besides its mapping: settings and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from sandbox.elasticsearch import elsewhere
from sandbox.elasticsearch.errors import ElasticsearchError, content_parse, illegal_argument, missing
from sandbox.elasticsearch.mapping import Json, check, merge

_SETTINGS = frozenset({"number_of_shards", "number_of_replicas", "refresh_interval", "codec", "auto_expand_replicas"})
"""Settings taken and shown. One process has no replicas and refreshes every second whatever they say."""

_FINAL = frozenset({"number_of_shards", "codec"})
_TEMPLATE = frozenset({"index_patterns", "template", "priority", "version", "_meta"})
_OTHER_TEMPLATE = frozenset(
    {"composed_of", "data_stream", "allow_auto_create", "ignore_missing_component_templates", "deprecated"}
)


def settings(raw: Any) -> Json:
    """Return settings as names below ``index`` with text values, e.g. ``{"number_of_shards": "1"}``.

    Raises:
        ElasticsearchError: 400 for a setting Elasticsearch has not, 501 for one this server has not.
    """
    found: Json = {}
    for name, value in _flat(raw or {}):
        name = name.removeprefix("index.")
        if name.startswith(elsewhere.SETTINGS):
            raise missing(f"the index setting [index.{name}]")
        if name not in _SETTINGS:
            raise illegal_argument(
                f"unknown setting [index.{name}] please check that any required plugins are installed, or check the "
                "breaking "
                "changes documentation for removed settings"
            )
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if name.startswith("number_of_"):
            _check_count(name, text)
        found[name] = text
    return found


def changed_settings(old: Json, raw: Any) -> Json:
    """Return ``old`` with the settings of ``raw`` that may change on an existing index."""
    new = settings(raw)
    final = sorted(_FINAL & {name for name in new if new[name] != old.get(name)})
    if final:
        shown = ", ".join(f"index.{name}" for name in final)
        raise illegal_argument(f"final settings [{shown}] cannot be updated")
    return {**old, **new}


def _check_count(name: str, text: str) -> None:
    least = 1 if name == "number_of_shards" else 0
    if not text.lstrip("-").isdigit():
        raise illegal_argument(f"Failed to parse value [{text}] for setting [index.{name}]")
    if int(text) < least:
        raise illegal_argument(f"Failed to parse value [{text}] for setting [index.{name}] must be >= {least}")


def _flat(raw: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in raw.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value))
    return found


def aliases(raw: Any) -> Json:
    """Return the aliases of an index: names with no options.

    Raises:
        ElasticsearchError: 501 for an alias with a filter or a routing.
    """
    for name, options in (raw or {}).items():
        if options:
            raise missing(f"options of the alias [{name}]")
    return {name: {} for name in raw or {}}


def members(raw: Any, what: str, allowed: frozenset[str]) -> Mapping[str, Any]:
    """Return the members of a declaration after checking their names."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise content_parse(f"[1:1] [{what}] Expected START_OBJECT but was: VALUE")
    for name in raw:
        if name not in allowed:
            if what == "create_index":
                raise ElasticsearchError(400, "parse_exception", f"unknown key [{name}] in the create index request")
            raise content_parse(f"[1:1] [{what}] unknown field [{name}]")
    return raw


def index_parts(raw: Any, what: str) -> tuple[Json, Json, Json]:
    """Return the settings, mapping and aliases of a create-index request or of a template's ``template``."""
    found = members(raw, what, frozenset({"settings", "mappings", "aliases"}))
    return settings(found.get("settings")), check(found.get("mappings") or {}), aliases(found.get("aliases"))


def template(raw: Any) -> Json:
    """Return an index template as Elasticsearch shows it.

    Raises:
        ElasticsearchError: 400 if Elasticsearch refuses it, 501 if only this server does.
    """
    for name in _OTHER_TEMPLATE & set(raw if isinstance(raw, Mapping) else ()):
        if raw[name]:
            raise missing(f"[{name}] of an index template")
    found = members(raw, "index_template", _TEMPLATE | _OTHER_TEMPLATE)
    patterns = found.get("index_patterns")
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not patterns:
        raise content_parse("[1:1] [index_template] Required [index_patterns]")
    shown: Json = {"index_patterns": [str(pattern) for pattern in patterns]}
    if "template" in found:
        parts = index_parts(found["template"], "template")
        names = ("settings", "mappings", "aliases")
        shown["template"] = {name: part for name, part in zip(names, parts, strict=True) if part}
        if parts[0]:
            shown["template"]["settings"] = {"index": parts[0]}
    shown["composed_of"] = []
    shown |= {name: found[name] for name in ("priority", "version", "_meta") if name in found}
    return shown


def check_overlap(name: str, body: Json, templates: Mapping[str, Json]) -> None:
    """Refuse a template that another of the same priority competes with.

    Raises:
        ElasticsearchError: 400 naming the other template.
    """
    for other, existing in templates.items():
        if other == name or existing.get("priority", 0) != body.get("priority", 0):
            continue
        theirs = existing["index_patterns"]
        if any(fnmatchcase(a, b) or fnmatchcase(b, a) for a in body["index_patterns"] for b in theirs):
            raise illegal_argument(
                f"index template [{name}] has index patterns {_listed(body['index_patterns'])} matching patterns "
                "from existing "
                f"templates [{other}] with patterns ({other} => {_listed(theirs)}) that have the same priority "
                f"[{body.get('priority', 0)}], multiple index templates may not match during index creation, please "
                "use a "
                "different priority"
            )


def _listed(values: list[str]) -> str:
    return "[" + ", ".join(values) + "]"


def for_index(name: str, raw: Any, templates: Mapping[str, Json]) -> tuple[Json, Json, Json]:
    """Return the settings, mapping and aliases of a new index: what the request says over what its template says."""
    own = index_parts(raw, "create_index")
    matching = [
        body for body in templates.values() if any(fnmatchcase(name, pattern) for pattern in body["index_patterns"])
    ]
    if not matching:
        return own
    chosen = max(matching, key=lambda body: body.get("priority", 0)).get("template", {})
    base = chosen.get("settings", {}).get("index", {}), chosen.get("mappings", {}), chosen.get("aliases", {})
    return {**base[0], **own[0]}, merge(base[1], own[1]), {**base[2], **own[2]}
