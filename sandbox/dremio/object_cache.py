"""Objects of the lake on local disk, keyed by object key and entity tag, always as Parquet: Dremio's cloud cache (C3).

A file is read by DuckDB from here and never from the object store, so a table keeps its content for a running query
even while its objects are being replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.dremio import formats
from sandbox.dremio.entities import DataFile, Table
from sandbox.dremio.errors import StorageError
from sandbox.dremio.lake import Lake

IN_USE_SECONDS = 600
"""A file that was asked for within this time is not pruned: a query may be reading it."""


class StaleMetadataError(StorageError):
    """The object store has another version of a file than the table's metadata says."""


class ObjectCache:
    """A folder of Parquet files.

    Args:
        root: the folder.
        limit: how many bytes it may hold before the files unused for longest go.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self.root = root
        self._limit = limit
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="s3")
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        root.mkdir(parents=True, exist_ok=True)

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads that talk to the object store."""
        return self._pool

    def close(self) -> None:
        """End the threads; what they have begun is finished first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def path(self, bucket: str, format_options: dict[str, object], file: DataFile) -> Path:
        """Return where the Parquet form of an object lies, whether or not it is there yet.

        The folders between the table's root and the object appear as ``dir0=..`` folders, from which DuckDB fills the
        dirN columns and prunes files.
        """
        variant = "" if format_options.get("type") == "Parquet" else json.dumps(format_options, sort_keys=True)
        identity = hashlib.sha256(f"{bucket}/{file.key}\n{file.etag}\n{variant}".encode()).hexdigest()[:40]
        folders = [f"dir{i}={urllib.parse.quote(name, safe='')}" for i, name in enumerate(file.folders)]
        return self.root.joinpath(identity[:2], identity, *folders, "data.parquet")

    def adopt(self, bucket: str, file: DataFile, origin: Path) -> None:
        """Move a local Parquet file in, as the content of an object that is about to be written."""
        target = self.path(bucket, {"type": "Parquet"}, file)
        target.parent.mkdir(parents=True, exist_ok=True)
        origin.replace(target)

    def fetch(self, lake: Lake, table: Table, files: Sequence[DataFile]) -> list[Path]:
        """Return the local Parquet files of objects, after fetching those that are missing.

        Args:
            lake: the object store.
            table: the dataset the files belong to; bucket and format are used.
            files: the objects.

        Raises:
            StaleMetadataError: if an object has changed since the metadata was read.
            StorageError: if an object cannot be read or is not what the format says.
        """
        paths = [self.path(table.bucket, table.format, file) for file in files]
        missing = [(path, file) for path, file in zip(paths, files, strict=True) if not self._touch(path)]
        for future in [self._pool.submit(self._fetch_one, lake, table, file, path) for path, file in missing]:
            future.result()
        if missing:
            self.prune()
        return paths

    def _touch(self, path: Path) -> bool:
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _fetch_one(self, lake: Lake, table: Table, file: DataFile, path: Path) -> None:
        raw = path.with_name(f"raw-{threading.get_ident()}-{time.monotonic_ns()}")
        try:
            etag = lake.download(table.bucket, file.key, raw)
            if etag != file.etag:
                raise StaleMetadataError(f"s3://{table.bucket}/{file.key} has changed since its metadata was read.")
            where = f"s3://{table.bucket}/{file.key}"
            ready = formats.to_parquet(raw, table.format, where)
            ready.replace(path)
        finally:
            for leftover in path.parent.glob(f"{raw.name}*"):
                leftover.unlink(missing_ok=True)

    def hold(self, paths: Sequence[Path]) -> None:
        """Keep files from being pruned until :meth:`release`: an unfinished publication needs them."""
        with self._lock:
            for path in paths:
                self._held[str(path)] = self._held.get(str(path), 0) + 1

    def release(self, paths: Sequence[Path]) -> None:
        """Undo :meth:`hold`."""
        with self._lock:
            for path in paths:
                count = self._held.get(str(path), 0) - 1
                if count > 0:
                    self._held[str(path)] = count
                else:
                    self._held.pop(str(path), None)

    def prune(self) -> None:
        """Delete the files unused for longest until the folder is below its limit."""
        with self._lock:
            entries = [(path, path.stat()) for path in self.root.rglob("data.parquet")]
            total = sum(stat.st_size for _, stat in entries)
            horizon = time.time() - IN_USE_SECONDS
            for path, stat in sorted(entries, key=lambda entry: entry[1].st_mtime):
                if total <= self._limit or stat.st_mtime > horizon:
                    return
                if str(path) in self._held:
                    continue
                shutil.rmtree(self.root / path.relative_to(self.root).parts[0] / path.relative_to(self.root).parts[1])
                total -= stat.st_size
