"""Reading over ADBC in a process of its own, as each of Airbyte's connectors has one: what kills it kills one read.

A server of :mod:`multiprocessing` that has the libraries loaded already forks it in some milliseconds. What it reads
comes in shared memory, which also holds it back. A pipe takes the task and interrupts there and brings the outcome
back; the process ends when that is closed, by whomever, so that it never outlives this one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import pyarrow as pa

from sandbox.airbyte.connectors.base import CancelledSync, ConnectorError
from sandbox.airbyte.connectors.postgres_arrow import ERRORS, ArrowReader
from sandbox.airbyte.connectors.shared_batches import BatchReceiver, BatchSender

CANCEL_SECONDS = 2
"""How long the end of a process may take; it tells PostgreSQL to cancel its queries first."""

_CONTEXT = get_context("forkserver")
# Libraries by their names, too: the server may have another path than this process, and then skips our module.
_CONTEXT.set_forkserver_preload(["adbc_driver_postgresql", "numpy", "psycopg.sql", "pyarrow.compute", __name__])


Reading = Callable[..., Iterator[pa.RecordBatch]]
"""A method of :class:`ArrowReader`, as a function."""


class _Process(NamedTuple):
    """A process that is connected, or about to be, and waits for its task.

    Attributes:
        process: as :mod:`multiprocessing` knows it.
        receiver: gets what it reads.
        control: takes the task and interrupts, brings the outcome.
    """

    process: BaseProcess
    receiver: BatchReceiver
    control: Connection


class ReadingProcess:
    """Runs what an :class:`ArrowReader` reads in processes of their own, one for each read.

    Args:
        uri: libpq's connection string.
        failed: makes an error of what went wrong.
    """

    def __init__(self, uri: str, failed: Callable[[str], ConnectorError]) -> None:
        self._uri = uri
        self._failed = failed
        self._running: set[Connection] = set()
        self._next: Future[_Process] | None = None
        self._interrupted = False
        self._lock = threading.Lock()
        self._starting = ThreadPoolExecutor(1, "reading-process")
        forkserver.ensure_running()  # loads its libraries meanwhile

    def prepare(self) -> None:
        """Have the process of the next read start and connect meanwhile; it ends with this object if none comes."""
        with self._lock:
            if self._next is None:
                self._next = self._starting.submit(_started, self._uri)

    def read(self, reading: Reading, *arguments: Any) -> Iterator[pa.RecordBatch]:
        """Yield what a method of :class:`ArrowReader` yields.

        Args:
            reading: the method.
            arguments: its arguments; they are pickled.

        Raises:
            ConnectorError: if the connection or the query fails, or the process is killed.
            CancelledSync: if it was interrupted.
            RuntimeError: if it fails in another way; the traceback is in this process's standard error.
        """
        self.prepare()
        with self._lock:
            prepared, self._next = self._next, None
        assert prepared is not None
        process, receiver, control = prepared.result()
        with control:
            try:
                with self._lock:
                    self._running.add(control)
                    if self._interrupted:
                        raise CancelledSync
                    with suppress(OSError):  # it has ended already, and left its outcome
                        control.send((reading, arguments))
                yield from self._received(receiver, control, process)
            finally:
                with self._lock:
                    self._running.discard(control)
                    control.close()
                process.join(CANCEL_SECONDS + 1)
                process.kill()

    def interrupt(self) -> None:
        """Have PostgreSQL cancel what runs; what has not begun does not begin any more."""
        with self._lock:
            self._interrupted = True
            for control in self._running:
                with suppress(OSError):  # it has just ended
                    control.send_bytes(b"interrupt")

    def _received(self, receiver: BatchReceiver, control: Connection, process: BaseProcess) -> Iterator[pa.RecordBatch]:
        broken = None
        try:
            yield from receiver.batches()
        except OSError as error:  # the process has died in the middle of a message
            broken = error
        try:
            outcome = control.recv()
        except (OSError, EOFError):
            process.join(CANCEL_SECONDS)
            if process.exitcode == 1:
                raise RuntimeError("the process that reads has ended with exit status 1; see its traceback") from None
            outcome = "the connection was lost: the process that read from it has died"
        if outcome is None and broken is None:
            return
        if self._interrupted:
            raise CancelledSync
        raise self._failed(outcome or str(broken)) from broken


def _started(uri: str) -> _Process:
    receiver = BatchReceiver()
    control, control_there = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_serve, args=(uri, receiver.sender, control_there), daemon=True)
    with closing(receiver.sender), control_there:
        process.start()
    return _Process(process, receiver, control)


def _serve(uri: str, sender: BatchSender, control: Connection) -> None:
    """Connect, and read what the task says; the outcome is None, or a text that says why it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the process that has started this one
    reader = ArrowReader(uri)
    outcome = None
    try:
        try:
            reader.connect()
        finally:  # whoever has the task waits for the outcome
            reading, arguments = control.recv()
            threading.Thread(target=_obey, args=(control, reader), daemon=True).start()
        for batch in reading(reader, *arguments):
            sender.send(batch)
    except EOFError:  # nobody has a task any more, or takes what it yields
        return
    except CancelledSync:
        outcome = "interrupted"
    except ERRORS as error:
        outcome = str(error)
    sender.close()
    control.send(outcome)


def _obey(control: Connection, reader: ArrowReader) -> None:
    """Interrupt the reader when told so; when nobody is left to tell, end this process."""
    try:
        while control.recv_bytes():
            reader.interrupt()
    except (OSError, EOFError):
        signal.alarm(CANCEL_SECONDS)  # a server that cannot be reached does not answer a cancel
        reader.interrupt()
        os._exit(1)
