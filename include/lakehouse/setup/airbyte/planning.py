"""From what is declared and what Airbyte has to the steps that make the one the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lakehouse import templates
from lakehouse.airbyte import AirbyteError, ask, every
from lakehouse.setup.airbyte.checking import check
from lakehouse.setup.airbyte.declared import Actor, Declared, DeclaredConnection, stream_configurations
from lakehouse.setup.changes import Action, Change, remember_applied, same_as_applied

if TYPE_CHECKING:
    from airbyte_api import AirbyteAPI

HIDDEN = "(hidden)"
_MASK = "**********"
_NOT_SHOWN = "a value that Airbyte does not show"


def _nothing() -> None:
    """Do what has to be done about an object that is as declared."""


@dataclass(frozen=True)
class Step:
    """One declared object, and what has to be done about it.

    Args:
        kind: "connector", "source", "destination" or "connection".
        name: Its name.
        action: "created", "updated" or "unchanged".
        fields: What differs, field by field: "path: what Airbyte has -> what is declared"; secrets are hidden.
        carry_out: Does it.
    """

    kind: str
    name: str
    action: Action
    fields: tuple[str, ...] = ()
    carry_out: Callable[[], None] = field(default=_nothing, repr=False, compare=False)

    @property
    def change(self) -> Change:
        """The same, as every set-up reports it."""
        detail = "; ".join(self.fields) if self.action == "updated" else ""
        return Change("airbyte", self.kind, self.name, self.action, detail)


class Planner:
    """Plans all steps at once. Carried out in their order, a step finds the ids that those before it have made.

    Args:
        api: Airbyte's public API.
        declared: What Airbyte is to have.
    """

    def __init__(self, api: AirbyteAPI, declared: Declared) -> None:
        self._api = api
        self._declared = declared
        self._ids: dict[tuple[str, str], str] = {}
        resolved = [(actor, self._resolved(actor)) for actor in declared.actors]
        workspaces = list(every(api.workspaces.list_workspaces))
        if not workspaces:
            raise AirbyteError("Airbyte has no workspace: finish its first-time set-up in the browser, then try again")
        self._workspace = str(workspaces[0]["workspaceId"])
        self._found = {
            "connector": by_name(
                every(
                    api.declarative_source_definitions.list_declarative_source_definitions,
                    workspace_id=self._workspace,
                ),
                "declarative sources",
            ),
            "source": by_name(every(api.sources.list_sources), "sources"),
            "destination": by_name(every(api.destinations.list_destinations), "destinations"),
            "connection": by_name(every(api.connections.list_connections), "connections"),
        }
        self.steps: list[Step] = []
        for actor, configuration in resolved:
            if actor.manifest is not None:
                self.steps.append(self._connector(actor, actor.manifest))
            self.steps.append(self._actor(actor, configuration))
        self.steps += [self._connection(connection) for connection in declared.connections]

    def _resolved(self, actor: Actor) -> dict[str, Any]:
        configuration: dict[str, Any] = templates.resolve(actor.configuration, f"{actor.file}: {actor.name}")
        if actor.manifest is None:
            check(actor, configuration)
        return configuration

    def _connector(self, actor: Actor, manifest: dict[str, Any]) -> Step:
        definitions = self._api.declarative_source_definitions
        found = self._found["connector"].get(actor.name)

        def create() -> None:
            body = {"name": actor.name, "manifest": manifest}
            made = ask(
                definitions.create_declarative_source_definition,
                workspace_id=self._workspace,
                create_declarative_source_definition_request=body,
            )
            self._ids["connector", actor.name] = str(made.raw_response.json()["id"])
            remember_applied("airbyte", "connector", actor.name, manifest)

        def update() -> None:
            ask(
                definitions.update_declarative_source_definition,
                workspace_id=self._workspace,
                definition_id=self._ids["connector", actor.name],
                update_declarative_source_definition_request={"manifest": manifest},
            )
            remember_applied("airbyte", "connector", actor.name, manifest)

        if found is None:
            return Step("connector", actor.name, "created", (), create)
        self._ids["connector", actor.name] = str(found["id"])
        fields = tuple(differences(manifest, found["manifest"], manifest))
        return self._updated("connector", actor.name, fields, manifest, update)

    def _actor(self, actor: Actor, configuration: dict[str, Any]) -> Step:
        kind = actor.kind
        operations = self._api.sources if kind == "source" else self._api.destinations
        found = self._found[kind].get(actor.name)

        def create() -> None:
            body = {"name": actor.name, "workspace_id": self._workspace, "configuration": configuration}
            if actor.manifest is not None:
                body["definition_id"] = self._ids["connector", actor.name]
            made = _send(getattr(operations, f"create_{kind}"), _request(kind, "Create", body))
            self._ids[kind, actor.name] = str(made.raw_response.json()[f"{kind}Id"])
            remember_applied("airbyte", kind, actor.name, configuration)

        def update() -> None:
            from airbyte_api import api

            body = _request(kind, "Put", {"name": actor.name, "configuration": configuration})
            put = getattr(api, f"Put{kind.capitalize()}Request")
            wrapped = put.model_construct(**{f"{kind}_id": self._ids[kind, actor.name], f"{kind}_put_request": body})
            _send(getattr(operations, f"put_{kind}"), wrapped)
            remember_applied("airbyte", kind, actor.name, configuration)

        if found is None:
            return Step(kind, actor.name, "created", tuple(_leaves(configuration, actor.configuration)), create)
        self._ids[kind, actor.name] = str(found[f"{kind}Id"])
        fields = tuple(differences(configuration, found["configuration"], actor.configuration))
        return self._updated(kind, actor.name, fields, configuration, update)

    def _updated(self, kind: str, name: str, fields: tuple[str, ...], value: Any, update: Callable[[], None]) -> Step:
        # Airbyte masks secrets: the fingerprint of what was applied last tells whether one has changed.
        if not fields and same_as_applied("airbyte", kind, name, value):
            return Step(kind, name, "unchanged")
        return Step(kind, name, "updated", fields or (_NOT_SHOWN,), update)

    def _connection(self, declared: DeclaredConnection) -> Step:
        wanted = {
            "name": declared.name,
            "status": declared.status,
            "schedule": {"scheduleType": "manual"},
            "namespaceDefinition": declared.namespace_definition,
            "nonBreakingSchemaUpdatesBehavior": declared.schema_updates,
            "configurations": {"streams": stream_configurations(self._declared.streams[declared.name])},
        }

        def create() -> None:
            ends = {f"{kind}Id": self._ids[kind, getattr(declared, kind)] for kind in ("source", "destination")}
            ask(self._api.connections.create_connection, **wanted, **ends)

        found = self._found["connection"].get(declared.name)
        if found is None:
            return Step("connection", declared.name, "created", tuple(_leaves(wanted, wanted)), create)
        for kind in ("source", "destination"):
            if found[f"{kind}Id"] != self._ids.get((kind, getattr(declared, kind))):
                raise AirbyteError(
                    f"Airbyte connection {declared.name!r} has another {kind} than declared, which cannot be changed: "
                    "delete the connection in Airbyte, then run this again."
                )

        def update() -> None:
            connection_id = str(found["connectionId"])
            ask(self._api.connections.patch_connection, connection_id=connection_id, connection_patch_request=wanted)

        fields = tuple(_connection_differences(wanted, found))
        return Step(
            "connection", declared.name, "updated" if fields else "unchanged", fields, update if fields else _nothing
        )


def by_name(items: Iterable[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Return objects by their name.

    Args:
        items: As Airbyte lists them.
        kind: What they are, for messages.

    Raises:
        AirbyteError: When two have the same name.
    """
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        name = str(item["name"])
        if name in found:
            raise AirbyteError(f"Airbyte has two {kind} named {name!r}; delete one of them, then run this again.")
        found[name] = item
    return found


def differences(wanted: Any, found: Any, declared: Any, path: str = "") -> Iterator[str]:
    """Compare a value with what Airbyte shows of it.

    What Airbyte shows beyond the declaration is its own business, and what it masks or does not show at all is for the
    fingerprint to tell.

    Args:
        wanted: The value, its references resolved.
        found: What Airbyte returned.
        declared: The value as it is written down.
        path: Where in the value this is.

    Yields:
        "path: found -> wanted" for each field; what a reference stands for is hidden.
    """
    if found == _MASK:
        return
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key in wanted:
            if key in found:
                yield from differences(wanted[key], found[key], declared[key], f"{path}.{key}" if path else str(key))
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, values in enumerate(zip(wanted, found, declared, strict=True)):
            yield from differences(*values, f"{path}.{number}")
    elif wanted != found and (wanted or found):
        left, right = (HIDDEN, HIDDEN) if _is_reference(declared) else (repr(found), repr(wanted))
        yield f"{path}: {left} -> {right}"


def _is_reference(declared: Any) -> bool:
    return isinstance(declared, str) and "{{" in declared


def _leaves(value: Any, declared: Any, path: str = "") -> Iterator[str]:
    """Yield "path: value" for every value of an object that is not there yet."""
    entries: Iterable[tuple[Any, Any]] | None = None
    if isinstance(value, Mapping):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    if entries is None:
        yield f"{path}: {HIDDEN if _is_reference(declared) else repr(value)}"
        return
    for key, item in entries:
        yield from _leaves(item, declared[key], f"{path}.{key}" if path else str(key))


def _connection_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        if key != "configurations":
            yield from differences(value, found.get(key), value, key)
    declared = {item["name"]: item for item in wanted["configurations"]["streams"]}
    there = {item["name"]: item for item in (found.get("configurations") or {}).get("streams") or []}
    for name in sorted(declared.keys() | there.keys()):
        if name not in there:
            yield f"stream {name}: is added"
        elif name not in declared:
            yield f"stream {name}: is taken out"
        else:
            yield from differences(declared[name], there[name], declared[name], f"stream {name}")


def _request(kind: str, verb: str, fields: Mapping[str, Any]) -> Any:
    """Return a request of the official client whose configuration is sent as it is.

    The client's own union of all connectors takes a low-code connector's configuration for another's and loses fields.
    """
    from airbyte_api import models

    base: Any = getattr(models, f"{kind.capitalize()}{verb}Request")
    return base.model_construct(**fields)


def _send(operation: Callable[..., Any], request: Any) -> Any:
    with warnings.catch_warnings():
        # pydantic says that the configuration is no member of that union, and says it with all its values.
        warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
        return ask(operation, request)
