"""Row counts: what Airbyte says it has written against what has landed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lakehouse.exceptions import RowCountMismatch


@dataclass(frozen=True)
class SyncedRows:
    """What a sync job says of itself.

    Args:
        job_id: The job.
        streams: Stream -> rows it committed; a stream without rows may be left out.
        attempts: How many attempts it took. Airbyte delivers at least once: more than one may have delivered twice.
    """

    job_id: int
    streams: Mapping[str, int]
    attempts: int = 1

    def check(self, stream: str, landed: int, where: str) -> None:
        """Compare with what landed.

        Args:
            stream: The stream.
            landed: How many of its rows landed.
            where: The landing prefix, which names the source, for the message.

        Raises:
            RowCountMismatch: When rows are missing, or when there are more than one attempt can have written.
        """
        said = self.streams.get(stream, 0)
        if landed == said or (landed > said and self.attempts > 1):
            return
        raise RowCountMismatch(
            f"Stream {stream}: Airbyte says that job {self.job_id} committed {said} rows, but {landed} rows have "
            f"landed below {where}. Nothing of this stream was loaded, and nothing was deleted. Look for another "
            "writer or a cleaner of the landing area; then sync the stream again, from its beginning when it is "
            "incremental."
        )


def synced_rows(job: Mapping[str, Any]) -> SyncedRows:
    """Read the counts out of a job.

    Args:
        job: What the Config API's ``POST /v1/jobs/get`` answers: ``JobInfoRead``.

    Returns:
        The counts. Airbyte's own sum over the attempts (``streamAggregatedStats``) where it gives one. Else the last
        attempt's or the sum of all, whichever is the job's total: an attempt of a full refresh starts anew, one of an
        incremental sync goes on.
    """
    attempts = [item["attempt"] for item in job["attempts"]]
    aggregated = job["job"].get("streamAggregatedStats")
    if aggregated:
        return SyncedRows(job["job"]["id"], _committed(aggregated), len(attempts))
    each = [_committed(attempt.get("streamStats") or []) for attempt in attempts]
    last = each[-1] if each else Counter()
    total = (job["job"].get("aggregatedStats") or {}).get("recordsCommitted", last.total())
    chosen = last if last.total() == total else sum(each, Counter())
    return SyncedRows(job["job"]["id"], chosen, len(attempts))


def _committed(stats: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Add up by stream name: two namespaces of one name land in one place."""
    counts: Counter[str] = Counter()
    for item in stats:
        figures = item.get("stats") or item
        counts[item["streamName"]] += figures.get("recordsCommitted") or figures.get("recordsEmitted") or 0
    return counts
