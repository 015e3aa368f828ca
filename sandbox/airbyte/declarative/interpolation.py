"""The ``{{ ... }}`` of low-code manifests, evaluated by a jinja2 sandbox."""

from __future__ import annotations

import ast
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from sandbox.airbyte.connectors.base import ConnectorError

_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)  # URLs and JSON, never HTML
_ENVIRONMENT.globals.clear()


def render(template: Any, context: dict[str, Any]) -> Any:
    """Return a manifest value with its expressions evaluated.

    A value that is one whole expression keeps its type where it reads as a Python literal, as in Airbyte's CDK
    (``"{{ 1 + 1 }}"`` is a number); text around an expression makes it text.

    Args:
        template: any value of a manifest; only strings are changed, lists and objects are walked.
        context: the names an expression may use (``config``, ``response``, ``last_record``, ...).

    Raises:
        ConnectorError: naming the expression, if it cannot be evaluated.
    """
    if isinstance(template, dict):
        return {key: render(value, context) for key, value in template.items()}
    if isinstance(template, list):
        return [render(item, context) for item in template]
    if not isinstance(template, str) or "{" not in template:
        return template
    try:
        text = _ENVIRONMENT.from_string(template).render(context)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        message = f"manifest: {template!r} cannot be evaluated: {error}"
        raise ConnectorError(message, "source", "config_error") from error
    stripped = template.strip()
    if stripped.startswith("{{") and stripped.endswith("}}") and stripped.count("{{") == 1:
        return _literal(text)
    return text


def render_text(template: Any, context: dict[str, Any]) -> str:
    """Return :func:`render` as text: for URLs, headers and tokens, where ``007`` must stay what it is."""
    if not isinstance(template, str):
        return str(template)
    try:
        return _ENVIRONMENT.from_string(template).render(context)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        message = f"manifest: {template!r} cannot be evaluated: {error}"
        raise ConnectorError(message, "source", "config_error") from error


def truth(template: Any, context: dict[str, Any]) -> bool:
    """Return a condition's value; empty, false, none and zero are false."""
    value = render(template, context)
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "none", "0", "[]", "{}")
    return bool(value)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
