"""Sessions with PostgreSQL, first of all the platform's own database (Airflow connection ``metadata_postgres``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from lakehouse import connections

if TYPE_CHECKING:
    from psycopg2.extensions import connection as PostgresConnection

DEFAULT_CONNECTION = "metadata_postgres"


class MetadataStoreError(RuntimeError):
    """A database cannot be reached."""


class LockHeld(RuntimeError):
    """Somebody else is at what only one may do at a time."""


class LockLost(MetadataStoreError):
    """The session that held a lock has ended, and somebody else may be at it already."""


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
            tcp_user_timeout=60_000,
            options="-c statement_timeout=60000 -c timezone=UTC",
            application_name="lakehouse",
        )
    except psycopg2.OperationalError as error:
        raise MetadataStoreError(
            f"PostgreSQL at {address.host}:{address.port or 5432}/{address.schema} cannot be reached: "
            f"{str(error).strip()}. Start it, or correct the Airflow connection {address.conn_id!r}."
        ) from error


class Lock:
    """A lock that is held.

    Args:
        name: What is locked.
        connection: The session it belongs to.
    """

    def __init__(self, name: str, connection: PostgresConnection) -> None:
        self._name = name
        self._connection = connection

    def check(self) -> None:
        """Ask whether it is held still: a restarted database, or one that was away for long, has let go of it.

        Raises:
            LockLost: When it is not.
        """
        import psycopg2

        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            self._connection.commit()
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise LockLost(
                f"The lock {self._name!r} is lost, PostgreSQL has ended its session: {str(error).strip()}. Nothing is "
                "written any more; the next try takes it anew."
            ) from error


@contextmanager
def exclusive(name: str, conn_id: str = DEFAULT_CONNECTION, *, wait_seconds: float | None = None) -> Iterator[Lock]:
    """Hold a lock while the block runs; whoever else asks for it waits. It goes when its holder dies.

    Who writes again and again asks in between whether it is held still.

    Args:
        name: What is locked.
        conn_id: An Airflow connection of type postgres.
        wait_seconds: How long to wait for another holder; None: until it lets go.

    Yields:
        The lock.

    Raises:
        LockHeld: When somebody else has it after that time.
        MetadataStoreError: When the database cannot be reached.
    """
    from psycopg2.errors import LockNotAvailable

    with closing(connect(connections.get(conn_id))) as connection, connection.cursor() as cursor:
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
        yield Lock(name, connection)
