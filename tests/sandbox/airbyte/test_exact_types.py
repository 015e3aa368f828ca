"""A table with all types, through Parquet and through PostgreSQL, compared with the source value by value."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from tests.sandbox.airbyte.services import S3, Client, Postgres
from tests.sandbox.airbyte.test_postgres_destination import destination

UUID = "11111111-2222-3333-4444-555555555555"
# Column -> (type, first value, second value, Arrow type that lands, what of the first value lands, of the second).
COLUMNS: dict[str, tuple[str, str, str, Any, Any, Any]] = {
    "small": ("smallint", "-32768", "32767", pa.int64(), -32768, 32767),
    "big": ("bigint", "9007199254740993", "-9223372036854775808", pa.int64(), 9007199254740993, -(2**63)),
    "real_": ("real", "0.1", "'NaN'", pa.float64(), 0.10000000149011612, "nan"),
    "double_": ("double precision", "0.30000000000000004", "'-infinity'", pa.float64(), 0.30000000000000004, "-inf"),
    "money_": ("numeric(12,2)", "1234567890.12", "-0.01", pa.decimal128(12, 2), "1234567890.12", "-0.01"),
    "not_a_number": ("numeric(12,2)", "1", "'NaN'", pa.decimal128(12, 2), "1.00", None),
    "whole": ("numeric(18)", "999999999999999999", "-1", pa.decimal128(18, 0), "999999999999999999", "-1"),
    "wide": ("numeric(38,9)", f"{10**28}.000000001", "-1", pa.decimal128(38, 9), f"{10**28}.000000001", "-1.000000000"),
    "free": ("numeric", "1e-30", "'NaN'", pa.string(), f"0.{'0' * 29}1", "NaN"),
    "huge": ("numeric(60,30)", f"{10**29}.{'1' * 30}", "0", pa.string(), f"{10**29}.{'1' * 30}", f"0.{'0' * 30}"),
    "flag": ("boolean", "true", "false", pa.bool_(), True, False),
    "day": ("date", "'0001-01-01'", "'infinity'", pa.date32(), date(1, 1, 1), None),
    "at": (
        "timestamp",
        "'2026-02-03 04:05:06.789012'",
        "'-infinity'",
        pa.timestamp("us"),
        datetime(2026, 2, 3, 4, 5, 6, 789012),
        None,
    ),
    "zoned": (
        "timestamptz",
        "'2026-02-03 04:05:06.000001+05:30'",
        "'infinity'",
        pa.timestamp("us", tz="UTC"),
        datetime(2026, 2, 2, 22, 35, 6, 1, tzinfo=UTC),
        None,
    ),
    "clock": ("time", "'23:59:59.999999'", "'00:00'", pa.time64("us"), time(23, 59, 59, 999999), time(0)),
    "zoned_clock": ("timetz", "'10:00+02'", "'00:00'", pa.string(), "10:00:00+02", "00:00:00+00"),
    "span": ("interval", "'1 mon 2 days 3.5 s'", "'0'", pa.string(), "1 mon 2 days 00:00:03.5", "00:00:00"),
    "id": ("uuid", f"'{UUID}'", "null", pa.string(), UUID, None),
    "doc": ("jsonb", """'{"n": 1.10, "s": "ü"}'""", "'null'", pa.string(), '{"n": 1.10, "s": "ü"}', "null"),
    "blob": ("bytea", r"'\x00ff10'", "''", pa.string(), r"\x00ff10", r"\x"),
    "word": ("mood", "'so-so'", "null", pa.string(), "so-so", None),
    "text_": ("text", "'a\"b\\c,\n€'", "''", pa.string(), 'a"b\\c,\n€', ""),
    "padded": ("char(4)", "'x'", "null", pa.string(), "x   ", None),
    "net": ("inet", "'10.0.0.1/8'", "null", pa.string(), "10.0.0.1/8", None),
    "words": ("text[]", "array['a', null, 'b\"']", "'{}'", pa.list_(pa.string()), ["a", None, 'b"'], []),
    "counts": ("int[]", "array[1, null]", "null", pa.list_(pa.int64()), [1, None], None),
    "prices": ("numeric(12,2)[]", "array[1.10, 2]", "'{}'", pa.list_(pa.string()), ["1.10", "2.00"], []),
}  # fmt: skip


# Type -> (the source's value as it was read, the type in which it is compared); by default the text of both.
ORIGINALS = {
    "real": ("s.{}::double precision", "text"),
    "char(4)": ("case when s.{0} is not null then format('%s', s.{0}) end", "text"),
    "text[]": ("to_jsonb(s.{})", "jsonb"),
    "int[]": ("to_jsonb(s.{})", "jsonb"),
    "numeric(12,2)[]": ("to_jsonb(s.{}::text[])", "jsonb"),
    **{kind: ("s.{}", "numeric") for kind, *_ in COLUMNS.values() if kind.startswith("numeric") and kind[-1] != "]"},
}


def create(postgres: Postgres, schema: str) -> None:
    declared = ", ".join(f"{name} {kind[0]}" for name, kind in COLUMNS.items()).replace("mood", f"{schema}.mood")
    postgres.execute(
        f"create type {schema}.mood as enum ('so-so')",
        f"create table {schema}.kinds (n int primary key, {declared})",
        *(
            f"insert into {schema}.kinds values ({row}, {', '.join(kind[row] for kind in COLUMNS.values())})"
            for row in (1, 2)
        ),
    )


def shown(value: Any) -> Any:
    """A value that compares: decimals with their digits, NaN and infinity by name."""
    if isinstance(value, Decimal) or (isinstance(value, float) and (value != value or abs(value) == float("inf"))):
        return str(value)
    return value


def test_parquet_has_every_value_in_its_own_type(client: Client, postgres: Postgres, lake: S3, schema: str) -> None:
    create(postgres, schema)
    source = client.actor("source", postgres.configuration(schemas=[schema]))
    target = client.actor("destination", lake.destination(f"{schema}/${{STREAM_NAME}}/"))
    client.sync(client.connection(source, target))
    (key,) = lake.keys(f"bronze/landing/{schema}/kinds/")
    table = pq.read_table(io.BytesIO(lake.body(key)))
    first, second = table.sort_by("n").to_pylist()
    for name, (*_, kind, one, two) in COLUMNS.items():
        landed = table.schema.field(name).type
        same = landed.value_type == kind.value_type if pa.types.is_list(kind) else landed == kind
        assert same, (name, landed)
        assert (shown(first[name]), shown(second[name])) == (one, two), name


def test_postgresql_has_every_value_in_its_own_type(client: Client, postgres: Postgres, schema: str) -> None:
    create(postgres, schema)
    source = client.actor("source", postgres.configuration(schemas=[schema]))
    configuration = destination(postgres, f"{schema}_loaded", unconstrained_number=True)
    client.sync(client.connection(source, client.actor("destination", configuration)))
    lost = {"not_a_number", "day", "at", "zoned"}
    with psycopg.connect(postgres.dsn, options="-c timezone=UTC") as session:
        for name, (kind, *_) in COLUMNS.items():
            original, compared = ORIGINALS.get(kind, ("s.{}", "text"))
            query = f"""select s.n, l.{name} from {schema}.kinds s join {schema}_loaded.kinds l using (n)
                        where l.{name}::{compared} is distinct from ({original.format(name)})::{compared}"""
            different = session.execute(query.encode()).fetchall()
            assert different == ([(2, None)] if name in lost else []), name
