"""The catalog in memory, written through to the store: lookup by path or id, listing, atomic changes."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from sandbox.dremio.entities import (
    Entity,
    Folder,
    Path,
    Source,
    Space,
    Table,
    View,
    from_json,
    kind_of,
    new_id,
    path_key,
    to_json,
)
from sandbox.dremio.errors import ApiError, ConcurrentChangeError
from sandbox.dremio.store import Store


class Catalog:
    """All catalog objects.

    Entities are immutable; a reader that holds one keeps a consistent view of it whatever is committed meanwhile.

    Args:
        store: where the objects are kept.
        user: the user whose home space exists from the start.
    """

    def __init__(self, store: Store, user: str) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._by_key: dict[str, Entity] = {}
        self._by_id: dict[str, Entity] = {}
        self._on_delete: list[Callable[[Entity], None]] = []
        self.generation = 0
        for kind, body in store.entities():
            self._index(from_json(kind, body))
        home = (f"@{user}",)
        if self.get(home) is None:
            self.put(Space(home))

    def _index(self, entity: Entity) -> None:
        self._by_key[entity.key] = entity
        self._by_id[entity.id] = entity
        self.generation += 1

    def on_delete(self, listener: Callable[[Entity], None]) -> None:
        """Call ``listener`` with every object that is deleted, inside the transaction that deletes it."""
        self._on_delete.append(listener)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the catalog still for a change of several steps that is committed as one."""
        with self._lock:
            before = dict(self._by_key), dict(self._by_id)
            try:
                with self._store.transaction():
                    yield
            except BaseException:
                self._by_key, self._by_id = before
                self.generation += 1
                raise

    # -- reading

    def get(self, path: Path | list[str]) -> Entity | None:
        """Return the object at a path, whatever its case and wherever its dots are quoted."""
        return self._by_key.get(path_key(path))

    def by_id(self, identifier: str) -> Entity | None:
        """Return the object with an identifier."""
        return self._by_id.get(identifier)

    def entities(self) -> list[Entity]:
        """Return all objects, ordered by path."""
        with self._lock:
            return [self._by_key[key] for key in sorted(self._by_key)]

    def roots(self) -> list[Entity]:
        """Return sources, spaces and homes."""
        return [entity for entity in self.entities() if isinstance(entity, Source | Space)]

    def children(self, path: Path) -> list[Entity]:
        """Return the objects directly in a container."""
        return [e for e in self.entities() if len(e.path) == len(path) + 1 and path_key(e.path[:-1]) == path_key(path)]

    def below(self, path: Path) -> list[Entity]:
        """Return the objects at any depth in a container."""
        prefix = path_key(path) + "."
        return [entity for entity in self.entities() if entity.key.startswith(prefix)]

    def datasets(self) -> list[View | Table]:
        """Return all views and tables, ordered by path."""
        return [entity for entity in self.entities() if isinstance(entity, View | Table)]

    def source_of(self, path: Path) -> Source | None:
        """Return the source a path lies in, None for paths in a space or nowhere."""
        first = path[0].split(".")[0] if path and self.get(path[:1]) is None else path[0] if path else ""
        entity = self.get((first,))
        return entity if isinstance(entity, Source) else None

    # -- changing

    def put(self, entity: Entity) -> Entity:
        """Write an object, new or changed.

        Returns:
            Entity: the object as written.
        """
        with self.change():
            old = self._by_id.get(entity.id)
            if old is not None and old.key != entity.key:
                del self._by_key[old.key]
            self._store.put_entity(entity.id, kind_of(entity), to_json(entity))
            self._index(entity)
        return entity

    def create(self, entity: Entity) -> Entity:
        """Write a new object.

        Raises:
            ApiError: 409 if the path is taken.
        """
        with self.change():
            if self.get(entity.path) is not None:
                raise already_exists(entity)
            return self.put(entity)

    def replace(self, old: Entity, new: Entity) -> Entity:
        """Write a new state of an object under a fresh tag, if nobody else changed it since ``old`` was read.

        Raises:
            ConcurrentChangeError: if the object was changed or deleted meanwhile.
        """
        with self.change():
            current = self._by_id.get(old.id)
            if current is None or current.tag != old.tag:
                name = ".".join(old.path)
                raise ConcurrentChangeError(f"Concurrent change of [{name}]: run the statement again.")
            return self.put(dataclasses.replace(new, tag=new_id()))

    def delete(self, entity: Entity) -> None:
        """Delete an object and everything in it."""
        with self.change():
            for victim in [*self.below(entity.path), entity]:
                if victim.id not in self._by_id:
                    continue
                for listener in self._on_delete:
                    listener(victim)
                self._store.delete_entity(victim.id)
                self._by_id.pop(victim.id, None)
                self._by_key.pop(victim.key, None)
            self.generation += 1

    def make_folders(self, path: Path) -> None:
        """Create the missing folders of a space that lead to ``path`` (itself not created)."""
        with self.change():
            for length in range(2, len(path)):
                if self.get(path[:length]) is None:
                    self.put(Folder(path[:length]))


def already_exists(entity: Entity) -> ApiError:
    """Return Dremio's answer to a second object of the same name."""
    if isinstance(entity, Space):
        return ApiError(409, f"A space with the name [{entity.name}] already exists.")
    if isinstance(entity, Source):
        return ApiError(409, f"A source with the name [{entity.name}] already exists.")
    return ApiError(409, f"An object already exists with that name: [{'.'.join(entity.path)}]")


def quoted(path: Iterable[str]) -> str:
    """Return a path as SQL, every part in double quotes."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in path)
