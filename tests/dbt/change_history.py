"""A shop whose table changes, and the platform around the models' SQL: each played in a few lines.

Syncs, the load to bronze, its compaction, the merge into cold and retention, any of them killed half way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import duckdb

from .change_models import COLUMNS, VARS, Row, Table, on_duckdb, rendered, rendered_text

PLACEHOLDER = "__debezium_unavailable_value"
FIRST_DAY = date(2026, 3, 1)
KEYS = range(1, 4)


@dataclass
class Transaction:
    """What a transaction has written and not yet committed: records in their order, rows by key."""

    records: list[Row] = field(default_factory=list)
    rows: dict[int, Row | None] = field(default_factory=dict)


class Shop:
    """A table with a primary key, its write-ahead log and two sessions; LSNs ascend as records are written,
    transactions are decoded as they commit."""

    def __init__(self, table: Table, *, full_identity: bool) -> None:
        self.table = table
        self.full_identity = full_identity
        self.rows: dict[int, Row] = {}
        self.decoded: list[Row] = []
        self.lsn = 100
        self.sessions = [Transaction(), Transaction()]

    def write(self, session: int, action: str, key: int, amount: int) -> None:
        """One statement; one that would wait for the other session's lock is not sent."""
        mine, other = self.sessions[session], self.sessions[1 - session]
        nothing = dict.fromkeys(COLUMNS[self.table])
        if action == "truncate":
            if other.rows or mine.rows:
                return
            self.lsn += 10
            self.decoded.append(self._record(nothing, self.lsn, deleted=True))
            self.rows = {}
            return
        new_key = 1 + key % len(KEYS)
        if key in other.rows or (action == "move" and new_key in other.rows):
            return
        old = mine.rows.get(key, self.rows.get(key))
        self.lsn += 10
        if action == "without_key":
            # Such a row may stay or go: as it cannot be told from others of its kind, the view leaves it out.
            row = self._row(None, amount)
            mine.records.append(self._record(row, self.lsn, deleted=amount % 2 == 0))
        elif action == "delete" and old:
            gone = old if self.full_identity else {**nothing, **self.table.key(key)}
            mine.records.append(self._record(gone, self.lsn, deleted=True))
            mine.rows[key] = None
        elif action == "move" and old and mine.rows.get(new_key, self.rows.get(new_key)) is None:
            moved = {**old, **self.table.key(new_key)}
            mine.records += [self._record(old, self.lsn, deleted=True), self._record(moved, self.lsn)]
            mine.rows |= {key: None, new_key: moved}
        elif action == "touch" and old:
            # Long values that are not touched are in the record only under REPLICA IDENTITY FULL.
            untouched = [name for number, name in enumerate(self.table.text) if (number + amount) % 2 or number == 0]
            mine.rows[key] = row = {**self._row(key, amount), **{name: old[name] for name in untouched}}
            unsent = [name for name in untouched if old[name] is not None and not self.full_identity]
            mine.records.append(self._record({**row, **dict.fromkeys(unsent, PLACEHOLDER)}, self.lsn))
        elif action == "write":
            mine.rows[key] = row = self._row(key, amount)
            mine.records.append(self._record(row, self.lsn))

    def commit(self, session: int) -> None:
        done, self.sessions[session] = self.sessions[session], Transaction()
        self.decoded += done.records
        for key, row in done.rows.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def snapshot(self, amounts: dict[int, int]) -> None:
        """What was there before the feed began: one LSN for all of it."""
        self.rows = {key: self._row(key, amount) for key, amount in amounts.items()}
        self.decoded = [self._record(row, self.lsn) for row in self.rows.values()]

    def _row(self, key: int | None, amount: int) -> Row:
        values: dict[str, Any] = {"date32": FIRST_DAY, "timestamp[us]": datetime(2026, 3, 1, 10, 0, amount)}
        row = {name: values.get(kind, amount) for name, kind in COLUMNS[self.table].items()}
        text = {
            name: f"{name} {amount}" if (amount + number) % 5 else None for number, name in enumerate(self.table.text)
        }
        return {**row, **text, **self.table.key(key)}

    def _record(self, row: Row, lsn: int, *, deleted: bool = False) -> Row:
        moment = "2026-03-01T10:00:00.123456Z"
        return {**row, "lsn": lsn, "committed": moment, "deleted": moment if deleted else None}


class Platform:
    """Syncs, the load to bronze, its compaction, the merge into cold and retention, around the models' SQL."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: Table) -> None:
        self.connection = connection
        self.table = table
        self.key = VARS["change_data"][table.stream]["key"]
        self.raw, self.cold = f"raw_{table.stream}_changes", f"{table.mart}_cold"
        self.today = FIRST_DAY
        self.sync_id = 7
        self.seen: dict[int, Row] = {}
        self.unseen: list[Row] = []
        self.expected_after: dict[int, Row] = {}
        self.new_versions = on_duckdb(rendered(self.cold, cold=self.cold))
        self.boundary_time = on_duckdb(rendered_text(f"{{{{ boundary_time('{self.cold}') }}}}"))
        for name in (self.raw, self.cold, "clock"):
            connection.execute(f"delete from {name}")
        connection.execute("insert into clock values ($today, '1970-01-01', '1970-01-01')", {"today": self.today})

    def sync(self, shop: Shop, shown: int) -> None:
        """Land all that has committed; of its files only ``shown`` records can be seen until the load goes on."""
        self.go_on()
        self.sync_id += 3
        landed = [
            {**record, "number": number, "sync": self.sync_id, "at": self._moment(number)}
            for number, record in enumerate(shop.decoded)
        ]
        shop.decoded = []
        self._store(landed[:shown])
        self.unseen, self.expected_after = landed[shown:], dict(shop.rows)
        if not self.unseen:
            self.seen = self.expected_after

    def _moment(self, number: int) -> datetime:
        """When Airbyte reads a record of the sync."""
        midnight = datetime(self.today.year, self.today.month, self.today.day)
        return midnight + timedelta(seconds=self.sync_id, milliseconds=number)

    def go_on(self) -> None:
        """The load that was killed runs again, to its end."""
        if self.unseen:
            self._store(self.unseen)
            self.unseen, self.seen = [], self.expected_after

    def _store(self, records: list[Row]) -> None:
        if not records:
            return
        names = [*COLUMNS[self.table], "lsn", "committed", "deleted", "number", "sync", "at"]
        marks = ", ".join(["(" + ", ".join("?" * len(names)) + f", 'date={self.today}')"] * len(records))
        values = [record[name] for record in records for name in names]
        self.connection.execute(f"insert into {self.raw} values {marks}", values)

    def compact(self, to_the_end: bool) -> None:
        """A large file has what small ones hold; killed half way, both can be read."""
        if to_the_end:
            self.connection.execute(f"create or replace temp table once as select distinct * from {self.raw}")
            self.connection.execute(f"delete from {self.raw}")
            self.connection.execute(f"insert into {self.raw} from once")
        else:
            self.connection.execute(f"insert into {self.raw} select distinct * from {self.raw}")

    def merge(self, to_the_end: bool) -> None:
        """dbt's incremental run, as its merge does it; killed half way, the unified view stays as it was."""
        self._dbt_sees("merged")
        self.connection.execute(f"create or replace temp table fresh as {self.new_versions}")
        same = " and ".join(f"{self.cold}.{column} = fresh.{column}" for column in self.key)
        self.connection.execute(f"delete from {self.cold} where exists (from fresh where {same})")
        self.connection.execute(f"insert into {self.cold} by name from fresh")
        if to_the_end:
            self._dbt_sees("shown")

    def _dbt_sees(self, clock: str) -> None:
        self.connection.execute(f"update clock set {clock} = coalesce(({self.boundary_time}), '1970-01-01')")

    def next_day(self, days: int) -> None:
        self.today += timedelta(days=days)
        self.connection.execute("update clock set today = $today", {"today": self.today})

    def retain(self) -> None:
        """Files leave the lake when they are no longer hot and cold has them."""
        self.connection.execute(
            f"delete from {self.raw} where dir0 < 'date=' || ($today::date - $days::integer)::varchar "
            f"and sync_id < (select coalesce(max(sync_id), 0) from {self.cold})",
            {"today": self.today, "days": VARS["hot_days"]},
        )

    def check(self) -> None:
        if self.unseen:
            return
        columns, order = ", ".join(COLUMNS[self.table]), ", ".join(self.key)
        found = self.connection.execute(f"select {columns} from {self.table.mart}_unified order by {order}").fetchall()
        assert found == [tuple(row[name] for name in COLUMNS[self.table]) for _, row in sorted(self.seen.items())]
