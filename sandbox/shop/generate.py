"""Make the shop from TPC-H: the generator writes Parquet, DuckDB turns it into customers, products and orders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from sandbox.shop.settings import ShopError

TPCH_TABLES: Final = ("customer", "orders", "lineitem", "part")
BATCH_ROWS: Final = 65_536
MEMORY_LIMIT: Final = "512MB"
"""DuckDB's own share; what does not fit goes to the spill directory."""
PAYMENT_ROW_GROUP: Final = 10_240
GENERATOR_TIMEOUT_SECONDS: Final = 3600

_SQL = Path(__file__).with_name("shop.sql")
_VOCABULARY = Path(__file__).with_name("vocabulary.json")
"""Names, streets, cities. The mail domains are RFC 2606's, kept for documentation: no mail can reach a person."""

TABLES: Final[dict[str, str]] = {
    "customers": "select * exclude (key) from shop_customers order by key",
    "products": "select * from shop_products order by product_id",
    "orders": "select * from shop_orders order by updated_at, order_id",
    "order_items": "select * from shop_order_items order by order_id, line_number",
}
"""The query of each of the shop's tables, in the order they are loaded. The order of the rows is part of the result."""


class Shop:
    """The shop's data as a DuckDB database, ready to be streamed out.

    Args:
        connection: the database in which ``shop.sql`` ran.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def stream(self, table: str) -> pa.RecordBatchReader:
        """Return the rows of one of :data:`TABLES` as a stream of record batches of at most :data:`BATCH_ROWS` rows.

        The stream holds the connection: read it to the end before asking for the next.
        """
        return self._connection.sql(TABLES[table]).to_arrow_reader(BATCH_ROWS)

    def write_payments(self, target: Path) -> int:
        """Write the payments as Parquet, ordered by payment id, and return their number.

        Small row groups let the payment provider answer a page without reading the file.
        """
        return self._copy(
            "select * from shop_payments order by payment_id",
            target,
            f"format parquet, compression zstd, row_group_size {PAYMENT_ROW_GROUP}",
        )

    def write_returns(self, batch: int, target: Path) -> int:
        """Write one of the partner's files and return its number of rows.

        Args:
            batch: 1 to 12, the twelfth of the year.
            target: the CSV file.
        """
        query = f"select * exclude (batch) from shop_returns where batch = {batch:d} order by return_id"  # noqa: S608
        return self._copy(query, target, "format csv, header true")

    def _copy(self, query: str, target: Path, options: str) -> int:
        row: Any = self._connection.execute(f"copy ({query}) to {_quoted(target)} ({options})").fetchone()
        return int(row[0])


def generate_tpch(scale: str, directory: Path) -> None:
    """Have ``tpchgen-cli`` write the four tables of TPC-H that the shop is made of.

    Args:
        scale: TPC-H's scale factor; 1 is 1 500 000 orders.
        directory: receives ``customer.parquet``, ``orders.parquet``, ``lineitem.parquet`` and ``part.parquet``.

    Raises:
        ShopError: if the generator is missing or fails.
    """
    command = [
        _generator(), "parquet", "-s", scale, "-T", ",".join(TPCH_TABLES), "-c", "SNAPPY", "-o", str(directory),
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=GENERATOR_TIMEOUT_SECONDS)  # noqa: S603
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip() or f"exit status {error.returncode}"
        raise ShopError(f"tpchgen-cli failed at scale {scale}: {reason}. Is there room on {directory}?") from error
    except subprocess.TimeoutExpired as error:
        raise ShopError(
            f"tpchgen-cli took longer than {GENERATOR_TIMEOUT_SECONDS} s at scale {scale}. "
            f"Choose a smaller SANDBOX_SCALE."
        ) from error


@contextmanager
def open_shop(tpch: Path, last_day: date, work: Path) -> Iterator[Shop]:
    """Turn TPC-H into the shop and give access to it.

    Args:
        tpch: directory with TPC-H's Parquet files.
        last_day: the day the shop's calendar ends on.
        work: an existing directory for the DuckDB database and what does not fit into memory.

    Yields:
        the shop, until the block ends.
    """
    spill = work / "spill"
    connection = duckdb.connect(
        str(work / "shop.duckdb"),
        config={"memory_limit": MEMORY_LIMIT, "threads": 2, "temp_directory": str(spill)},
    )
    try:
        for table in TPCH_TABLES:
            connection.execute(f"create view {table} as from read_parquet({_quoted(tpch / f'{table}.parquet')})")
        _set_variables(connection, last_day)
        connection.execute(_SQL.read_text(encoding="utf-8"))
        yield Shop(connection)
    finally:
        connection.close()


def _set_variables(connection: duckdb.DuckDBPyConnection, last_day: date) -> None:
    values: dict[str, object] = {"last_day": last_day, **json.loads(_VOCABULARY.read_text(encoding="utf-8"))}
    for name, value in values.items():
        connection.execute(f"set variable {name} = $value", {"value": value})


def _generator() -> str:
    """The generator's program: beside this interpreter, where its wheel puts it, or anywhere on the PATH."""
    scripts = Path(sysconfig.get_path("scripts"))
    candidates = [scripts / "tpchgen-cli", Path(sys.executable).with_name("tpchgen-cli")]
    found = next((str(path) for path in candidates if path.exists()), None) or shutil.which("tpchgen-cli")
    if found is None:
        raise ShopError(f"tpchgen-cli is not in {scripts}. Install requirements-sandbox.txt into this environment.")
    return found


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
