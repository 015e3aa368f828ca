"""Row counts: what Airbyte says against what has landed."""

from __future__ import annotations

from typing import Any

import pytest
from lakehouse.exceptions import RowCountMismatch
from lakehouse.reconciliation import SyncedRows, synced_rows


def info(*attempts: dict[str, int], total: int | None = None, aggregated: dict[str, int] | None = None) -> Any:
    """A job as the Config API answers, with so many committed rows of each stream in each attempt."""
    job: dict[str, Any] = {"id": 7}
    if total is not None:
        job["aggregatedStats"] = {"recordsCommitted": total}
    if aggregated is not None:
        job["streamAggregatedStats"] = [
            {"streamName": name, "recordsCommitted": rows} for name, rows in aggregated.items()
        ]
    stats = [
        [
            {"streamName": name, "stats": {"recordsEmitted": rows + 1, "recordsCommitted": rows}}
            for name, rows in item.items()
        ]
        for item in attempts
    ]
    return {"job": job, "attempts": [{"attempt": {"id": at, "streamStats": found}} for at, found in enumerate(stats)]}


@pytest.mark.parametrize(
    ("job", "rows"),
    [
        pytest.param(info({"orders": 5}, total=5), {"orders": 5}, id="one attempt"),
        pytest.param(info({"orders": 3}, {"orders": 5}, total=5), {"orders": 5}, id="the second attempt began anew"),
        pytest.param(info({"orders": 3}, {"orders": 2}, total=5), {"orders": 5}, id="the second attempt went on"),
        pytest.param(info({"orders": 3}, aggregated={"orders": 4}), {"orders": 4}, id="Airbyte's own sum"),
        pytest.param(info(total=0), {}, id="no attempt"),
    ],
)
def test_the_rows_of_a_job_are_read_from_its_attempts(job: Any, rows: dict[str, int]) -> None:
    found = synced_rows(job)
    assert dict(found.streams) == rows
    assert found.job_id == 7


@pytest.mark.parametrize(
    ("landed", "attempts", "right"),
    [(5, 1, True), (4, 1, False), (6, 1, False), (6, 2, True), (4, 2, False)],
)
def test_rows_may_be_more_only_after_a_second_attempt(landed: int, attempts: int, right: bool) -> None:
    synced = SyncedRows(7, {"orders": 5}, attempts)
    if right:
        synced.check("orders", landed, "here")
    else:
        with pytest.raises(RowCountMismatch, match=f"job 7 committed 5 rows, but {landed} rows have landed below here"):
            synced.check("orders", landed, "here")
