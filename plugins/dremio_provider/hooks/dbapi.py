"""DB-API 2.0 (PEP 249) over Arrow Flight: what Airflow's stock SQL operators, checks and sensors speak.

Dremio has no transactions: every statement takes effect at once, ``commit`` has nothing to do and ``rollback`` refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from dremio_provider.exceptions import DremioError, DremioTerminalError, DremioTransientError
from dremio_provider.parameters import Parameters, bind

if TYPE_CHECKING:
    import pyarrow as pa

    from dremio_provider.hooks.flight import FlightSession

apilevel = "2.0"
threadsafety = 1
paramstyle = "pyformat"

Error = DremioError
DatabaseError = DremioError
OperationalError = DremioTransientError
ProgrammingError = DremioTerminalError

Row = tuple[Any, ...]
# The only column that a statement which changes rows answers.
_AFFECTED = "Records"


class DremioConnection:
    """A connection: a Flight session, and the context of its statements.

    :param session: Where statements go. It is not closed with the connection: its owner reuses it.
    :param schema: Path that unqualified names are looked up in; by default the Airflow connection's.
    :param timeout: Seconds each statement may take, fetching included.
    """

    def __init__(
        self, session: FlightSession, *, schema: str | Sequence[str] | None = None, timeout: float = 600.0
    ) -> None:
        self._session = session
        self._schema = schema
        self._timeout = timeout
        self._cursors: list[DremioCursor] = []
        self._closed = False

    def cursor(self) -> DremioCursor:
        """A new cursor."""
        if self._closed:
            raise DremioTerminalError("The connection is closed.", check="the code that uses it.")
        cursor = DremioCursor(self._session, self._schema, self._timeout)
        self._cursors.append(cursor)
        return cursor

    def commit(self) -> None:
        """Nothing: every statement has taken effect already."""

    def rollback(self) -> None:
        """Refuse.

        :raises DremioTerminalError: Always: Dremio has no transactions.
        """
        raise DremioTerminalError(
            "Dremio has no transactions: what was run cannot be rolled back.", check="the statements that were run."
        )

    def close(self) -> None:
        """Close all cursors, which cancels what they still read."""
        self._closed = True
        for cursor in self._cursors:
            cursor.close()
        self._cursors.clear()

    def __enter__(self) -> DremioConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DremioCursor:
    """Runs statements; rows become Python objects only as they are fetched.

    :param session: Where statements go.
    :param schema: Path that unqualified names are looked up in.
    :param timeout: Seconds each statement may take.
    """

    arraysize = 1000

    def __init__(self, session: FlightSession, schema: str | Sequence[str] | None, timeout: float) -> None:
        self._session = session
        self._schema = schema
        self._timeout = timeout
        self._stream = ExitStack()
        self._rows: Iterator[Row] | None = None
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self.closed = False

    def execute(self, operation: str, parameters: Parameters | None = None) -> DremioCursor:
        """Run a statement.

        :param operation: The statement, with ``%s`` or ``%(name)s`` for parameters.
        :param parameters: The values, see :func:`dremio_provider.parameters.bind`.
        :returns: This cursor.
        :raises DremioError: It failed.
        """
        if self.closed:
            raise DremioTerminalError("The cursor is closed.", check="the code that uses it.")
        self.cancel()
        reader = self._stream.enter_context(
            self._session.reader(bind(operation, parameters), schema=self._schema, timeout=self._timeout)
        )
        self.description = [_described(column) for column in reader.schema]
        self._rows = _rows(chunk.data for chunk in reader)
        self.rowcount = -1
        if reader.schema.names == [_AFFECTED]:
            changed = self.fetchall()
            self.rowcount = int(changed[0][0])
            self._rows = iter(changed)
        return self

    def executemany(self, operation: str, seq_of_parameters: Sequence[Parameters]) -> None:
        """Run a statement once for each set of parameters, one Dremio job each; for many rows see
        :meth:`DremioHook.insert_rows`."""
        changed = 0
        for parameters in seq_of_parameters:
            self.execute(operation, parameters)
            self.fetchall()
            changed = changed + self.rowcount if self.rowcount >= 0 <= changed else -1
        self.rowcount = changed

    def fetchone(self) -> Row | None:
        """The next row, None after the last."""
        return next(self._open_rows(), None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """The next rows.

        :param size: How many at most; by default ``arraysize``.
        """
        rows = self._open_rows()
        wanted = self.arraysize if size is None else size
        return [row for _, row in zip(range(wanted), rows, strict=False)]

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        return list(self._open_rows())

    def __iter__(self) -> Iterator[Row]:
        return self._open_rows()

    def _open_rows(self) -> Iterator[Row]:
        if self._rows is None:
            raise DremioTerminalError("There is no result to fetch from.", check="that a statement was executed.")
        return self._rows

    def cancel(self) -> None:
        """End the statement that is being read; Dremio is told to stop."""
        self._rows = None
        self.description = None
        self._stream.close()

    def close(self) -> None:
        """Cancel what is being read. The cursor cannot be used any more."""
        self.closed = True
        self.cancel()

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Nothing: PEP 249 asks for the method and allows it to do nothing."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Nothing: PEP 249 asks for the method and allows it to do nothing."""

    def __enter__(self) -> DremioCursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _described(column: pa.Field) -> tuple[Any, ...]:
    kind = column.type
    precision, scale = getattr(kind, "precision", None), getattr(kind, "scale", None)
    return column.name, str(kind), None, None, precision, scale, column.nullable


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    for batch in batches:
        # In slices: the Python objects of one batch (up to some hundred thousand rows) would be its memory many times.
        for start in range(0, batch.num_rows, DremioCursor.arraysize):
            part = batch.slice(start, DremioCursor.arraysize)
            yield from zip(*(column.to_pylist() for column in part.columns), strict=True)
