"""PostgreSQL's binary numeric, many at a time: numpy takes the digits of all values, position by position.

``numeric_send`` in PostgreSQL's ``src/backend/utils/adt/numeric.c`` writes 16-bit numbers: how many digits there are,
the weight of the first one, the sign, the scale, and then the digits, whose base is 10000. The first digit counts
``10000 ** weight``; zeros at either end are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

INT64_DIGITS = 18
"""Precision up to which every number without its point fits into 64 bits."""
_HEADER = 4
_NEGATIVE, _NOT_A_NUMBER = 0x4000, -0x4000


def decimals(values: Any, kind: Any) -> Any:
    """Return numerics as Arrow decimals; ``NaN``, which those do not have, is null.

    Args:
        values: what ``numeric_send`` wrote, as an Arrow array of binary.
        kind: the Arrow type of the result; it has the numerics' scale and at most :data:`INT64_DIGITS` digits.
    """
    count = len(values)
    _, offsets_buffer, data = values.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32, count + 1, values.offset * 4)
    # Every value has an even length. Zeros follow, for nulls at the end to point at.
    words = np.zeros(offsets[-1] // 2 + _HEADER, np.int16)
    words[:-_HEADER] = np.frombuffer(data or b"", ">i2", len(words) - _HEADER)
    starts = (offsets[:-1] >> 1).astype(np.int64)
    digits, weights, signs = words[starts], words[starts + 1], words[starts + 2]
    valid = signs != _NOT_A_NUMBER
    if values.null_count:
        valid &= values.is_valid().to_numpy(zero_copy_only=False)
        digits = np.where(valid, digits, 0)
        weights = np.where(valid, weights, 0)
    whole = _unscaled(words, starts + _HEADER, digits, weights, kind.scale)
    negative = signs == _NEGATIVE
    if negative.any():
        np.negative(whole, out=whole, where=negative)
    wide = np.empty((count, 2), np.int64)
    wide[:, 0] = whole
    wide[:, 1] = whole >> 63
    missing = count - int(np.count_nonzero(valid))
    validity = pa.py_buffer(np.packbits(valid, bitorder="little")) if missing else None
    return pa.Array.from_buffers(kind, count, [validity, pa.py_buffer(wide)], missing)


def _unscaled(words: Any, first: Any, digits: Any, weights: Any, scale: int) -> Any:
    """Return ``abs(number) * 10 ** scale`` of every number.

    Args:
        words: all numbers.
        first: where in ``words`` the digits of each number begin.
        digits: how many it has.
        weights: weight of its first digit.
        scale: decimal places of all numbers.
    """
    lowest = -(-scale // 4)
    total = np.zeros(len(first), np.int64)
    for weight in range(int(weights.max(initial=0)), -lowest - 1, -1):
        place = weights - np.int16(weight)
        digit = words.take(first + place, mode="clip")
        digit[(place < 0) | (place >= digits)] = 0
        if weight > -lowest or scale % 4 == 0:
            total *= 10_000
        else:  # of the last digit only some decimal places are used
            total *= 10 ** (scale % 4)
            digit //= 10 ** (4 - scale % 4)
        total += digit
    return total
