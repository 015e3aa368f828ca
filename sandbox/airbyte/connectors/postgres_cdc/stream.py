"""A table whose changes a sync reads: how far it is, and its changes as records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.airbyte.connectors.base import ConfiguredStream, Log
from sandbox.airbyte.connectors.postgres_cdc import records
from sandbox.airbyte.connectors.postgres_cdc.messages import Changes, RelationColumn
from sandbox.airbyte.connectors.postgres_cdc.slot import PublishedTable
from sandbox.airbyte.connectors.postgres_cdc.snapshot import Snapshot
from sandbox.airbyte.connectors.postgres_cdc.spool import Spool
from sandbox.airbyte.connectors.postgres_types import Column

Table = tuple[str, str]
"""Schema and name."""


def table_of(configured: ConfiguredStream) -> Table:
    """Return the table that a stream is."""
    return configured.stream.namespace or "public", configured.stream.name


@dataclass
class CapturedStream:
    """One stream of one sync.

    Attributes:
        configured: the stream as the connection uses it.
        published: what the publication carries of its table.
        spool: where its changes wait while another stream is read.
        log: told what is lost.
        load: whether the table is loaded before its changes are read.
        replaces: whether something of the stream has landed that a load has to end.
        position: transactions whose commit record begins before it have landed.
        snapshot_position: where the table was loaded, 0 if it never was.
    """

    configured: ConfiguredStream
    published: PublishedTable
    spool: Spool
    log: Log
    load: bool
    replaces: bool
    position: int = 0
    snapshot_position: int = 0

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.configured.stream.name

    @property
    def key(self) -> tuple[str, ...]:
        """The names of the columns that name a row; none if nothing but the whole row does."""
        own = tuple(column.name for column in self.published.columns if column.key)
        return own or tuple(path[0] for path in self.configured.primary_key)

    def state(self) -> dict[str, Any]:
        """Return what the stream has of its own beside the position that all share: that it is loaded, and where."""
        return {
            "stream_name": self.name,
            "stream_namespace": self.configured.stream.namespace,
            "cursor_field": [],
            "snapshot_lsn": self.snapshot_position,
        }

    def loaded(self, snapshot: Snapshot) -> Iterator[Any]:
        """Yield the records of the load."""
        fields = [
            Column(column.name, column.type_name, column.type_modifier)
            for column in self.published.columns
            if self._wanted(column.name)
        ]
        at = snapshot.position, snapshot.taken_at
        if self.replaces:
            yield records.truncation(fields, *at)
        schema, table = table_of(self.configured)
        for batch in snapshot.rows(schema, table, [field.name for field in fields]):
            yield records.snapshot(batch, fields, *at, self._lossy)

    def changed(self, changes: Changes) -> Any:
        """Return changes of the table as a batch of records, None if all of them have landed.

        Raises:
            UnavailableValue: if an update left out a value that is not text.
        """
        # PostgreSQL's own rule for a slot's position: a transaction is behind it if its commit record begins before.
        rows = np.flatnonzero(changes.commit_lsn >= self.position)
        if not len(rows):
            return None
        fields = [self._field(column) for column in changes.relation.columns]
        wanted = [number for number, field in enumerate(fields) if self._wanted(field.name)]
        return records.changes(changes, rows, fields, wanted, self.snapshot_position, self._lossy)

    def _field(self, column: RelationColumn) -> Column:
        known = {published.type_oid: published.type_name for published in self.published.columns}
        type_name = known.get(column.type_oid) or records.type_name(column.type_oid)
        return Column(column.name, type_name, column.type_modifier)

    def _wanted(self, column: str) -> bool:
        return not self.configured.narrowed or column in self.configured.stream.columns

    def _lossy(self, column: str, count: int) -> None:
        self.log("warn", f"{self.name}.{column}: {count} values beyond what its type holds became null")
