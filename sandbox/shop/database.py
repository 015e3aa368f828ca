"""The shop's tables in PostgreSQL: one transaction replaces all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import conninfo

from sandbox.shop.settings import ShopError

if TYPE_CHECKING:
    from sandbox.shop.generate import Shop

CONNECT_TIMEOUT_SECONDS: Final = 10

_TABLE_DDL: Final = {
    "customers": """customer_id bigint, name text, email text, phone text, address text, city text, state text,
        zip_code text, created_at timestamp, updated_at timestamp""",
    "products": """product_id bigint, name text, brand text, category text, price numeric(12, 2),
        created_at timestamp, updated_at timestamp""",
    "orders": """order_id bigint, customer_id bigint, order_date date, amount numeric(12, 2), status text,
        updated_at timestamp""",
    "order_items": """order_id bigint, line_number integer, product_id bigint, quantity integer,
        unit_price numeric(12, 2), discount numeric(4, 2), amount numeric(12, 2), updated_at timestamp""",
}

_INDEXES: Final = {
    # A customer without a key is part of the dirt: unique indexes let any number of NULLs in.
    "customers_customer_id_key": "unique index {name} on public.customers (customer_id)",
    "customers_updated_at_idx": "index {name} on public.customers (updated_at)",
    "products_product_id_key": "unique index {name} on public.products (product_id)",
    "products_updated_at_idx": "index {name} on public.products (updated_at)",
    # Not unique by order_id: the same order comes twice.
    "orders_order_id_updated_at_key": "unique index {name} on public.orders (order_id, updated_at)",
    "orders_updated_at_idx": "index {name} on public.orders (updated_at)",
    "order_items_order_id_line_number_key": "unique index {name} on public.order_items (order_id, line_number)",
    "order_items_updated_at_idx": "index {name} on public.order_items (updated_at)",
}

Report = Callable[[str, int, float], None]
"""Called with a table's name, its rows and the seconds they took."""


def loaded_stamp(dsn: str) -> str | None:
    """Return the stamp of the shop in the database, or None if there is none.

    The stamp is the comment on ``orders``: it is written in the transaction that loads the rows, and no connector takes
    it for one more table of the shop.

    Raises:
        ShopError: if the database does not answer.
    """
    try:
        with psycopg.connect(dsn, connect_timeout=CONNECT_TIMEOUT_SECONDS) as connection:
            row = connection.execute("select obj_description(to_regclass('public.orders'), 'pg_class')").fetchone()
    except psycopg.Error as error:
        raise ShopError(_unreachable(dsn, error)) from error
    return str(row[0]) if row and row[0] else None


def load(dsn: str, shop: Shop, stamp: str, report: Report) -> None:
    """Replace the shop's tables in one transaction: a reader sees the old shop until the new one is complete.

    Tables that exist are emptied, not dropped, so that publications and grants on them survive.

    Args:
        dsn: the shop's database.
        shop: where the rows come from.
        stamp: kept as the comment on ``orders``.
        report: told about every table.

    Raises:
        ShopError: if the database refuses; it then holds what it held before.
    """
    # A load that finds everything in place never comes here, and should not pay for this import.
    from adbc_driver_manager import Error as AdbcError
    from adbc_driver_postgresql import dbapi

    try:
        with dbapi.connect(_with_timeout(dsn)) as connection, connection.cursor() as cursor:
            _prepare(cursor)
            for table in _TABLE_DDL:
                started = time.monotonic()
                # ADBC speaks binary COPY: no row becomes text or a Python object on its way.
                rows = cursor.adbc_ingest(table, shop.stream(table), mode="append", db_schema_name="public")
                report(table, rows, time.monotonic() - started)
            started = time.monotonic()
            for name, definition in _INDEXES.items():
                cursor.execute(f"create {definition.format(name=name)}")
            cursor.execute(f"comment on table public.orders is {_literal(stamp)}")
            connection.commit()
            report("indexes", len(_INDEXES), time.monotonic() - started)
            _analyze(connection, cursor)
    except AdbcError as error:
        raise ShopError(_unreachable(dsn, error)) from error


def _prepare(cursor: Any) -> None:
    for table, columns in _TABLE_DDL.items():
        cursor.execute(f"create table if not exists public.{table} ({columns})")
    for name in _INDEXES:
        cursor.execute(f"drop index if exists public.{name}")
    cursor.execute("truncate " + ", ".join(f"public.{table}" for table in _TABLE_DDL))


def _analyze(connection: Any, cursor: Any) -> None:
    """Without statistics the first incremental sync would plan its cursor query blindly."""
    for table in _TABLE_DDL:
        cursor.execute(f"analyze public.{table}")
    connection.commit()


def _with_timeout(dsn: str) -> str:
    separator = "&" if "?" in dsn else "?"
    return dsn if "connect_timeout=" in dsn else f"{dsn}{separator}connect_timeout={CONNECT_TIMEOUT_SECONDS}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _unreachable(dsn: str, error: Exception) -> str:
    """The database's words with its address, without the password that a DSN carries."""
    parts = conninfo.conninfo_to_dict(dsn)
    address = f"{parts.get('host')}:{parts.get('port', 5432)}/{parts.get('dbname')}"
    reason = " ".join(str(error).split())
    password = parts.get("password")
    if password:
        reason = reason.replace(str(password), "***")
    return f"the shop's PostgreSQL at {address} refused: {reason}. Is it running, and is SOURCE_POSTGRES_DSN right?"
