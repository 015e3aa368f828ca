"""destination-postgres: typed tables with Airbyte's columns, all streams of a sync in one transaction."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import conninfo, sql

from sandbox.airbyte.connectors import envelope, postgres_session
from sandbox.airbyte.connectors.arrow_types import to_arrow
from sandbox.airbyte.connectors.base import Batch, ConfiguredStream, ConnectorError
from sandbox.airbyte.connectors.postgres_tables import NUMBER, ROW, UNCONSTRAINED_NUMBER, Target

_COMPRESSION = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass
class _Spooled:
    """What one sync has read of one stream, on local disk: one Arrow file for each schema it had on the way."""

    target: Target
    stream: ConfiguredStream
    generation_id: int
    parts: list[Path] = field(default_factory=list)
    writer: Any = None
    schema: Any = None
    rows: int = 0


class PostgresDestination:
    """A sync's way into a database.

    Records wait on local disk while the source is read. Publishing is one transaction over all streams: they are copied
    into temporary tables, and from there into the final ones. Whoever reads the tables sees the sync as a whole or not
    at all. A server that dies between that commit and its own has to do the sync again: appended rows are removed by
    their sync's id first, an upsert or an overwrite of the same rows changes nothing.

    Args:
        configuration: as in the connector's specification; valid, with its secrets.
        spool: directory of this sync's own, created here and removed by :meth:`close`.
        sync_id: the job's id.
    """

    def __init__(self, configuration: dict[str, Any], spool: Path, sync_id: int) -> None:
        self._configuration = configuration
        self._parameters = postgres_session.parameters(configuration, "airbyte-destination-postgres", "-c timezone=UTC")
        self._number = UNCONSTRAINED_NUMBER if configuration.get("unconstrained_number") else NUMBER
        self._spool = spool
        self._sync_id = sync_id
        self._began = datetime.now(UTC)
        self._streams: list[_Spooled] = []

    @property
    def address(self) -> str:
        """Server and database."""
        return f"PostgreSQL at {postgres_session.address(self._configuration)}"

    def check(self) -> None:
        """Create and drop a table, as the real connector's check does.

        Raises:
            ConnectorError: naming the server and what it said.
        """
        schema = self._configuration.get("schema") or "public"
        table = sql.Identifier(schema, f"_airbyte_connection_test_{self._began:%Y%m%d%H%M%S%f}")
        with self._translated(), psycopg.connect(**self._parameters) as session:
            session.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
            session.execute(sql.SQL("create table {} (test_column int)").format(table))
            session.execute(sql.SQL("drop table {}").format(table))

    def open(self, configured: ConfiguredStream, name: str, namespace: str | None, generation_id: int) -> None:
        """Begin a stream; the following :meth:`write` calls belong to it.

        Args:
            configured: the stream and how it is synced.
            name: its name in the destination (with the connection's prefix).
            namespace: its schema, or None for the configured one.
            generation_id: the generation that its records carry.
        """
        self._spool.mkdir(parents=True, exist_ok=True)
        schema = namespace or self._configuration.get("schema") or "public"
        cascade = bool(self._configuration.get("drop_cascade"))
        hard_delete = self._configuration.get("cdc_deletion_mode", "Hard delete") == "Hard delete"
        target = Target(schema, name, configured, self._number, cascade, hard_delete)
        self._streams.append(_Spooled(target, configured, generation_id))

    def write(self, batch: Batch) -> int:
        """Take records of the stream opened last; returns their size in bytes.

        Raises:
            ConnectorError: if a value does not fit the stream's schema.
        """
        spooled = self._streams[-1]
        if isinstance(batch, list):
            stream = spooled.stream.stream
            batch = to_arrow(batch, stream.json_schema, stream.name)
        whole = self._enveloped(batch, spooled)
        if spooled.schema is None or not whole.schema.equals(spooled.schema):
            self.finish_stream()
            path = self._spool / f"{len(self._streams)}-{len(spooled.parts)}.arrow"
            spooled.writer, spooled.schema = pa.ipc.new_file(path, whole.schema, options=_COMPRESSION), whole.schema
            spooled.parts.append(path)
        spooled.writer.write_batch(whole)
        spooled.rows += whole.num_rows
        return int(batch.nbytes)

    def finish_stream(self) -> None:
        """End the stream opened last."""
        spooled = self._streams[-1]
        if spooled.writer is not None:
            spooled.writer.close()
            spooled.writer = None

    def publish(self, record: Callable[[str], None], check_cancelled: Callable[[], None]) -> list[str]:
        """Write everything in one transaction.

        Args:
            record: called with table and time of every stream whose rows :meth:`remove` has to find after a crash.
            check_cancelled: called between two streams and before the commit; raises to stop.

        Returns:
            Nothing to remove: what is overwritten goes in the same transaction.

        Raises:
            ConnectorError: if the server fails or refuses; nothing is written then.
        """
        from adbc_driver_postgresql import dbapi  # imports pandas where it is installed: only a sync shall pay

        with self._translated(), dbapi.connect(conninfo.make_conninfo(**self._parameters)) as session:
            with session.cursor() as cursor:
                for number, spooled in enumerate(self._streams):
                    check_cancelled()
                    if spooled.target.appends:
                        record(json.dumps([spooled.target.schema, spooled.target.table, self._began.isoformat()]))
                    for statement in spooled.target.prepared(_existing(cursor, spooled.target)):
                        cursor.execute(statement)
                    for part, path in enumerate(spooled.parts):
                        stage = f"_airbyte_stage_{number}_{part}"
                        schema = self._ingest(cursor, stage, path)
                        for statement in spooled.target.loaded(stage, schema):
                            cursor.execute(statement)
            check_cancelled()
            session.commit()
        return []

    def remove(self, keys: list[str]) -> None:
        """Delete the rows that this sync appended; a table that is not there (any more) is fine.

        Raises:
            ConnectorError: if the server refuses.
        """
        with self._translated(), psycopg.connect(**self._parameters) as session:
            for schema, table, began in map(json.loads, keys):
                name = sql.Identifier(schema, table)
                found = session.execute("select to_regclass(%s)", [name.as_string()]).fetchone()
                if found is None or found[0] is None:
                    continue
                statement = sql.SQL(
                    "delete from {} where (_airbyte_meta->>'sync_id')::int8 = %s and _airbyte_extracted_at >= %s"
                ).format(name)
                session.execute(statement, [self._sync_id, began])

    def close(self) -> None:
        """Close what is open and remove the local files."""
        for spooled in self._streams:
            if spooled.writer is not None:
                with suppress(OSError):
                    spooled.writer.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _enveloped(self, batch: pa.RecordBatch, spooled: _Spooled) -> pa.RecordBatch:
        count, names = batch.num_rows, batch.schema.names
        extracted = max(time.time_ns() // 1000, int(self._began.timestamp() * 1_000_000))
        meta = json.dumps({"sync_id": self._sync_id, "changes": []})
        added = {
            ROW: pa.array(range(spooled.rows, spooled.rows + count), pa.int64()),
            "_airbyte_raw_id": envelope.raw_ids(count),
            "_airbyte_extracted_at": pa.repeat(pa.scalar(extracted, pa.timestamp("us", tz="UTC")), count),
            "_airbyte_meta": pa.repeat(pa.scalar(meta, pa.string()), count),
            "_airbyte_generation_id": pa.repeat(pa.scalar(spooled.generation_id, pa.int64()), count),
        }
        return pa.RecordBatch.from_arrays([*added.values(), *batch.columns], names=[*added, *names])

    @staticmethod
    def _ingest(cursor: Any, stage: str, path: Path) -> pa.Schema:
        """Copy a spooled file into a temporary table; returns its schema."""
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            stream = pa.RecordBatchReader.from_batches(reader.schema, batches)
            cursor.adbc_ingest(stage, stream, mode="create", temporary=True)
            return reader.schema

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import adbc_driver_manager

        try:
            yield
        except (psycopg.Error, adbc_driver_manager.Error) as error:
            text = " ".join(str(error).split())
            kind = postgres_session.failure_type(text)
            raise ConnectorError(f"{self.address}: {text}", "destination", kind) from error


def _existing(cursor: Any, target: Target) -> dict[str, str]:
    """Return the columns of a table and their types, nothing if there is no such table."""
    cursor.execute(
        "select a.attname::text, format_type(a.atttypid, a.atttypmod) from pg_attribute a "
        "where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped",
        (target.name.as_string(),),
    )
    return dict(cursor.fetchall())
