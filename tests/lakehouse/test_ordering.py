"""The partition depends on the set of deliveries only: not on their order, their number or how they were cut up."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lakehouse import ordering, partition
from lakehouse.config import Stream
from lakehouse.contracts import Mismatch

from .landing_files import airbyte_columns

# No deadline: the machine that runs this is shared, and how long an example takes says nothing about the code.
property_test = settings(max_examples=50)

ORDERS = Stream.model_validate(
    {
        "name": "orders",
        "sync_mode": "incremental",
        "key": ["order_id"],
        "cursor": "updated_at",
        "columns": {
            "order_id": "int64",
            "amount": "decimal(12,2)",
            "updated_at": {"type": "timestamp[us]", "nullable": False},
        },
    }
)
CUSTOMERS = Stream.model_validate(
    {"name": "customers", "sync_mode": "full_refresh", "key": ["id"], "columns": {"id": "int64", "name": "string"}}
)

# One delivered row: key, cursor, amount in cents, extraction time, raw id.
Row = tuple[int | None, int, int, int, str]


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Row]]:
    """Landing files with few keys and versions, so that rows meet again and again."""
    rows = draw(
        st.lists(
            st.tuples(st.none() | st.integers(0, 5), st.integers(0, 3), st.integers(-500, 500), st.integers(1, 4)),
            min_size=1,
            max_size=40,
        )
    )
    named = [(key, cursor, amount, at, f"raw-{number:03d}") for number, (key, cursor, amount, at) in enumerate(rows)]
    cuts = sorted(draw(st.lists(st.integers(0, len(named)), max_size=3)))
    return [named[start:end] for start, end in zip([0, *cuts], [*cuts, len(named)], strict=True)]


def landing(path: Path, rows: Sequence[Row]) -> Path:
    columns = {
        "order_id": pa.array([row[0] for row in rows], pa.int64()),
        "amount": pa.array([row[2] / 100 for row in rows], pa.float64()),
        "updated_at": pa.array([row[1] for row in rows], pa.timestamp("us")),
    }
    pq.write_table(
        pa.table({**airbyte_columns(1, [row[3] for row in rows], [row[4] for row in rows]), **columns}), path
    )
    return path


def build(files: Sequence[Sequence[Row]], before: bytes | None = None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        inputs = [landing(base / f"{number}.parquet", rows) for number, rows in enumerate(files)]
        if before is not None:
            (base / "before.parquet").write_bytes(before)
            inputs.append(base / "before.parquet")
        (base / "work").mkdir()
        partition.build(ORDERS, inputs, base / "out.parquet", base / "work")
        return (base / "out.parquet").read_bytes()


def expected(rows: Sequence[Row]) -> list[tuple[int | None, int, int, str]]:
    """The same rule, written down naively."""
    kept: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: (row[3], row[4])):
        kept.setdefault((row[0], row[1]) if row[0] is not None else (None, row[1], row[2]), row)
    ordered = sorted(kept.values(), key=lambda row: (row[0] is None, row[0] or 0, row[1], row[2]))
    return [(row[0], row[1], row[2], row[4]) for row in ordered]


def contents(data: bytes) -> list[tuple[int | None, int, int, str]]:
    rows = pq.read_table(pa.BufferReader(data)).to_pylist()
    return [
        (
            row["order_id"],
            int((row["updated_at"] - EPOCH).total_seconds() * 1e6 + 0.5),
            int(row["amount"] * 100),
            row["_airbyte_raw_id"],
        )
        for row in rows
    ]


EPOCH = datetime(1970, 1, 1)


@property_test
@given(deliveries())
def test_a_partition_holds_every_version_once_as_first_extracted(files: list[list[Row]]) -> None:
    assert contents(build(files)) == expected([row for rows in files for row in rows])


@property_test
@given(deliveries(), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_of_deliveries_matters(files: list[list[Row]], random: Any) -> None:
    once = build(files)
    rows = [row for file in files for row in file]
    again = rows + random.sample(rows, random.randint(0, len(rows)))
    random.shuffle(again)
    cut = random.randint(0, len(again))
    assert build([again[:cut], again[cut:]]) == once


@property_test
@given(deliveries(), st.integers(0, 3))
def test_loading_in_steps_gives_the_bytes_of_loading_at_once(files: list[list[Row]], first: int) -> None:
    step = build(files[: first + 1])
    assert build(files[first:], before=step) == build(files)
    assert build([], before=step) == step


@property_test
@given(deliveries(), st.integers(2, 5))
def test_sorting_through_local_files_gives_the_same_bytes(files: list[list[Row]], rows_in_memory: int) -> None:
    in_memory = build(files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordering, "BUCKET_ROWS", rows_in_memory)
        patch.setattr(ordering, "_SAMPLE_EVERY", 1)
        assert build(files) == in_memory


def test_a_partition_file_has_the_settings_of_the_architecture(tmp_path: Path) -> None:
    count = 1_000_001
    table = pa.table(
        {"id": pa.array(range(count), pa.int64()), "status": pa.array(["completed"]).take(pa.array([0] * count))}
    )
    written = tmp_path / "streamed.parquet"
    assert (
        partition.write((table.slice(at, 300_000) for at in range(0, count, 300_000)), table.schema, written) == count
    )
    pq.write_table(
        pa.concat_tables([table.slice(at, 125_000).combine_chunks() for at in range(0, count, 125_000)]),
        tmp_path / "whole.parquet",
        compression="snappy",
        use_dictionary=True,
        row_group_size=1_000_000,
        data_page_size=1_048_576,
        write_statistics=True,
    )
    assert written.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    metadata = pq.read_metadata(written)
    assert [metadata.row_group(number).num_rows for number in range(2)] == [1_000_000, 1]
    column = metadata.row_group(0).column(1)
    assert column.compression == "SNAPPY"
    assert column.has_dictionary_page
    assert column.statistics.has_min_max


def full_refresh(tmp_path: Path, name: str, rows: Sequence[tuple[int | None, str]], raw_ids: Sequence[str]) -> Path:
    base = tmp_path / name
    (base / "work").mkdir(parents=True)
    columns = {"id": pa.array([row[0] for row in rows], pa.int64()), "name": pa.array([row[1] for row in rows])}
    pq.write_table(pa.table({**airbyte_columns(1, [1] * len(rows), raw_ids), **columns}), base / "in.parquet")
    partition.build(CUSTOMERS, [base / "in.parquet"], base / "out.parquet", base / "work")
    return base / "out.parquet"


def test_a_snapshot_is_the_same_content_whatever_ids_airbyte_gave_it(tmp_path: Path) -> None:
    rows = [(2, "Bea"), (None, "nobody"), (1, "Ada"), (1, "Ada again"), (None, "somebody")]
    one = full_refresh(tmp_path, "one", rows, list("abcde"))
    two = full_refresh(tmp_path, "two", rows[::-1], list("vwxyz"))
    other = full_refresh(tmp_path, "other", [*rows[:-1], (None, "some body")], list("abcde"))
    kept = [(row["id"], row["name"]) for row in pq.read_table(one).to_pylist()]
    assert kept == [(1, "Ada"), (1, "Ada again"), (2, "Bea"), (None, "nobody"), (None, "somebody")]
    assert partition.same_content(one, two, ignore_airbyte=True)
    assert not partition.same_content(one, two, ignore_airbyte=False)
    assert not partition.same_content(one, other, ignore_airbyte=True)


@property_test
@given(st.lists(st.integers(-(10**12) + 1, 10**12 - 1), min_size=1))
def test_a_double_becomes_the_decimal_it_stands_for(cents: list[int]) -> None:
    rows: list[Row] = [(number, 0, value, 1, f"raw-{number}") for number, value in enumerate(cents)]
    amounts = pq.read_table(pa.BufferReader(build([rows])), columns=["amount"]).column(0).to_pylist()
    assert amounts == [Decimal(value) / 100 for value in cents]


def test_a_double_that_does_not_fit_is_refused() -> None:
    with pytest.raises(Mismatch, match="column amount does not become decimal128"):
        build([[(1, 1, 10**15, 1, "raw")]])
