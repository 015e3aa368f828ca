"""A DAG for each frequency that a source has; nothing to keep in step by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The DAGs of the file, with some sources declared otherwise; None takes a field away."""
    from airflow.dag_processing.dagbag import DagBag

    shutil.copytree(REPOSITORY / "include" / "config", tmp_path / "config")
    file = tmp_path / "config" / "streams.yml"
    declared = yaml.safe_load(file.read_text())
    for source, fields in changes.items():
        declared["sources"][source] = {
            name: value for name, value in {**declared["sources"][source], **fields}.items() if value is not None
        }
    file.write_text(yaml.safe_dump(declared, sort_keys=False))
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path))
    bag = DagBag(REPOSITORY / "dags" / "ingestion.py")
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_the_shop_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dags(tmp_path, monkeypatch, {}) == {}


def test_a_frequency_becomes_a_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dags(
        tmp_path,
        monkeypatch,
        {
            "api": {"frequency": "small", "stage": None, "tuning": {"timeout_minutes": 10, "max_retries": 4}},
            "files": {"frequency": "large", "stage": None},
            "postgres": {"stage": None},
        },
    )
    assert {name: dag.timetable.expression for name, dag in found.items()} == {
        "ingest_small": "*/15 * * * *",
        "ingest_large": "0 */6 * * *",
        "ingest_dimension": "0 1 * * *",
    }
    small = found["ingest_small"]
    assert set(small.task_ids) == {"sync_payment_provider", "write_api", "show_api", "record_payment_provider"}
    sync = small.get_task("sync_payment_provider")
    assert (sync.timeout, sync.stalled_after, sync.retries) == (600, 150, 4)
    assert small.get_task("write_api").upstream_task_ids == {"sync_payment_provider"}
    assert small.get_task("record_payment_provider").is_teardown
    for dag in found.values():
        assert (dag.catchup, dag.max_active_runs) == (False, 1)
        assert "lakehouse" in dag.tags
        assert dag.doc_md
        assert all(task.owner == "data-platform" and task.retries >= 2 for task in dag.tasks)
