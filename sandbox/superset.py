"""Apache Superset of the sandbox: its own environment, metadata in PostgreSQL, caches in files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sandbox.airflow import run_step
from sandbox.processes import Command
from sandbox.services import Preparation, Service, answers
from sandbox.settings import LOOPBACK, REPOSITORY, Settings, write_atomically

PYTHON = REPOSITORY / ".venv" / "superset" / "bin" / "python"
CONFIGURATION = REPOSITORY / "include" / "superset" / "superset_config.py"
WORKERS, THREADS = 1, 8


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of every Superset process."""
    home = settings.var / "superset"
    return settings.child_environment(
        FLASK_APP="superset.app:create_app",
        SUPERSET_CACHE_DIR=str(home / "cache"),
        SUPERSET_CONFIG_PATH=str(CONFIGURATION),
        SUPERSET_HOME=str(home),
        SCARF_ANALYTICS="false",
        # One thread per request is enough; numpy's pools would add some for every core.
        OPENBLAS_NUM_THREADS="1",
        PATH=f"{PYTHON.parent}:{settings.child_environment().get('PATH', '/usr/bin:/bin')}",
        SPT_NOENV="1",
    )


def nodes(settings: Settings) -> list[Preparation | Service]:
    """Return Superset's part of the graph."""
    argv = (
        str(PYTHON.parent / "gunicorn"),
        "--bind",
        f"{LOOPBACK}:{settings.port('superset')}",
        "--workers",
        str(WORKERS),
        "--worker-class",
        "gthread",
        "--threads",
        str(THREADS),
        "--timeout",
        "120",
        "--graceful-timeout",
        "4",
        "superset.app:create_app()",
    )
    return [
        Preparation("superset-database", lambda: prepare(settings), ("postgres",)),
        Service(
            name="superset",
            command=lambda: Command(argv, environment(settings), settings.var / "superset"),
            address=settings["SUPERSET_URL"],
            ready=answers(settings["SUPERSET_URL"] + "/health"),
            ports=(settings.port("superset"),),
            needs=("superset-database",),
            deadline=180,
        ),
    ]


def prepare(settings: Settings) -> bool:
    """Migrate Superset's metadata database and create its admin, if this was not done for this version yet.

    Raises:
        SandboxError: if it fails.
    """
    home = settings.var / "superset"
    stamp = home / "prepared"
    key = _key(settings)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return False
    home.mkdir(parents=True, exist_ok=True)
    run_step(settings, "superset-database", [str(PYTHON), "-m", "sandbox.superset_metadata"], environment(settings))
    write_atomically(stamp, key)
    return True


def _key(settings: Settings) -> str:
    installed = sorted(path.name for path in _site_packages().glob("apache_superset-*.dist-info"))
    parts = [*installed, settings["SUPERSET_USER"], settings["SUPERSET_PASSWORD"]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() + "\n"


def _site_packages() -> Path:
    return next((PYTHON.parent.parent / "lib").glob("python3.*"), Path("/nonexistent")) / "site-packages"
