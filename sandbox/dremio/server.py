"""The server as a whole: everything built and joined, and ended in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette

from sandbox.dremio.acceleration import Acceleration
from sandbox.dremio.accelerator import Accelerator
from sandbox.dremio.access import Access
from sandbox.dremio.auth import Authenticator
from sandbox.dremio.catalog import Catalog
from sandbox.dremio.changes import Changes
from sandbox.dremio.edition import is_enterprise
from sandbox.dremio.engine import Engine
from sandbox.dremio.entities import now_millis
from sandbox.dremio.flight import FlightServer
from sandbox.dremio.flight_metadata import Metadata
from sandbox.dremio.granting import Granting
from sandbox.dremio.jobs import Jobs
from sandbox.dremio.lake import Lakes
from sandbox.dremio.lineage import Versions
from sandbox.dremio.materialize import Manager
from sandbox.dremio.metadata import MetadataRefresher
from sandbox.dremio.object_cache import ObjectCache
from sandbox.dremio.planner import Planner
from sandbox.dremio.publication import Publisher
from sandbox.dremio.reflections import Reflections
from sandbox.dremio.rest import Api, SqlApi
from sandbox.dremio.rest_access import AccessApi
from sandbox.dremio.rest_catalog import CatalogApi
from sandbox.dremio.rest_reflection import ReflectionApi, ReflectionView
from sandbox.dremio.results import Results
from sandbox.dremio.statements import Statements
from sandbox.dremio.store import Store
from sandbox.dremio.system_rows import SystemRows
from sandbox.dremio.system_tables import SystemTables
from sandbox.dremio.tables import Tables
from sandbox.serving import LOOPBACK, listen

GIBIBYTE = 1 << 30
PRUNE_SECONDS = 3600.0


class Server:
    """A Dremio with its state in one folder.

    Args:
        folder: holds all state.
        user: the one user.
        password: the user's password.
        clock: by which reflections are refreshed and expire, in milliseconds since 1970.
    """

    def __init__(self, folder: Path, user: str, password: str, clock: Callable[[], int] = now_millis) -> None:
        self.authenticator = Authenticator(user, password)
        self.store = Store(folder / "catalog.sqlite")
        self.catalog = Catalog(self.store, user)
        self.lakes = Lakes()
        cache_bytes = int(float(os.environ.get("SANDBOX_DREMIO_CACHE_GIB", "8")) * GIBIBYTE)
        self.cache = ObjectCache(folder / "cache", cache_bytes)
        rows = folder / "accelerator"
        rows.mkdir(exist_ok=True)
        self.engine = Engine(
            [self.cache.root, rows],
            folder / "spill",
            os.environ.get("SANDBOX_DREMIO_MEMORY", "1GB"),
            max(2, min(4, os.cpu_count() or 2)),
        )
        self.system = SystemTables(self.catalog)
        self.reflections = Reflections(self.store, self.catalog)
        self.accelerator = Accelerator(self.engine, rows)
        versions = Versions()
        self.acceleration = Acceleration(self.reflections, self.accelerator, versions, clock)
        self.publisher = Publisher(self.store, self.catalog, self.lakes, self.cache)
        self.planner = Planner(
            self.catalog, self.engine, self.lakes, self.cache, self.system, self.acceleration, self.publisher
        )
        self.publisher.recover()
        self.tables = Tables(self.catalog, self.planner, self.lakes, self.publisher, folder / "staging")
        self.access = Access(self.store, self.catalog, user)
        granting = Granting(self.access, self.catalog, self.planner)
        changes = Changes(self.planner, self.tables)
        self.statements = Statements(self.catalog, self.planner, self.tables, changes, self.reflections, granting)
        self.jobs = Jobs(self.engine, self.statements, self.store, Results(folder / "results"))
        self.manager = Manager(
            self.reflections, self.catalog, self.planner, self.jobs, self.accelerator, versions, clock
        )
        self.reflection_view = ReflectionView(self.reflections, self.catalog, self.manager)
        SystemRows(self.reflection_view, self.jobs).register(self.system)
        if is_enterprise():
            self.system.provide("sys.privileges", self.access.privilege_rows)
            self.system.provide("sys.roles", self.access.role_rows)
            self.system.provide("sys.membership", self.access.member_rows)
        self.refresher = MetadataRefresher(self.catalog, self.planner)
        self._stopped = threading.Event()
        self._pruner = threading.Thread(target=self._prune, name="prune", daemon=True)
        self._flight: FlightServer | None = None

    def start(self, flight_port: int) -> None:
        """Begin to serve Flight and to keep reflections.

        Args:
            flight_port: port of Arrow Flight on the loopback interface.

        Raises:
            SystemExit: with code 2 if the port is taken.
        """
        listen(flight_port, "dremio").close()
        metadata = Metadata(self.catalog, self.system)
        self._flight = FlightServer(LOOPBACK, flight_port, self.authenticator, self.statements, self.jobs, metadata)
        self._flight.start()
        self.manager.start()
        self.refresher.start()
        self._pruner.start()

    def _prune(self) -> None:
        while not self._stopped.wait(PRUNE_SECONDS):
            self.jobs.prune()
            self.cache.prune()

    def application(self) -> Starlette:
        """Return the REST application."""
        api = Api(self.authenticator)
        SqlApi(self.authenticator, self.jobs).register(api)
        catalog = CatalogApi(self.catalog, self.planner, self.statements, self.tables, self.store, self.lakes)
        catalog.refreshed = self.manager.request
        if is_enterprise():
            catalog.access = AccessApi(self.access)
            catalog.access.register(api)
        catalog.register(api)
        ReflectionApi(self.reflection_view).register(api)
        return api.application()

    def close(self) -> None:
        """Stop what runs and close everything."""
        self._stopped.set()
        if self._flight is not None:
            self._flight.stop()
        self.refresher.stop()
        self.jobs.close()
        self.manager.stop()
        self.tables.close()
        self.cache.close()
        self.acceleration.close()
        self.engine.close()
        self.store.close()
