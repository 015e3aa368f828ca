"""Batches in memory that two processes share: each arrives as it was sent, however long it is used."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

import pyarrow as pa
import pytest

from sandbox.airbyte.connectors.shared_batches import KEPT, SLOT_BYTES, SLOTS, BatchReceiver, BatchSender

pytestmark = pytest.mark.timeout(60)
COUNT = 4 * SLOTS
LARGE = 5
"""The batch that has no room in a slot."""


def batch(number: int) -> pa.RecordBatch:
    """A batch that no other one resembles, with nulls and texts."""
    size = SLOT_BYTES // 8 + 1000 if number == LARGE else 50_000
    values = pa.array(range(number * size, number * size + size))
    texts = pa.array([None if i % 7 == number % 7 else f"{number}-{i}" for i in range(100)] * (size // 100 + 1))[:size]
    return pa.record_batch({"value": values, "text": texts})


def send(sender: BatchSender, count: int, end: str) -> None:
    for number in range(count):
        sender.send(batch(number))
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sender.close()


@contextmanager
def sending(count: int, end: str = "closed") -> Iterator[tuple[BatchReceiver, BaseProcess]]:
    receiver = BatchReceiver()
    process = get_context("forkserver").Process(target=send, args=(receiver.sender, count, end), daemon=True)
    with closing(receiver.sender):
        process.start()
    try:
        yield receiver, process
    finally:
        process.kill()
        process.join(10)


def test_batches_stay_what_they_were_while_they_are_used() -> None:
    with sending(COUNT) as (receiver, process):
        received = list(receiver.batches())
        process.join(10)
        assert process.exitcode == 0
    assert len(received) == COUNT > KEPT
    for number, one in enumerate(received):
        one.validate(full=True)
        assert one.equals(batch(number)), number


def test_what_is_used_one_after_the_other_is_not_copied() -> None:
    with sending(COUNT) as (receiver, _):
        start = receiver._address
        places = []
        for number, one in enumerate(receiver.batches()):
            assert one.equals(batch(number)), number
            places.append((one.column("value").buffers()[1].address - start) // SLOT_BYTES)
            del one
    there = [place for number, place in enumerate(places) if number != LARGE]
    assert {*there} <= {*range(SLOTS)}
    assert places[LARGE] not in range(SLOTS)
    assert receiver._kept == set()


def test_part_of_a_batch_keeps_its_place() -> None:
    with sending(COUNT) as (receiver, _):
        batches = receiver.batches()
        parts = [next(batches).column("text")[10:20]]
        parts += [one.column("text")[10:20] for one in batches]
    assert [part.to_pylist() for part in parts] == [
        batch(number).column("text")[10:20].to_pylist() for number in range(COUNT)
    ]


def test_a_sender_that_is_killed_ends_the_batches() -> None:
    with sending(3, "killed") as (receiver, process):
        received = list(receiver.batches())
        process.join(10)
        assert process.exitcode == -signal.SIGKILL
    assert [one.num_rows for one in received] == [50_000] * 3


def test_a_message_that_is_cut_is_no_end() -> None:
    receiver = BatchReceiver()
    with closing(receiver.sender):
        os.write(receiver.sender._filled.fileno(), (100).to_bytes(4, "big") + b"begun")
    with pytest.raises(OSError, match="end of file during message"):
        list(receiver.batches())


def test_a_receiver_that_stops_lets_the_sender_end() -> None:
    with sending(COUNT) as (receiver, process):
        batches = receiver.batches()
        kept = next(batches)
        batches.close()  # type: ignore[attr-defined]  # it is a generator
        del receiver
        process.join(10)
        assert process.exitcode not in (0, None)
        assert kept.equals(batch(0))
