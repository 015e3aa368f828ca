"""When a reflection is ready: the rule, state by state."""

from __future__ import annotations

from typing import Any

import pytest
from dremio_provider.reflections import Baseline, Outcome, ReflectionStatus, Watch, WatchSet, parse_time

NEVER = "1969-12-31T23:59:59.999Z"
T1, T2 = "2026-11-01T01:00:00.000Z", "2026-11-02T01:00:00.000Z"


@pytest.fixture
def look(state: Any) -> Any:
    """A status as the API hands it out."""

    def build(finished_table: str | None = None, enabled: bool = True, **changes: Any) -> ReflectionStatus:
        return ReflectionStatus.from_api({"enabled": enabled, "status": state(**changes)}, finished_table)

    return build


def watch(before: ReflectionStatus, idle_limit: float = 30.0) -> Watch:
    return Watch(Baseline.take("r", "totals", "gold.orders", before), 100.0, idle_limit)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (NEVER, False),
        (-1, False),
        (None, False),
        ("", False),
        (T1, True),
        ("2026-11-01 01:00:00.000", True),
        (1793494800000, True),
    ],
)
def test_never_is_written_as_the_last_millisecond_of_1969(text: Any, known: bool) -> None:
    assert (parse_time(text) is not None) is known


def test_times_with_and_without_zone_are_the_same_moment() -> None:
    assert parse_time(T1) == parse_time("2026-11-01 01:00:00") == parse_time("2026-11-01T02:00:00+01:00")


def test_can_accelerate_during_a_refresh_is_not_success(look: Any) -> None:
    observed = watch(look(fetch=T1))
    assert observed.observe(look(refresh="RUNNING", fetch=T1), 101).outcome is Outcome.WAITING
    # Not even with the new data in place: a finished refresh shows RUNNING until it is in the planner's cache.
    assert observed.observe(look(refresh="RUNNING", fetch=T2), 102).outcome is Outcome.WAITING
    assert observed.observe(look(refresh="PENDING", fetch=T2), 103).outcome is Outcome.WAITING
    assert observed.observe(look(fetch=T2), 104).outcome is Outcome.REFRESHED
    assert observed.seconds == 4


def test_it_is_enough_that_the_end_of_the_refresh_advanced(look: Any) -> None:
    before = look(fetch=T1, finished="2026-11-01T01:00:05Z")
    # Built on another reflection it inherits the older fetch time.
    after = look(fetch=T1, finished="2026-11-02T01:00:05Z")
    assert watch(before).observe(after, 101).outcome is Outcome.REFRESHED


def test_where_the_status_lacks_the_end_the_system_table_is_asked(look: Any) -> None:
    observed = watch(look(fetch=T1, finished_table="2026-11-01 01:00:05.000"))
    assert observed.needs_finished(look(fetch=T1))
    assert not observed.needs_finished(look(fetch=T2))
    assert not observed.needs_finished(look(fetch=T1, refresh="RUNNING"))
    assert not observed.needs_finished(look(fetch=T1, finished=T1))
    after = look(fetch=T1, finished_table="2026-11-02 01:00:05.000")
    assert observed.observe(after, 101).outcome is Outcome.REFRESHED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"refresh": "GIVEN_UP", "combined": "FAILED", "failures": 24, "message": "disk full"}, "given up after 24"),
        ({"combined": "DISABLED", "enabled": False}, "disabled"),
        ({"combined": "INVALID", "config": "INVALID"}, "no longer fits"),
    ],
)
def test_a_dead_end_before_the_refresh_fails_at_once(look: Any, changes: dict[str, Any], said: str) -> None:
    verdict = watch(look(**changes)).observe(look(fetch=T2), 100)
    assert verdict.outcome is Outcome.FAILED
    assert said in verdict.message
    assert "edit the reflection" in verdict.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"failures": 1, "message": "out of memory"}, "its refresh failed: out of memory"),
        ({"failures": 1, "message": "oom", "combined": "CAN_ACCELERATE_WITH_FAILURES"}, "its refresh failed: oom"),
        ({"refresh": "GIVEN_UP", "combined": "FAILED", "failures": 24, "message": "m"}, "given up after 24 failed"),
        ({"config": "INVALID", "combined": "INVALID"}, "no longer fits"),
        ({"combined": "DISABLED"}, "disabled"),
        ({"combined": "FAILED", "availability": "NONE", "message": "m"}, "its refresh failed: m"),
    ],
)
def test_a_failure_during_the_refresh_is_told_with_dremios_message(
    look: Any, changes: dict[str, Any], said: str
) -> None:
    verdict = watch(look()).observe(look(**changes), 101)
    assert verdict.outcome is Outcome.FAILED
    assert said in verdict.message


def test_old_failures_are_not_held_against_it_but_new_ones_are(look: Any) -> None:
    observed = watch(look(failures=3, combined="CAN_ACCELERATE_WITH_FAILURES"))
    assert observed.observe(look(failures=3, refresh="RUNNING"), 101).outcome is Outcome.WAITING
    assert observed.observe(look(failures=0, refresh="RUNNING"), 102).outcome is Outcome.WAITING
    # The counter starts again after a success: one is more than none.
    assert observed.observe(look(failures=1, message="again"), 103).outcome is Outcome.FAILED


def test_a_reflection_that_vanished_has_failed(look: Any) -> None:
    assert watch(look()).observe(None, 101).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "changes",
    [
        {"refresh": "SCHEDULED", "combined": "CANNOT_ACCELERATE_SCHEDULED"},
        {"refresh": "MANUAL", "combined": "CANNOT_ACCELERATE_MANUAL"},
        {"refresh": "SCHEDULED", "combined": "CANNOT_ACCELERATE_INITIALIZING"},
        {"refresh": "RUNNING", "combined": "REFRESHING"},
        {"refresh": "ON_DATA_CHANGES", "combined": "EXPIRED"},
        {"refresh": "SOMETHING", "combined": "NOBODY_KNOWS"},
        {"refresh": "", "combined": "NONE"},
    ],
)
def test_a_reflection_that_cannot_accelerate_yet_is_waited_for(look: Any, changes: dict[str, Any]) -> None:
    new = look(availability="NONE", fetch=NEVER, **changes)
    observed = watch(new)
    for now in (101, 200, 1000):
        assert observed.observe(new, now).outcome is Outcome.WAITING
    assert observed.observe(look(fetch=T1), 1001).outcome is Outcome.REFRESHED


def test_active_and_then_idle_without_newer_data_is_no_change(look: Any) -> None:
    observed = watch(look(fetch=T1, finished=T1))
    observed.observe(look(fetch=T1, finished=T1, refresh="RUNNING"), 101)
    assert observed.observe(look(fetch=T1, finished=T1), 102).outcome is Outcome.NO_CHANGE


def test_idle_for_several_wake_ups_is_no_change_and_not_before(look: Any) -> None:
    observed = watch(look(fetch=T1, finished=T1))
    assert observed.observe(look(fetch=T1, finished=T1), 129.9).outcome is Outcome.WAITING
    assert observed.observe(look(fetch=T1, finished=T1), 130).outcome is Outcome.NO_CHANGE


def test_a_verdict_is_final(look: Any) -> None:
    observed = watch(look(fetch=T1))
    observed.observe(look(fetch=T2), 101)
    observed.observe(None, 102)
    observed.time_out(103)
    assert (observed.verdict.outcome, observed.seconds) == (Outcome.REFRESHED, 1)


def test_the_deadline_ends_what_is_open_and_only_that(look: Any) -> None:
    baselines = [Baseline.take(name, name, "gold.orders", look(fetch=T1)) for name in ("fast", "slow")]
    watches = WatchSet(baselines, requested_at=100, deadline=200)
    watches.watches["fast"].observe(look(fetch=T2), 150)
    watches.watches["slow"].observe(look(refresh="RUNNING"), 150)
    assert not watches.expire(199)
    assert watches.expire(200)
    results = watches.results()
    assert results["gold.orders.fast"]["outcome"] == "REFRESHED"
    assert results["gold.orders.slow"]["outcome"] == "TIMED_OUT"
    assert "refresh RUNNING" in results["gold.orders.slow"]["message"]


def test_a_baseline_survives_the_way_to_the_triggerer(look: Any) -> None:
    import json

    baseline = Baseline.take("r", "totals", "gold.orders", look(fetch=T1, finished=T2, failures=2))
    assert Baseline(**json.loads(json.dumps(baseline.to_dict()))) == baseline
