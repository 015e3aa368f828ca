"""Decoded changes of one table on their way to the destination: in memory while they are few, then on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa


class Budget:
    """How much memory the spools of one sync may use together.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.left = limit


class Spool:
    """A first-in, first-out store of record batches whose schema may change on the way.

    Args:
        path: where files begin; their number is appended.
        budget: shared with the other spools of the sync.
    """

    def __init__(self, path: Path, budget: Budget) -> None:
        self._path = path
        self._budget = budget
        self._held: list[Any] = []
        self._held_bytes = 0
        self._files: list[Path] = []
        self._writer: Any = None
        self.rows = 0

    def add(self, batch: Any) -> None:
        """Append a batch; it is on disk afterwards if the sync's memory is used up."""
        self.rows += batch.num_rows
        if not self._files and batch.nbytes <= self._budget.left:
            self._held.append(batch)
            self._held_bytes += batch.nbytes
            self._budget.left -= batch.nbytes
            return
        held, self._held = self._held, []
        self._budget.left += self._held_bytes
        self._held_bytes = 0
        for one in (*held, batch):
            self._write(one)

    def batches(self) -> Iterator[Any]:
        """Yield everything in order and let go of it; nothing can be added any more."""
        self._end_file()
        yield from self._held
        self._held = []
        for path in self._files:
            with pa.OSFile(str(path)) as file, closing(pa.ipc.open_stream(file)) as reader:
                yield from reader
            path.unlink()

    def close(self) -> None:
        """Close what is open, and remove the files that nobody has taken."""
        self._end_file()
        for path in self._files:
            path.unlink(missing_ok=True)

    def _write(self, batch: Any) -> None:
        if self._writer is not None and self._writer.schema != batch.schema:
            self._end_file()
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            path = self._path.with_name(f"{self._path.name}-{len(self._files)}.arrows")
            self._files.append(path)
            self._writer = _Stream(path, batch.schema)
        self._writer.write(batch)

    def _end_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _Stream:
    """An Arrow IPC stream in a file."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.schema = schema
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._file, schema)

    def write(self, batch: Any) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()
        self._file.close()
