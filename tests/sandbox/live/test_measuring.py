"""What `make demo-live` says of a feed: how old changes were when they were shown, and what is lost or doubled."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from sandbox.live.demo import Report, _percentile, _wrong
from sandbox.live.reconcile import Difference, difference
from sandbox.live.writer import Commits, ages, unseen

NOON = datetime(2026, 3, 1, 12)


def order(number: int | None, amount: str = "1.00", microsecond: int = 0) -> tuple[Any, ...]:
    return (number, 7, date(2026, 3, 1), Decimal(amount), "pending", NOON.replace(microsecond=microsecond))


def test_equal_tables_have_no_difference():
    rows = [order(1), order(2)]
    assert difference(rows, list(reversed(rows))) == Difference(rows=2, lost=0, doubled=0)


@pytest.mark.parametrize(
    ("view", "lost", "doubled"),
    [
        pytest.param([order(1)], 1, 0, id="an order is missing"),
        pytest.param([order(1), order(2, "9.00")], 1, 0, id="an order is stale"),
        pytest.param([order(1), order(2), order(2)], 0, 1, id="a row is there twice"),
        pytest.param([order(1), order(2), order(2, "9.00")], 0, 1, id="an old version is there too"),
        pytest.param([order(1), order(2), order(3)], 0, 1, id="a deleted order is still there"),
    ],
)
def test_every_kind_of_difference_is_seen(view, lost, doubled):
    assert difference([order(1), order(2)], view) == Difference(len(view), lost, doubled)


def test_of_an_order_that_the_source_has_twice_either_row_is_right():
    source = [order(1), order(1, "2.00"), order(None)]
    assert difference(source, [order(1, "2.00")]) == Difference(rows=1, lost=0, doubled=0)
    assert difference(source, [order(1, "3.00")]) == Difference(rows=1, lost=1, doubled=0)


def test_times_are_compared_in_milliseconds_as_dremio_keeps_them():
    assert difference([order(1, microsecond=123_456)], [order(1, microsecond=123_000)]).lost == 0
    assert difference([order(1, microsecond=123_456)], [order(1, microsecond=124_000)]).lost == 1


def test_a_change_is_as_old_as_the_first_answer_that_shows_it():
    markers = [NOON + timedelta(seconds=number) for number in range(4)]
    commits = Commits(markers, times=[100.0, 101.0, 102.0, 103.0], changes=[5, 5, 10, 5])
    seen = [(103.5, markers[1]), (104.0, markers[1]), (106.0, markers[2] + timedelta(milliseconds=1))]
    # The last one was never shown.
    assert ages(commits, seen) == [(3.5, 5), (2.5, 5), (4.0, 10)]


def test_percentiles_count_changes_not_transactions():
    values = [(1.0, 1), (2.0, 1), (9.0, 98)]
    assert _percentile(values, 0.5) == 9.0
    assert _percentile(values, 0.02) == 2.0
    assert _percentile(values, 0.01) == 1.0


def test_what_was_not_shown_is_as_old_as_it_was_at_the_last_look():
    commits = Commits([NOON] * 3, times=[100.0, 101.0, 102.0], changes=[5, 6, 7])
    assert unseen(commits, 1, 110.0) == [(9.0, 6), (8.0, 7)]
    assert unseen(commits, 3, 110.0) == []


@pytest.mark.parametrize(
    ("found", "what"),
    [
        pytest.param({}, [], id="all is well"),
        pytest.param({"unseen": 50, "max_s": 70.0}, [], id="the last of a thousand were not shown yet"),
        pytest.param({"lost": 1}, ["The unified view is not the shop's table."], id="lost"),
        pytest.param({"doubled": 1}, ["The unified view is not the shop's table."], id="doubled"),
        pytest.param({"p50_s": None, "p95_s": None, "max_s": None}, ["No change was shown."], id="nothing shown"),
        pytest.param(
            {"p95_s": 61.0}, ["One change in twenty was shown later than 60 s after its commit."], id="too late"
        ),
    ],
)
def test_a_feed_is_wrong_when_it_loses_doubles_shows_nothing_or_is_late(found, what):
    fine = {"changes": 1_000, "rate": 10.0, "seconds": 100.0, "p50_s": 2.0, "p95_s": 4.0, "max_s": 5.0, "unseen": 0}
    fine |= {"lost": 0, "doubled": 0, "by_step": {}, "batches": 9, "cached": 0.9}
    assert _wrong(Report(**{**fine, **found})) == what
