"""Data frames straight from Arrow, mixed into the hook in the place of ``DbApiHook``'s row by row reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dremio_provider.exceptions import DremioConfigurationError
from dremio_provider.parameters import Parameters, bind

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from dremio_provider.hooks.flight import FlightSession


class FrameMethods:
    """pandas and polars frames. Needs ``flight``, ``schema`` and ``statement_timeout`` of the hook."""

    schema: Any
    statement_timeout: float

    if TYPE_CHECKING:

        @property
        def flight(self) -> FlightSession: ...  # noqa: D102  # the hook implements and documents it

    def _read(self, sql: str | list[str], parameters: Parameters | None) -> AbstractContextManager[Any]:
        if not isinstance(sql, str):
            raise DremioConfigurationError("A data frame is read with one statement.", check="the argument sql.")
        return self.flight.reader(bind(sql, parameters), schema=self.schema, timeout=self.statement_timeout)

    def _get_pandas_df(
        self, sql: str | list[str], parameters: Parameters | None = None, **options: Any
    ) -> pd.DataFrame:
        """A pandas frame.

        :param options: Those of ``pyarrow.Table.to_pandas``.
        """
        _library("pandas")
        with self._read(sql, parameters) as reader:
            # Column by column, each given free as soon as it is converted: the result is never in memory twice.
            return reader.read_all().to_pandas(split_blocks=True, self_destruct=True, **options)

    def _get_polars_df(
        self, sql: str | list[str], parameters: Parameters | None = None, **options: Any
    ) -> pl.DataFrame:
        """A polars frame, which shares the memory of the Arrow data.

        :param options: Those of ``polars.from_arrow``.
        """
        polars = _library("polars")
        with self._read(sql, parameters) as reader:
            frame: pl.DataFrame = polars.from_arrow(reader.read_all(), **options)
        return frame

    def _get_pandas_df_by_chunks(
        self, sql: str | list[str], parameters: Parameters | None = None, *, chunksize: int, **options: Any
    ) -> Iterator[pd.DataFrame]:
        """pandas frames of at most ``chunksize`` rows."""
        _library("pandas")
        with self._read(sql, parameters) as reader:
            for part in _parts(reader, chunksize):
                yield part.to_pandas(**options)

    def _get_polars_df_by_chunks(
        self, sql: str | list[str], parameters: Parameters | None = None, *, chunksize: int, **options: Any
    ) -> Iterator[pl.DataFrame]:
        """polars frames of at most ``chunksize`` rows."""
        polars = _library("polars")
        with self._read(sql, parameters) as reader:
            for part in _parts(reader, chunksize):
                yield polars.from_arrow(part, **options)


def _parts(reader: Any, size: int) -> Iterator[Any]:
    """Tables of ``size`` rows, however the server cut its batches; the last may be shorter."""
    import pyarrow as pa

    waiting: list[Any] = []
    rows = 0
    for chunk in reader:
        waiting.append(chunk.data)
        rows += chunk.data.num_rows
        while rows >= size:
            table = pa.Table.from_batches(waiting, reader.schema)
            yield table.slice(0, size)
            rest = table.slice(size)
            waiting, rows = rest.to_batches(), rest.num_rows
    if rows:
        yield pa.Table.from_batches(waiting, reader.schema)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise DremioConfigurationError(
            f"A {name} frame was asked for, and {name} is not installed.", check=f"run: pip install {name}"
        ) from error
