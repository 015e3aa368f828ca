"""What counts as a proof of a warm cache."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from superset_provider.warmer import miss_reason

SINCE = datetime(2026, 11, 1, 4, 35, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([{"is_cached": True, "cached_dttm": "2026-11-01T04:35:10.250000"}], None),
        ([{"is_cached": None, "cached_dttm": None}], "no cache hit"),
        ([{"is_cached": False}], "no cache hit"),
        ([{"is_cached": True, "cached_dttm": "2026-11-01T04:35:09"}], "older than this warming"),
        ([{"is_cached": True}], "without a time"),
        ([{"is_cached": True, "cached_dttm": "2026-11-01T04:35:11"}, {"is_cached": None}], "no cache hit"),
        ([], "without any result"),
    ],
)
def test_only_a_fresh_hit_of_every_query_is_a_proof(entries: list[dict[str, Any]], reason: str | None) -> None:
    found = miss_reason(entries, SINCE)
    assert found is None if reason is None else found is not None and reason in found
