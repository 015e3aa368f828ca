"""The decoder against two oracles: triggers that write down every change, and test_decoding where a server has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.airbyte.connectors.postgres_cdc.messages import Decoder
from sandbox.airbyte.connectors.postgres_cdc.slot import Slot
from tests.sandbox.airbyte.services import Postgres
from tests.sandbox.airbyte.services import postgres as another_postgres

SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/lib/test_decoding.so"))
"""PostgreSQL servers of the system that have test_decoding; the wheel's server has none."""
TABLES = ("keyed", "whole", "nameless")
COLUMNS = ("id", "part", "n", "text")
SETUP = """
create schema pg;
set search_path = pg;
create table keyed (id int, part text, n int, text text, primary key (id, part));
create table whole (id int, part text, n int, text text, primary key (id, part));
create table nameless (id int, part text, n int, text text);
alter table whole replica identity full;
alter table nameless replica identity full;
alter table keyed alter column text set storage external;
alter table whole alter column text set storage external;
create table written_down (number bigint generated always as identity, kind text, relation text, old jsonb, new jsonb,
    statement text default current_query());
create function write_down() returns trigger language plpgsql as $$ begin
    insert into pg.written_down (kind, relation, old, new) values (tg_op, tg_table_name,
        case when tg_op in ('UPDATE', 'DELETE') then to_jsonb(old) end,
        case when tg_op in ('INSERT', 'UPDATE') then to_jsonb(new) end);
    return null; end $$;
"""


class Oracle:
    """A server with tables whose changes are also written down."""

    def __init__(self, server: Postgres, *, test_decoding: bool) -> None:
        self.session = psycopg.connect(server.dsn, autocommit=True)
        self.session.execute("drop schema if exists pg cascade")
        self.session.execute(SETUP)
        for table in TABLES:
            rows = f"create trigger r after insert or update or delete on {table} for each row"
            for trigger in (rows, f"create trigger t after truncate on {table}"):
                self.session.execute(f"{trigger} execute function write_down()")
        self.session.execute("create publication pg_publication for table keyed, whole, nameless")
        self.slots = {"pg_slot": "pgoutput", **({"pg_oracle": "test_decoding"} if test_decoding else {})}
        for slot, plugin in self.slots.items():
            self.session.execute("select pg_create_logical_replication_slot(%s, %s)", (slot, plugin))
        self.slot = Slot(self.session, {"replication_slot": "pg_slot", "publication": "pg_publication"}, "here")

    def run(self, transactions: list[tuple[list[str], bool]]) -> None:
        """Run transactions; the second of each pair says whether it commits."""
        for table in (*TABLES, "written_down"):
            self.session.execute(f"truncate {table}")
        for slot in self.slots:
            self.session.execute("select pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", (slot,))
        for statements, commits in transactions:
            self.session.execute("begin")
            for statement in statements:
                self.session.execute("savepoint one")
                try:
                    self.session.execute(statement)
                except psycopg.errors.UniqueViolation:
                    self.session.execute("rollback to one")
            self.session.execute("commit" if commits else "rollback")

    def decoded(self, chunk: int) -> dict[str, list[tuple[Any, ...]]]:
        """What the decoder makes of the slot: (gone, values) by table."""
        decoder = Decoder({("pg", "whole"): ("id", "part"), ("pg", "keyed"): ("id", "part")})
        found: dict[str, list[tuple[Any, ...]]] = {table: [] for table in TABLES}
        positions: dict[str, list[int]] = {table: [] for table in TABLES}
        for part in self.slot.chunks(self.slot.now(), 1_000_000, chunk):
            for changes in decoder.decode(part.data, part.starts, part.lsn):
                assert tuple(column.name for column in changes.relation.columns) == COLUMNS
                columns = [column.to_pylist() for column in changes.columns]
                for number in range(len(changes)):
                    left_out = [mask is not None and bool(mask[number]) for mask in changes.unchanged]
                    values = tuple(
                        "left out" if out else column[number] for column, out in zip(columns, left_out, strict=True)
                    )
                    found[changes.relation.name].append((bool(changes.deleted[number]), *values))
                positions[changes.relation.name] += changes.lsn.tolist()
        assert all(of_table == sorted(of_table) for of_table in positions.values())
        return found

    def written_down(self) -> dict[str, list[tuple[Any, ...]]]:
        """The same from what the triggers wrote."""
        found: dict[str, list[tuple[Any, ...]]] = {table: [] for table in TABLES}
        query = "select kind, relation, old, new, statement from written_down order by number"
        for kind, table, old, new, statement in self.session.execute(query):
            # A value that is set to what it was is stored anew, and so is in the log.
            found[table] += expected(table, kind, old, new, touched="set text" in statement)
        return found

    def close(self) -> None:
        for slot in self.slots:
            self.session.execute("select pg_drop_replication_slot(%s)", (slot,))
        self.session.execute("drop schema pg cascade; drop publication pg_publication")
        self.session.close()


def expected(
    table: str, kind: str, old: dict[str, Any] | None, new: dict[str, Any] | None, *, touched: bool
) -> list[tuple[Any, ...]]:
    """The records that a change should become."""

    def values(row: dict[str, Any] | None, *, key_only: bool = False) -> tuple[Any, ...]:
        row = row or {}
        kept = ("id", "part") if key_only else COLUMNS
        return tuple(None if name not in kept or row.get(name) is None else str(row[name]) for name in COLUMNS)

    if kind == "TRUNCATE":
        return [(True, None, None, None, None)]
    if kind == "INSERT":
        return [(False, *values(new))]
    if kind == "DELETE":
        return [(True, *values(old, key_only=table == "keyed"))]
    assert old is not None
    assert new is not None
    moved = table == "nameless" or any(old[name] != new[name] for name in ("id", "part"))
    after = list(values(new))
    if table == "keyed" and not touched and len(new["text"] or "") > 2000:
        after[3] = "left out"
    before = [(True, *values(old, key_only=table == "keyed"))] if moved else []
    return [*before, (False, *after)]


@pytest.fixture(scope="module")
def oracle(postgres: Postgres) -> Iterator[Oracle]:
    found = Oracle(postgres, test_decoding=False)
    yield found
    found.close()


texts = st.sampled_from(["", "x", "ä'\"\\\\\n", "long"]).map(
    lambda text: "repeat(md5('a'), 100)" if text == "long" else "'" + text.replace("'", "''") + "'"
) | st.just("null")
statements = st.builds(
    lambda table, kind, key, other, part, n, text: {
        "insert": f"insert into pg.{table} values ({key}, '{part}', {n}, {text})",
        "number": f"update pg.{table} set n = {n} where id = {key}",
        "text": f"update pg.{table} set text = {text} where id >= {key}",
        "key": f"update pg.{table} set id = {other} where id = {key} and part = '{part}'",
        "delete": f"delete from pg.{table} where id = {key}",
        "truncate": f"truncate pg.{table}",
    }[kind],
    st.sampled_from(TABLES),
    st.sampled_from(["insert"] * 6 + ["number", "text", "key", "delete"] * 2 + ["truncate"]),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from("ab"),
    st.integers(-1, 3) | st.just("null"),
    texts,
)
transactions = st.lists(st.tuples(st.lists(statements, min_size=1, max_size=6), st.sampled_from([True, True, False])))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=transactions, chunk=st.integers(1, 12))
def test_every_change_is_what_the_triggers_saw(oracle: Oracle, made: list[tuple[list[str], bool]], chunk: int) -> None:
    oracle.run(made)
    assert oracle.decoded(chunk) == oracle.written_down()


@pytest.mark.parametrize("library", SYSTEM, ids=lambda path: path.parts[4])
def test_test_decoding_tells_the_same(library: Path) -> None:
    with another_postgres(library.parent.parent / "bin") as server:
        found = Oracle(server, test_decoding=True)

        @settings(max_examples=30, database=None)
        @given(made=transactions, chunk=st.integers(1, 12))
        def same(made: list[tuple[list[str], bool]], chunk: int) -> None:
            found.run(made)
            decoded = found.decoded(chunk)
            assert decoded == found.written_down()
            assert {table: len(rows) for table, rows in decoded.items()} == told(found.session)

        same()
        found.close()


def told(session: psycopg.Connection[Any]) -> dict[str, int]:
    """How many records each table should have, by what test_decoding prints."""
    counts = dict.fromkeys(TABLES, 0)
    lines = session.execute("select data from pg_logical_slot_peek_changes('pg_oracle', null, null)").fetchall()
    for (line,) in lines:
        change = re.match(r"table (.*?): (INSERT|UPDATE|DELETE|TRUNCATE)", line)
        if change is None:
            continue
        for table in change[1].split(", "):
            name = table.split(".")[1]
            if name not in counts:
                continue
            # test_decoding prints the old key of an update only if it changed; of a full identity always.
            moved = change[2] == "UPDATE" and "old-key:" in line
            if moved and name == "whole":
                old, new = line.split("new-tuple:")
                moved = keys(old) != keys(new)
            counts[name] += 2 if moved else 1
    return counts


def keys(tuples: str) -> list[str]:
    return re.findall(r"(?:id\[integer\]|part\[text\]):\S+", tuples)
