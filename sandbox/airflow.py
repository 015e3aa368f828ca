"""Airflow of the sandbox: API server, scheduler with LocalExecutor, DAG processor, triggerer; PostgreSQL metadata."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import httpx

from sandbox.processes import Command, ProcessTable
from sandbox.services import Preparation, Service, answers
from sandbox.settings import LOOPBACK, REPOSITORY, SandboxError, Settings, write_atomically

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
DBT_PROJECT = REPOSITORY / "dbt"
DBT_EXECUTABLE = REPOSITORY / ".venv" / "dbt" / "bin" / "dbt"

_HEALTH_PATH = "/api/v2/monitor/health"
_HEALTH_NAMES = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


def program() -> str:
    """Return the path of Airflow's command, which unlike ``python -m airflow`` keeps the repository off the path."""
    return str(Path(sys.executable).parent / "airflow")


def home(settings: Settings) -> Path:
    """Return AIRFLOW_HOME."""
    return settings.var / "airflow"


def password_file(settings: Settings) -> Path:
    """Return the file that the simple auth manager reads its passwords from."""
    return home(settings) / "passwords.json"


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of every Airflow process, and so of every task."""
    dsn = settings["AIRFLOW_POSTGRES_DSN"].replace("postgresql://", "", 1)
    root = home(settings)
    airflow = {
        "API__BASE_URL": settings["AIRFLOW_URL"],
        "API__SECRET_KEY": settings["AIRFLOW_SECRET_KEY"],
        "API_AUTH__JWT_SECRET": settings["AIRFLOW_JWT_SECRET"],
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__DAGS_FOLDER": str(dags_folder(settings)),
        "CORE__EXECUTION_API_SERVER_URL": f"{settings['AIRFLOW_URL']}/execution/",
        # On one laptop a service that does not answer is back in seconds or not at all.
        "CORE__DEFAULT_TASK_RETRY_DELAY": "5",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__FERNET_KEY": settings["AIRFLOW_FERNET_KEY"],
        "CORE__LOAD_EXAMPLES": "False",
        # A laptop has few cores; every slot costs a process.
        "CORE__PARALLELISM": "8",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file(settings)),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{settings['AIRFLOW_USER']}:admin",
        "CORE__TEST_CONNECTION": "Enabled",
        "COSMOS__CACHE_DIR": str(root / "cosmos"),
        "COSMOS__ENABLE_TELEMETRY": "False",
        # A changed or new DAG file is seen within half a minute; parsing costs a core-second each time.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{dsn}",
        # Five seconds between looks at a finished task's successors would be most of a short stage's time.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        # Every task parses its DAG file first. Workers forked from a server that has the DAGs' libraries loaded
        # already do not spend half a second of a core on importing them, twenty times a run.
        "SCHEDULER__MP_START_METHOD": "forkserver",
        "SCHEDULER__MP_FORKSERVER_PRELOAD": ",".join(_PRELOADED),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    path = f"{Path(sys.executable).parent}:{settings.child_environment().get('PATH', '/usr/bin:/bin')}"
    return settings.child_environment(
        **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
        AIRFLOW_HOME=str(root),
        DBT_EXECUTABLE=str(DBT_EXECUTABLE),
        DBT_PROJECT_DIR=str(DBT_PROJECT),
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
        DO_NOT_TRACK="1",
        PATH=path,
        # setproctitle, which Airflow uses, would write over the environment block that tells our processes apart.
        SPT_NOENV="1",
        **_MACOS,
    )


_PRELOADED = (
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "cosmos.operators.local",
    "cosmos.operators.watcher",
    "dremio_provider.operators.reflections",
    "lakehouse.bronze",
    "lakehouse_airbyte.operators",
    "superset_provider.operators.warm_dashboard",
)

# Apple's libraries abort forked children that touch them, which is what tasks are.
_MACOS = {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "no_proxy": "*"} if sys.platform == "darwin" else {}


def dags_folder(settings: Settings) -> Path:
    """Return the folder of the DAGs: the repository's, or ``SANDBOX_DAGS_FOLDER``."""
    return Path(settings.child_environment().get("SANDBOX_DAGS_FOLDER") or REPOSITORY / "dags")


def nodes(settings: Settings) -> list[Preparation | Service]:
    """Return Airflow's part of the graph."""
    arguments = {
        "api-server": ["--host", LOOPBACK, "--port", str(settings.port("airflow")), "--workers", "1"],
        # The API server reads the tasks' logs from the same disk: no log servers, no two more ports.
        "scheduler": ["--skip-serve-logs"],
        "triggerer": ["--skip-serve-logs"],
        "dag-processor": [],
    }
    services = [_service(settings, component, arguments[component]) for component in COMPONENTS]
    return [
        Preparation("airflow-database", lambda: migrate(settings), ("postgres",)),
        Preparation("dbt-manifest", lambda: parse_dbt(settings)),
        *services,
    ]


def migrate(settings: Settings) -> bool:
    """Bring the metadata database to this version's schema and set the admin's password; True if anything was done.

    Raises:
        SandboxError: if the migration fails.
    """
    wanted = json.dumps({settings["AIRFLOW_USER"]: settings["AIRFLOW_PASSWORD"]}) + "\n"
    if not password_file(settings).exists() or password_file(settings).read_text(encoding="utf-8") != wanted:
        write_atomically(password_file(settings), wanted, mode=0o600)
    stamp = home(settings) / "migrated"
    key = f"{version('apache-airflow')}\n"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return False
    run_step(settings, "airflow-database", [program(), "db", "migrate"], environment(settings))
    write_atomically(stamp, key)
    return True


def parse_dbt(settings: Settings) -> bool:
    """Write ``dbt/target/manifest.json``, which the DAGs are built from, if the project changed since.

    Raises:
        SandboxError: if dbt cannot parse the project.
    """
    if not (DBT_PROJECT / "dbt_project.yml").exists():
        return False
    stamp = DBT_PROJECT / "target" / ".parsed"
    key = f"{tree_hash(_dbt_sources())}\n"
    manifest = DBT_PROJECT / "target" / "manifest.json"
    if manifest.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return False
    argv = [
        str(DBT_EXECUTABLE),
        "--quiet",
        "parse",
        "--project-dir",
        str(DBT_PROJECT),
        "--profiles-dir",
        str(DBT_PROJECT),
    ]
    run_step(settings, "dbt-manifest", argv, environment(settings))
    write_atomically(stamp, key)
    return True


def _dbt_sources() -> list[Path]:
    left_out = {"target", "logs", "dbt_packages"}
    return [
        path
        for path in sorted(DBT_PROJECT.rglob("*"))
        if path.is_file() and path.relative_to(DBT_PROJECT).parts[0] not in left_out
    ]


def tree_hash(paths: Iterable[Path]) -> str:
    """Return a hash of the files' names and contents."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run_step(settings: Settings, name: str, argv: list[str], env: dict[str, str], seconds: float = 300) -> None:
    """Run a program to its end, its output in ``<var>/log/<name>.log``.

    Raises:
        SandboxError: if it cannot be started, fails or takes too long; with the last lines that it wrote.
    """
    log_path = settings.var / "log" / f"{name}.log"
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("wb") as log:
            code = subprocess.run(  # noqa: S603  our own arguments
                argv,
                env=env,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=seconds,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"{name} was not done after {seconds:.0f} s. Its log: {log_path}") from error
    except OSError as error:
        raise SandboxError(f"{name}: cannot run {argv[0]}: {error.strerror}. Run scripts/bootstrap.") from error
    if code != 0:
        lines = [line for line in log_path.read_text(errors="replace").splitlines() if line.strip()][-15:]
        tail = "".join(f"\n    {line}" for line in lines)
        raise SandboxError(f"{name} ended with exit status {code}. The last lines of {log_path}:{tail}")


def _service(settings: Settings, component: str, arguments: list[str]) -> Service:
    argv = (program(), component, *arguments)
    is_api = component == "api-server"
    return Service(
        name=f"airflow-{component}",
        command=lambda: Command(argv, environment(settings), REPOSITORY),
        address=settings["AIRFLOW_URL"] if is_api else "",
        ready=answers(settings["AIRFLOW_URL"] + _HEALTH_PATH, _healthy(settings, component)),
        ports=(settings.port("airflow"),) if is_api else (),
        # The DAG processor builds the DAGs from dbt's manifest.
        needs=("airflow-database", *(("dbt-manifest",) if component == "dag-processor" else ())),
        deadline=180,
        stop_seconds=15,
    )


def _healthy(settings: Settings, component: str) -> Callable[[httpx.Response], bool]:
    """Return the check of a component's heartbeat in the API server's answer: one since this start, not an older."""
    name = _HEALTH_NAMES.get(component)

    def check(response: httpx.Response) -> bool:
        if response.status_code != 200 or name is None:
            return response.status_code == 200
        health = response.json()[name]
        record = ProcessTable(settings).record(f"airflow-{component}")
        if health["status"] != "healthy" or record is None:
            return False
        return datetime.fromisoformat(health[f"latest_{name}_heartbeat"]).timestamp() >= record.create_time

    return check
