"""Which answers prove that the cache has what a browser will ask, and what is wrong with those that do not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from superset_provider.warmer.outcomes import Failure, Reason
from superset_provider.warmer.proof import (
    Answer,
    decode,
    has_filters,
    judge,
    moves_with_the_day,
    name_the_cause,
)

AT = "2026-11-01T01:00:05+00:00"


def answer(**changes: Any) -> Answer:
    """A hit, as Superset 6.1.0 answers it."""
    entry = {
        "cache_key": "k1",
        "is_cached": True,
        "cached_dttm": AT.removesuffix("+00:00"),
        "queried_dttm": AT,
        "cache_timeout": 3600,
        "rowcount": 2,
        "error": None,
        "applied_filters": [{"column": "region"}],
        "rejected_filters": [],
        "data": [{"region": "EU", "is_cached": 1}, {"region": "US", "is_cached": 0}],
        **changes,
    }
    return decode(json.dumps({"result": [entry]}).encode())


MISS = {"is_cached": None, "cached_dttm": None}


def reason(filled: Answer, again: Answer) -> Reason | None:
    failure = judge(filled, again, [True])
    return failure.reason if failure else None


def test_a_hit_on_what_was_just_stored_is_the_proof() -> None:
    assert reason(answer(**MISS), answer()) is None


def test_a_newer_entry_is_one_too() -> None:
    later = "2026-11-01T01:00:09+00:00"
    assert reason(answer(**MISS), answer(queried_dttm=later, cached_dttm=later)) is None


@pytest.mark.parametrize(
    ("filled", "again", "expected"),
    [
        pytest.param(MISS, MISS, Reason.CACHE_DISABLED, id="still a miss"),
        pytest.param({**MISS, "cache_timeout": -1}, {**MISS, "cache_timeout": -1}, Reason.TIMEOUT_DISABLED, id="-1"),
        pytest.param(MISS, {**MISS, "cache_key": "k2"}, Reason.KEY_MISMATCH, id="another key"),
        pytest.param(MISS, {"cache_key": "k2"}, Reason.KEY_MISMATCH, id="a hit under another key"),
        pytest.param(
            MISS,
            {"queried_dttm": "2026-10-31T01:00:05+00:00", "cached_dttm": "2026-10-31T01:00:05"},
            Reason.NOT_STORED,
            id="an old entry",
        ),
        pytest.param(MISS, {"queried_dttm": None, "cached_dttm": None}, Reason.NOT_STORED, id="without a time"),
        pytest.param(MISS, {"queried_dttm": "2026-11-01T01:00:07+00:00"}, Reason.FILTERS_REJECTED, id="asked again"),
        pytest.param(MISS, {"applied_filters": []}, Reason.FILTERS_REJECTED, id="asked again within the second"),
    ],
)
def test_everything_else_is_none(filled: dict[str, Any], again: dict[str, Any], expected: Reason) -> None:
    assert reason(answer(**filled), answer(**again)) is expected


def test_a_query_without_filters_needs_none_that_applies() -> None:
    assert judge(answer(**MISS), answer(applied_filters=[]), [False]) is None


def test_one_cold_query_of_a_chart_is_enough_to_fail_it() -> None:
    cold = answer(**MISS).result
    filled = Answer(result=[*cold, *cold])
    assert judge(filled, Answer(result=[*answer().result, *cold]), [True, True]) is not None
    assert judge(filled, Answer(result=[*answer().result, *answer().result]), [True, True]) is None
    lost = judge(filled, answer(), [True, True])
    assert lost is not None
    assert lost.reason is Reason.KEY_MISMATCH


@pytest.mark.parametrize(
    ("hits", "expected"),
    [(0, Reason.CACHE_DISABLED), (1, Reason.CACHE_NOT_SHARED), (3, Reason.CACHE_NOT_SHARED), (4, Reason.NOT_STORED)],
)
def test_reads_over_new_connections_name_the_cause(hits: int, expected: Reason) -> None:
    assert name_the_cause(Failure(Reason.CACHE_DISABLED, ""), hits, 4).reason is expected
    other = Failure(Reason.KEY_MISMATCH, "")
    assert name_the_cause(other, hits, 4) is other


def test_rows_are_decoded_only_when_they_are_looked_at() -> None:
    found = answer()
    assert found.result[0].rows == [{"region": "EU", "is_cached": 1}, {"region": "US", "is_cached": 0}]
    assert found.row_count == 2
    # Not even wrong ones are noticed before.
    assert answer(data="text").result[0].rows == []


def test_fresh_means_a_hit_on_data_of_that_time_or_later() -> None:
    at = datetime(2026, 11, 1, 1, 0, 5, 700_000, tzinfo=UTC)
    # Superset writes whole seconds.
    assert answer().fresh(at)
    assert not answer().fresh(at.replace(second=6))
    assert not answer(**MISS).fresh(at)
    assert not answer(queried_dttm="2026-11-01T01:00:07+00:00").fresh(at)


def test_when_an_entry_goes() -> None:
    stored = datetime.fromisoformat(AT).timestamp()
    assert answer().expires_at == stored + 3600
    assert answer(cache_timeout=0).expires_at is None
    assert answer(cache_timeout=None).expires_at is None


def test_an_older_superset_says_only_when_the_entry_was_made() -> None:
    assert reason(answer(**MISS, queried_dttm=None), answer(queried_dttm=None)) is None
    assert answer(queried_dttm=None).fresh(datetime.fromisoformat(AT))


@pytest.mark.parametrize(
    ("query", "moves"),
    [
        ({}, False),
        ({"time_range": "No filter"}, False),
        ({"time_range": "Last week"}, True),
        ({"time_range": "2026-01-01 : 2026-02-01"}, False),
        ({"time_range": "2026-01-01T00:00:00 : 2026-02-01T12:30:00"}, False),
        ({"time_range": "2026-01-01 : now"}, True),
        ({"time_range": "2026-01-01 : "}, False),
        ({"time_range": " : 2026-01-01"}, False),
        ({"filters": [{"col": "day", "op": "TEMPORAL_RANGE", "val": "previous calendar month"}]}, True),
        ({"filters": [{"col": "day", "op": "TEMPORAL_RANGE", "val": "No filter"}]}, False),
        ({"filters": [{"col": "region", "op": "IN", "val": ["Last week"]}]}, False),
    ],
)
def test_relative_time_ranges_move_with_the_day(query: dict[str, Any], moves: bool) -> None:
    assert moves_with_the_day({"queries": [{}, query]}) is moves


def test_which_queries_have_filters() -> None:
    assert has_filters({"queries": [{"filters": []}, {"filters": [{"col": "region"}]}, {}]}) == [False, True, False]
