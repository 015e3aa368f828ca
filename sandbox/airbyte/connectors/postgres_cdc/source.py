"""source-postgres with CDC: which streams it has and how a sync reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from sandbox.airbyte.connectors.base import ConfiguredStream, Log, PlannedStream, Stream, StreamReader
from sandbox.airbyte.connectors.postgres import PostgresSource
from sandbox.airbyte.connectors.postgres_cdc.capture import Capture, Reader, reads_again
from sandbox.airbyte.connectors.postgres_cdc.records import COLUMNS, LSN
from sandbox.airbyte.connectors.postgres_cdc.slot import PublishedTable, Slot
from sandbox.airbyte.connectors.postgres_cdc.text_types import SESSION


class PostgresCdcSource(PostgresSource):
    """A PostgreSQL database whose changes are read from a replication slot.

    Args:
        configuration: as in the connector's specification, with ``replication_method.method`` CDC.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        super().__init__(configuration)
        self._method: dict[str, Any] = configuration["replication_method"]
        self._capture: Capture | None = None

    def check(self) -> None:
        """Connect, list the tables, and look at slot, publication and rights.

        Raises:
            ConnectorError: naming what is missing and the statement that puts it right.
        """
        with self._session() as session:
            slot = Slot(session, self._method, self.address)
            if slot.check().lost and not reads_again(self._method):
                raise slot.wrong(f"{slot.lost}. Recreate it and clear the data of its connections.")
        super().check()

    def discover(self) -> list[Stream]:
        """Return one stream for every readable table; those that are published and have a key can be incremental.

        Raises:
            ConnectorError: if the database cannot be reached.
        """
        with self._session() as session:
            published = Slot(session, self._method, self.address).tables()
        streams = super().discover()
        return [_described(stream, published.get((stream.namespace or "", stream.name))) for stream in streams]

    def begin(self, plans: list[PlannedStream], shared: dict[str, Any] | None, spool: Path, log: Log) -> None:
        """Read the slot for all incremental streams together, before :meth:`read` is called for each.

        Raises:
            ConnectorError: if slot, publication or state do not allow it.
        """
        changing = [plan for plan in plans if plan.configured.incremental]
        if not changing:
            return
        with self._translated():
            self._capture = Capture(self._connect, self._method, self.address, spool, log)
            self._capture.begin(changing, shared)

    def read(self, configured: ConfiguredStream, state: dict[str, Any] | None, log: Log) -> StreamReader:
        """Begin a pass over a stream; one that is not incremental is a plain table.

        Raises:
            ConnectorError: if the table or a selected column is gone.
        """
        if configured.incremental:
            assert self._capture is not None
            return _Reader(self, self._capture.reader(configured))
        schema = configured.stream.json_schema
        properties = {name: field for name, field in schema["properties"].items() if name not in COLUMNS}
        stream = replace(configured.stream, json_schema={**schema, "properties": properties})
        return super().read(replace(configured, stream=stream), state, log)

    def shared_state(self) -> dict[str, Any] | None:
        """Return the position up to which the sync has read the slot; None if all streams are plain tables."""
        return self._capture.shared_state() if self._capture is not None else None

    def committed(self) -> None:
        """Move the slot: the sync's records and its state are safe.

        Raises:
            ConnectorError: if the slot cannot be moved now; the next sync does it then.
        """
        if self._capture is not None:
            with self._translated():
                self._capture.committed()

    def interrupt(self) -> None:
        """Ask PostgreSQL to cancel what runs."""
        super().interrupt()
        if self._capture is not None:
            self._capture.interrupt()

    def close(self) -> None:
        """Let go of connections, the snapshot and local files."""
        if self._capture is not None:
            self._capture.close()

    def _connect(self, **more: Any) -> psycopg.Connection[Any]:
        """Open a session that writes values as the decoder reads them."""
        options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
        return psycopg.connect(**{**self._parameters, "options": options}, **more)

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        with self._translated(), self._connect(autocommit=True) as session:
            yield session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._failed(str(error)) from error


class _Reader:
    """A table's pass whose failures are the source's."""

    def __init__(self, source: PostgresCdcSource, reader: Reader) -> None:
        self._source = source
        self._reader = reader

    def batches(self) -> Iterator[Any]:
        with self._source._translated():
            yield from self._reader.batches()

    def state(self) -> dict[str, Any]:
        return self._reader.state()


def _described(stream: Stream, published: PublishedTable | None) -> Stream:
    """Return a stream as CDC offers it: Airbyte's columns added, and incremental only where changes can be followed."""
    properties = dict(stream.json_schema["properties"])
    if published is not None:
        properties = {column.name: properties[column.name] for column in published.columns}
    schema = {**stream.json_schema, "properties": {**properties, **COLUMNS}}
    followed = published is not None and published.identifies_rows
    modes = ("full_refresh", "incremental") if followed else ("full_refresh",)
    cursor = [LSN] if followed else []
    return replace(stream, json_schema=schema, sync_modes=modes, default_cursor=cursor, source_defined_cursor=followed)
