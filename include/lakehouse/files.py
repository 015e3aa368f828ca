"""Reading what is declared under ``include``: where it lies, and errors that say what to correct."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

_Model = TypeVar("_Model", bound=BaseModel)


class ConfigError(ValueError):
    """A configuration file is missing, unreadable or says something that is not allowed."""


def include_dir() -> Path:
    """Return the folder with everything declared: LAKEHOUSE_INCLUDE_DIR, or the ``include`` this package lies in."""
    configured = os.environ.get("LAKEHOUSE_INCLUDE_DIR")
    return Path(configured) if configured else Path(__file__).resolve().parent.parent


def unreadable(path: Path, error: OSError) -> ConfigError:
    """Return the error for a file that cannot be read.

    Args:
        path: The file.
        error: What the operating system said.
    """
    return ConfigError(f"{path}: cannot be read: {error.strerror}. Set LAKEHOUSE_INCLUDE_DIR if it lies elsewhere.")


def read_yaml(path: Path) -> Any:
    """Read one YAML file.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        ConfigError: When the file is missing or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error


def parse(model: type[_Model], data: object, path: Path) -> _Model:
    """Check data against a model.

    Args:
        model: The pydantic model.
        data: What the file holds.
        path: The file, for messages.

    Returns:
        The typed value.

    Raises:
        ConfigError: Naming the file, the path inside it, the value and what is allowed, one line for each fault.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(path, item) for item in error.errors())) from error


def _fault(path: Path, item: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "(top level)"
    message = str(item["msg"]).removeprefix("Value error, ")
    value = item.get("input")
    if isinstance(value, dict | list | tuple):
        return f"{path}: {where}: {message}"
    return f"{path}: {where}: {value!r}: {message}"
