"""When is a refreshed reflection ready? Pure logic: no clock, no network.

Dremio's ``combinedStatus`` says CAN_ACCELERATE while a refresh is still running, because the old data still
accelerates. So a reflection is watched against a baseline taken before the refresh was asked for, and only times of the
server are compared with each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

# Dremio's reflection manager looks for work on every event and at least every ten seconds.
WAKE_UP_SECONDS = 10.0
IDLE_WAKE_UPS = 3
_ACTIVE = frozenset({"RUNNING", "PENDING"})


class Outcome(StrEnum):
    """What became of a reflection."""

    WAITING = "WAITING"
    REFRESHED = "REFRESHED"
    NO_CHANGE = "NO_CHANGE"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def accelerates(self) -> bool:
        """Whether queries are served from it, with data as new as the refresh that was asked for."""
        return self in (Outcome.REFRESHED, Outcome.NO_CHANGE)


def parse_time(value: Any) -> datetime | None:
    """A server time as an aware datetime; Dremio writes "never" as -1, that is the last millisecond of 1969.

    :param value: ISO text with or without zone, epoch milliseconds, or nothing.
    """
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        moment = datetime.fromtimestamp(value / 1000, UTC)
    else:
        moment = datetime.fromisoformat(str(value))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return None if moment.year < 1970 else moment


@dataclass(frozen=True)
class ReflectionStatus:
    """One look at a reflection."""

    config: str = "OK"
    refresh: str = ""
    availability: str = "NONE"
    combined: str = "NONE"
    failure_count: int = 0
    message: str = ""
    last_data_fetch: datetime | None = None
    last_finished: datetime | None = None
    enabled: bool = True

    @classmethod
    def from_api(cls, reflection: Mapping[str, Any], finished: Any = None) -> ReflectionStatus:
        """Read the answer of ``GET /api/v3/reflection/{id}``.

        :param finished: ``max(last_refresh_finished)`` of ``sys.materializations``, used where the status of this
            server does not carry ``lastRefreshFinished``.
        """
        status: Mapping[str, Any] = reflection.get("status") or {}
        return cls(
            config=str(status.get("config") or "OK"),
            refresh=str(status.get("refresh") or ""),
            availability=str(status.get("availability") or "NONE"),
            combined=str(status.get("combinedStatus") or "NONE"),
            failure_count=int(status.get("failureCount") or 0),
            message=str(status.get("lastFailureMessage") or ""),
            last_data_fetch=parse_time(status.get("lastDataFetch")),
            last_finished=parse_time(status.get("lastRefreshFinished")) or parse_time(finished),
            enabled=bool(reflection.get("enabled", True)),
        )

    @property
    def active(self) -> bool:
        """Whether a refresh is running or waits for one of another reflection."""
        return self.refresh in _ACTIVE

    @property
    def available(self) -> bool:
        """Whether queries can be served from it, with whatever data."""
        return self.availability == "AVAILABLE"

    @property
    def dead_end(self) -> str | None:
        """Why no refresh can ever succeed before somebody edits the reflection, or None."""
        if not self.enabled or self.combined == "DISABLED":
            return "it is disabled"
        if self.config == "INVALID" or self.combined == "INVALID":
            return "its definition no longer fits the dataset"
        if self.refresh == "GIVEN_UP":
            return f"Dremio has given up after {self.failure_count} failed refreshes"
        return None


@dataclass(frozen=True)
class Baseline:
    """What was known about a reflection before its refresh was asked for. Serialisable, without secrets."""

    reflection_id: str
    name: str
    dataset: str
    last_data_fetch: str | None = None
    last_finished: str | None = None
    failure_count: int = 0
    dead_end: str | None = None
    available: bool = False

    @classmethod
    def take(cls, reflection_id: str, name: str, dataset: str, status: ReflectionStatus) -> Baseline:
        """Remember a status."""
        dead_end = status.dead_end
        if dead_end and status.message:
            dead_end = f"{dead_end}: {status.message}"
        return cls(
            reflection_id=reflection_id,
            name=name,
            dataset=dataset,
            last_data_fetch=status.last_data_fetch.isoformat() if status.last_data_fetch else None,
            last_finished=status.last_finished.isoformat() if status.last_finished else None,
            failure_count=status.failure_count,
            dead_end=dead_end,
            available=status.available,
        )

    @property
    def label(self) -> str:
        """``<dataset>.<reflection>``, the name people know it by."""
        return f"{self.dataset}.{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form, for a trigger's arguments."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """Outcome of one reflection, and why."""

    outcome: Outcome
    message: str = ""


@dataclass
class Watch:
    """Decides about one reflection, look by look.

    :param baseline: What was before.
    :param requested_at: Local time in seconds at which the refresh was asked for; only differences to the ``now`` of
        :meth:`observe` count.
    :param idle_limit: Seconds a reflection may sit idle with old data before that means "nothing to do"; None waits for
        newer data however long it takes.
    """

    baseline: Baseline
    requested_at: float
    idle_limit: float | None = WAKE_UP_SECONDS * IDLE_WAKE_UPS
    seen_active: bool = False
    verdict: Verdict = field(default_factory=lambda: Verdict(Outcome.WAITING))
    seconds: float = 0.0
    last_seen: str = ""
    _failure_floor: int = field(init=False)
    _idle_since: float = field(init=False)

    def __post_init__(self) -> None:
        self._failure_floor = self.baseline.failure_count
        self._idle_since = self.requested_at

    @property
    def done(self) -> bool:
        """Whether the verdict is final."""
        return self.verdict.outcome is not Outcome.WAITING

    def __str__(self) -> str:
        verdict = self.verdict
        return f"{self.baseline.label}: {verdict.outcome} after {self.seconds:.1f} s {verdict.message}".rstrip()

    def advanced(self, status: ReflectionStatus) -> bool:
        """Whether the data is newer than the baseline. A reflection built on another one inherits the older fetch time,
        therefore the end of the refresh counts as well."""
        return _later(status.last_data_fetch, self.baseline.last_data_fetch) or _later(
            status.last_finished, self.baseline.last_finished
        )

    def needs_finished(self, status: ReflectionStatus) -> bool:
        """Whether ``sys.materializations`` has to be asked before this status can be judged."""
        idle = status.available and not status.active and not status.dead_end
        return idle and status.last_finished is None and not self.advanced(status)

    def observe(self, status: ReflectionStatus | None, now: float) -> Verdict:
        """Take one look into account.

        :param status: The status, or None when the server answers 404.
        :param now: Local time in seconds, of the same clock as ``requested_at``.
        :returns: The verdict; WAITING as long as there is none.
        """
        if not self.done:
            self.verdict = self._judge(status, now)
            self.seconds = max(0.0, now - self.requested_at)
        return self.verdict

    def time_out(self, now: float) -> None:
        """End the watch, with what was seen last."""
        if not self.done:
            self.verdict = Verdict(Outcome.TIMED_OUT, f"last seen as {self.last_seen or 'nothing'}")
            self.seconds = max(0.0, now - self.requested_at)

    def _judge(self, status: ReflectionStatus | None, now: float) -> Verdict:
        if self.baseline.dead_end:
            return Verdict(
                Outcome.FAILED,
                f"{self.baseline.dead_end}. A refresh does not help: edit the reflection (or enable it) first",
            )
        if status is None:
            return Verdict(Outcome.FAILED, "it was deleted while it was being refreshed")
        self.last_seen = f"{status.combined} (refresh {status.refresh or '-'}, availability {status.availability})"
        failure = self._failure(status)
        if failure:
            return Verdict(Outcome.FAILED, failure)
        if status.active:
            self.seen_active = True
            self._idle_since = now
            return Verdict(Outcome.WAITING)
        if not status.available:
            # SCHEDULED or MANUAL with NONE is how a new reflection starts, and INITIALIZING how a server does.
            return Verdict(Outcome.WAITING)
        if self.advanced(status):
            return Verdict(Outcome.REFRESHED)
        if self.idle_limit is None:
            return Verdict(Outcome.WAITING)
        if self.seen_active or now - self._idle_since >= self.idle_limit:
            return Verdict(Outcome.NO_CHANGE, "Dremio saw nothing to refresh")
        return Verdict(Outcome.WAITING)

    def _failure(self, status: ReflectionStatus) -> str | None:
        # A success in between sets the counter back to zero, so the smallest number seen is what a failure exceeds.
        failed = status.failure_count > self._failure_floor
        self._failure_floor = min(self._failure_floor, status.failure_count)
        reason = status.dead_end
        if reason is None and status.combined == "FAILED":
            reason = "its refresh failed"
        if reason is None and failed:
            reason = "its refresh failed"
        if reason is None:
            return None
        return f"{reason}: {status.message}" if status.message else reason


def _later(moment: datetime | None, before: str | None) -> bool:
    if moment is None:
        return False
    earlier = parse_time(before)
    return earlier is None or moment > earlier


class WatchSet:
    """Many reflections watched at once.

    :param baselines: One each, taken before the refresh was asked for.
    :param requested_at: Local time in seconds.
    :param deadline: Local time in seconds after which nobody waits any longer.
    :param idle_limit: As for :class:`Watch`.
    """

    def __init__(
        self,
        baselines: Iterable[Baseline],
        requested_at: float,
        deadline: float,
        idle_limit: float | None = WAKE_UP_SECONDS * IDLE_WAKE_UPS,
    ) -> None:
        self.deadline = deadline
        self.watches = {b.reflection_id: Watch(b, requested_at, idle_limit) for b in baselines}

    def pending(self) -> list[Watch]:
        """Those without a verdict."""
        return [watch for watch in self.watches.values() if not watch.done]

    def expire(self, now: float) -> bool:
        """End every open watch when the deadline has passed; called **after** a look, so that a reflection that became
        ready in the last moment counts.

        :returns: Whether nothing is open any more.
        """
        if now >= self.deadline:
            for watch in self.pending():
                watch.time_out(now)
        return not self.pending()

    def results(self) -> dict[str, dict[str, Any]]:
        """``{"<dataset>.<reflection>": {"outcome", "seconds", "message"}}``, serialisable."""
        return {
            watch.baseline.label: {
                "outcome": watch.verdict.outcome.value,
                "seconds": round(watch.seconds, 3),
                "message": watch.verdict.message,
            }
            for watch in self.watches.values()
        }


def failures(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The reflections that cannot accelerate, with the reasons; empty when all can.

    :param results: As :meth:`WatchSet.results` returns them.
    """
    return "; ".join(
        f"{label}: {entry['outcome']}, {entry['message']}"
        for label, entry in results.items()
        if not Outcome(entry["outcome"]).accelerates
    )


FINISHED_SQL = (
    "SELECT reflection_id, MAX(last_refresh_finished) AS last_refresh_finished FROM sys.materializations "
    "WHERE state = 'DONE' AND reflection_id IN ({ids}) GROUP BY reflection_id"
)
# A refresh runs as an internal job; the statement of that job names the reflection it builds.
RUNNING_REFRESHES_SQL = (
    "SELECT job_id, query FROM sys.jobs "
    "WHERE status NOT IN ('COMPLETED', 'CANCELED', 'FAILED') AND query LIKE 'REFRESH REFLECTION%'"
)


def refresh_jobs(rows: Iterable[Mapping[str, Any]], reflection_ids: Iterable[str]) -> list[tuple[str, str]]:
    """Which running jobs build which of these reflections.

    :param rows: What :data:`RUNNING_REFRESHES_SQL` returned.
    :returns: ``(job id, reflection id)``.
    """
    wanted = list(reflection_ids)
    return [(str(row["job_id"]), rid) for row in rows for rid in wanted if rid in str(row["query"])]
