"""Connector configurations against their specification: mistakes named by field, secrets masked, masks undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # the package ships no annotations

MASK = "**********"
_MARK = "airbyte_secret"


def mistakes(configuration: Any, specification: dict[str, Any]) -> list[str]:
    """Return what is wrong with a configuration, each as a sentence that names the field and never its value."""
    found = []
    for error in sorted(Draft7Validator(specification).iter_errors(configuration), key=lambda item: list(item.path)):
        path = ".".join(str(step) for step in error.absolute_path)
        found.append(_sentence(error, path))
    return list(dict.fromkeys(found))


def _sentence(error: Any, path: str) -> str:
    below = f"{path}." if path else ""
    field = path or "configuration"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        names = [name for name in error.validator_value if name not in error.instance]
        return "; ".join(f"{below}{name}: required field is missing" for name in names or [missing])
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = [name for name in error.instance if name not in known]
        return "; ".join(f"{below}{name}: unknown field" for name in unknown)
    if error.validator == "enum":
        return f"{field}: must be one of {', '.join(map(str, error.validator_value))}"
    if error.validator == "type":
        kinds = error.validator_value
        return f"{field}: must be of type {kinds if isinstance(kinds, str) else ' or '.join(kinds)}"
    return f"{field}: does not satisfy {error.validator} {error.validator_value}"


def _secret_names(specification: dict[str, Any]) -> set[str]:
    """Collect the names of all secret fields, wherever in the specification they are.

    By name and not by path: a name that is secret in one variant of a choice is masked in all of them.
    """
    names: set[str] = set()
    stack: list[Any] = [specification]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            properties = node.get("properties")
            if isinstance(properties, dict):
                marked = (name for name, below in properties.items() if isinstance(below, dict) and below.get(_MARK))
                names.update(marked)
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return names


def masked(configuration: Any, specification: dict[str, Any]) -> Any:
    """Return a copy of ``configuration`` with every secret replaced by Airbyte's mask."""
    return _mask(configuration, _secret_names(specification))


def _mask(node: Any, names: set[str]) -> Any:
    if isinstance(node, dict):
        return {key: MASK if key in names and value else _mask(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_mask(item, names) for item in node]
    return node


def unmasked(new: Any, old: Any, specification: dict[str, Any]) -> Any:
    """Return ``new`` with every mask replaced by the secret that ``old`` has in its place."""
    return _unmask(new, old, _secret_names(specification))


def _unmask(new: Any, old: Any, names: set[str]) -> Any:
    if isinstance(new, dict):
        before = old if isinstance(old, dict) else {}
        kept = {key for key, value in new.items() if key in names and value == MASK and key in before}
        return {
            key: before[key] if key in kept else _unmask(value, before.get(key), names) for key, value in new.items()
        }
    if isinstance(new, list):
        before_list = old if isinstance(old, list) else []
        padded = before_list + [None] * (len(new) - len(before_list))
        return [_unmask(item, earlier, names) for item, earlier in zip(new, padded, strict=False)]
    return new


def merged(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Return ``old`` with the fields of ``new`` over it, objects merged field by field (PATCH)."""
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        result[key] = merged(value, before) if isinstance(value, dict) and isinstance(before, dict) else value
    return result


def secret_values(configuration: Any, specification: dict[str, Any]) -> Iterator[str]:
    """Yield every secret's value, so that it can be kept out of messages."""
    names = _secret_names(specification)
    stack: list[Any] = [configuration]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if key in names and isinstance(value, str):
                    yield value
                else:
                    stack.append(value)
        elif isinstance(node, list):
            stack.extend(node)


class Redactor:
    """Keeps secrets out of messages.

    Args:
        secrets: the values to replace; very short ones are left alone, they would mangle ordinary words.
    """

    def __init__(self, secrets: list[str]) -> None:
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return ``text`` with every secret replaced by the mask."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text
