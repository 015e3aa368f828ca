"""Metadata of promoted tables: read again on demand, and in the background as often as a source's policy says."""

from __future__ import annotations

import logging
import threading

from sandbox.dremio.answers import Outcome, done
from sandbox.dremio.catalog import Catalog
from sandbox.dremio.entities import Path, Table, View
from sandbox.dremio.errors import StatementError, ValidationError, not_found
from sandbox.dremio.planner import Planner
from sandbox.dremio.promotion import Part
from sandbox.dremio.sql.statements import ForgetMetadata, RefreshMetadata

logger = logging.getLogger(__name__)

WAKE_SECONDS = 1.0


class MetadataStatements:
    """Runs the statements that concern metadata.

    Args:
        catalog: holds the tables.
        planner: finds them and reads their metadata.
    """

    def __init__(self, catalog: Catalog, planner: Planner) -> None:
        self._catalog = catalog
        self._planner = planner

    def refresh(self, statement: RefreshMetadata, context: Path) -> Outcome:
        """Run ALTER TABLE .. REFRESH METADATA.

        Raises:
            StatementError: if the dataset is a view, or there is nothing to promote.
        """
        name = ".".join(statement.path)
        entity = self._planner.find(statement.path, context)
        if isinstance(entity, View):
            raise ValidationError(f"Cannot refresh metadata of view [{name}]")
        if not isinstance(entity, Table):
            table = self._promote(statement)
            return done(f"Table '{'.'.join(table.path)}' metadata refreshed.")
        if entity.managed:
            return done(f"Table '{name}' read signature reviewed but source stated metadata is unchanged, no refresh.")
        before = entity.tag
        part = Part(statement.partitions, statement.files) if statement.partitions or statement.files else None
        after = self._planner.refresh(entity, part)
        if not after.files and statement.delete_when_missing:
            self._catalog.delete(after)
            return done(f"Table '{name}' no longer exists, metadata removed.")
        if after.tag == before:
            return done(f"Table '{name}' read signature reviewed but source stated metadata is unchanged, no refresh.")
        return done(f"Metadata for table '{name}' refreshed.")

    def _promote(self, statement: RefreshMetadata) -> Table:
        if not statement.auto_promotion:
            raise not_found(statement.path)
        return self._planner.promote(self._planner.absolute(statement.path), None)

    def forget(self, statement: ForgetMetadata, context: Path) -> Outcome:
        """Run ALTER TABLE .. FORGET METADATA: the dataset is a mere folder again.

        Raises:
            ValidationError: if the dataset is not a promoted one.
        """
        entity = self._planner.dataset(statement.path, context)
        if not isinstance(entity, Table) or entity.managed:
            raise ValidationError(f"Metadata of [{'.'.join(statement.path)}] cannot be forgotten")
        self._catalog.delete(entity)
        return done(f"Successfully removed table '{'.'.join(statement.path)}' from namespace (and related metadata).")


class MetadataRefresher:
    """Keeps metadata no older than ``datasetRefreshAfterMs``.

    Args:
        catalog: holds the tables.
        planner: reads their metadata.
    """

    def __init__(self, catalog: Catalog, planner: Planner) -> None:
        self._catalog = catalog
        self._planner = planner
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metadata", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the table that is being read."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(WAKE_SECONDS):
            for table in self._catalog.datasets():
                if isinstance(table, Table) and not table.managed and not self._stopped.is_set():
                    self._refresh(table)

    def _refresh(self, table: Table) -> None:
        try:
            if self._planner.older(table, "datasetRefreshAfterMs"):
                self._planner.refresh(table)
        except StatementError as error:
            # A query says so too if it concerns one; what is gone for good expires with the metadata.
            logger.warning("metadata of %s is not refreshed: %s", ".".join(table.path), error)
