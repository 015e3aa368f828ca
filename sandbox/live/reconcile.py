"""Is what the unified view shows what the shop has? Row by row, after the feed has caught up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
import pyarrow as pa
from pyarrow import flight

from sandbox.settings import SandboxError, Settings

COLUMNS: Final = ("order_id", "customer_id", "order_date", "amount", "status", "updated_at")
VIEW: Final = "gold.fct_orders_unified"

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Difference:
    """What the view lacks, and what it has too much.

    Args:
        rows: Rows of the view.
        lost: Orders of the source that the view lacks or shows in another version.
        doubled: Rows of the view for an order it has already, or that the source does not have (any more).
    """

    rows: int
    lost: int
    doubled: int


def compare(settings: Settings) -> Difference:
    """Compare the shop's orders with the unified view.

    Raises:
        SandboxError: If PostgreSQL or Dremio does not answer.
    """
    try:
        with psycopg.connect(settings["SOURCE_POSTGRES_DSN"], connect_timeout=10) as connection:
            source = connection.execute(f"select {', '.join(COLUMNS)} from public.orders").fetchall()  # noqa: S608
    except psycopg.Error as error:
        raise SandboxError(f"Cannot read the shop's orders: {error}") from error
    return difference(source, _view(settings))


def difference(source: Iterable[Row], view: Iterable[Row]) -> Difference:
    """Compare rows whose first column is the key.

    A key that the source has more than once is part of its dirt: which of the rows counts is not defined, so any does.
    A row without a key is in no view.
    """
    wanted: dict[Any, list[Row]] = {}
    for row in map(_comparable, source):
        if row[0] is not None:
            wanted.setdefault(row[0], []).append(row)
    shown = Counter(map(_comparable, view))
    right = {row[0] for row in shown if row in wanted.get(row[0], ())}
    total = shown.total()
    keys = {row[0] for row in shown}
    return Difference(total, lost=len(wanted.keys() - right), doubled=total - len(keys & wanted.keys()))


def _comparable(row: Row) -> Row:
    """Dremio keeps milliseconds."""
    return tuple(
        value.replace(microsecond=value.microsecond // 1000 * 1000) if isinstance(value, datetime) else value
        for value in row
    )


def _view(settings: Settings) -> list[Row]:
    try:
        with flight.connect(settings["DREMIO_FLIGHT"]) as client:
            header = client.authenticate_basic_token(settings["DREMIO_USER"], settings["DREMIO_PASSWORD"])
            options = flight.FlightCallOptions(headers=[header], timeout=120)
            statement = f"select {', '.join(COLUMNS)} from {VIEW}"  # noqa: S608  # all of it is written here
            found = client.get_flight_info(flight.FlightDescriptor.for_command(statement), options)
            table = client.do_get(found.endpoints[0].ticket, options).read_all()
    except (flight.FlightError, pa.ArrowException) as error:
        raise SandboxError(f"Cannot read {VIEW} in Dremio: {error}") from error
    return list(zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True))
