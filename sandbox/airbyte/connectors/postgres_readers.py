"""Passes of source-postgres over one table: in full, after a cursor, after a transaction id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sandbox.airbyte.connectors.base import Batch, Log, Stream
from sandbox.airbyte.connectors.postgres_arrow import ArrowReader
from sandbox.airbyte.connectors.postgres_types import Column, cursor_text

if TYPE_CHECKING:
    from sandbox.airbyte.connectors.postgres import PostgresSource

_XMIN = sql.SQL(
    "select pg_snapshot_xmin(s)::text::int8 >> 32, pg_snapshot_xmin(s)::text::int8 & 4294967295, "
    "pg_snapshot_xmin(s)::text::int8 from pg_current_snapshot() s"
)


class TableReader:
    """A pass over a whole table.

    Args:
        source: the source it belongs to.
        stream: the stream, narrowed to the selected fields.
        columns: the columns to read, in order.
        log: where to say what is read.
        has_pages: whether the table's pages can be read by several sessions.
    """

    def __init__(
        self, source: PostgresSource, stream: Stream, columns: list[Column], log: Log, *, has_pages: bool = False
    ) -> None:
        self.source = source
        self.stream = stream
        self.log = log
        self._columns = columns
        self._has_pages = has_pages

    @property
    def table(self) -> sql.Identifier:
        """The table's name in SQL."""
        return sql.Identifier(self.stream.namespace or "public", self.stream.name)

    def batches(self) -> Iterator[Batch]:
        """Yield the table's rows, in no order."""
        yield from self.rows()

    def state(self) -> dict[str, Any] | None:
        """A full refresh has nothing to remember."""
        return None

    def rows(self, condition: sql.Composable | None = None) -> Iterator[Batch]:
        """Yield the rows that fulfil ``condition``, in no order."""
        if self._has_pages:
            return self.source.process.read(ArrowReader.table, self._select, self.table, condition, self._columns)
        return self.ordered(sql.SQL("") if condition is None else sql.SQL("where {}").format(condition))

    def ordered(self, rest: sql.Composable) -> Iterator[Batch]:
        """Yield what ``select <columns> from <table> <rest>`` finds, in its order."""
        statement = sql.SQL("{} {}").format(self._select, rest)
        return self.source.process.read(ArrowReader.query, statement, self._columns)

    @property
    def _select(self) -> sql.Composable:
        columns = sql.SQL(", ").join(column.expression for column in self._columns)
        return sql.SQL("select {} from {}").format(columns, self.table)


class CursorReader(TableReader):
    """A pass over what is after a cursor.

    The first pass reads the whole table, rows without a cursor value included, as Airbyte's initial load does. A later
    pass reads ``cursor > saved``; if the number of rows that carry exactly the saved value has changed since, it reads
    ``cursor >= saved`` and sends those rows again (at-least-once, as Airbyte's ``cursor_record_count`` does). Rows come
    in the order of the cursor.

    Args:
        source: as in :class:`TableReader`.
        stream: as in :class:`TableReader`.
        columns: as in :class:`TableReader`.
        log: as in :class:`TableReader`.
        cursor: the cursor column.
        state: the saved state, or None.
    """

    def __init__(
        self,
        source: PostgresSource,
        stream: Stream,
        columns: list[Column],
        log: Log,
        cursor: Column,
        state: dict[str, Any] | None,
    ) -> None:
        super().__init__(source, stream, columns, log)
        self._cursor = cursor
        usable = state is not None and state.get("cursor_field") == [cursor.name]
        self._saved: dict[str, Any] | None = state if usable else None
        self._highest: Any = None
        self._highest_count = 0

    def batches(self) -> Iterator[Batch]:
        """Yield the rows after the saved cursor."""
        for batch in self.ordered(self._condition()):
            assert isinstance(batch, pa.RecordBatch)
            self._follow(batch.column(self._cursor.name))
            yield batch

    def state(self) -> dict[str, Any] | None:
        """Return the last cursor value seen and how many rows carry it, in Airbyte's cursor-based form."""
        if self._highest is None:
            return self._saved
        return {
            "version": 2,
            "state_type": "cursor_based",
            "stream_name": self.stream.name,
            "stream_namespace": self.stream.namespace,
            "cursor_field": [self._cursor.name],
            "cursor": cursor_text(self._highest),
            "cursor_record_count": self._highest_count,
        }

    def _condition(self) -> sql.Composable:
        name = sql.Identifier(self.stream.name, self._cursor.name)
        condition: sql.Composable = sql.SQL("")
        if self._saved is not None and self._saved.get("cursor") is not None:
            literal = self._cursor.cursor_literal(str(self._saved["cursor"]))
            same = sql.SQL("select count(*) from {} where {} = {}").format(self.table, name, literal)
            unchanged = self.source.row(same)[0] == self._saved.get("cursor_record_count")
            operator = ">" if unchanged else ">="
            condition = sql.SQL("where {} {} {}").format(name, sql.SQL(operator), literal)
            saved = self._saved["cursor"]
            self.log("info", f"{self.stream.name}: reading rows with {self._cursor.name} {operator} {saved}")
        return sql.SQL("{} order by {}").format(condition, name)

    def _follow(self, values: Any) -> None:
        """Note the last value: PostgreSQL's order is the one that counts, not Arrow's (collations, NaN)."""
        present = values.drop_null()
        if not len(present):
            return
        last = present[-1]
        count = pc.sum(pc.equal(present, last)).as_py()
        value = last.as_py()
        self._highest_count = count + (self._highest_count if value == self._highest else 0)
        self._highest = value


class XminReader(TableReader):
    """A pass over what transactions wrote that had not ended when the last pass began.

    Every row says in ``xmin`` which transaction wrote it. The saved number is the oldest transaction that was still
    running, so that rows of transactions which overlap a pass are sent again (at-least-once). A pass scans the whole
    table: there is no index on ``xmin``. Deletes are not seen. Transaction ids have 32 bits: after one wraparound the
    rows below the present number count too, after two the table is read as a whole.

    Args:
        source: as in :class:`TableReader`.
        stream: as in :class:`TableReader`.
        columns: as in :class:`TableReader`.
        log: as in :class:`TableReader`.
        state: the saved state, or None.
        has_pages: as in :class:`TableReader`.
    """

    def __init__(
        self,
        source: PostgresSource,
        stream: Stream,
        columns: list[Column],
        log: Log,
        state: dict[str, Any] | None,
        *,
        has_pages: bool,
    ) -> None:
        super().__init__(source, stream, columns, log, has_pages=has_pages)
        self._saved = state if state is not None and state.get("state_type") == "xmin" else None
        self._status: dict[str, Any] = {}

    def batches(self) -> Iterator[Batch]:
        """Yield the rows that transactions wrote since the saved one."""
        wraparounds, xid, raw = map(int, self.source.row(_XMIN))
        self._status = {
            "version": 2,
            "state_type": "xmin",
            "num_wraparound": wraparounds,
            "xmin_xid_value": xid,
            "xmin_raw_value": raw,
        }
        yield from self.rows(self._condition(wraparounds, xid))

    def state(self) -> dict[str, Any] | None:
        """Return the oldest transaction that was running when the pass began, in Airbyte's form."""
        return self._status

    def _condition(self, wraparounds: int, xid: int) -> sql.Composable | None:
        if self._saved is None:
            return None
        since, turns = int(self._saved["xmin_xid_value"]), wraparounds - int(self._saved["num_wraparound"])
        if turns not in (0, 1):
            self.log(
                "warn", f"{self.stream.name}: {turns} wraparounds of transaction ids since the last sync: full read"
            )
            return None
        self.log("info", f"{self.stream.name}: reading rows with xmin >= {since}" + (f" or < {xid}" if turns else ""))
        condition = sql.SQL("xmin::text::int8 >= {}").format(sql.Literal(since))
        return sql.SQL("{} or xmin::text::int8 < {}").format(condition, sql.Literal(xid)) if turns else condition
