"""What `make demo-live` says of a feed: how old changes were when they were shown, and what is lost or doubled."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from sandbox.live.demo import _percentile
from sandbox.live.reconcile import Difference, difference
from sandbox.live.writer import Commits, ages

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
