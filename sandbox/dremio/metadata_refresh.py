"""Reading the metadata of promoted tables again in the background, as often as their sources' metadataPolicy says."""

from __future__ import annotations

import logging
import threading

from sandbox.dremio.catalog import Catalog
from sandbox.dremio.entities import Table
from sandbox.dremio.errors import StatementError
from sandbox.dremio.planner import Planner

logger = logging.getLogger(__name__)

WAKE_SECONDS = 1.0


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
