"""The server's state: indices and templates in memory, their store and engine, and one lock around all of it."""

from __future__ import annotations

import logging
import threading
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sandbox.elasticsearch import declarations, mapping, names
from sandbox.elasticsearch.engine import Engine
from sandbox.elasticsearch.errors import ElasticsearchError, illegal_argument, index_not_found
from sandbox.elasticsearch.mapping import IndexMapping, Json
from sandbox.elasticsearch.names import Options
from sandbox.elasticsearch.store import IndexRecord, Store
from sandbox.elasticsearch.target import Target

VERSION = "8.19.3"
"""The version of Elasticsearch this server speaks like."""
CLUSTER = "sandbox"
NODE_NAME = "sandbox"

logger = logging.getLogger(__name__)


class Node:
    """Everything the server knows. Callers hold :attr:`lock` around each request.

    Args:
        directory: where its data lives.
    """

    def __init__(self, directory: Path) -> None:
        self.lock = threading.RLock()
        self.after_commit = False
        """Set by a write that has to be visible when it is answered."""
        self.store = Store(directory / "documents.sqlite")
        self.id = self._identity()
        self.reload()
        self.engine = Engine(directory / "search", self.store)
        self.refresh()

    def _identity(self) -> str:
        from uuid import uuid4

        known = self.store.setting("node")
        if known is None:
            known = uuid4().hex[:22]
            with self.store.transaction():
                self.store.remember("node", known)
        return known

    def close(self) -> None:
        """Refresh, then release the files."""
        with self.lock:
            self.refresh()
            self.engine.close()
            self.store.close()

    def reload(self) -> None:
        """Read indices and templates from the store, for instance after a transaction that failed."""
        self.indices = {record.name: record for record in self.store.indices()}
        self.templates = self.store.templates()

    def refresh(self) -> None:
        """Make every acknowledged write visible to searches."""
        if self.store.is_dirty():
            started = time.monotonic()
            self.engine.refresh(list(self.indices.values()))
            logger.debug("refreshed in %.0f ms", (time.monotonic() - started) * 1000)

    def tick(self) -> None:
        """Refresh, as the refresh interval does."""
        with self.lock:
            self.refresh()

    # Choosing indices

    def resolve(self, expression: str, options: Options = Options()) -> list[IndexRecord]:  # noqa: B008  # frozen
        """Return the indices an expression means; see :func:`names.resolve`."""
        return names.resolve(expression, self.indices, options)

    def target(self, expression: str, options: Options = Options()) -> Target:  # noqa: B008  # frozen
        """Return the indices an expression means, ready to be searched."""
        return Target(self.engine, self.store, self.resolve(expression, options))

    def writable(self, name: str) -> IndexRecord:
        """Return the index a document sent to ``name`` goes to, created if it does not exist.

        Raises:
            ElasticsearchError: 400 if the name is no index name, or an alias of several indices.
        """
        behind = [record for record in self.indices.values() if name in record.aliases]
        if len(behind) > 1:
            raise illegal_argument(
                f"no write index is defined for alias [{name}]. The write index may be explicitly disabled using "
                "is_write_index=false or the alias points to multiple indices without one being designated as a "
                "write index"
            )
        if behind:
            return behind[0]
        return self.indices.get(name) or self.create_index(name, None)

    def existing(self, name: str) -> IndexRecord:
        """Return one existing index or the index behind an alias.

        Raises:
            ElasticsearchError: 404 if there is none.
        """
        if name in self.indices or any(name in record.aliases for record in self.indices.values()):
            return self.writable(name)
        raise index_not_found(name)

    # Indices

    def create_index(self, name: str, raw: Any) -> IndexRecord:
        """Create an index inside the transaction under way.

        Args:
            name: its name.
            raw: the request: settings, mappings, aliases; None for none of them.

        Raises:
            ElasticsearchError: 400 if it exists or cannot be declared so.
        """
        names.check_name(name)
        if name in self.indices:
            known = self.indices[name]
            raise ElasticsearchError(
                400,
                "resource_already_exists_exception",
                f"index [{name}/{known.uuid}] already exists",
                details={"index_uuid": known.uuid, "index": name},
            )
        if any(name in record.aliases for record in self.indices.values()):
            raise ElasticsearchError(
                400,
                "invalid_index_name_exception",
                f"Invalid index name [{name}], already exists as alias",
                details={"index_uuid": "_na_", "index": name},
            )
        settings, declared, aliases = declarations.for_index(name, raw, self.templates)
        record = self.store.create_index(name, settings, declared, aliases)
        self.indices[name] = record
        return record

    def delete_indices(self, expression: str, options: Options) -> None:
        """Delete the indices an expression names; Elasticsearch takes no patterns here by default.

        Raises:
            ElasticsearchError: 400 for a pattern or an alias, 404 for a name that does not exist.
        """
        if "*" in expression or expression == "_all":
            raise illegal_argument("Wildcard expressions or all indices are not allowed")
        records = self.resolve(expression, options)
        for name in expression.split(","):
            if name not in self.indices and any(name in record.aliases for record in records):
                raise illegal_argument(
                    f"The provided expression [{name}] matches an alias, specify the corresponding concrete indices "
                    "instead."
                )
        for record in records:
            self.store.drop_index(record)
            del self.indices[record.name]

    def put_mapping(self, records: list[IndexRecord], raw: Any) -> None:
        """Add fields to indices, all of them or none."""
        new = mapping.check(raw)
        merged = [IndexMapping(mapping.merge(record.mapping.declared, new)) for record in records]
        for record, each in zip(records, merged, strict=True):
            record.mapping = each
            self.store.update_index(record)

    def put_settings(self, records: list[IndexRecord], raw: Any) -> None:
        """Change settings of indices."""
        body = raw.get("settings", raw) if isinstance(raw, dict) else raw
        changed = [declarations.changed_settings(record.settings, body) for record in records]
        for record, each in zip(records, changed, strict=True):
            record.settings = each
            self.store.update_index(record)

    # Templates

    def put_template(self, name: str, raw: Any, create: bool) -> None:
        """Add or replace an index template."""
        if create and name in self.templates:
            raise illegal_argument(f"index template [{name}] already exists")
        body = declarations.template(raw)
        declarations.check_overlap(name, body, self.templates)
        self.store.put_template(name, body)
        self.templates[name] = body

    def find_templates(self, pattern: str) -> dict[str, Json]:
        """Return the templates whose name matches.

        Raises:
            ElasticsearchError: 404 if a name without ``*`` does not exist.
        """
        found = {name: body for name, body in self.templates.items() if fnmatchcase(name, pattern or "*")}
        if not found and pattern and "*" not in pattern:
            raise ElasticsearchError(
                404, "resource_not_found_exception", f"index template matching [{pattern}] not found"
            )
        return found

    def delete_template(self, name: str) -> None:
        """Remove an index template."""
        if name not in self.templates:
            raise ElasticsearchError(404, "index_template_missing_exception", f"index_template [{name}] missing")
        self.store.drop_template(name)
        del self.templates[name]


def shown_settings(record: IndexRecord) -> Json:
    """Return an index's settings as Elasticsearch shows them."""
    own = {"number_of_shards": "1", "number_of_replicas": "1", **record.settings}
    return {
        "index": {
            "routing": {"allocation": {"include": {"_tier_preference": "data_content"}}},
            "provided_name": record.name,
            "creation_date": str(record.created),
            "uuid": record.uuid,
            "version": {"created": "8536000"},
            **own,
        }
    }


def replicas(record: IndexRecord) -> int:
    """Return how many copies the settings of an index ask for, none of which one process has."""
    return int(record.settings.get("number_of_replicas", "1"))


def shards(record: IndexRecord) -> int:
    """Return the number of primary shards an index declares."""
    return int(record.settings.get("number_of_shards", "1"))
