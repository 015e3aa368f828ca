"""The platform's processes: spawned detached, found again by their marks, ended with whatever they left behind.

There is no daemon that watches them. What runs is written down in ``<var>/run/<service>.json``; every process also
carries :data:`~sandbox.settings.OWNER_VARIABLE` in its environment, so that children which left their group or lost
their parent are still ours to end.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from sandbox.settings import OWNER_VARIABLE, SandboxError, Settings, sandbox_id, write_atomically

SERVICE_VARIABLE = "SANDBOX_SERVICE"
LOG_LIMIT_BYTES = 20 * 1024 * 1024

# How far apart two readings of one process's creation time may lie: they depend on the clock.
_CLOCK_SECONDS = 2.0

# The variables that every start may change without making the service another one.
_VOLATILE = {"AIRBYTE_CONNECTION_ORDERS", "SANDBOX_SCALE", "SHOP_LAST_DAY"}  # for people and for the shop's loader
_VOLATILE |= {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER"}


@dataclass(frozen=True)
class Identity:
    """The unprivileged user that a program runs as which refuses to run as root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Command:
    """What is started: program and arguments, its environment, working directory and (if not ours) user."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    identity: Identity | None = None

    def fingerprint(self) -> str:
        """Return a hash of everything that makes a running process differ from the one we would start now."""
        kept = {k: v for k, v in self.environment.items() if k not in _VOLATILE}
        text = json.dumps([self.argv, sorted(kept.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """What ``<var>/run/<service>.json`` says; ``create_time`` tells the process from a later one with its pid."""

    service: str
    pid: int
    create_time: float
    command: tuple[str, ...]
    ports: tuple[int, ...]
    fingerprint: str
    log_offset: int


Recogniser = Callable[[psutil.Process], bool]
"""Tells whether a process is a certain service's although nothing else shows it."""


class ProcessTable:
    """The processes of one sandbox.

    Args:
        settings: whose sandbox.
        recognisers: by service name, for programs whose children shed environment, session and parent.
    """

    def __init__(self, settings: Settings, recognisers: Mapping[str, Recogniser] | None = None) -> None:
        self._recognisers = dict(recognisers or {})
        self._run = settings.var / "run"
        self._log = settings.var / "log"
        self._mark = sandbox_id(settings.var)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def log_path(self, service: str) -> Path:
        """Return the file that the output of ``service`` goes to."""
        return self._log / f"{service}.log"

    def records(self) -> dict[str, Record]:
        """Return what was started and not stopped since, by service name."""
        found = {}
        for path in sorted(self._run.glob("*.json")):
            record = self.record(path.stem)
            if record is not None:
                found[record.service] = record
        return found

    def record(self, service: str) -> Record | None:
        """Return the record of ``service``, or None if it is not recorded as running."""
        try:
            raw = json.loads((self._run / f"{service}.json").read_text(encoding="utf-8"))
            return Record(**{**raw, "command": tuple(raw["command"]), "ports": tuple(raw["ports"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"{self._run / service}.json cannot be read ({error}). Run `make down`.") from error

    def spawn(self, service: str, command: Command, ports: Sequence[int]) -> Record:
        """Start a process in a session of its own, its output appended to the service's log.

        Raises:
            SandboxError: if the program cannot be started, or a log or record cannot be written.
        """
        log_path = self.log_path(service)
        try:
            self._log.mkdir(parents=True, exist_ok=True)
            if log_path.exists() and log_path.stat().st_size > LOG_LIMIT_BYTES:
                log_path.replace(log_path.with_suffix(".log.1"))
            offset = log_path.stat().st_size if log_path.exists() else 0
            with log_path.open("ab") as log:
                child = self._popen(service, command, log.fileno())
        except OSError as error:
            raise SandboxError(f"{service}: cannot start {command.argv[0]}: {error}.") from error
        self._children[service] = child
        record = Record(
            service=service,
            pid=child.pid,
            create_time=_create_time(child.pid),
            command=command.argv,
            ports=tuple(ports),
            fingerprint=command.fingerprint(),
            log_offset=offset,
        )
        write_atomically(self._run / f"{service}.json", json.dumps(asdict(record), indent=2) + "\n")
        return record

    def _popen(self, service: str, command: Command, log: int) -> subprocess.Popen[bytes]:
        environment = {**command.environment, OWNER_VARIABLE: self._mark, SERVICE_VARIABLE: service}
        identity = command.identity
        return subprocess.Popen(  # noqa: S603  argv comes from our own service list
            command.argv,
            env=environment,
            cwd=command.directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=identity.uid if identity else None,
            group=identity.gid if identity else None,
            extra_groups=[] if identity else None,
        )

    def process(self, record: Record) -> psutil.Process | None:
        """Return the recorded process if it still runs."""
        self.exit_code(record.service)  # reap it if it was our child and has ended: others would take it for running
        try:
            process = psutil.Process(record.pid)
            return process if _is_gone_or_same(record) and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def exit_code(self, service: str) -> int | None:
        """Return the exit status of a service that this program started and that has ended, else None."""
        child = self._children.get(service)
        return child.poll() if child else None

    def last_lines(self, record: Record, count: int = 15) -> list[str]:
        """Return the last lines that the service wrote since it was started."""
        try:
            with self.log_path(record.service).open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(record.log_offset if record.log_offset <= end else 0, end - 64 * 1024))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip()][-count:]

    def stop(self, service: str, number: signal.Signals, group: bool, seconds: float) -> None:
        """End a service: the signal, a while to obey it, SIGKILL for the whole group.

        Args:
            service: its name.
            number: the signal that asks it to stop.
            group: whether all processes of its group get the signal, or only the first.
            seconds: how long it may take.
        """
        record = self.record(service)
        if record is None:
            return
        process = self.process(record)
        if process is not None:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if group:
                    os.killpg(record.pid, number)
                else:
                    process.send_signal(number)
            self._wait(process, service, seconds)
        members = [*self._session_members({record.pid: record}), *self._recognised(service)]
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        for member in members:
            self._wait(member, service, 5)  # its ports are free only when it is gone
        (self._run / f"{service}.json").unlink(missing_ok=True)

    def _wait(self, process: psutil.Process, service: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.exit_code(service)
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    return
            except psutil.NoSuchProcess:
                return
            time.sleep(0.02)

    def owned(self) -> list[psutil.Process]:
        """Return every running process of this sandbox, whether or not its parents still live.

        A process is ours if it carries our mark in its environment, or belongs to the session of a recorded one (some
        programs overwrite their environment block with a process title), or descends from one of ours. This program and
        its ancestors never count: a person may have sourced a file that holds the mark.
        """
        leaders = {record.pid: record for record in self.records().values()}
        ours = {p.pid: p for p in self._session_members(leaders)}
        ours.update({p.pid: p for p in psutil.process_iter() if _environment(p).get(OWNER_VARIABLE) == self._mark})
        ours.update({p.pid: p for service in self._recognisers for p in self._recognised(service)})
        for process in list(ours.values()):
            with suppress(psutil.NoSuchProcess):
                ours.update({p.pid: p for p in process.children(recursive=True)})
        this = psutil.Process()
        for process in (this, *this.parents()):
            ours.pop(process.pid, None)
        return [p for p in ours.values() if _runs(p)]

    def service_of(self, process: psutil.Process, records: Mapping[str, Record]) -> str:
        """Return the service that an owned process belongs to."""
        leaders = {record.pid: record.service for record in records.values()}
        with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            for number in (process.pid, os.getsid(process.pid), *(parent.pid for parent in process.parents())):
                if number in leaders:
                    return leaders[number]
        return _environment(process).get(SERVICE_VARIABLE, "")

    def sweep(self, seconds: float = 3) -> int:
        """End every process that is still ours; return how many there were."""
        total = 0
        end = time.monotonic() + 4 * seconds
        kill_at = time.monotonic() + seconds
        while left := self.owned():
            total = max(total, len(left))
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill() if time.monotonic() > kill_at else process.terminate()
            if time.monotonic() > end:
                names = ", ".join(str(process.pid) for process in left)
                raise SandboxError(
                    f"These processes do not end: {names}. Look at them with ps, then run `make down` again."
                )
            psutil.wait_procs(left, timeout=1)
        for path in self._run.glob("*.json"):
            path.unlink(missing_ok=True)
        return total

    def _recognised(self, service: str) -> list[psutil.Process]:
        recognise = self._recognisers.get(service)
        if recognise is None:
            return []
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if recognise(process) and _runs(process):
                    found.append(process)
        return found

    def _session_members(self, leaders: Mapping[int, Record]) -> list[psutil.Process]:
        """Return the running processes of the sessions that our services opened.

        The kernel gives a session's number to no other process while the session has members. So a live leader that is
        not the recorded one means that the session is gone and the number was used again.
        """
        valid = {pid for pid, record in leaders.items() if _is_gone_or_same(record)}
        members = []
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(process.pid) in valid and _runs(process):
                    members.append(process)
        return members


def memory_bytes(processes: Iterable[psutil.Process]) -> int:
    """Return what the processes occupy together: PSS where the system tells (Linux), else unique or resident size."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            info = process.memory_full_info()
            total += getattr(info, "pss", 0) or getattr(info, "uss", 0) or info.rss
    return total


def port_owner(number: int) -> psutil.Process | None:
    """Return the process that listens on a TCP port, if the system lets us see it."""
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections(kind="tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == number and connection.pid:
                with suppress(psutil.NoSuchProcess):
                    return psutil.Process(connection.pid)
    return None


def _create_time(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return time.time()


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}  # ended meanwhile, or another user's: not ours


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_gone_or_same(record: Record) -> bool:
    """Return whether the recorded number is not another process's by now."""
    try:
        return abs(psutil.Process(record.pid).create_time() - record.create_time) < _CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return True
