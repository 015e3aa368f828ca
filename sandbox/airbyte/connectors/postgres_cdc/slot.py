"""The replication slot and the publication: what is wrong with them, what the slot holds, how it moves forward."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg import errors, sql

from sandbox.airbyte.connectors.base import ConnectorError
from sandbox.airbyte.connectors.postgres_cdc.tuples import PADDING, Positions

BUSY_SECONDS = 10.0
"""How long to wait for a slot that a sync reads: a backend whose client died needs a moment to notice."""
FOREIGN_SECONDS = 1.0
"""How long to wait for a slot that somebody else reads."""
MINIMUM_VERSION = 150000
CHUNK_BYTES = 2 * 1024 * 1024
_COPY_HEADER = 19  # signature, flags and an empty extension
_COPY_END = b"\xff\xff"
_ARRAY_HEADER = 20  # dimensions, whether there are nulls, type, length, first index

_TABLES = """
select p.schemaname, p.tablename, c.relreplident::text, a.attname, a.atttypid::int8, a.atttypmod, t.typname,
       coalesce(a.attnum = any(k.indkey::int2[]), false)
from pg_publication_tables p
join pg_namespace n on n.nspname = p.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
join pg_attribute a on a.attrelid = c.oid and a.attname = any(p.attnames)
join pg_type t on t.oid = a.atttypid
left join pg_index k on k.indrelid = c.oid and k.indisprimary
where p.pubname = %s
order by 1, 2, a.attnum
"""
_SLOT = """
select slot_type, plugin, database, active_pid, wal_status, (confirmed_flush_lsn - '0/0')::int8
from pg_replication_slots where slot_name = %s
"""


@dataclass(frozen=True)
class PublishedColumn:
    """A column that a publication carries.

    Attributes:
        name: the column's name.
        type_oid: oid of its type.
        type_modifier: its modifier, -1 if none.
        type_name: PostgreSQL's name of the type.
        key: whether it is part of the primary key.
    """

    name: str
    type_oid: int
    type_modifier: int
    type_name: str
    key: bool


@dataclass(frozen=True)
class PublishedTable:
    """A table that a publication carries.

    Attributes:
        identity: replica identity: ``d`` default, ``n`` nothing, ``f`` full, ``i`` index.
        columns: what is published of it, in order; no generated columns unless the publication has them.
    """

    identity: str
    columns: tuple[PublishedColumn, ...]

    @property
    def identifies_rows(self) -> bool:
        """Whether updates and deletes can say which row they are about."""
        return self.identity in "fi" or (self.identity == "d" and any(column.key for column in self.columns))


@dataclass(frozen=True)
class SlotStatus:
    """What the server says of a slot.

    Attributes:
        lost: whether the log it needs is gone.
        confirmed: position up to which its consumer has everything.
    """

    lost: bool
    confirmed: int


@dataclass(frozen=True)
class Chunk:
    """Messages of a slot.

    Attributes:
        data: the messages and some padding.
        starts: where each begins.
        lsn: the position that came with each.
    """

    data: bytes
    starts: Positions
    lsn: Positions


_CHUNKS = """
copy (
    select array_agg(lsn), array_agg(length(data)), string_agg(data, '')
    from (
        select lsn, data, (number - 1) / {messages} as by_number,
               (sum(length(data)) over (order by number rows unbounded preceding) - length(data)) / {bytes} as by_size
        from pg_catalog.pg_logical_slot_peek_binary_changes(
            {slot}, {upto}::pg_lsn, {most}, 'proto_version', '1', 'publication_names', {publication}
        ) with ordinality as message (lsn, xid, data, number)
        order by by_number, by_size, number
    ) as message
    group by by_number, by_size
    order by by_number, by_size
) to stdout (format binary)
"""
"""The messages of a chunk come in one row: a row for each would cost the client more than decoding it."""


class Slot:
    """A logical replication slot with ``pgoutput``, read over SQL.

    Args:
        connection: to the slot's database, in autocommit mode.
        method: ``replication_method`` of the source's configuration.
        address: of the server, for messages.
    """

    def __init__(self, connection: psycopg.Connection[Any], method: dict[str, Any], address: str) -> None:
        self._connection = connection
        self.name: str = method["replication_slot"]
        self.publication: str = method["publication"]
        self.address = address

    def wrong(self, text: str, kind: str = "config_error") -> ConnectorError:
        """Return a failure of the source that names the server."""
        return ConnectorError(f"PostgreSQL at {self.address}: {text}", "source", kind)

    def check(self) -> SlotStatus:
        """Return the state of the slot after making sure that server, role, publication and slot fit.

        Raises:
            ConnectorError: naming what does not, and the statement that puts it right.
        """
        row = self._one(
            "select current_setting('server_version_num')::int, current_setting('wal_level'), current_database(), "
            "rolreplication or rolsuper, exists (select from pg_publication where pubname = %s) "
            "from pg_roles where rolname = current_user",
            (self.publication,),
        )
        version, level, database, replicates, published = row
        if version < MINIMUM_VERSION:
            raise self.wrong("CDC needs PostgreSQL 15 or newer.")
        if level != "logical":
            raise self.wrong(f"wal_level is {level}; CDC needs logical. Set it and restart the server.")
        if not replicates:
            raise self.wrong(
                "the user may not read replication slots. Let an administrator ALTER ROLE ... REPLICATION."
            )
        if not published:
            raise self.wrong(
                f"publication {self.publication!r} does not exist in database {database}. "
                f"CREATE PUBLICATION {self.publication} FOR TABLE ... creates it."
            )
        return self._status(database)

    @property
    def lost(self) -> str:
        """What a lost slot means."""
        return f"replication slot {self.name!r} is lost: it fell behind by more than max_slot_wal_keep_size"

    def _status(self, database: str) -> SlotStatus:
        found = self._connection.execute(_SLOT, (self.name,)).fetchone()
        create = f"SELECT pg_create_logical_replication_slot('{self.name}', 'pgoutput') creates it."
        if found is None:
            raise self.wrong(f"replication slot {self.name!r} does not exist. {create}")
        slot_type, plugin, of_database, _, wal_status, confirmed = found
        if (slot_type, plugin, of_database) != ("logical", "pgoutput", database):
            is_one = f"is a {slot_type} slot of {plugin or 'no plugin'} in database {of_database}"
            raise self.wrong(
                f"replication slot {self.name!r} {is_one}; CDC needs a logical one of pgoutput in {database}."
            )
        return SlotStatus(wal_status == "lost", int(confirmed or 0))

    def tables(self) -> dict[tuple[str, str], PublishedTable]:
        """Return what the publication carries, by schema and table."""
        columns: dict[tuple[str, str], list[PublishedColumn]] = {}
        identities: dict[tuple[str, str], str] = {}
        for schema, table, identity, name, oid, modifier, type_name, key in self._connection.execute(
            _TABLES, (self.publication,)
        ):
            identities[schema, table] = identity
            columns.setdefault((schema, table), []).append(PublishedColumn(name, oid, modifier, type_name, key))
        return {table: PublishedTable(identities[table], tuple(found)) for table, found in columns.items()}

    def now(self) -> int:
        """Return the position up to which the server's log is safe on its disk."""
        return int(self._one("select (pg_current_wal_flush_lsn() - '0/0')::int8")[0])

    def recreate(self) -> SlotStatus:
        """Drop the slot and create it anew; what it held is given up.

        Raises:
            ConnectorError: if somebody reads the slot.
        """
        with self._free():
            self._connection.execute("select pg_drop_replication_slot(%s)", (self.name,))
            self._connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (self.name,))
        return self.check()

    def chunks(self, upto: int, most_messages: int, chunk_messages: int) -> Iterator[Chunk]:
        """Yield the slot's messages without moving it: whole transactions, in the order of their commits.

        Args:
            upto: position to stop at, after the transaction that reaches it.
            most_messages: stop at the first commit after so many messages.
            chunk_messages: how many come at a time.

        Raises:
            ConnectorError: if somebody else reads the slot.
        """
        query = sql.SQL(_CHUNKS).format(
            slot=sql.Literal(self.name),
            upto=sql.Literal(lsn_text(upto)),
            most=sql.Literal(most_messages),
            publication=sql.Literal(sql.Identifier(self.publication).as_string()),
            messages=sql.Literal(chunk_messages),
            bytes=sql.Literal(CHUNK_BYTES),
        )
        # Sorted messages wait on the server's disk; in a hash table they would all be in its memory, and in any order.
        self._connection.execute("set enable_hashagg = off")
        with self._free(), self._connection.cursor() as cursor, cursor.copy(query) as copy:
            for number, row in enumerate(copy):
                body = memoryview(row)[0 if number else _COPY_HEADER :]
                if body != _COPY_END:
                    yield _chunk(body)

    def advance(self, position: int) -> None:
        """Tell the server that everything before ``position`` is safe elsewhere; a slot never goes back.

        Raises:
            ConnectorError: if somebody else reads the slot.
        """
        with self._free():
            self._connection.execute(
                "select pg_replication_slot_advance(slot_name, %s::pg_lsn) from pg_replication_slots "
                "where slot_name = %s and confirmed_flush_lsn < %s::pg_lsn",
                (lsn_text(position), self.name, lsn_text(position)),
            )

    @contextmanager
    def _free(self) -> Iterator[None]:
        """Wait until nobody reads the slot; what then still fails for that reason says who does."""
        began = time.monotonic()
        while (reader := self._reader()) is not None:
            process, name, own = reader
            if time.monotonic() - began > (BUSY_SECONDS if own else FOREIGN_SECONDS):
                raise self._busy(f"process {process} ({name})")
            time.sleep(0.05)
        try:
            yield
        except errors.ObjectInUse as error:
            raise self._busy("somebody else") from error

    def _reader(self) -> tuple[int, str, bool] | None:
        """Return process, name and whether it is a source like this one, of whoever reads the slot."""
        found = self._connection.execute(
            "select active_pid, coalesce(application_name, ''), application_name = current_setting('application_name') "
            "from pg_replication_slots left join pg_stat_activity on pid = active_pid "
            "where slot_name = %s and active_pid is not null",
            (self.name,),
        ).fetchone()
        return (int(found[0]), str(found[1]), bool(found[2])) if found else None

    def _busy(self, reader: str) -> ConnectorError:
        text = f"replication slot {self.name!r} is read by {reader}. A slot has one consumer: give each its own."
        return self.wrong(text, "transient_error")

    def _one(self, query: str, parameters: tuple[Any, ...] = ()) -> Any:
        row = self._connection.execute(query.encode(), parameters).fetchone()
        if row is None:
            raise self.wrong(f"replication slot {self.name!r} has vanished.")
        return row


def lsn_text(position: int) -> str:
    """Return a position in the log as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _chunk(row: memoryview) -> Chunk:
    """Cut a row of binary COPY into positions and messages."""
    fields = []
    start = 2  # behind the number of fields
    for _ in range(3):
        end = start + 4 + int.from_bytes(row[start : start + 4])
        fields.append(row[start + 4 : end])
        start = end
    lsn, lengths = _numbers(fields[0], ">i8"), _numbers(fields[1], ">i4")
    return Chunk(b"".join((fields[2], bytes(PADDING))), np.cumsum(lengths) - lengths, lsn)


def _numbers(array: memoryview, kind: str) -> Positions:
    """Return the numbers of an array without nulls as PostgreSQL sends it: each has its length before it."""
    items = np.frombuffer(array, [("length", ">i4"), ("number", kind)], offset=_ARRAY_HEADER)
    return items["number"].astype(np.int64)
