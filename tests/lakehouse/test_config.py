from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lakehouse import config
from lakehouse.config import ConfigError, load_dashboards, load_plan, load_reflections, load_streams


@pytest.fixture
def include(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config").mkdir()
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path))
    return tmp_path / "config"


def test_the_declared_streams_are_the_shops() -> None:
    streams = load_streams()
    modes = {s.name: s.sync_mode for source in streams.nightly for s in source.streams.values()}
    assert modes == {
        "customers": "full_refresh",
        "products": "full_refresh",
        "orders": "incremental",
        "order_items": "incremental",
        "payments": "full_refresh",
        "returns": "full_refresh",
    }
    assert [source.name for source in streams.for_stage("extract_apis")] == ["api", "files"]
    live = streams.source("postgres_cdc")
    assert (live.frequency, live.stage) == ("live", None)
    assert {stream.sync_mode for stream in live.streams.values()} == {"cdc"}
    for name, stream in live.streams.items():
        copied = streams.source("postgres").stream(name)
        assert stream.key == copied.key
        assert {c: spec.type for c, spec in stream.columns.items()} == {
            c: spec.type for c, spec in copied.columns.items()
        }
    orders = streams.source("postgres").stream("orders")
    assert (orders.key, orders.cursor, orders.columns["amount"].type) == (("order_id",), "updated_at", "decimal(12,2)")


def test_every_source_is_synced_by_one_dag_or_by_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_streams().by_day == {}, "the shop's sources are the batch's and the live loop's"
    file = tmp_path / "config" / "streams.yml"
    shutil.copytree(config.include_dir() / "config", file.parent)
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path))
    text = file.read_text().replace("    stage: extract_apis\n", "", 1)
    before, _, after = text.partition(
        "    connection: partner_files\n    frequency: dimension\n    stage: extract_apis\n"
    )
    file.write_text(f"{before}    connection: partner_files\n    frequency: small\n{after}")
    named = {frequency: [source.name for source in sources] for frequency, sources in load_streams().by_day.items()}
    assert named == {"dimension": ["api"], "small": ["files"]}


def test_every_stage_of_a_source_is_in_the_plan() -> None:
    stages = {stage.id for stage in load_plan().stages}
    assert {source.stage for source in load_streams().nightly} <= stages


def test_the_declared_reflections_and_dashboards_load() -> None:
    assert {item.name for item in load_reflections()} >= {"raw_customers", "agg_daily_revenue"}
    assert all(item.slug for item in load_dashboards())


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="postgres, api, files, postgres_cdc"):
        load_streams().source("mysql")
    with pytest.raises(KeyError, match="customers, products"):
        load_streams().source("postgres").stream("refunds")


STREAM = "sources: {s: {connection: c, stage: x, format: parquet, landing: l/x, bronze: b/x, streams: {t: %s}}}"


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        pytest.param(
            "{sync_mode: sometimes, key: [a], columns: {a: int64}}",
            ["streams.yml", "sources.s.streams.t.sync_mode", "'sometimes'", "'full_refresh', 'incremental' or 'cdc'"],
            id="value outside the allowed ones",
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [a], columns: {a: number}}",
            ["sources.s.streams.t.columns.a.type", "'number'", "decimal(p,s)"],
            id="no column type",
        ),
        pytest.param(
            '{sync_mode: full_refresh, key: [a], columns: {a: "decimal(2,5)"}}', ["s <= p"], id="impossible decimal"
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [b], columns: {a: int64}}",
            ["sources.s.streams.t", "key 'b'", "allowed: a"],
            id="key outside the contract",
        ),
        pytest.param(
            "{sync_mode: incremental, key: [a], columns: {a: int64}}", ["needs a cursor", "allowed: a"], id="no cursor"
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [a], columns: {a: int64}}}, frequency: small, tuning: {",
            ["sources.s", "frequency 'small'", "snapshot of t", "allowed: dimension"],
            id="snapshots of the batch by day",
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [a], columns: {a: int64}}}, frequency: hourly, tuning: {",
            ["sources.s.frequency", "'hourly'", "'small', 'large', 'dimension' or 'live'"],
            id="no frequency",
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [a], columns: {a: int64}}}, tuning: {compression: zip, threads: 4",
            ["sources.s.tuning.compression", "'zip'", "'zstd'", "sources.s.tuning.threads"],
            id="no knob",
        ),
        pytest.param(
            "{sync_mode: cdc, key: [a], cursor: a, columns: {a: int64}}",
            ["sources.s.streams.t", "cursor 'a'", "leave it out"],
            id="cursor of change data",
        ),
        pytest.param(
            "{sync_mode: cdc, key: [a], columns: {a: int64}}",
            ["sources.s", "frequency 'dimension'", "cdc is live"],
            id="change data once a day",
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [a], columns: {a: int64}, retention: {landing: 0, bronze: a week, x: 1}}",
            [
                "sources.s.streams.t.retention.landing: 0: is no retention; allowed: a number of days from 1",
                "sources.s.streams.t.retention.bronze: 'a week'",
                "sources.s.streams.t.retention.x",
            ],
            id="no retention",
        ),
        pytest.param(
            "{sync_mode: incremental, key: [a], cursor: a, columns: {a: int64}, retention: {bronze: 30}}",
            ["sources.s.streams.t", "retention.bronze 30 of a stream of sync mode incremental", "allowed: forever"],
            id="retention that loses rows",
        ),
        pytest.param(
            "{sync_mode: cdc, key: [a], columns: {a: int64}, retention: {bronze: 3}}",
            ["retention.bronze 3", "hot_days", "allowed: 7 days or more, forever"],
            id="retention of what is hot",
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [a], columns: {a: int64}, cold: gold.a}",
            ["sources.s.streams.t", "cold 'gold.a'", "leave it out"],
            id="cold table of a snapshot",
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [a], columns: {a: int64}, retention: {bronze: 9}}}, format: csv, tuning: {",
            ["sources.s", "streams.t.retention.bronze 9", "every file is read", "allowed: forever"],
            id="retention of files",
        ),
        pytest.param(
            "{sync_mode: full_refresh, key: [a], colums: {a: int64}}",
            ["sources.s.streams.t.colums", "sources.s.streams.t.columns"],
            id="misspelt key",
        ),
    ],
)
def test_a_fault_is_named_with_its_file_path_and_value(include: Path, stream: str, words: list[str]) -> None:
    (include / "streams.yml").write_text(STREAM % stream)
    with pytest.raises(ConfigError) as caught:
        load_streams()
    for word in words:
        assert word in str(caught.value)


def test_a_missing_or_broken_file_is_named(include: Path) -> None:
    with pytest.raises(ConfigError, match=r"plan\.yml: cannot be read: No such file"):
        load_plan()
    (include / "plan.yml").write_text("stages: [")
    with pytest.raises(ConfigError, match=r"plan\.yml: is not YAML"):
        load_plan()


def test_a_changed_file_is_read_again(include: Path) -> None:
    file = include / "dashboards.yml"
    file.write_text("- slug: one\n")
    assert [item.slug for item in load_dashboards()] == ["one"]
    file.write_text("dashboards:\n- {slug: one, roles: [Alpha, [Gamma, EU]]}\n- slug: two\n")
    found = [(item.slug, item.roles) for item in load_dashboards()]
    assert found == [("one", ("Alpha", ("Gamma", "EU"))), ("two", ())]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {name: r, dataset: g.o, type: raw, dimensions: [a]}", "a raw reflection has display columns"),
        ("- {name: r, dataset: g.o, type: aggregation, display: [a]}", "an aggregation reflection has dimensions"),
        (
            "- {name: r, dataset: g.o, type: aggregation, measures: [{name: a, functions: [AVG]}]}",
            "measures.0.functions.0",
        ),
        ("{a: b}", "expected a list"),
    ],
)
def test_reflections_that_make_no_sense_are_refused(include: Path, text: str, words: str) -> None:
    (include / "reflections.yml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_reflections()


def test_a_dimension_may_be_just_a_name(include: Path) -> None:
    (include / "reflections.yml").write_text(
        "- {name: r, dataset: g.o, type: aggregation, dimensions: [a, {name: b, granularity: DATE}]}"
    )
    assert [(d.name, d.granularity) for d in load_reflections()[0].dimensions] == [("a", None), ("b", "DATE")]


def test_what_a_dag_file_imports_brings_no_heavy_library() -> None:
    code = (
        "import sys; from lakehouse import config, plan, services;"
        "config.load_plan(); services.require('dremio_default');"
        "print([m for m in ('airflow', 'pyarrow', 'boto3', 'httpx', 'elasticsearch') if m in sys.modules])"
    )
    packages = str(Path(config.__file__).parent.parent)
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": packages}
    )
    assert out.stdout.strip() == "[]"
