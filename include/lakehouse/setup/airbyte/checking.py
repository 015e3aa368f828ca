"""A configuration against the official client's model of its connector: faults are found before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from lakehouse.files import ConfigError
from lakehouse.setup.airbyte.declared import Actor

# Fields of the connectors that the client's models leave out, as Airbyte's own pages do (airbyte_hidden).
_HIDDEN_FIELDS = ("inference_type",)


def check(actor: Actor, configuration: Mapping[str, Any]) -> None:
    """Check a configuration, its references resolved.

    Args:
        actor: The declared source or destination.
        configuration: What is to be sent.

    Raises:
        ConfigError: Naming the file, the path inside it and what is allowed; the value only where it is written in the
            file, as it may be a secret elsewhere.
    """
    where = f"{actor.file}: {actor.kind}s.{actor.name}.configuration"
    model = _model(actor.kind, configuration.get(f"{actor.kind}Type"), where)
    try:
        checked = model.model_validate(configuration)
    except ValidationError as error:
        faults = [_fault(item, actor.configuration) for item in _relevant(error.errors(), configuration)]
    else:
        faults = list(_unknown(checked, configuration))
    if faults:
        raise ConfigError("\n".join(f"{where}.{fault}" for fault in faults))


def _model(kind: str, name: Any, where: str) -> type[BaseModel]:
    from airbyte_api import models

    known = [item for item in dir(models) if item.startswith(kind.capitalize())]
    wanted = kind.capitalize() + "".join(part.capitalize() for part in str(name).split("-"))
    if name is None or wanted not in known:
        close = get_close_matches(wanted, [item for item in known if not item.endswith("TypedDict")], n=3)
        hint = f"; close to it: {', '.join(item.removeprefix(kind.capitalize()).lower() for item in close)}"
        raise ConfigError(f"{where}.{kind}Type: {name!r}: Airbyte has no such connector{hint if close else ''}")
    model: type[BaseModel] = getattr(models, wanted)
    return model


def _path(location: Sequence[Any], value: Any) -> list[Any]:
    """Return the part of a fault's location that is a path in the value: without the names of alternatives."""
    path = []
    for step in location:
        inside: Any = range(len(value)) if isinstance(value, list) else value if isinstance(value, Mapping) else ()
        if step in inside:
            value = value[step]
        elif step is not location[-1]:
            continue
        path.append(step)
    return path


def _relevant(errors: Sequence[Any], configuration: Mapping[str, Any]) -> Iterator[Any]:
    """Leave out the faults of alternatives that were not chosen: those whose one-valued field says something else."""
    other = {
        tuple(item["loc"][:-1])
        for item in errors
        if item["type"] == "enum" and " or " not in str(item["ctx"]["expected"]) and len(item["loc"]) > 1
    }
    chosen = [item for item in errors if not any(tuple(item["loc"][: len(prefix)]) == prefix for prefix in other)]
    yield from chosen or errors


def _fault(item: Any, declared: Mapping[str, Any]) -> str:
    path = _path(item["loc"], declared)
    value: Any = declared
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else value[step] if isinstance(value, list) else None
    shown = f"{value!r}: " if isinstance(value, str | int | float) else ""
    return f"{'.'.join(map(str, path))}: {shown}{item['msg']}"


def _unknown(model: Any, declared: Any, path: str = "") -> Iterator[str]:
    if isinstance(model, BaseModel) and isinstance(declared, Mapping):
        if type(model).model_config.get("extra") == "allow":
            return
        names = {field.alias or name: name for name, field in type(model).model_fields.items()}
        for key, value in declared.items():
            if key in _HIDDEN_FIELDS:
                continue
            if key not in names:
                yield f"{path}{key}: no such field; allowed: {', '.join(names)}"
            else:
                yield from _unknown(getattr(model, names[key]), value, f"{path}{key}.")
    elif isinstance(model, list) and isinstance(declared, list):
        for number, (one, other) in enumerate(zip(model, declared, strict=False)):
            yield from _unknown(one, other, f"{path}{number}.")
