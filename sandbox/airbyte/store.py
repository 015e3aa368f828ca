"""What has been configured: definitions, sources, destinations, connections."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from sandbox.airbyte import registry
from sandbox.airbyte.database import Database, now
from sandbox.airbyte.problems import not_found
from sandbox.airbyte.registry import Definition

WORKSPACE_ID = "f2a1e7c4-6f0b-4b53-9a34-0d6f6a2f5c11"
WORKSPACE_NAME = "Default Workspace"


@dataclass(frozen=True)
class Actor:
    """A source or a destination.

    Attributes:
        id: its id.
        kind: ``source`` or ``destination``.
        name: its name.
        definition: its connector.
        configuration: as stored, with secrets, without ``sourceType``/``destinationType``.
        created_at: epoch seconds.
    """

    id: str
    kind: str
    name: str
    definition: Definition
    configuration: dict[str, Any]
    created_at: int


@dataclass(frozen=True)
class Connection:
    """A connection.

    Attributes:
        id: its id.
        name: its name.
        source_id: where it reads.
        destination_id: where it writes.
        body: everything else as the public API returns it (``status``, ``schedule``, ``configurations``, ...), and
            ``catalog``: the discovered streams.
        created_at: epoch seconds.
    """

    id: str
    name: str
    source_id: str
    destination_id: str
    body: dict[str, Any]
    created_at: int


class Store:
    """Reads and writes the configuration tables.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # Definitions

    def add_definition(self, name: str, manifest: dict[str, Any]) -> Definition:
        """Store a declarative definition.

        Raises:
            Problem: 422 or 501 if the manifest cannot be interpreted.
        """
        definition = registry.declarative(str(uuid.uuid4()), name, manifest, 1)
        self._database.execute(
            "insert into definition values (?, ?, ?, ?, ?)",
            (definition.id, name, json.dumps(manifest), 1, int(now())),
        )
        return definition

    def update_definition(self, definition_id: str, manifest: dict[str, Any]) -> Definition:
        """Give a declarative definition a new manifest; its version goes up by one.

        Raises:
            Problem: 404 if there is none with this id, 422 or 501 if the manifest cannot be interpreted.
        """
        before = self.declarative_definition(definition_id)
        after = registry.declarative(definition_id, before.name, manifest, before.version + 1)
        self._database.execute(
            "update definition set manifest = ?, version = ? where id = ?",
            (json.dumps(manifest), after.version, definition_id),
        )
        return after

    def delete_definition(self, definition_id: str) -> Definition:
        """Delete a declarative definition together with the sources made from it.

        Raises:
            Problem: 404 if there is none with this id.
        """
        definition = self.declarative_definition(definition_id)
        with self._database.transaction():
            for actor in self.actors("source"):
                if actor.definition.id == definition_id:
                    self.delete_actor("source", actor.id)
            self._database.execute("delete from definition where id = ?", (definition_id,))
        return definition

    def declarative_definitions(self) -> list[Definition]:
        """Return all declarative definitions, oldest first."""
        rows = self._database.rows("select * from definition order by created_at, rowid")
        return [registry.declarative(r["id"], r["name"], json.loads(r["manifest"]), r["version"]) for r in rows]

    def declarative_definition(self, definition_id: str) -> Definition:
        """Return one declarative definition.

        Raises:
            Problem: 404 if there is none with this id.
        """
        row = self._database.row("select * from definition where id = ?", (definition_id,))
        if row is None:
            raise not_found("DECLARATIVE_SOURCE_DEFINITION", definition_id)
        return registry.declarative(row["id"], row["name"], json.loads(row["manifest"]), row["version"])

    def definition(self, kind: str, definition_id: str) -> Definition:
        """Return a built-in or declarative definition.

        Raises:
            Problem: 404 if there is none of this kind with this id.
        """
        for known in registry.BUILT_IN:
            if (known.id, known.kind) == (definition_id, kind):
                return known
        if kind == "source":
            return self.declarative_definition(definition_id)
        raise not_found("STANDARD_DESTINATION_DEFINITION", definition_id)

    # Sources and destinations

    def add_actor(self, kind: str, name: str, definition: Definition, configuration: dict[str, Any]) -> Actor:
        """Store a source or destination whose configuration has been checked."""
        actor = Actor(str(uuid.uuid4()), kind, name, definition, configuration, int(now()))
        self._database.execute(
            "insert into actor values (?, ?, ?, ?, ?, ?)",
            (actor.id, kind, name, definition.id, json.dumps(configuration), actor.created_at),
        )
        return actor

    def update_actor(self, actor: Actor) -> None:
        """Store an actor's new name and configuration."""
        self._database.execute(
            "update actor set name = ?, configuration = ? where id = ?",
            (actor.name, json.dumps(actor.configuration), actor.id),
        )

    def delete_actor(self, kind: str, actor_id: str) -> None:
        """Delete a source or destination together with its connections.

        Raises:
            Problem: 404 if there is none with this id.
        """
        self.actor(kind, actor_id)
        with self._database.transaction():
            for connection in self.connections():
                if actor_id in (connection.source_id, connection.destination_id):
                    self.delete_connection(connection.id)
            self._database.execute("delete from actor where id = ?", (actor_id,))

    def actors(self, kind: str) -> list[Actor]:
        """Return all sources or all destinations, newest first as Airbyte lists them."""
        rows = self._database.rows("select * from actor where kind = ? order by created_at desc, rowid desc", (kind,))
        return [self._actor(row) for row in rows]

    def actor(self, kind: str, actor_id: str) -> Actor:
        """Return one source or destination.

        Raises:
            Problem: 404 if there is none with this id.
        """
        row = self._database.row("select * from actor where kind = ? and id = ?", (kind, actor_id))
        if row is None:
            raise not_found(f"{kind.upper()}_CONNECTION", actor_id)
        return self._actor(row)

    def _actor(self, row: Any) -> Actor:
        definition = self.definition(row["kind"], row["definition_id"])
        configuration = json.loads(row["configuration"])
        return Actor(row["id"], row["kind"], row["name"], definition, configuration, row["created_at"])

    # Connections

    def add_connection(self, name: str, source_id: str, destination_id: str, body: dict[str, Any]) -> Connection:
        """Store a connection whose streams have been checked."""
        connection = Connection(str(uuid.uuid4()), name, source_id, destination_id, body, int(now()))
        self._database.execute(
            "insert into connection values (?, ?, ?, ?, ?, ?)",
            (connection.id, name, source_id, destination_id, json.dumps(body), connection.created_at),
        )
        return connection

    def update_connection(self, connection: Connection) -> None:
        """Store a connection's new name and body."""
        self._database.execute(
            "update connection set name = ?, body = ? where id = ?",
            (connection.name, json.dumps(connection.body), connection.id),
        )

    def delete_connection(self, connection_id: str) -> None:
        """Delete a connection and its state; its jobs stay in the history.

        Raises:
            Problem: 404 if there is none with this id.
        """
        self.connection(connection_id)
        with self._database.transaction():
            self._database.execute("delete from stream_state where connection_id = ?", (connection_id,))
            self._database.execute("delete from shared_state where connection_id = ?", (connection_id,))
            self._database.execute("delete from generation where connection_id = ?", (connection_id,))
            self._database.execute("delete from connection where id = ?", (connection_id,))

    def connections(self) -> list[Connection]:
        """Return all connections, newest first."""
        return [_connection(row) for row in self._database.rows(_CONNECTIONS + " order by created_at desc, rowid desc")]

    def connection(self, connection_id: str) -> Connection:
        """Return one connection.

        Raises:
            Problem: 404 if there is none with this id.
        """
        row = self._database.row(_CONNECTIONS + " where id = ?", (connection_id,))
        if row is None:
            raise not_found("STANDARD_SYNC", connection_id)
        return _connection(row)


_CONNECTIONS = "select id, name, source_id, destination_id, body, created_at from connection"


def _connection(row: Any) -> Connection:
    body = json.loads(row["body"])
    return Connection(row["id"], row["name"], row["source_id"], row["destination_id"], body, row["created_at"])
