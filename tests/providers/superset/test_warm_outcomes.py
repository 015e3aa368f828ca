"""What a warm-up reports, and how many failures it may have."""

from __future__ import annotations

import json

import pytest
from superset_provider.exceptions import SupersetConfigurationError
from superset_provider.warmer.outcomes import (
    LISTED_FAILURES,
    MOST_ENTRIES,
    Failure,
    FailurePolicy,
    Outcome,
    Reason,
    Report,
)


def outcome(
    number: int, *, cold_ms: float | None = 10.0, failure: Failure | None = None, expires_at: float | None = None
) -> Outcome:
    return Outcome(
        dashboard="Sales",
        chart=f"Chart {number}",
        chart_id=number,
        kind="chart",
        dataset="gold.orders",
        user="superset_default",
        cold_ms=cold_ms,
        warm_ms=1.0,
        rows=3,
        expires_at=expires_at,
        failure=failure,
    )


def failed(number: int, reason: Reason = Reason.QUERY_FAILED, message: str = "no such column") -> Outcome:
    return outcome(number, failure=Failure(reason, message))


def test_the_failed_come_first_then_the_slowest() -> None:
    report = Report([outcome(1, cold_ms=5), outcome(2, cold_ms=None), failed(3), outcome(4, cold_ms=50)], 1.5)
    result = report.to_dict()
    assert [chart["chart_id"] for chart in result["charts"]] == [3, 4, 1, 2]
    assert (result["queries"], result["warm"], result["failed"], result["already_warm"]) == (4, 3, 1, 1)
    assert [chart["hit"] for chart in result["charts"]] == [False, True, True, True]
    assert result["failures"] == [
        "Sales, Chart 3 on dataset gold.orders, as superset_default: query failed: no such column"
    ]


def test_the_result_is_bounded_and_can_be_an_xcom() -> None:
    many = [failed(number, message=f"{number} " + "x" * 5000) for number in range(MOST_ENTRIES + 7)]
    result = Report(many, 1.0).to_dict()
    assert (len(result["charts"]), result["left_out"], result["failed"]) == (MOST_ENTRIES, 7, MOST_ENTRIES + 7)
    assert len(result["failures"]) == LISTED_FAILURES
    assert len(json.dumps(result)) < 1000 * MOST_ENTRIES


def test_one_cause_of_many_failures_is_told_once() -> None:
    failures = Report([failed(1), failed(2), failed(3), failed(4, message="no such table")], 1.0).to_dict()["failures"]
    assert len(failures) == 2
    assert failures[0].endswith("no such column (the same for 2 more)")


def test_durations_outlive_a_run_that_found_everything_warm() -> None:
    first = Report([outcome(1, cold_ms=700.0), outcome(2, cold_ms=20.0)], 1.0).to_dict()["durations"]
    again = Report([outcome(1, cold_ms=None), outcome(2, cold_ms=30.0)], 1.0, first).to_dict()["durations"]
    assert again == {"superset_default/1": 700.0, "superset_default/2": 30.0}


@pytest.mark.parametrize(
    ("reasons", "transient"),
    [
        pytest.param([Reason.SERVER_BUSY, Reason.TOO_SLOW], True, id="all may be gone at the next try"),
        pytest.param([Reason.SERVER_BUSY, Reason.QUERY_FAILED], False, id="one will be there again"),
    ],
)
def test_it_is_worth_a_retry_only_when_every_failure_is(reasons: list[Reason], transient: bool) -> None:
    report = Report([failed(number, reason) for number, reason in enumerate(reasons)], 1.0)
    assert report.to_dict()["transient"] is transient


def test_an_entry_that_goes_too_early_is_a_failure() -> None:
    entry = outcome(1, expires_at=1000.0)
    assert entry.expiring(999.0).failure is None
    assert outcome(2).expiring(1e12).failure is None
    early = entry.expiring(1060.0).failure
    assert early is not None
    assert early.reason is Reason.EXPIRES_EARLY
    assert "60 s too early" in early.message
    # What has failed already keeps its reason.
    assert failed(3).expiring(1e12).failure == failed(3).failure


@pytest.mark.parametrize(
    ("policy", "failures", "queries", "exceeded"),
    [
        pytest.param(FailurePolicy(), 0, 20, False, id="none"),
        pytest.param(FailurePolicy(), 1, 20, True, id="one is too many by default"),
        pytest.param(FailurePolicy(max_failures=2), 2, 20, False, id="as many as allowed"),
        pytest.param(FailurePolicy(max_failures=2), 3, 20, True, id="one more than allowed"),
        pytest.param(FailurePolicy(max_failure_share=0.25), 5, 20, False, id="the share that is allowed"),
        pytest.param(FailurePolicy(max_failure_share=0.25), 6, 20, True, id="more than the share"),
        pytest.param(FailurePolicy(max_failures=6, max_failure_share=0.25), 6, 20, False, id="the larger one counts"),
    ],
)
def test_the_threshold(policy: FailurePolicy, failures: int, queries: int, exceeded: bool) -> None:
    assert policy.exceeded(failures, queries) is exceeded


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        (FailurePolicy(on_failure="ignore"), "on_failure 'ignore'.*fail and warn"),
        (FailurePolicy(max_failures=-1), "max_failures -1"),
        (FailurePolicy(max_failure_share=20), "max_failure_share 20.*0.0 to 1.0"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: FailurePolicy, named: str) -> None:
    with pytest.raises(SupersetConfigurationError, match=named):
        policy.check("warm")
