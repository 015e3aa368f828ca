"""The platform as a graph: which services there are, what each needs first, and how it is brought up and down."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter

import httpx
import psutil

from sandbox.processes import Command, ProcessTable, Recogniser, Record, memory_bytes, port_owner
from sandbox.settings import LOOPBACK, SandboxError, Settings

Announce = Callable[[str, str, float], None]
"""Told about every node that changed: name, what happened, seconds it took."""


@dataclass(frozen=True)
class Preparation:
    """A step that has to be done before some service starts and that leaves no process.

    Args:
        name: its name in the graph.
        run: does it; returns whether there was anything to do.
        needs: names of the nodes that come first.
    """

    name: str
    run: Callable[[], bool]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """One long-running program of the platform.

    Args:
        name: its name in the graph, in ``<var>/run`` and ``<var>/log``.
        command: what is started; called after everything it needs is up.
        address: what a person types to reach it; empty if nothing listens.
        ready: whether it answers; called until it does.
        ports: the ports it will bind.
        needs: names of the nodes that come first.
        deadline: seconds it may take to answer.
        prepare: done right before the start.
        finish: done as soon as it answers, before anything that needs it.
        stop_signal: what asks it to stop.
        stop_group: whether all processes of its group get that signal.
        stop_seconds: how long it may take to stop.
        recognise: tells its processes, for a program whose children shed every mark that others keep.
    """

    name: str
    command: Callable[[], Command]
    address: str
    ready: Callable[[], bool]
    ports: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    deadline: float = 90
    prepare: Callable[[], None] | None = None
    finish: Callable[[], None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_group: bool = True
    stop_seconds: float = 15
    recognise: Recogniser | None = None


Node = Preparation | Service


@dataclass(frozen=True)
class State:
    """One line of ``status``: memory in bytes, uptime in seconds."""

    name: str
    state: str
    pid: int | None
    address: str
    memory: int
    uptime: float


class Platform:
    """Brings a graph of services up and down.

    Args:
        settings: of which sandbox.
        nodes: all services and preparations.
        announce: told about progress.
    """

    def __init__(self, settings: Settings, nodes: Sequence[Node], announce: Announce | None = None) -> None:
        self.settings = settings
        self._nodes = {node.name: node for node in nodes}
        self.table = ProcessTable(settings, {s.name: s.recognise for s in self.services if s.recognise})
        self._announce = announce or (lambda name, event, seconds: None)
        self._abandoned = threading.Event()

    @property
    def services(self) -> list[Service]:
        """All services, in the order they were declared."""
        return [node for node in self._nodes.values() if isinstance(node, Service)]

    def up(self, only: Sequence[str] = ()) -> None:
        """Start what does not run, in the order of the graph, as much at a time as it allows.

        Args:
            only: names of services; these and what they need are started. Empty: all.

        Raises:
            SandboxError: if a port is taken, a preparation failed, or a service died or did not answer in time.
        """
        wanted = self._with_needs(only or self._nodes)
        graph = TopologicalSorter({name: self._nodes[name].needs for name in wanted})
        graph.prepare()
        self._abandoned.clear()
        pending: dict[Future[None], str] = {}
        with ThreadPoolExecutor(max_workers=len(self._nodes), thread_name_prefix="up") as pool:
            try:
                while graph.is_active():
                    for name in graph.get_ready():
                        pending[pool.submit(self._bring_up, self._nodes[name])] = name
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        future.result()
                        graph.done(pending.pop(future))
            except BaseException:
                self._abandoned.set()  # the other threads give up at their next look, and the pool can close
                raise

    def _with_needs(self, names: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in self._nodes:
                raise SandboxError(f"There is no service {name!r}. There are: {', '.join(self._nodes)}.")
            if name not in found:
                found.add(name)
                waiting += self._nodes[name].needs
        return found

    def down(self) -> int:
        """Stop everything in the reverse order of the graph, then end whatever is still ours.

        Returns:
            how many processes had to be found and ended outside of the services.
        """
        records = self.table.records()
        order = list(TopologicalSorter({name: node.needs for name, node in self._nodes.items()}).static_order())
        levels = _levels(self._nodes, order)
        with ThreadPoolExecutor(max_workers=len(self._nodes)) as pool:
            for level in reversed(levels):
                stopping = [
                    node for name in level if isinstance(node := self._nodes[name], Service) and name in records
                ]
                list(pool.map(self._stop, stopping))
        return self.table.sweep()

    def stop(self, names: Sequence[str]) -> None:
        """Stop these services, one after the other; what needs them keeps running."""
        for service in self.services:
            if service.name in names and self.table.record(service.name) is not None:
                self._stop(service)

    def states(self) -> list[State]:
        """Return what runs, with the memory of each service's whole family of processes."""
        records = self.table.records()
        families: dict[str, list[psutil.Process]] = {}
        for process in self.table.owned():
            families.setdefault(self.table.service_of(process, records), []).append(process)
        return [self._state(service, records.get(service.name), families) for service in self.services]

    def _state(self, service: Service, record: Record | None, families: Mapping[str, list[psutil.Process]]) -> State:
        memory = memory_bytes(families.get(service.name, []))
        process = self.table.process(record) if record else None
        if record is None:
            return State(service.name, "stopped", None, service.address, memory, 0)
        if process is None:
            return State(service.name, "dead", None, service.address, memory, 0)
        return State(service.name, "running", record.pid, service.address, memory, time.time() - record.create_time)

    def _bring_up(self, node: Node) -> None:
        started = time.monotonic()
        if isinstance(node, Preparation):
            if node.run():
                self._announce(node.name, "done", time.monotonic() - started)
            return
        command = node.command()
        record = self.table.record(node.name)
        if record is not None and self._keeps(node, record, command):
            return
        if record is not None:
            self._stop(node)
        self._free_ports(node)
        if node.prepare:
            node.prepare()
        if self._abandoned.is_set():
            return
        record = self.table.spawn(node.name, command, node.ports)
        self._await_ready(node, record)
        if self._abandoned.is_set():
            return
        if node.finish:
            node.finish()
        self._announce(node.name, "up", time.monotonic() - started)

    def _keeps(self, service: Service, record: Record, command: Command) -> bool:
        """Return whether the service runs as it should and can stay."""
        if self.table.process(record) is None or record.fingerprint != command.fingerprint():
            return False
        end = time.monotonic() + 20
        while time.monotonic() < end and not self._abandoned.is_set():
            if service.ready():
                return True
            time.sleep(0.2)
        self._announce(service.name, "does not answer, starting again", 20)
        return False

    def _stop(self, service: Service) -> None:
        started = time.monotonic()
        self.table.stop(service.name, service.stop_signal, service.stop_group, service.stop_seconds)
        self._announce(service.name, "stopped", time.monotonic() - started)

    def _free_ports(self, service: Service) -> None:
        """Check that the service can bind its ports; what a dead service of ours left on them is ended."""
        for number in service.ports:
            if not port_taken(number):
                continue
            owner = port_owner(number)
            ours = {process.pid for process in self.table.owned()}
            if owner is not None and owner.pid in ours:
                owner.kill()
                psutil.wait_procs([owner], timeout=5)
                if not port_taken(number):
                    continue
            raise SandboxError(port_message(service.name, number, owner))

    def _await_ready(self, service: Service, record: Record) -> None:
        end = time.monotonic() + service.deadline
        while not self._abandoned.is_set():
            code = self.table.exit_code(service.name)
            if code is not None or self.table.process(record) is None:
                raise SandboxError(self._obituary(service, record, f"ended with exit status {code} while it started"))
            if service.ready():
                self._check_listener(service)
                return
            if time.monotonic() > end:
                text = f"runs but did not answer at {service.address} within {service.deadline:.0f} s"
                raise SandboxError(self._obituary(service, record, text))
            time.sleep(0.2)

    def _check_listener(self, service: Service) -> None:
        """Make sure that this service answered, not one that took its port between our look and its start."""
        ours = {process.pid for process in self.table.owned()}
        for number in service.ports:
            owner = port_owner(number)
            if owner is not None and owner.pid not in ours:
                raise SandboxError(port_message(service.name, number, owner))

    def _obituary(self, service: Service, record: Record, what: str) -> str:
        lines = "".join(f"\n    {line}" for line in self.table.last_lines(record))
        return f"{service.name} {what}. The last lines of {self.table.log_path(service.name)}:{lines}"


def port_taken(number: int) -> bool:
    """Return whether a loopback port cannot be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, number))
            probe.listen(1)
        except OSError:
            return True
    return False


def port_message(service: str, number: int, owner: psutil.Process | None) -> str:
    """Return what a person needs to know about a port that someone else holds."""
    by = "another process"
    if owner is not None:
        try:
            by = f"process {owner.pid} ({' '.join(owner.cmdline())[:80] or owner.name()})"
        except psutil.Error:
            by = f"process {owner.pid}"
    return (
        f"Port {number}, which {service} needs, is taken by {by}. "
        f"Stop it, or move all ports: SANDBOX_PORT_OFFSET=1000 make up"
    )


@cache
def http_client() -> httpx.Client:
    """Return the one client of this program for loopback addresses; it may be used from any thread."""
    # trust_env=False: a proxy of the person's environment must not come between us and loopback.
    return httpx.Client(timeout=5, trust_env=False, verify=False)  # noqa: S501  nothing here speaks TLS


def answers(url: str, check: Callable[[httpx.Response], bool] | None = None) -> Callable[[], bool]:
    """Return a health check: a GET on ``url`` that ``check`` (default: status 200) accepts."""
    accepted = check or (lambda response: response.status_code == 200)

    def ready() -> bool:
        try:
            return accepted(http_client().get(url))
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    return ready


def _levels(nodes: Mapping[str, Node], order: Sequence[str]) -> list[list[str]]:
    """Return the names by how long a chain of needs lies below them: what shares a level does not need each other."""
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[need] for need in nodes[name].needs), default=-1)
    levels: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, level in depth.items():
        levels[level].append(name)
    return levels
