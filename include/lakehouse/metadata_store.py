"""Sessions with PostgreSQL, first of all the platform's own database (Airflow connection ``metadata_postgres``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lakehouse import connections

if TYPE_CHECKING:
    from psycopg2.extensions import connection as PostgresConnection

DEFAULT_CONNECTION = "metadata_postgres"


class MetadataStoreError(RuntimeError):
    """A database cannot be reached."""


class LockHeld(RuntimeError):
    """Somebody else is at what only one may do at a time."""


@contextmanager
def transaction(conn_id: str = DEFAULT_CONNECTION) -> Iterator[PostgresConnection]:
    """Open one transaction: committed at the end, rolled back on an error.

    Args:
        conn_id: An Airflow connection of type postgres.

    Yields:
        The psycopg2 connection.

    Raises:
        MetadataStoreError: When the database cannot be reached.
    """
    connection = connect(connections.get(conn_id))
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def connect(address: connections.Address) -> PostgresConnection:
    """Open a session with any PostgreSQL.

    Args:
        address: Where it is; ``schema`` is the database.

    Returns:
        The psycopg2 connection; closing it is the caller's.

    Raises:
        MetadataStoreError: When the database cannot be reached.
    """
    import psycopg2

    try:
        return psycopg2.connect(
            host=address.host,
            port=address.port or 5432,
            dbname=address.schema,
            user=address.login,
            password=address.password,
            connect_timeout=5,
            options="-c statement_timeout=60000 -c timezone=UTC",
            application_name="lakehouse",
        )
    except psycopg2.OperationalError as error:
        raise MetadataStoreError(
            f"PostgreSQL at {address.host}:{address.port or 5432}/{address.schema} cannot be reached: "
            f"{str(error).strip()}. Start it, or correct the Airflow connection {address.conn_id!r}."
        ) from error


@contextmanager
def exclusive(name: str, conn_id: str = DEFAULT_CONNECTION, *, wait_seconds: float | None = None) -> Iterator[None]:
    """Hold a lock while the block runs; whoever else asks for it waits. It goes when its holder dies.

    Args:
        name: What is locked.
        conn_id: An Airflow connection of type postgres.
        wait_seconds: How long to wait for another holder; None: until it lets go.

    Raises:
        LockHeld: When somebody else has it after that time.
        MetadataStoreError: When the database cannot be reached.
    """
    from psycopg2.errors import LockNotAvailable

    with transaction(conn_id) as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        # To PostgreSQL, 0 is no limit.
        cursor.execute(
            "SET LOCAL lock_timeout = %s", (0 if wait_seconds is None else max(1, int(1000 * wait_seconds)),)
        )
        try:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
        except LockNotAvailable as error:
            raise LockHeld(f"Somebody else holds the lock {name!r}, and did so for {wait_seconds:g} s.") from error
        connection.commit()  # the lock is the session's, and ends with it; no transaction stays open meanwhile
        yield
