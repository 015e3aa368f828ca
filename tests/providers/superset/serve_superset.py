"""Serve a real Superset with its own metadata, from one process: usage serve_superset.py <folder> <port>.

Runs under the Superset environment's Python. One process creates the metadata, initialises and serves, because
importing Superset takes long. Its configuration is the product's, with the few differences that
``superset_config_for_tests.py`` beside it has.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import secrets
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).with_name("superset_config_for_tests.py")
CLOCK = "clock"
"""File that holds by how many seconds the server's clock is ahead."""

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class MovableClock:
    """Moves this process's clock to what the file says, before each request.

    :param application: The WSGI application.
    :param file: The file; without it the clock is right.
    :param packages: Folder that time-machine is installed in.
    """

    def __init__(self, application: Application, file: Path, packages: str) -> None:
        self._application = application
        self._file = file
        self._packages = packages
        self._ahead = 0.0
        self._travel: Any = None
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        ahead = float(self._file.read_text()) if self._file.exists() else 0.0
        with self._lock:
            if ahead != self._ahead:
                self._move(ahead)
        return self._application(environ, start_response)

    def _move(self, ahead: float) -> None:
        if self._travel is not None:
            self._travel.stop()
            self._travel = None
        if ahead:
            # Only this one package: the rest of that environment is not Superset's.
            sys.path.append(self._packages)
            import time_machine

            sys.path.remove(self._packages)
            there = datetime.now().astimezone() + timedelta(seconds=ahead)
            self._travel = time_machine.travel(there, tick=True)
            self._travel.start()
        self._ahead = ahead


def initialise(metadata: Path, password: str) -> Any:
    """Create Superset's metadata with one administrator.

    Migrations and permissions, which take twice as long as everything else, are done once an environment: later starts
    begin with a copy of what they left.

    :param metadata: The SQLite file.
    :returns: The application.
    """
    import flask_migrate
    import superset
    from superset.app import create_app

    template = _template()
    if template.exists():
        shutil.copyfile(template, metadata)
    app = create_app()
    with app.app_context():
        if not template.exists():
            flask_migrate.upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
            superset.appbuilder.add_permissions(update_perms=True)
            superset.security_manager.sync_role_definitions()
            superset.db.session.commit()
            _keep(metadata, template)
        admin = superset.security_manager.find_role("Admin")
        superset.security_manager.add_user("admin", "A", "Admin", "admin@localhost", admin, password=password)
    return app


def _template() -> Path:
    """What is kept, under a name that changes with whatever goes into it."""
    installed = sorted(f"{found.name} {found.version}" for found in importlib.metadata.distributions())
    digest = hashlib.sha256("\n".join(installed).encode())
    for file in (Path(__file__), CONFIG, CONFIG.parents[3] / "include" / "superset" / "superset_config.py"):
        digest.update(file.read_bytes())
    return Path(sys.prefix) / f"tests-metadata-{digest.hexdigest()[:16]}.db"


def _keep(metadata: Path, template: Path) -> None:
    for old in template.parent.glob("tests-metadata-*.db"):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        copy = Path(folder) / "copy.db"
        with closing(sqlite3.connect(metadata)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        copy.replace(template)


def let_sqlite_sleep() -> None:
    """Give SQLite the function ``pg_sleep(seconds)``, so that one statement is slow here and on PostgreSQL."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        if type(connection).__module__.startswith("sqlite3"):
            connection.create_function("pg_sleep", 1, time.sleep)


def main(home: Path, port: int) -> None:
    metadata = home / "metadata.db"
    os.environ.update(
        SUPERSET_HOME=str(home),
        SUPERSET_CONFIG_PATH=str(CONFIG),
        SUPERSET_POSTGRES_DSN=f"sqlite:///{metadata}",
        SUPERSET_SECRET_KEY=secrets.token_hex(32),
    )
    from werkzeug.serving import run_simple

    let_sqlite_sleep()
    app = initialise(metadata, os.environ["SUPERSET_PASSWORD"])
    app.wsgi_app = MovableClock(app.wsgi_app, home / CLOCK, os.environ["TIME_MACHINE_PACKAGES"])
    run_simple("127.0.0.1", port, app, threaded=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
