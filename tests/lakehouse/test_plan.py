from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import pytest
from lakehouse.config import load_plan
from lakehouse.plan import Plan
from pydantic import ValidationError

ARCHITECTURE = [
    ("extract_postgres", "01:00", 30),
    ("extract_apis", "01:30", 45),
    ("load_bronze", "02:15", 15),
    ("dbt_staging", "02:30", 20),
    ("dbt_intermediate", "02:50", 30),
    ("dbt_marts", "03:20", 40),
    ("dbt_tests", "04:00", 15),
    ("refresh_reflections", "04:15", 20),
    ("warm_dashboards", "04:35", 10),
]


def plan(*stages: dict[str, Any], **changes: Any) -> Plan:
    given = [{"name": stage["id"], "planned_minutes": 10, **stage} for stage in stages]
    return Plan.model_validate({"dag_id": "d", "schedule": "@daily-at", "timezone": "UTC", "stages": given} | changes)


def test_the_declared_plan_is_the_architectures() -> None:
    declared = load_plan()
    assert [(s.id, s.planned_start, s.planned_minutes) for s in declared.stages] == ARCHITECTURE
    assert (declared.dag_id, declared.schedule, declared.timezone) == ("daily_batch", "0 1 * * *", "UTC")
    # Every stage ends exactly where the next begins: the night has no gap.
    windows = list(declared.windows(date(2026, 11, 1)).values())
    assert all(end == start for (_, end), (start, _) in pairwise(windows))
    assert declared.deadline(date(2026, 11, 1)) == datetime(2026, 11, 1, 4, 45, tzinfo=UTC)


def test_every_stage_behind_the_extraction_waits_for_all_before_it() -> None:
    declared = load_plan()
    waits: dict[str, set[str]] = {}
    for stage in declared.stages:
        waits[stage.id] = set(stage.needs).union(*(waits[need] for need in stage.needs))
    order = [stage.id for stage in declared.stages]
    for number, stage_id in enumerate(order[2:], start=2):
        assert waits[stage_id] == set(order[:number])


def test_a_task_group_is_the_id_unless_it_is_named() -> None:
    made = plan({"id": "a", "planned_start": "01:00"}, {"id": "b", "planned_start": "01:00", "task_group": "other"},
                schedule="0 1 * * *")  # fmt: skip
    assert [stage.task_prefix for stage in made.stages] == ["a.", "other."]
    assert made.stage("b").name == "b"
    with pytest.raises(KeyError, match="it has a, b"):
        made.stage("c")


def test_windows_keep_the_wall_clock_when_clocks_change() -> None:
    made = plan({"id": "a", "planned_start": "04:00"}, schedule="0 4 * * *", timezone="Europe/Berlin")
    summer_ends = date(2026, 10, 25)
    start, end = made.windows(summer_ends)["a"]
    assert (start.hour, end.hour, end.minute) == (4, 4, 10)
    assert start.utcoffset() != made.windows(date(2026, 10, 24))["a"][0].utcoffset()


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        pytest.param([{"id": "a"}, {"id": "a"}], "id 'a' is used twice", id="same id"),
        pytest.param([{"id": "a", "needs": ["x"]}], "needs 'x', which is no stage; allowed: a", id="unknown need"),
        pytest.param([{"id": "a", "needs": ["b"]}, {"id": "b", "needs": ["a"]}], "in a circle", id="cycle"),
        pytest.param([{"id": "a", "planned_start": "02:00"}, {"id": "b"}], "before a at 02:00", id="out of order"),
        pytest.param(
            [{"id": "a"}, {"id": "b", "planned_start": "01:05", "needs": ["a"]}], "for 10 minutes", id="overlap"
        ),
        pytest.param([{"id": "a", "planned_start": "25:00"}], "planned_start", id="no time"),
        pytest.param([{"id": "a", "planned_start": "03:00"}], "does not start at 03:00", id="schedule elsewhere"),
        pytest.param([{"id": "a", "planned_minutes": 0}], "planned_minutes", id="no minutes"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(stages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        plan(*({"planned_start": "01:00", **stage} for stage in stages), schedule="0 1 * * *")


@pytest.mark.parametrize("schedule", ["daily", "0 1 * *", "0 1 * * * *", ""])
def test_a_schedule_has_five_fields(schedule: str) -> None:
    with pytest.raises(ValidationError, match="five fields"):
        plan({"id": "a", "planned_start": "01:00"}, schedule=schedule)


def test_an_unknown_timezone_is_refused() -> None:
    with pytest.raises(ValidationError, match="IANA"):
        plan({"id": "a", "planned_start": "01:00"}, schedule="0 1 * * *", timezone="Mars/Base")
