"""Publications and replication slots: made as declared, and made anew when one is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lakehouse.replication.feeds import Feed, ReplicationError, declared, find_slot, session
from lakehouse.setup.changes import Change

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

_TABLES = """
SELECT c.relname, c.relreplident, EXISTS (SELECT FROM pg_index k WHERE k.indrelid = c.oid AND k.indisprimary)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY(%s) AND c.relkind IN ('r', 'p')
"""


def apply() -> list[Change]:
    """Create publications and slots that are not there and change publications that have other tables than declared.

    Returns:
        One change for each publication, slot and table.

    Raises:
        ReplicationError: When a table is missing, or the server or the user cannot replicate.
    """
    return [change for feed in declared() for change in set_up(feed)]


def set_up(feed: Feed) -> list[Change]:
    """Do what :func:`apply` does for one feed; safe to repeat, also while Airbyte reads.

    Raises:
        ReplicationError: When a table is missing, or the server or the user cannot replicate.
    """
    with session(feed) as cursor:
        changes = [*_identities(cursor, feed), _publication(cursor, feed)]
        found = find_slot(cursor, feed)
        if found is None:
            _create_slot(cursor, feed)
            return [*changes, Change("postgres", "replication slot", feed.slot, "created")]
    if found[2] == "lost":
        detail = f"it is lost; python -m lakehouse.replication resnapshot {feed.connection} starts over"
        return [*changes, Change("postgres", "replication slot", feed.slot, "skipped", detail)]
    return [*changes, Change("postgres", "replication slot", feed.slot, "unchanged")]


def resnapshot(feed: Feed) -> list[Change]:
    """Give up what the slot holds and have the next sync load all tables again.

    The slot goes first: should this die in between, syncs fail, saying so, until it is run again. Loading again is safe
    for readers of bronze: the load begins with a record that ends everything that was landed before.

    Returns:
        What was done.

    Raises:
        ReplicationError: When somebody reads the slot.
        AirbyteError: When Airbyte refuses to forget the connection's state, because a sync runs for example.
    """
    from lakehouse.airbyte import AirbyteError, ask, every, public_api

    api = public_api()
    found = [item for item in every(api.connections.list_connections) if item["name"] == feed.connection]
    if len(found) != 1:
        raise AirbyteError(f"Airbyte has {len(found)} connections named {feed.connection!r}: run platform_setup")
    with session(feed) as cursor:
        if find_slot(cursor, feed) is not None:
            cursor.execute("SELECT pg_drop_replication_slot(%s)", (feed.slot,))
        _create_slot(cursor, feed)
    ask(api.jobs.create_job, connection_id=found[0]["connectionId"], job_type="reset")
    return [
        Change("postgres", "replication slot", feed.slot, "created", "made anew"),
        Change("airbyte", "connection", feed.connection, "updated", "its state is cleared: the next sync loads again"),
    ]


def _create_slot(cursor: Cursor, feed: Feed) -> None:
    cursor.execute("SHOW wal_level")
    (level,) = cursor.fetchone() or ("",)
    if level != "logical":
        raise ReplicationError(f"wal_level is {level}: set it to logical in {feed.address.host} and restart PostgreSQL")
    cursor.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (feed.slot,))


def _identities(cursor: Cursor, feed: Feed) -> Iterator[Change]:
    """Let the log say which row an update or delete is about, before publishing it: PostgreSQL refuses both else."""
    from psycopg2 import sql

    cursor.execute(_TABLES, (feed.schema, list(feed.tables)))
    found = {name: (identity, keyed) for name, identity, keyed in cursor.fetchall()}
    missing = [f"{feed.schema}.{name}" for name in feed.tables if name not in found]
    if missing:
        raise ReplicationError(
            f"PostgreSQL at {feed.address.host}:{feed.address.port}/{feed.address.schema} has no table "
            f"{', '.join(missing)}, which streams.yml declares for connection {feed.connection}"
        )
    for name in feed.tables:
        identity, keyed = found[name]
        sufficient = identity in "fi" or (identity == "d" and keyed)
        if not sufficient:
            table = sql.Identifier(feed.schema, name)
            cursor.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(table))
        yield Change("postgres", "replica identity", name, "unchanged" if sufficient else "updated")


def _publication(cursor: Cursor, feed: Feed) -> Change:
    from psycopg2 import sql

    cursor.execute("SELECT puballtables FROM pg_publication WHERE pubname = %s", (feed.publication,))
    found = cursor.fetchone()
    tables = sql.SQL(", ").join(sql.Identifier(feed.schema, name) for name in feed.tables)
    name = sql.Identifier(feed.publication)
    if found is None:
        cursor.execute(sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(name, tables))
        return Change("postgres", "publication", feed.publication, "created")
    cursor.execute("SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %s", (feed.publication,))
    wanted = {(feed.schema, table) for table in feed.tables}
    published = set(cursor.fetchall())
    if found[0] or published == wanted:
        return Change("postgres", "publication", feed.publication, "unchanged")
    cursor.execute(sql.SQL("ALTER PUBLICATION {} SET TABLE {}").format(name, tables))
    differing = ", ".join(sorted(table for _, table in published ^ wanted))
    return Change("postgres", "publication", feed.publication, "updated", differing)
