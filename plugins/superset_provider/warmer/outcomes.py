"""What became of each query of a warm-up, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from superset_provider.exceptions import SupersetConfigurationError

# An XCom is a row in Airflow's database: what a person reads fits, a thousand dashboards do not.
MOST_ENTRIES = 500
MOST_DURATIONS = 2000
LONGEST_MESSAGE = 400
LISTED_FAILURES = 20


class Reason(StrEnum):
    """Why a query is not warm."""

    QUERY_FAILED = "query failed"
    QUERY_UNKNOWN = "query unknown"
    FORBIDDEN = "forbidden"
    SERVER_BUSY = "server busy"
    TOO_SLOW = "too slow"
    NOT_REACHED = "not reached"
    CACHE_DISABLED = "cache disabled"
    TIMEOUT_DISABLED = "cache timeout -1"
    CACHE_NOT_SHARED = "cache not shared"
    KEY_MISMATCH = "key mismatch"
    FILTERS_REJECTED = "filters rejected"
    NOT_STORED = "not stored"
    EXPIRES_EARLY = "expires early"

    @property
    def transient(self) -> bool:
        """Whether the next try may go better although nobody changed anything."""
        return self in (Reason.SERVER_BUSY, Reason.TOO_SLOW, Reason.NOT_REACHED)


@dataclass(frozen=True)
class Failure:
    """Why a query is not warm, for machines and for people."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Outcome:
    """What became of one query of one dashboard for one user.

    :param dashboard: Title.
    :param chart: The chart's name, or ``options of filter <name>``.
    :param chart_id: None for the options of a filter.
    :param kind: ``chart`` or ``filter_options``.
    :param dataset: Name of the dataset, empty when the query does not say.
    :param user: Who asked: the Airflow connection, or ``role <names>``.
    :param cold_ms: Time of the query that filled the cache; None when the cache had a fresh entry already.
    :param warm_ms: Time of the read that proved the hit; None when there was none.
    :param rows: Rows of all answers of the query.
    :param shared: Whether another chart of this warm-up asks the same and was asked instead.
    :param expires_at: Unix time by Superset's clock, when the entry goes; None when it stays.
    :param failure: None when the query is warm.
    """

    dashboard: str
    chart: str
    chart_id: int | None
    kind: str
    dataset: str
    user: str
    cold_ms: float | None = None
    warm_ms: float | None = None
    rows: int | None = None
    shared: bool = False
    expires_at: float | None = None
    failure: Failure | None = None

    @property
    def duration_key(self) -> str:
        """What the next run finds this query's duration under, whatever has been edited in between."""
        return f"{self.user}/{self.chart_id}" if self.chart_id else f"{self.user}/{self.dataset}/{self.chart}"

    @property
    def sentence(self) -> str:
        """Dashboard, chart, dataset, user and reason of a failure."""
        reason = f"{self.failure.reason}: {self.failure.message}" if self.failure else "warm"
        dataset = f" on dataset {self.dataset}" if self.dataset else ""
        return f"{self.dashboard}, {self.chart}{dataset}, as {self.user}: {reason}"

    def to_dict(self) -> dict[str, Any]:
        """The part that goes into XCom; JSON-serialisable, bounded."""
        return {
            "dashboard": self.dashboard,
            "chart": self.chart,
            "chart_id": self.chart_id,
            "kind": self.kind,
            "dataset": self.dataset,
            "user": self.user,
            "cold_ms": _round(self.cold_ms),
            "warm_ms": _round(self.warm_ms),
            "rows": self.rows,
            "shared": self.shared,
            "hit": self.failure is None and self.warm_ms is not None,
            "reason": str(self.failure.reason) if self.failure else None,
            "message": self.failure.message[:LONGEST_MESSAGE] if self.failure else None,
        }

    def expiring(self, until: float) -> Outcome:
        """The same, but failed when its entry goes before ``until``, a time of Superset's clock."""
        if self.failure is not None or self.expires_at is None or self.expires_at > until:
            return self
        early = f"its entry goes {until - self.expires_at:.0f} s too early: raise the cache timeout of the chart, its "
        return replace(self, failure=Failure(Reason.EXPIRES_EARLY, f"{early}dataset or its database"))


def _round(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


@dataclass
class Report:
    """All outcomes of a warm-up.

    :param outcomes: One for each query of each dashboard and user.
    :param seconds: How long it took.
    :param durations: Milliseconds of cold queries known from earlier runs, by :attr:`Outcome.duration_key`.
    :param passed_over: What was left out on purpose, in sentences.
    """

    outcomes: Sequence[Outcome]
    seconds: float
    durations: Mapping[str, float] = field(default_factory=dict)
    passed_over: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Counts, and the queries: the failed first, then the slowest, at most :data:`MOST_ENTRIES`."""
        ordered = sorted(self.outcomes, key=lambda o: (o.failure is None, -(o.cold_ms or 0.0)))
        durations = dict(self.durations)
        for outcome in self.outcomes:
            if outcome.cold_ms is not None:
                durations[outcome.duration_key] = round(outcome.cold_ms, 1)
        slowest = sorted(durations.items(), key=lambda item: -item[1])[:MOST_DURATIONS]
        return {
            "queries": len(ordered),
            "warm": sum(o.failure is None for o in ordered),
            "failed": sum(o.failure is not None for o in ordered),
            "already_warm": sum(o.failure is None and o.cold_ms is None for o in ordered),
            "transient": all(o.failure.reason.transient for o in ordered if o.failure is not None),
            "seconds": round(self.seconds, 3),
            "charts": [outcome.to_dict() for outcome in ordered[:MOST_ENTRIES]],
            "left_out": max(0, len(ordered) - MOST_ENTRIES),
            "failures": _sentences([o for o in ordered if o.failure is not None]),
            "passed_over": list(self.passed_over)[:LISTED_FAILURES],
            "durations": dict(slowest),
        }


def _sentences(failed: Sequence[Outcome]) -> list[str]:
    """A sentence for each failure, or for each kind: what is wrong with the cache is wrong with every chart."""
    kinds: dict[Failure | None, list[Outcome]] = {}
    for outcome in failed:
        kinds.setdefault(outcome.failure, []).append(outcome)
    found = [
        outcomes[0].sentence[: 2 * LONGEST_MESSAGE]
        + (f" (the same for {len(outcomes) - 1} more)" if len(outcomes) > 1 else "")
        for outcomes in kinds.values()
    ]
    return found[:LISTED_FAILURES]


@dataclass(frozen=True)
class FailurePolicy:
    """How many cold queries a warm-up may leave behind.

    :param on_failure: ``fail`` or ``warn``: what to do when there are more.
    :param max_failures: So many do not matter.
    :param max_failure_share: Nor does this share of all queries, 0.0 to 1.0.
    """

    on_failure: str = "fail"
    max_failures: int = 0
    max_failure_share: float = 0.0

    def check(self, task_id: str) -> None:
        """Refuse what makes no sense.

        :raises SupersetConfigurationError: Names the argument and what is allowed.
        """
        wrong: Iterable[tuple[bool, str, Any, str]] = (
            (self.on_failure not in ("fail", "warn"), "on_failure", self.on_failure, "fail and warn"),
            (self.max_failures < 0, "max_failures", self.max_failures, "0 and more"),
            (not 0 <= self.max_failure_share <= 1, "max_failure_share", self.max_failure_share, "0.0 to 1.0"),
        )
        for is_wrong, name, value, allowed in wrong:
            if is_wrong:
                raise SupersetConfigurationError(
                    f"Task {task_id!r} has {name} {value!r}.", check=f"allowed are {allowed}."
                )

    def exceeded(self, failed: int, queries: int) -> bool:
        """Whether so many failures are too many."""
        return failed > max(self.max_failures, self.max_failure_share * queries)
