from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from sandbox import report
from sandbox.report import load_plan, stage_results, stage_state
from sandbox.settings import SandboxError

START = datetime(2026, 1, 2, 1, 0, tzinfo=UTC)


def task(name: str, state: str | None, begin: float | None = None, end: float | None = None) -> dict[str, object]:
    def at(seconds: float | None) -> str | None:
        return None if seconds is None else (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")

    return {"task_id": name, "state": state, "start_date": at(begin), "end_date": at(end)}


def test_the_plan_has_the_nine_stages_in_order_without_gaps():
    plan = load_plan()
    assert plan.dag_id == "daily_batch"
    assert len(plan.stages) == 9
    assert [stage.window for stage in plan.stages][:2] == ["01:00-01:30", "01:30-02:15"]
    assert plan.stages[-1].window == "04:35-04:45"


def test_a_plan_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "plan.yml"
    path.write_text("dag_id: x\nstages: [{id: a}]\n")
    with pytest.raises(SandboxError, match=r"plan\.yml is not a plan: KeyError 'name'"):
        load_plan(path)


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        ([], "missing"),
        ([None, None], "waiting"),
        ([None, "scheduled"], "waiting"),
        (["queued", None], "running"),
        (["success", None], "running"),
        (["success", "up_for_retry"], "running"),
        (["success", "skipped"], "success"),
        (["skipped"], "skipped"),
        (["success", "failed", None], "failed"),
        (["upstream_failed", "success"], "upstream_failed"),
    ],
)
def test_a_stage_is_what_its_tasks_are(states, wanted):
    assert stage_state(states) == wanted


def test_a_stage_lasts_from_its_first_task_to_its_last():
    plan = load_plan()
    first, second = plan.stages[0].task_group, plan.stages[1].task_group
    tasks = [
        task(f"{first}.a", "success", 1, 4),
        task(f"{first}.b", "success", 2, 9.5),
        task(f"{first}_other.c", "failed", 0, 100),
        task(f"{second}.a", "running", 10),
    ]
    results = stage_results(plan, tasks, START + timedelta(seconds=30))
    assert (results[0].state, results[0].seconds, results[0].started) == ("success", 8.5, START + timedelta(seconds=1))
    assert (results[1].state, results[1].seconds) == ("running", 20.0)
    assert {result.state for result in results[2:]} == {"missing"}


def test_the_written_report_has_the_promised_shape(settings):
    plan = load_plan()
    tasks = [task(f"{stage.task_group}.a", "success", n, n + 0.5) for n, stage in enumerate(plan.stages)]
    run = {
        "dag_id": "daily_batch",
        "dag_run_id": "manual__1",
        "state": "success",
        "start_date": "2026-01-02T01:00:00Z",
        "end_date": "2026-01-02T01:00:09.500000Z",
    }
    rows = {"source.orders": 3, "gold.fct_orders": 2}
    results = stage_results(plan, tasks, START)
    path = report.write(settings, report.build(run, results, rows, report.addresses(settings)))
    written = json.loads(path.read_text())
    assert path == settings.var / "demo" / "report.json"
    assert list(written) == ["dag_id", "run_id", "state", "started_at", "seconds", "stages", "rows", "services"]
    assert (written["run_id"], written["seconds"], written["rows"]) == ("manual__1", 9.5, rows)
    assert len(written["stages"]) == 9
    assert written["stages"][0] == {
        "name": plan.stages[0].name,
        "planned_start": "01:00",
        "planned_minutes": 30,
        "state": "success",
        "seconds": 0.5,
    }
    assert written["services"]["airflow"] == settings["AIRFLOW_URL"]
    assert settings["SHOP_POSTGRES_PASSWORD"] not in path.read_text()
