"""Column values out of many pgoutput tuples at once: numpy walks over all tuples of a relation, column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PADDING = 16
"""Bytes behind the last message, so that reading a number near the end stays inside the buffer."""
_INLINE = 12
"""So many bytes of a value are in Arrow's string view itself; of a longer one its first four and where it lies."""
_KEPT = np.array([[255] * kept + [0] * (_INLINE - kept) for kept in range(_INLINE + 1)], np.uint8).view("V12")[:, 0]
_TEXT, _UNCHANGED = ord("t"), ord("u")


class Buffer:
    """Bytes of many messages, with big-endian numbers readable at any position.

    Args:
        data: the bytes, followed by :data:`PADDING` more.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes = np.frombuffer(data, dtype=np.uint8)

    def numbers(self, positions: Positions, kind: str) -> Positions:
        """Return the big-endian numbers at some positions.

        Args:
            positions: where they begin.
            kind: numpy's name of the type: ``u2``, ``i4``, ``u4``, ``i8``.
        """
        return self._at(positions, f">{kind}").astype(np.int64)

    def _at(self, positions: Positions, kind: str) -> npt.NDArray[Any]:
        count = max(len(self.bytes) - np.dtype(kind).itemsize + 1, 0)
        # Every byte is the beginning of an item: a view with steps of one byte reads unaligned ones.
        return np.ndarray((count,), dtype=kind, buffer=self.data, strides=(1,))[positions]

    def texts(self, values: Values) -> Any:
        """Return column values as an Arrow array of text.

        Raises:
            pa.ArrowInvalid: if the bytes are not UTF-8.
        """
        lengths = np.where(values.present, values.lengths, 0)
        views = np.empty((len(lengths), 4), "<u4")
        views[:, 0] = lengths
        first = self._at(values.starts, "V12").view("<u4") & _KEPT[np.minimum(lengths, _INLINE)].view("<u4")
        views[:, 1:] = first.reshape(-1, 3)
        long = np.flatnonzero(lengths > _INLINE)
        views[long, 2] = 0  # the number of the buffer
        views[long, 3] = values.starts[long]
        missing = int(len(lengths) - np.count_nonzero(values.present))
        validity = pa.py_buffer(np.packbits(values.present, bitorder="little")) if missing else None
        buffers = [validity, pa.py_buffer(views), pa.py_buffer(self.data)]
        array = pa.Array.from_buffers(pa.string_view(), len(lengths), buffers, missing).cast(pa.string())
        array.validate(full=True)
        return array


@dataclass(frozen=True)
class Values:
    """One column of some tuples.

    Attributes:
        starts: where each value begins in the buffer.
        lengths: its length in bytes.
        present: whether there is one (neither null nor left out).
        unchanged: whether an out-of-line value was left out because the update did not touch it.
    """

    starts: Positions
    lengths: Positions
    present: Mask
    unchanged: Mask

    def where(self, mask: Mask, other: Values) -> Values:
        """Return these values, and those of ``other`` where ``mask`` is set."""
        return Values(
            np.where(mask, other.starts, self.starts),
            np.where(mask, other.lengths, self.lengths),
            np.where(mask, other.present, self.present),
            np.where(mask, other.unchanged, self.unchanged),
        )

    def take(self, rows: Positions) -> Values:
        """Return the values of some rows."""
        return Values(self.starts[rows], self.lengths[rows], self.present[rows], self.unchanged[rows])

    def followed_by(self, other: Values) -> Values:
        """Return these values and then those of ``other``."""
        return Values(
            np.concatenate([self.starts, other.starts]),
            np.concatenate([self.lengths, other.lengths]),
            np.concatenate([self.present, other.present]),
            np.concatenate([self.unchanged, other.unchanged]),
        )


def walk(buffer: Buffer, positions: Positions, columns: int) -> tuple[list[Values], Positions]:
    """Read tuples (``TupleData`` in PostgreSQL's description of the protocol).

    Args:
        buffer: holds them.
        positions: where each begins, at its number of columns.
        columns: how many columns they must have.

    Returns:
        The values of every column, and the positions behind the tuples.

    Raises:
        ValueError: if a tuple has another number of columns than its relation.
    """
    if len(positions) and np.any(buffer.numbers(positions, "u2") != columns):
        raise ValueError("pgoutput: a tuple does not have the columns that its relation was announced with")
    position = positions + 2
    values = []
    for _ in range(columns):
        kind = buffer.bytes[position]
        present = kind == _TEXT
        lengths = np.where(present, buffer.numbers(position + 1, "i4"), 0)
        values.append(Values(position + 5, lengths, present, kind == _UNCHANGED))
        position = position + np.where(present, 5 + lengths, 1)
    return values, position
