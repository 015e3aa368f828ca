"""From a document to the values of its fields, mapping what is new on the way."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from typing import Any

from sandbox.elasticsearch import dates
from sandbox.elasticsearch.errors import ElasticsearchError, illegal_argument
from sandbox.elasticsearch.mapping import Field, IndexMapping, Json, strict

Value = str | int | float
Values = dict[str, list[Value]]

_INTEGER_BITS = {"byte": 8, "short": 16, "integer": 32, "long": 64}
MAXIMUM_KEYWORD_BYTES = 32766
"""Lucene's longest term."""


def leaves(source: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a document with its dotted path, arrays taken apart; an object without members yields "
    "none."""
    for name, value in source.items():
        yield from _leaves(f"{prefix}{name}", value)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from leaves(value, path + ".")
    elif isinstance(value, list):
        for element in value:
            yield from _leaves(path, element)
    else:
        yield path, value


def new_fields(mapping: IndexMapping, source: Json) -> Json:
    """Return the mapping (``{"properties": ...}`` or ``{}``) of the fields of ``source`` that ``mapping`` lacks.

    Raises:
        ElasticsearchError: 400 if the mapping is strict about one of them, or an object meets a value.
    """
    properties: Json = {}
    for path, value in leaves(source):
        if value is None and path in mapping.objects:
            continue
        _check_shape(mapping, path)
        if value is None or path in mapping.fields:
            continue
        parent, _, name = path.rpartition(".")
        dynamic = _nearest_dynamic(mapping, parent)
        if dynamic == "strict":
            raise strict(name, parent)
        if dynamic == "true":
            _declare(properties, path, _dynamic_type(value))
    return {"properties": properties} if properties else {}


def _nearest_dynamic(mapping: IndexMapping, parent: str) -> str:
    while parent and parent not in mapping.objects:
        parent = parent.rpartition(".")[0]
    return mapping.dynamic(parent)


def _check_shape(mapping: IndexMapping, path: str) -> None:
    """Refuse a value where the mapping has an object, and an object where it has values."""
    if path in mapping.objects and path:
        raise _unreadable(
            f"object mapping for [{path}] tried to parse field [{path.rpartition('.')[2]}] as object, but found a "
            "concrete value"
        )
    parent = path.rpartition(".")[0]
    while parent:
        field = mapping.fields.get(parent)
        if field is not None and field.source == field.path:
            raise _unreadable(
                f"failed to parse field [{parent}] of type [{field.type}]",
                illegal_argument(f"Can't get {field.type} on a START_OBJECT"),
            )
        parent = parent.rpartition(".")[0]


def _declare(properties: Json, path: str, node: Json) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        if not parent:
            raise illegal_argument(f"field name cannot contain only whitespace or an empty part: [{path}]")
        properties = properties.setdefault(parent, {}).setdefault("properties", {})
    if not name.strip():
        raise illegal_argument("field name cannot be an empty string")
    properties.setdefault(name, node)


def _dynamic_type(value: Any) -> Json:
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "long"}
    if isinstance(value, float):
        return {"type": "float"}
    if dates.looks_like_date(value):
        return {"type": "date"}
    return {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}


def index_values(mapping: IndexMapping, source: Json, *, lenient: bool = False) -> Values:
    """Return the values to index, by field path: distinct and ascending.

    Args:
        mapping: the fields.
        source: the document.
        lenient: leave out what does not fit: a document may be older than the field it has a value for.

    Raises:
        ElasticsearchError: 400 ``document_parsing_exception`` if a value does not fit its field's type.
    """
    by_source: dict[str, list[Any]] = {}
    for path, value in leaves(source):
        if value is not None:
            by_source.setdefault(path, []).append(value)
    found: Values = {}
    for field in mapping.fields.values():
        raw = by_source.get(field.source)
        if raw is None:
            continue
        values = [value for value in (_converted(field, item, lenient) for item in raw) if value is not None]
        if field.column == "t":
            found[field.path] = values  # the order of texts is what phrases are matched against
        elif values:
            found[field.path] = sorted(set(values))
    return found


def _converted(field: Field, value: Any, lenient: bool) -> Value | None:
    try:
        return convert(field, value)
    except ElasticsearchError:
        if lenient:
            return None
        raise


def convert(field: Field, value: Any) -> Value | None:
    """Return ``value`` as the index stores it in ``field``; None if the field ignores it.

    Dates become milliseconds since 1970, booleans 0 and 1.

    Raises:
        ElasticsearchError: 400 ``document_parsing_exception`` if it does not fit.
    """
    try:
        if field.column in ("k", "t"):
            return _text(field, value)
        if field.type == "date":
            if isinstance(value, bool):
                raise illegal_argument(
                    f"failed to parse date field [{str(value).lower()}] with format [{field.format}]"
                )
            return dates.parse(value, field.format)
        if field.type == "boolean":
            return _boolean(value)
        return _real(field, value) if field.column == "f" else _integer(field, value)
    except ElasticsearchError as error:
        shown = str(value)[:50]
        raise _unreadable(
            f"failed to parse field [{field.path}] of type [{field.type}]. Preview of field's value: '{shown}'", error
        ) from error


def _unreadable(reason: str, cause: ElasticsearchError | None = None) -> ElasticsearchError:
    return ElasticsearchError(400, "document_parsing_exception", reason, cause=cause)


def _text(field: Field, value: Any) -> str | None:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if field.column == "t":
        return text
    if field.ignore_above is not None and len(text) > field.ignore_above:
        return None
    if len(text.encode()) > MAXIMUM_KEYWORD_BYTES:
        raise illegal_argument(
            f'Document contains at least one immense term in field="{field.path}" (whose UTF8 encoding is longer than '
            "the "
            f"max length {MAXIMUM_KEYWORD_BYTES}), all of which were skipped."
        )
    return text


def _boolean(value: Any) -> int:
    if (value in (True, "true") and not isinstance(value, int | float)) or value is True:
        return 1
    if value is False or value in ("false", ""):
        return 0
    raise illegal_argument(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise illegal_argument("Current token (VALUE_BOOLEAN) not numeric, can not use numeric value accessors")
    if isinstance(value, int | float):
        return value
    text = str(value).strip()
    try:
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        raise ElasticsearchError(400, "number_format_exception", f'For input string: "{value}"') from None


def _integer(field: Field, value: Any) -> int:
    number = _number(value)
    if isinstance(number, float) and not math.isfinite(number):
        raise illegal_argument(f"Value [{value}] is out of range for {_article(field.type)}")
    whole = int(number)
    limit = 1 << (_INTEGER_BITS[field.type] - 1)
    if not -limit <= whole < limit:
        raise illegal_argument(f"Value [{value}] is out of range for {_article(field.type)}")
    return whole


def _article(kind: str) -> str:
    return f"{'an' if kind == 'integer' else 'a'} {kind}"


def _real(field: Field, value: Any) -> float:
    try:
        number = float(_number(value))
        if not math.isfinite(number):
            raise OverflowError
        return single(number) if field.type == "float" else number
    except OverflowError:
        raise illegal_argument(f"[{field.type}] supports only finite values, but got [{value}]") from None


def single(number: float) -> float:
    """Return ``number`` rounded to the nearest 32-bit float.

    Raises:
        OverflowError: if it is larger than one can be.
    """
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded
