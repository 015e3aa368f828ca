"""Loading change data to bronze, against a real S3 server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lakehouse import change_files
from lakehouse.changes import ChangeBatch, load_changes
from lakehouse.exceptions import ContractViolation
from lakehouse.lake import Lake, LakeError

from .kills import DyingLake, Killed, rerun_after_every_kill
from .landing_files import changes, edit_streams
from .test_bronze import keys, table

LANDING = "bronze/landing/source=postgres_cdc"
BRONZE = "bronze/cdc/postgres"
NOON = 1_793_534_400_000  # 2026-11-01 12:00 UTC in milliseconds
DAY = "2026-11-01"

# One change: LSN, key, status; no status is a deletion, which holds its key only.
Change = tuple[int, int | None, str | None]


def land_orders(
    lake: Lake, job_id: int, *orders: Change, part: int = 0, at: int = NOON, **replaced: pa.Array | None
) -> str:
    """Land changes of orders as a sync would."""
    columns = {
        "order_id": pa.array([order[1] for order in orders], pa.int64()),
        "customer_id": pa.array([None if order[2] is None else 7 for order in orders], pa.int64()),
        "order_date": pa.array([None if order[2] is None else date(2026, 10, 31) for order in orders], pa.date32()),
        "amount": pa.array([None if order[2] is None else Decimal("9.90") for order in orders], pa.decimal128(12, 2)),
        "status": pa.array([order[2] for order in orders], pa.string()),
        "updated_at": pa.array([None if order[2] is None else datetime(2026, 11, 1) for order in orders]),
    }
    columns["updated_at"] = columns["updated_at"].cast(pa.timestamp("us"))
    columns = {name: values for name, values in columns.items() if replaced.get(name, values) is not None}
    deleted = [order[2] is None for order in orders]
    given = {name: values for name, values in replaced.items() if values is not None}
    key = f"{LANDING}/orders/{job_id}_{at}_{part}.parquet"
    lake.put(key, changes(job_id, columns, [order[0] for order in orders], deleted, at, **given))
    return key


def land_customers(lake: Lake, job_id: int, *customers: tuple[int, int, str], part: int = 0, at: int = NOON) -> str:
    texts = ("email", "phone", "address", "city", "state", "zip_code")
    columns: dict[str, pa.Array] = {
        "customer_id": pa.array([customer[1] for customer in customers], pa.int64()),
        "name": pa.array([customer[2] for customer in customers], pa.string()),
    }
    columns |= {name: pa.array(["x"] * len(customers), pa.string()) for name in texts}
    columns |= {name: pa.nulls(len(customers), pa.timestamp("us")) for name in ("created_at", "updated_at")}
    key = f"{LANDING}/customers/{job_id}_{at}_{part}.parquet"
    lake.put(key, changes(job_id, columns, [customer[0] for customer in customers], [False] * len(customers), at))
    return key


def load(lake: Lake, job_id: int) -> ChangeBatch:
    return load_changes("postgres_cdc", job_id, lake=lake)


def object_key(stream: str, job_id: int, day: str = DAY) -> str:
    return f"{BRONZE}/{stream}/date={day}/{job_id:012}.parquet"


def manifest_key(job_id: int) -> str:
    return f"{BRONZE}/_manifests/{job_id:012}.json"


def rows(lake: Lake, stream: str = "orders") -> list[tuple[int, int, int | None, str | None]]:
    """Every change that bronze holds of a stream: LSN, sequence, key, status or name."""
    columns = [
        "_ab_cdc_lsn",
        "_ab_cdc_sequence",
        *(("order_id", "status") if stream == "orders" else ("customer_id", "name")),
    ]
    return [
        tuple(row.values())
        for key in keys(lake, f"{BRONZE}/{stream}/")
        for row in table(lake, key).select(columns).to_pylist()
    ]


def test_the_changes_of_a_job_become_one_object_a_stream(lake: Lake) -> None:
    land_orders(lake, 7, (10, 1, "new"), (20, 1, "paid"), part=0)
    land_orders(lake, 7, (30, 2, "new"), (40, 1, None), part=1)
    land_customers(lake, 7, (15, 7, "Ada"))
    batch = load(lake, 7)
    assert batch == ChangeBatch(
        job_id=7,
        streams={"customers": 1, "orders": 4},
        objects=(object_key("customers", 7), object_key("orders", 7)),
        first_lsn=10,
        last_lsn=40,
        newest_commit=datetime(2026, 11, 1, 12, 0, 0, 40, tzinfo=UTC),
        manifest_key=manifest_key(7),
    )
    assert keys(lake) == [manifest_key(7), object_key("customers", 7), object_key("orders", 7)]
    assert rows(lake) == [(10, 0, 1, "new"), (20, 1, 1, "paid"), (30, 2, 2, "new"), (40, 3, 1, None)]
    found = table(lake, object_key("orders", 7))
    assert found.schema.names[4:8] == ["_ab_cdc_lsn", "_ab_cdc_updated_at", "_ab_cdc_deleted_at", "_ab_cdc_sequence"]
    assert found.schema.field("amount").type == pa.decimal128(12, 2)
    assert found.column("_ab_cdc_deleted_at").to_pylist() == [None, None, None, "2026-11-01T12:00:00.000040Z"]
    manifest = json.loads(lake.get(manifest_key(7)))
    assert [(item["key"], item["rows"], item["last_lsn"]) for item in manifest["objects"]] == [
        (object_key("customers", 7), 1, 15),
        (object_key("orders", 7), 4, 40),
    ]
    assert json.dumps(batch.to_dict())


def test_loading_a_job_again_gives_the_same_objects(lake: Lake) -> None:
    land_orders(lake, 7, (10, 1, "new"))
    first = load(lake, 7)
    before = {key: lake.get(key) for key in keys(lake)}
    land_orders(lake, 8, (20, 1, "paid"))
    assert load(lake, 7) == first
    assert {key: lake.get(key) for key in before} == before
    # What a later sync landed is not this load's to touch.
    assert keys(lake, LANDING) == [f"{LANDING}/orders/8_{NOON}_0.parquet"]


def test_a_job_without_changes_leaves_nothing_behind(lake: Lake) -> None:
    assert load(lake, 7) == ChangeBatch(7)
    assert keys(lake) == []


def test_the_day_is_that_of_the_landing_not_of_the_load(lake: Lake) -> None:
    land_orders(lake, 7, (10, 1, "new"), at=NOON + 12 * 3_600_000 - 1)
    land_orders(lake, 8, (20, 1, "paid"), at=NOON + 12 * 3_600_000)
    load(lake, 7)
    load(lake, 8)
    assert keys(lake, f"{BRONZE}/orders/") == [object_key("orders", 7), object_key("orders", 8, "2026-11-02")]


def test_what_a_failed_job_landed_is_taken_by_the_next_once(lake: Lake) -> None:
    # Job 7 failed after its first objects; job 8 went on from its last checkpoint and delivered some of them again.
    land_orders(lake, 7, (10, 1, "new"), (20, 1, "paid"), (20, 2, "new"), part=0)
    land_orders(lake, 7, (30, 3, "new"), part=1)
    land_orders(lake, 8, (20, 1, "paid"), (20, 2, "new"), (30, 3, "new"), (40, 3, None), at=NOON + 1)
    land_orders(lake, 8, (40, 4, "new"), at=NOON + 1, part=1)
    batch = load(lake, 8)
    assert rows(lake) == [
        (10, 0, 1, "new"),
        (20, 1, 1, "paid"),
        (20, 2, 2, "new"),
        (30, 3, 3, "new"),
        (40, 0, 3, None),
        (40, 1, 4, "new"),
    ]
    assert batch.streams == {"orders": 6}
    assert batch.objects == (object_key("orders", 7), object_key("orders", 8))
    assert [item["repeated"] for item in json.loads(lake.get(manifest_key(8)))["objects"]] == [0, 3]
    assert load(lake, 7) == ChangeBatch(7)
    assert len(rows(lake)) == 6


@pytest.mark.parametrize("in_memory", [1, 3, 1000])
def test_repeated_changes_are_found_in_any_number_of_passes(
    lake: Lake, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_files, "_IDENTITY_ROWS", in_memory)
    snapshot = [(5, number, "old") for number in range(1, 8)]
    land_orders(lake, 7, *snapshot[:5], (6, None, None), part=0)
    land_orders(lake, 7, *snapshot[3:], (6, None, None), (6, 9, "new"), part=1)
    load(lake, 7)
    assert [row[2] for row in rows(lake)] == [1, 2, 3, 4, 5, None, 6, 7, 9]
    assert [row[1] for row in rows(lake)] == list(range(9))


def test_landing_that_a_kill_left_after_the_commit_is_not_loaded_twice(lake: Lake) -> None:
    key = land_orders(lake, 7, (10, 1, "new"))
    body = lake.get(key)
    load(lake, 7)
    lake.put(key, body)
    land_orders(lake, 8, (20, 1, "paid"))
    assert load(lake, 8).streams == {"orders": 1}
    assert rows(lake) == [(10, 0, 1, "new"), (20, 0, 1, "paid")]
    assert keys(lake, LANDING) == []
    # The same for a job whose objects a later one took: here 9 failed, 10 took them, and died before deleting them.
    key = land_orders(lake, 9, (30, 1, "sent"))
    body = lake.get(key)
    load(lake, 10)
    lake.put(key, body)
    assert load(lake, 9).streams == {}
    assert len(rows(lake)) == 3
    assert keys(lake, LANDING) == []


def test_a_deletion_need_not_meet_the_contract_but_a_row_must(lake: Lake, strict_orders: None) -> None:
    land_orders(lake, 7, (10, 1, None), (11, None, None))
    assert load(lake, 7).streams == {"orders": 2}
    land_orders(lake, 8, (20, 1, "new"), (30, 2, "new"), customer_id=pa.array([1, None], pa.int64()))
    with pytest.raises(ContractViolation, match="column customer_id is null in 1 rows"):
        load(lake, 8)


@pytest.fixture
def strict_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract of orders that allows no null in customer_id."""
    edit_streams(tmp_path, monkeypatch, "customer_id: int64\n          order_date", STRICT)


STRICT = "customer_id: {type: int64, nullable: false}\n          order_date"


def test_an_unchanged_toast_value_keeps_its_placeholder(lake: Lake) -> None:
    land_orders(lake, 7, (10, 1, "__debezium_unavailable_value"))
    load(lake, 7)
    assert rows(lake) == [(10, 0, 1, "__debezium_unavailable_value")]


def test_an_unchanged_toast_value_that_is_no_text_is_refused_with_the_way_out(lake: Lake) -> None:
    land_orders(lake, 7, (10, 1, "new"), amount=pa.array(["__debezium_unavailable_value"]))
    with pytest.raises(ContractViolation, match=r"amount does not become decimal.*REPLICA IDENTITY FULL"):
        load(lake, 7)


def test_a_new_column_between_two_parts_is_taken(lake: Lake) -> None:
    land_orders(lake, 7, (10, 1, "new"), part=0)
    land_orders(lake, 7, (20, 2, "new"), part=1, coupon=pa.array(["SUMMER"]))
    batch = load(lake, 7)
    assert batch.new_columns == {"orders": ("coupon",)}
    assert table(lake, object_key("orders", 7)).column("coupon").to_pylist() == [None, "SUMMER"]
    assert json.loads(lake.get(manifest_key(7)))["objects"][0]["new_columns"] == {"coupon": "string"}


def test_a_column_outside_the_contract_keeps_its_type_from_job_to_job(lake: Lake) -> None:
    land_orders(lake, 7, (10, 1, "new"), points=pa.array([1], pa.int64()))
    load(lake, 7)
    land_orders(lake, 8, (20, 1, "paid"), points=pa.array([2], pa.int32()))
    load(lake, 8)
    assert table(lake, object_key("orders", 8)).schema.field("points").type == pa.int64()
    land_orders(lake, 9, (30, 1, "sent"))
    land_orders(lake, 10, (40, 1, "sent"), points=pa.array(["many"]))
    with pytest.raises(ContractViolation, match="new column points arrived as string and as int64"):
        load(lake, 10)


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        pytest.param({"status": None}, "column status vanished", id="a column that vanished"),
        pytest.param({"order_id": pa.array([True])}, "order_id arrived as bool", id="another kind of value"),
        pytest.param({"_ab_cdc_lsn": pa.array([1.5])}, "_ab_cdc_lsn does not become int64", id="no position"),
        pytest.param({"_ab_cdc_lsn": pa.nulls(1, pa.int64())}, "_ab_cdc_lsn is null", id="a null position"),
    ],
)
def test_a_stream_that_breaks_its_contract_waits_and_the_others_go_on(
    lake: Lake, replaced: dict[str, pa.Array | None], reason: str
) -> None:
    land_orders(lake, 7, (10, 1, "new"), part=0)
    land_orders(lake, 7, (20, 1, "paid"), part=1, **replaced)
    land_customers(lake, 7, (15, 7, "Ada"))
    for _ in range(2):  # a retry of the task is not a success with changes missing
        with pytest.raises(ContractViolation) as caught:
            load(lake, 7)
        for words in (
            "postgres_cdc.orders",
            reason,
            "contract: order_id int64",
            "landed:",
            "the next load takes them up",
        ):
            assert words in str(caught.value)
        assert caught.value.loads[0].streams == {"customers": 1}
    held = [f"bronze/quarantine/postgres_cdc/orders/date={DAY}/7_{NOON}_{part}.parquet" for part in (0, 1)]
    assert keys(lake) == [manifest_key(7), object_key("customers", 7), *held]
    # The next job's changes of this stream wait behind them.
    land_orders(lake, 8, (30, 1, "sent"))
    land_customers(lake, 8, (35, 7, "Eva"))
    with pytest.raises(ContractViolation, match=reason):
        load(lake, 8)
    assert len(keys(lake, "bronze/quarantine/")) == 3
    # Somebody puts a corrected object where the bad one waits: all of it is loaded, in order, once.
    land_orders(lake, 7, (20, 1, "paid"), part=1)
    corrected = lake.get(f"{LANDING}/orders/7_{NOON}_1.parquet")
    lake.delete([f"{LANDING}/orders/7_{NOON}_1.parquet"])
    lake.put(held[1], corrected)
    assert load(lake, 9).streams == {"orders": 3}
    assert rows(lake) == [(10, 0, 1, "new"), (20, 1, 1, "paid"), (30, 0, 1, "sent")]
    assert rows(lake, "customers") == [(15, 0, 7, "Ada"), (35, 0, 7, "Eva")]
    assert keys(lake, "bronze/quarantine/") == []
    assert load(lake, 8).streams == {"customers": 1}


def test_an_object_with_a_foreign_name_is_not_guessed_at(lake: Lake) -> None:
    lake.put(f"{LANDING}/orders/export.parquet", b"x")
    with pytest.raises(LakeError, match=r"orders/export\.parquet is not named"):
        load(lake, 7)


def contents(lake: Lake) -> dict[str, bytes]:
    """Every object; the message of a held stream names the bucket."""
    return {key: lake.get(key).replace(f"s3://{lake.bucket}/".encode(), b"s3://lake/") for key in keys(lake)}


def land_two_jobs(fresh_lake: Callable[[], Lake]) -> Lake:
    """What a failed job and the one after it landed."""
    lake = fresh_lake()
    land_orders(lake, 6, (5, 1, "new"), part=0)
    land_orders(lake, 7, (5, 1, "new"), (10, 1, "paid"), part=0)
    land_orders(lake, 7, (20, 1, "sent"), part=1)
    land_customers(lake, 7, (15, 7, "Ada"))
    return lake


def test_a_load_that_is_killed_anywhere_is_finished_by_the_next_call(fresh_lake: Callable[[], Lake]) -> None:
    # Three objects, the manifest, four landing objects taken.
    assert rerun_after_every_kill(lambda: land_two_jobs(fresh_lake), lambda lake: load(lake, 7), contents) == 8


def test_quarantining_that_is_killed_anywhere_is_finished_by_the_next_call(fresh_lake: Callable[[], Lake]) -> None:
    def make() -> Lake:
        lake = land_two_jobs(fresh_lake)
        land_orders(lake, 7, (30, 4, "new"), part=2, status=None)
        return lake

    def work(lake: Lake) -> None:
        with pytest.raises(ContractViolation, match="column status vanished"):
            load(lake, 7)

    assert rerun_after_every_kill(make, work, contents) == 11


# One sync: how many changes there are by then, how many of them it landed before it failed (None: it went well), after
# how many of those its last checkpoint was, how many steps its load survives, whether the load is tried again.
Sync = tuple[int, int | None, int, int, bool]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.none() | st.integers(0, 4), st.integers(0, 4), st.integers(0, 9), st.booleans()
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.integers(0, 2), min_size=20, max_size=20),
)
def test_whatever_fails_and_is_killed_every_change_is_in_bronze_once(
    fresh_lake: Callable[[], Lake], syncs: list[Sync], steps_in_log: list[int]
) -> None:
    lake = fresh_lake()
    # Positions may be equal, as those of a COPY are; the key tells such changes apart.
    log = [(sum(steps_in_log[: number + 1]), number, "x") for number in range(20)]
    checkpoint = written = 0
    for job_id, (more, failed_after, safe, survive, again) in enumerate(syncs, start=7):
        written += more
        delivered = log[checkpoint:written] if failed_after is None else log[checkpoint:written][:failed_after]
        for part, at in enumerate(range(0, len(delivered), 2)):
            land_orders(lake, job_id, *delivered[at : at + 2], part=part, at=NOON + job_id)
        if failed_after is not None:
            checkpoint += min(safe, len(delivered))
            continue
        checkpoint = written
        with contextlib.suppress(Killed):
            load(DyingLake(lake, survive), job_id)
        if again:
            load(lake, job_id)
    load(lake, 99)
    # What a last failed sync landed beyond its checkpoint is there as well; it will be recognised when it comes again.
    found = sorted((lsn, key) for lsn, _, key, _ in rows(lake))
    assert found == [(lsn, key) for lsn, key, _ in log[: len(found)]]
    assert checkpoint <= len(found) <= written
    assert keys(lake, LANDING) == []
