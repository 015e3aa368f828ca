"""Pages of payments out of a Parquet file, a row group at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

CACHED_ROW_GROUPS: Final = 2
"""Pages go forward: the group under the cursor and the next one are all that a reader needs."""


class PaymentsMissingError(Exception):
    """There is no file of payments; the message names it."""


class UnknownPaymentError(Exception):
    """A cursor names a payment that does not exist."""


@dataclass(frozen=True)
class _RowGroup:
    """What the footer tells about a row group."""

    first_id: str
    last_id: str
    last_created: datetime


class PaymentStore:
    """Payments in the order of their ids, read from Parquet with bounded memory.

    A new file in the place of the old one is noticed with the next page.

    Args:
        path: the file; it is ordered by ``payment_id`` and its row groups carry statistics.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._groups: list[_RowGroup] = []
        self._rows: dict[int, list[dict[str, Any]]] = {}

    def page(
        self, limit: int, starting_after: str | None, created_after: datetime | None
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return a page of payments and whether more follow.

        Args:
            limit: at most so many payments.
            starting_after: the page begins behind this payment id; from the first payment if None.
            created_after: only payments created later than this (UTC, without zone).

        Raises:
            PaymentsMissingError: if the file is not there.
            UnknownPaymentError: if ``starting_after`` names no payment.
        """
        with self._lock:
            self._refresh()
            page: list[dict[str, Any]] = []
            for payment in self._following(starting_after, created_after):
                if len(page) == limit:
                    return page, True
                page.append(payment)
            return page, False

    def _following(self, starting_after: str | None, created_after: datetime | None) -> Iterator[dict[str, Any]]:
        first = 0 if starting_after is None else self._group_of(starting_after)
        for number in range(first, len(self._groups)):
            if created_after is not None and self._groups[number].last_created <= created_after:
                continue
            for payment in self._load(number):
                if starting_after is not None and payment["payment_id"] <= starting_after:
                    continue
                if created_after is None or payment["created_at"] > created_after:
                    yield payment

    def _group_of(self, payment_id: str) -> int:
        for number, group in enumerate(self._groups):
            if group.first_id <= payment_id <= group.last_id:
                if any(payment["payment_id"] == payment_id for payment in self._load(number)):
                    return number
                break
        raise UnknownPaymentError(payment_id)

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError as error:
            raise PaymentsMissingError(f"{self._path} does not exist") from error
        version = (status.st_mtime_ns, status.st_ino)
        if version == self._version:
            return
        with pq.ParquetFile(self._path) as parquet:
            metadata = parquet.metadata
            names = parquet.schema_arrow.names
            columns = (names.index("payment_id"), names.index("created_at"))
            groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
            self._groups = [_describe(group, *columns) for group in groups]
        self._rows.clear()
        self._version = version

    def _load(self, number: int) -> list[dict[str, Any]]:
        if number not in self._rows:
            while len(self._rows) >= CACHED_ROW_GROUPS:
                del self._rows[next(iter(self._rows))]
            with pq.ParquetFile(self._path) as parquet:
                table: pa.Table = parquet.read_row_group(number)
            self._rows[number] = table.to_pylist()
        return self._rows[number]


def _describe(group: Any, id_column: int, created_column: int) -> _RowGroup:
    ids = group.column(id_column).statistics
    created = group.column(created_column).statistics
    return _RowGroup(first_id=_text(ids.min), last_id=_text(ids.max), last_created=created.max)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
