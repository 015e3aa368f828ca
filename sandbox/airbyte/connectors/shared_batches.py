"""Arrow batches for another process, in memory that both have: written there once, and used where they are.

Through a pipe they would be copied twice more, into pages that the kernel has to make for every batch.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection, Pipe
from typing import Any

import pyarrow as pa

SLOTS = 6
SLOT_BYTES = 6 * 1024 * 1024
"""Memory of one batch; a larger one goes through a pipe."""
KEPT = SLOTS - 2
"""So many slots the receiver keeps while their batches are in use. What comes then is copied: a receiver that gathers
batches must not wait for slots that it has itself."""


class BatchSender:
    """The end that sends; it goes to its process as an argument.

    Args:
        memory: file descriptor of the memory.
        filled: where to say what is in it.
        released: says which slots are free again.
    """

    def __init__(self, memory: int, filled: Connection, released: Connection) -> None:
        self._memory = memory
        self._filled = filled
        self._released = released
        self._free = list(range(SLOTS))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled for the process while it is started."""
        return {**self.__dict__, "_memory": reduction.DupFd(self._memory)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the same in the other process."""
        self.__dict__.update(state, _memory=state["_memory"].detach())
        self._slots = memoryview(mmap.mmap(self._memory, SLOTS * SLOT_BYTES))

    def send(self, batch: pa.RecordBatch) -> None:
        """Send a batch; waits for a free slot.

        Raises:
            EOFError: if nobody receives any more.
            OSError: the same.
        """
        measure = pa.MockOutputStream()
        _write(batch, measure)
        if measure.size() > SLOT_BYTES:
            stream = pa.BufferOutputStream()
            _write(batch, stream)
            self._filled.send(None)
            self._filled.send_bytes(stream.getvalue())
            return
        slot = self._free.pop() if self._free else self._released.recv_bytes()[0]
        start = slot * SLOT_BYTES
        _write(batch, pa.FixedSizeBufferWriter(pa.py_buffer(self._slots[start : start + measure.size()])))
        self._filled.send((slot, measure.size()))

    def close(self) -> None:
        """Send no more; in the process that has started the other one, leave the end to that."""
        os.close(self._memory)
        self._filled.close()
        self._released.close()


class BatchReceiver:
    """The end that receives.

    Attributes:
        sender: the other end, to be closed here once its process has it.
    """

    def __init__(self) -> None:
        self._filled, filled = Pipe(duplex=False)
        released, self._released = Pipe(duplex=False)
        memory = _memory(SLOTS * SLOT_BYTES)
        self._slots = memoryview(mmap.mmap(memory, SLOTS * SLOT_BYTES))
        self._address = pa.py_buffer(self._slots).address
        self._kept: set[int] = set()
        self.sender = BatchSender(memory, filled, released)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield what is sent until the sender is closed, by itself or by the end of its process.

        Raises:
            OSError: if that happens in the middle of a message.
        """
        with self._filled:
            while True:
                try:
                    message = self._filled.recv()
                    stream = self._filled.recv_bytes() if message is None else self._stream(*message)
                except EOFError:
                    return
                with pa.ipc.open_stream(stream) as reader:
                    yield reader.read_next_batch()

    def _stream(self, slot: int, size: int) -> pa.Buffer:
        start = slot * SLOT_BYTES
        if len(self._kept) < KEPT:
            self._kept.add(slot)
            return pa.foreign_buffer(self._address + start, size, _Lease(self, slot))
        stream = pa.py_buffer(bytes(self._slots[start : start + size]))
        self.release(slot)
        return stream

    def release(self, slot: int) -> None:
        """Let the sender have a slot again."""
        self._kept.discard(slot)
        with suppress(OSError):  # its process has ended
            self._released.send_bytes(bytes([slot]))


class _Lease:
    """Whatever uses a batch keeps one; its end is the end of all use."""

    def __init__(self, receiver: BatchReceiver, slot: int) -> None:
        self._receiver = receiver
        self._slot = slot

    def __del__(self) -> None:
        self._receiver.release(self._slot)


def _memory(size: int) -> int:
    """Return the descriptor of memory that no file system knows, or of a file that has no name."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("batches")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.truncate(memory, size)
    return memory


def _write(batch: pa.RecordBatch, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
