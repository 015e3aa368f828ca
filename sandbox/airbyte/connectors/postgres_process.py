"""Reading over ADBC in a process of its own, as each of Airbyte's connectors has one: what kills it kills one read.

A server of :mod:`multiprocessing` that has the libraries loaded already forks it in some milliseconds. What it reads
comes as an Arrow IPC stream through a pipe, which also holds it back. A second pipe takes interrupts there and brings
the outcome back; the process ends when that is closed, by whomever, so that it never outlives this one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BufferedReader
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pyarrow as pa

from sandbox.airbyte.connectors.base import CancelledSync, ConnectorError
from sandbox.airbyte.connectors.postgres_arrow import ERRORS, ArrowReader

CANCEL_SECONDS = 2
"""How long the end of a process may take; it tells PostgreSQL to cancel its queries first."""

_CONTEXT = get_context("forkserver")
# Libraries by their names, too: the server may have another path than this process, and then skips our module.
_CONTEXT.set_forkserver_preload(["adbc_driver_postgresql", "numpy", "psycopg.sql", "pyarrow.compute", __name__])


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
        self._interrupted = False
        self._lock = threading.Lock()
        forkserver.ensure_running()  # loads its libraries meanwhile

    def read(self, reading: Callable[..., Iterator[pa.RecordBatch]], *arguments: Any) -> Iterator[pa.RecordBatch]:
        """Yield what a method of :class:`ArrowReader` yields.

        Args:
            reading: the method, as a function.
            arguments: its arguments; they are pickled.

        Raises:
            ConnectorError: if the connection or the query fails, or the process is killed.
            CancelledSync: if it was interrupted.
            RuntimeError: if it fails in another way; the traceback is in this process's standard error.
        """
        batches, batches_there = _CONTEXT.Pipe(duplex=False)
        control, control_there = _CONTEXT.Pipe()
        process = _CONTEXT.Process(
            target=_serve, args=(self._uri, reading, arguments, batches_there, control_there), daemon=True
        )
        with batches, control:
            with batches_there, control_there:
                process.start()
            try:
                with self._lock:
                    self._running.add(control)
                    if self._interrupted:
                        raise CancelledSync
                yield from self._received(batches, control, process)
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

    def _received(self, batches: Connection, control: Connection, process: BaseProcess) -> Iterator[pa.RecordBatch]:
        broken = None
        try:
            with open(batches.fileno(), "rb", closefd=False) as pipe:
                yield from _stream(pipe)
        except (OSError, pa.ArrowException) as error:  # the process has died in the middle of a batch
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


def _stream(pipe: BufferedReader) -> Iterator[pa.RecordBatch]:
    if pipe.peek(1):  # else there was no batch, and no schema either
        with pa.ipc.open_stream(pipe) as stream:
            yield from stream


def _serve(
    uri: str,
    reading: Callable[..., Iterator[pa.RecordBatch]],
    arguments: tuple[Any, ...],
    batches: Connection,
    control: Connection,
) -> None:
    """Read in this process; the outcome is None, or a text that says why it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the process that reads from the pipe
    reader = ArrowReader(uri)
    threading.Thread(target=_obey, args=(control, reader), daemon=True).start()
    outcome = None
    writer = None
    try:
        with open(batches.fileno(), "wb", closefd=False) as pipe:
            for batch in reading(reader, *arguments):
                if writer is None:
                    writer = pa.ipc.new_stream(pipe, batch.schema)
                writer.write_batch(batch)
            if writer is not None:
                writer.close()
    except CancelledSync:
        outcome = "interrupted"
    except ERRORS as error:
        outcome = str(error)
    batches.close()
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
