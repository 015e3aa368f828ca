"""A schema with a publication, a slot and a connection that reads them, and what has landed of it."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from tests.sandbox.airbyte.services import S3, Client, Postgres


@dataclass
class ChangeData:
    """One test's tables and the sync of their changes."""

    postgres: Postgres
    lake: S3
    client: Client
    schema: str = field(default_factory=lambda: f"cdc_{uuid.uuid4().hex[:8]}")
    connection: str = ""
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def slot(self) -> str:
        return f"{self.schema}_slot"

    @property
    def publication(self) -> str:
        return f"{self.schema}_publication"

    def execute(self, *statements: str) -> None:
        """Run statements, each its own transaction, with the schema on the search path."""
        with psycopg.connect(self.postgres.dsn, autocommit=True) as session:
            session.execute(f"set search_path = {self.schema}")
            for statement in statements:
                session.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.postgres.dsn, options=f"-c search_path={self.schema}") as session:
            return session.execute(query).fetchall()

    def create(self, *tables: str, publish: str | None = None) -> None:
        """Create the schema, its tables, the publication of all of them (or ``publish``) and the slot."""
        self.postgres.execute(f"create schema {self.schema}")
        self.execute(*tables)
        published = publish if publish is not None else f"for tables in schema {self.schema}"
        self.execute(f"create publication {self.publication} {published}")
        self.execute(f"select pg_create_logical_replication_slot('{self.slot}', 'pgoutput')")

    def method(self, **changes: Any) -> dict[str, Any]:
        names = {"replication_slot": self.slot, "publication": self.publication}
        return {"method": "CDC", **names, "plugin": "pgoutput", "initial_waiting_seconds": 120, **changes}

    def connect(self, *streams: str | dict[str, Any], **method: Any) -> None:
        """Create the connection that reads the streams' changes."""
        self.source = self.client.actor(
            "source",
            self.postgres.configuration(schemas=[self.schema], replication_method=self.method(**method)),
        )
        target = self.client.actor("destination", self.lake.destination(f"{self.schema}/${{STREAM_NAME}}/"))
        configured = [{"name": stream} if isinstance(stream, str) else stream for stream in streams]
        wanted = [{"syncMode": "incremental_append", **stream} for stream in configured]
        self.connection = self.client.connection(self.source, target, wanted)

    def sync(self, expected: str = "succeeded") -> Any:
        return self.client.sync(self.connection, expected)

    def tables(self, stream: str) -> list[Any]:
        """Every landed file of a stream, in order."""
        keys = self.lake.keys(f"bronze/landing/{self.schema}/{stream}/")
        order = sorted(keys, key=lambda key: [int(part) for part in key.rsplit("/", 1)[1].split(".")[0].split("_")])
        return [pq.read_table(io.BytesIO(self.lake.body(key))) for key in order]

    def landed(self, stream: str) -> list[dict[str, Any]]:
        """Every landed record of a stream in order, without the columns that every Airbyte record has."""
        whole = [row for table in self.tables(stream) for row in table.to_pylist()]
        return [{name: value for name, value in row.items() if not name.startswith("_airbyte")} for row in whole]

    def current(self, stream: str, *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The rows that the landed records leave: the latest version of every key, by position and order."""
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        numbered = enumerate(self.landed(stream))
        for _, record in sorted(numbered, key=lambda item: (item[1]["_ab_cdc_lsn"], item[0])):
            identity = tuple(record[name] for name in key)
            gone = record["_ab_cdc_deleted_at"] is not None
            values = {name: value for name, value in record.items() if not name.startswith("_ab_cdc")}
            if gone and set(identity) == {None}:
                # A truncation is written down after what it ends.
                rows.clear()
            elif gone:
                rows.pop(identity, None)
            else:
                rows[identity] = values
        return rows

    def position(self) -> int:
        """Where the slot stands."""
        query = f"select (confirmed_flush_lsn - '0/0')::int8 from pg_replication_slots where slot_name = '{self.slot}'"
        return int(self.rows(query)[0][0])

    def drop(self) -> None:
        """Remove the slot, so that it holds no log back."""
        exists = f"exists (select from pg_replication_slots where slot_name = '{self.slot}')"
        self.execute(f"select pg_drop_replication_slot('{self.slot}') where {exists}")


def arrow(tables: list[Any]) -> Any:
    """The files of a stream as one table."""
    return pa.concat_tables(tables)
