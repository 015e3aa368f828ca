"""What the connectors have in common: streams, batches, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import pyarrow as pa

Batch: TypeAlias = "pa.RecordBatch | list[dict[str, Any]]"
"""Records on their way: Arrow where the source is columnar, plain dictionaries where it is JSON."""

Log = Callable[[str, str], None]
"""``log(level, message)`` with level debug, info, warn or error."""


class ConnectorError(Exception):
    """A connector could not do its work.

    Args:
        message: what happened, to which service at which address, and what to check; never a secret.
        origin: ``source`` or ``destination``.
        failure_type: ``config_error``, ``transient_error`` or ``system_error``, as in Airbyte's failure summary.
    """

    def __init__(self, message: str, origin: str, failure_type: str = "system_error") -> None:
        super().__init__(message)
        self.message = message
        self.origin = origin
        self.failure_type = failure_type

    @property
    def retryable(self) -> bool:
        """Whether the same sync may succeed later without anybody changing anything."""
        return self.failure_type == "transient_error"


class CancelledSync(Exception):
    """The job was cancelled; raised between two batches."""


@dataclass(frozen=True)
class Stream:
    """A stream as a source describes it.

    Attributes:
        name: the stream's name.
        namespace: the schema it lives in, or None for sources without any.
        json_schema: JSON schema of its records; the order of ``properties`` is the order of the columns.
        primary_key: paths of the key columns, empty if the source defines none.
        sync_modes: ``full_refresh`` and, where a cursor can be used, ``incremental``.
        default_cursor: path of the cursor the source suggests, empty if none.
        source_defined_cursor: whether no other cursor than that can be used.
    """

    name: str
    namespace: str | None
    json_schema: dict[str, Any]
    primary_key: list[list[str]] = field(default_factory=list)
    sync_modes: tuple[str, ...] = ("full_refresh",)
    default_cursor: list[str] = field(default_factory=list)
    source_defined_cursor: bool = False

    @property
    def columns(self) -> list[str]:
        """The names of the top-level fields, in order."""
        return list(self.json_schema.get("properties", {}))


@dataclass(frozen=True)
class ConfiguredStream:
    """A stream as a connection uses it.

    Attributes:
        stream: what the source describes, narrowed to the selected fields.
        incremental: read only what is newer than the saved state.
        overwrite: the destination replaces what earlier syncs wrote.
        cursor_field: path of the cursor, empty for a full refresh.
        deduplicate: the destination keeps the latest version of each primary key.
        primary_key: paths of the columns that identify a record, empty if there are none.
        narrowed: whether the connection selects fields; else columns that the source gets later are taken too.
    """

    stream: Stream
    incremental: bool
    overwrite: bool
    cursor_field: list[str] = field(default_factory=list)
    deduplicate: bool = False
    primary_key: list[list[str]] = field(default_factory=list)
    narrowed: bool = False


@dataclass(frozen=True)
class PlannedStream:
    """A stream of one sync.

    Attributes:
        configured: the stream.
        state: what its last sync saved, None if it has to be read from the beginning.
        generation: the generation its records belong to; above 0 an earlier one may be in the destination.
    """

    configured: ConfiguredStream
    state: dict[str, Any] | None
    generation: int


class StreamReader(Protocol):
    """One pass over one stream."""

    def batches(self) -> Iterator[Batch]:
        """Yield the records; bounded memory, never an empty batch."""
        ...

    def state(self) -> dict[str, Any] | None:
        """Return the state to save, once :meth:`batches` is exhausted; None for a full refresh."""
        ...


class Source(Protocol):
    """A configured source."""

    def check(self) -> None:
        """Prove that the source can be read.

        Raises:
            ConnectorError: if it cannot.
        """
        ...

    def discover(self) -> list[Stream]:
        """Return the streams the source has.

        Raises:
            ConnectorError: if the source cannot be reached.
        """
        ...

    def read(self, configured: ConfiguredStream, state: dict[str, Any] | None, log: Log) -> StreamReader:
        """Begin a pass over a stream, after the saved ``state`` if the stream is incremental."""
        ...

    def interrupt(self) -> None:
        """Make a read that waits for the network stop soon; called from another thread."""
        ...


@runtime_checkable
class ChangeSource(Source, Protocol):
    """A source that reads one log for all of its streams, and whose log keeps what nobody has confirmed."""

    def begin(self, plans: list[PlannedStream], shared: dict[str, Any] | None, spool: Path, log: Log) -> None:
        """Prepare the reads of one sync, before the first :meth:`read`.

        Args:
            plans: the streams of the sync.
            shared: what the last sync saved as :meth:`shared_state`, or None.
            spool: directory for what does not fit into memory; removed after the sync.
            log: where to say what is read.

        Raises:
            ConnectorError: if the log does not hold what the streams' states need.
        """
        ...

    def shared_state(self) -> dict[str, Any] | None:
        """Return the state that the sync's streams have in common, once they are read; None if it read no changes."""
        ...

    def committed(self) -> None:
        """Confirm to the log what was read: records and states are safe.

        Raises:
            ConnectorError: if it cannot be told now; the next sync's :meth:`begin` tells it then.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Destination(Protocol):
    """One sync's way into a configured destination.

    Publishing is all or nothing. What is written is kept aside until :meth:`publish`; what that has made visible can be
    taken back with :meth:`remove` until the sync's state is saved, or does no harm when the sync is run again.
    """

    @property
    def address(self) -> str:
        """Where the records go, for messages; no secret."""
        ...

    def check(self) -> None:
        """Prove that the destination can be written.

        Raises:
            ConnectorError: if it cannot.
        """
        ...

    def open(self, configured: ConfiguredStream, name: str, namespace: str | None, generation_id: int) -> None:
        """Begin a stream; the following :meth:`write` calls belong to it.

        Args:
            configured: the stream and how it is synced.
            name: its name in the destination (with the connection's prefix).
            namespace: its namespace in the destination, or None.
            generation_id: the generation that its records carry.
        """
        ...

    def write(self, batch: Batch) -> int:
        """Take records of the stream opened last; returns their size in bytes.

        Raises:
            ConnectorError: if a value does not fit the stream's schema.
        """
        ...

    def finish_stream(self) -> None:
        """End the stream opened last."""
        ...

    def publish(self, record: Callable[[str], None], check_cancelled: Callable[[], None]) -> list[str]:
        """Make everything visible.

        Args:
            record: called with a key before what it names becomes visible, so that :meth:`remove` can be called with it
                after a crash, by another instance for the same sync.
            check_cancelled: called between two steps; raises to stop.

        Returns:
            The keys to remove once the state is saved: what earlier generations of overwritten streams left.

        Raises:
            ConnectorError: if the destination fails; recorded keys stay recorded for the caller to remove.
        """
        ...

    def remove(self, keys: list[str]) -> None:
        """Remove what keys name; one that names nothing (any more) is fine.

        Raises:
            ConnectorError: if the destination refuses.
        """
        ...

    def close(self) -> None:
        """Let go of connections and local files."""
        ...
