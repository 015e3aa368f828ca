"""Making a new state of a managed table visible: data first, then the catalog, then what it no longer needs.

The protocol, chosen so that a table keeps its file names however often it is rebuilt:

1. New files are complete and on local disk before anything else happens.
2. Objects under keys that the table does not use yet are written. Nobody reads them so far.
3. One SQLite transaction switches the catalog to the new files and notes in a journal which keys are still to be
   overwritten and which are to be deleted. Queries switch with it, since they read local copies by entity tag.
4. The journal entry is carried out and removed.

A crash before 3 leaves the old state; the keys of step 2 are in the journal as well and are deleted at the next start.
A crash after 3 leaves the new state; the journal entry is carried out at the next start.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.dremio.catalog import Catalog
from sandbox.dremio.entities import Column, DataFile, Entity, Source, Table, now_millis
from sandbox.dremio.errors import StatementError
from sandbox.dremio.lake import Lakes, md5_of
from sandbox.dremio.object_cache import ObjectCache
from sandbox.dremio.store import Store
from sandbox.dremio.writer import Written

logger = logging.getLogger(__name__)

Json = dict[str, Any]
PARQUET: Json = {"type": "Parquet"}


@dataclass(frozen=True)
class NewFile:
    """A file to be published.

    Args:
        key: object key it gets.
        written: the local file.
    """

    key: str
    written: Written


class Publisher:
    """Publishes and withdraws the files of managed tables.

    Args:
        store: holds the journal.
        catalog: is switched.
        lakes: object stores by source.
        cache: takes the new files as local copies.
    """

    def __init__(self, store: Store, catalog: Catalog, lakes: Lakes, cache: ObjectCache) -> None:
        self._store = store
        self._catalog = catalog
        self._lakes = lakes
        self._cache = cache
        self._recovering = threading.Lock()
        self._settling = threading.Lock()
        self._settled: dict[tuple[str, str], int] = {}
        self.moment = 0

    def publish(
        self,
        source: Source,
        table: Table,
        new: Sequence[NewFile],
        kept: Sequence[DataFile],
        stored: tuple[Column, ...],
        commit: Callable[[Table], Entity],
    ) -> Table:
        """Give a table the files ``kept`` and ``new``, and no others.

        Args:
            source: the source the table lies in.
            table: the table as it was; for a new one, without files.
            new: files to add; a key that is in use is overwritten.
            kept: files that stay as they are.
            stored: columns in the new files, as ``shapes`` describe them.
            commit: writes the table to the catalog, inside a transaction.

        Raises:
            StorageError: if the object store fails; before the catalog is switched, everything is as it was.
        """
        lake = self._lakes.of(source)
        shapes = table.shapes if stored in table.shapes else (*table.shapes, stored)
        shape = shapes.index(stored)
        files = [
            DataFile(
                item.key, md5_of(item.written.path), item.written.path.stat().st_size, item.written.rows, (), shape
            )
            for item in new
        ]
        for file, item in zip(files, new, strict=True):
            self._cache.adopt(table.bucket, file, item.written.path)
        used = {file.key for file in table.files}
        fresh = [file for file in files if file.key not in used]
        number = self._store.put_journal({**_entry("writing", source, table), "keys": [file.key for file in fresh]})
        pool = self._cache.pool
        try:
            for future in [pool.submit(self._upload, lake, table.bucket, file) for file in fresh]:
                future.result()
            final = dataclasses.replace(
                table, files=tuple(sorted([*kept, *files], key=_order)), shapes=shapes, changed_at=now_millis()
            )
            staying = {file.key for file in final.files}
            entry = {
                **_entry("publishing", source, table),
                "overwrite": [dataclasses.asdict(file) for file in files if file.key in used],
                "delete": sorted(used - staying),
            }
            with self._catalog.change():
                committed = commit(final)
                self._store.update_journal(number, entry)
        except BaseException:
            self._undo(number)
            raise
        self._carry_out(number, entry)
        assert isinstance(committed, Table)
        return committed

    def withdraw(self, source: Source, table: Table) -> None:
        """Drop a table: from the catalog first, then its objects."""
        keys = [file.key for file in table.files]
        entry = {**_entry("publishing", source, table), "overwrite": [], "delete": keys}
        with self._catalog.change():
            self._catalog.delete(table)
            number = self._store.put_journal(entry)
        self._carry_out(number, entry)

    def disturbed(self, table: Table, since: int) -> bool:
        """Return whether statements write to a table's folder or delete from it, or have done so since a ``moment``."""
        busy = {(entry["bucket"], entry.get("root")) for _, entry in self._store.journal()}
        return (table.bucket, table.root) in busy or self._settled.get((table.bucket, table.root), 0) > since

    def _settle(self, number: int, entry: Json) -> None:
        # Noted before the journal forgets it, so that a folder is busy or was so, without a gap.
        with self._settling:
            self.moment += 1
            self._settled[entry["bucket"], entry.get("root", "")] = self.moment
        self._store.delete_journal(number)

    def _upload(self, lake: Any, bucket: str, file: DataFile) -> None:
        lake.upload(bucket, file.key, self._cache.path(bucket, PARQUET, file))

    def _carry_out(self, number: int, entry: Json) -> None:
        source = self._catalog.by_id(entry["source"])
        if isinstance(source, Source):
            lake = self._lakes.of(source)
            files = [DataFile(**{**file, "folders": tuple(file["folders"])}) for file in entry["overwrite"]]
            paths = [self._cache.path(entry["bucket"], PARQUET, file) for file in files]
            self._cache.hold(paths)
            for future in [self._cache.pool.submit(self._upload, lake, entry["bucket"], file) for file in files]:
                future.result()
            lake.delete(entry["bucket"], entry["delete"])
            self._cache.release(paths)
        self._settle(number, entry)

    def _undo(self, number: int) -> None:
        try:
            self._recover_one(number, dict(self._store.journal())[number])
        except StatementError as error:
            logger.warning("files of an unfinished statement stay until the next start: %s", error)

    def _recover_one(self, number: int, entry: Json) -> None:
        if entry["state"] == "publishing":
            self._carry_out(number, entry)
            return
        source = self._catalog.by_id(entry["source"])
        table = self._catalog.by_id(entry["table"])
        used = {file.key for file in table.files} if isinstance(table, Table) else set()
        if isinstance(source, Source):
            self._lakes.of(source).delete(entry["bucket"], [key for key in entry["keys"] if key not in used])
        self._settle(number, entry)

    def recover(self) -> None:
        """Finish or undo what a crash interrupted; what the object store refuses now is tried at the next start."""
        with self._recovering:
            for number, entry in self._store.journal():
                try:
                    self._recover_one(number, entry)
                except StatementError as error:
                    logger.warning("unfinished publication %s is tried again later: %s", number, error)


def _entry(state: str, source: Source, table: Table) -> Json:
    return {"state": state, "source": source.id, "table": table.id, "bucket": table.bucket, "root": table.root}


def _order(file: DataFile) -> tuple[str, int, str]:
    folder, _, name = file.key.rpartition("/")
    return folder, len(name), name
