"""Which change data is declared, and sessions with the databases it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse import connections, metadata_store, templates
from lakehouse.config import load_streams
from lakehouse.files import ConfigError, include_dir, read_yaml

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

_SLOT = """
SELECT s.plugin, s.database, s.wal_status, pg_current_wal_lsn()::text, s.confirmed_flush_lsn::text,
       pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)::bigint,
       pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint,
       (SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size')
FROM pg_replication_slots s WHERE s.slot_name = %s
"""


class ReplicationError(RuntimeError):
    """Publication or slot cannot be made as declared, or do not work any more."""


@dataclass(frozen=True)
class Feed:
    """The change data of one Airbyte connection, as declared.

    Args:
        connection: Name of the Airbyte connection.
        slot: Name of the replication slot.
        publication: Name of the publication.
        schema: Schema of the tables.
        tables: Names of the tables.
        address: The source database, as Airbyte reads it.
    """

    connection: str
    slot: str
    publication: str
    schema: str
    tables: tuple[str, ...]
    address: connections.Address


def declared() -> list[Feed]:
    """Return the change data that ``include/airbyte`` and ``streams.yml`` declare for PostgreSQL.

    Raises:
        ConfigError: When a connection of change data has no source or no streams.
    """
    folder = include_dir() / "airbyte"
    sources = {item["name"]: item["configuration"] for item in read_yaml(folder / "sources.yml")["sources"]}
    feeds = []
    for connection in read_yaml(folder / "connections.yml")["connections"]:
        configuration = sources.get(connection["source"], {})
        method = configuration.get("replication_method", {})
        if configuration.get("sourceType") != "postgres" or method.get("method") != "CDC":
            continue
        if connection.get("apply", True):
            feeds.append(_feed(str(connection["name"]), str(connection["source"]), configuration))
    return feeds


@contextmanager
def session(feed: Feed) -> Iterator[Cursor]:
    """Open a session with the source in which every statement is its own transaction.

    Yields:
        A cursor.

    Raises:
        MetadataStoreError: When the source cannot be reached.
        ReplicationError: When it refuses a statement.
    """
    import psycopg2

    with closing(metadata_store.connect(feed.address)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            # ALTER TABLE waits for whoever reads the table, and everybody else then waits for it.
            cursor.execute("SET lock_timeout = '5s'")
            try:
                yield cursor
            except psycopg2.Error as error:
                where = f"{feed.address.host}:{feed.address.port}/{feed.address.schema}"
                raise ReplicationError(f"PostgreSQL at {where}: {str(error).strip()}") from error


def find_slot(cursor: Cursor, feed: Feed) -> tuple[Any, ...] | None:
    """Return what the server says of a feed's slot, None if there is none.

    Returns:
        Plugin, database, wal_status, position of the log, confirmed position, bytes since that, bytes kept for the
        slot, and ``max_slot_wal_keep_size`` in bytes (negative: no bound).

    Raises:
        ReplicationError: When a slot of this name is there and Airbyte could not read it.
    """
    cursor.execute(_SLOT, (feed.slot,))
    found = cursor.fetchone()
    if found is not None and (found[0], found[1]) != ("pgoutput", feed.address.schema):
        raise ReplicationError(
            f"replication slot {feed.slot} is one of {found[0]} in database {found[1]}; Airbyte needs pgoutput in "
            f"{feed.address.schema}. Drop it, or declare another name in airbyte/sources.yml."
        )
    return found


def _feed(connection: str, name: str, configuration: Mapping[str, Any]) -> Feed:
    source = next((item for item in load_streams().sources.values() if item.connection == connection), None)
    if source is None:
        path = include_dir() / "config" / "streams.yml"
        raise ConfigError(
            f"{path}: sources: none has connection {connection!r}, which airbyte/connections.yml declares"
        )
    resolved = templates.resolve(configuration, f"airbyte source {name}")
    method = resolved["replication_method"]
    address = connections.Address(
        conn_id=f"of the Airbyte source {name}",
        host=str(resolved["host"]),
        port=int(resolved["port"]),
        schema=str(resolved["database"]),
        login=str(resolved["username"]),
        password=str(resolved.get("password") or ""),
    )
    schema = (resolved.get("schemas") or ["public"])[0]
    slot, publication = str(method["replication_slot"]), str(method["publication"])
    return Feed(connection, slot, publication, schema, tuple(source.streams), address)
