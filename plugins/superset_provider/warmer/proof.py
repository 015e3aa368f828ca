"""Whether an answer of Superset proves that its cache has what a browser will ask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from superset_provider.warmer.outcomes import Failure, Reason

DISABLED_TIMEOUT = -1
_ABSOLUTE = re.compile(r"^\d{4}-\d{2}-\d{2}([T ][\d:.]+)?$")
_NO_TIME_RANGE = ("", "No filter")


class Entry(msgspec.Struct, frozen=True):
    """The answer to one query of a chart; its rows stay undecoded, since few of them are ever looked at."""

    cache_key: str | None = None
    is_cached: bool | None = None
    cached_dttm: str | None = None
    queried_dttm: str | None = None
    cache_timeout: int | None = None
    rowcount: int | None = None
    error: Any = None
    applied_filters: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, decoded."""
        rows = msgspec.json.decode(self.data)
        return rows if isinstance(rows, list) else []

    @property
    def queried_at(self) -> datetime | None:
        """When the data was queried, by Superset's clock, in whole seconds; the same for a hit as for the query that
        filled the cache."""
        return moment(self.queried_dttm) or moment(self.cached_dttm)

    @property
    def expires_at(self) -> float | None:
        """Unix time by Superset's clock at which the entry goes; None when it stays."""
        stored = moment(self.cached_dttm) or self.queried_at
        seconds = self.cache_timeout or 0
        return stored.timestamp() + seconds if stored and seconds > 0 else None

    @property
    def asked_again(self) -> bool:
        """Whether Superset found an entry and queried the database all the same: it distrusts entries of a query none
        of whose filters applies (query_context_processor.get_df_payload). An entry's own query comes before it."""
        queried, stored = moment(self.queried_dttm), moment(self.cached_dttm)
        return bool(queried and stored and queried > stored)


class Answer(msgspec.Struct, frozen=True):
    """The answer of ``POST /api/v1/chart/data``: one entry for each query of the chart."""

    result: list[Entry] = []

    @property
    def hit(self) -> bool:
        """Whether every query came out of the cache."""
        return bool(self.result) and all(entry.is_cached is True for entry in self.result)

    @property
    def row_count(self) -> int:
        """Rows of all queries."""
        return sum(entry.rowcount or 0 for entry in self.result)

    @property
    def error(self) -> str | None:
        """What went wrong with a query inside an answer that says 200."""
        return next((str(entry.error) for entry in self.result if entry.error), None)

    @property
    def expires_at(self) -> float | None:
        """When the first of the entries goes."""
        return min((entry.expires_at for entry in self.result if entry.expires_at is not None), default=None)

    @property
    def timeouts(self) -> list[int]:
        """Seconds that the entries last, of those that go at all."""
        return [seconds for entry in self.result if (seconds := entry.cache_timeout or 0) > 0]

    def fresh(self, since: datetime) -> bool:
        """Whether it is a hit on data that was queried at ``since`` or later."""
        bound = since.replace(microsecond=0)
        return self.hit and all(
            entry.queried_at is not None and entry.queried_at >= bound and not entry.asked_again
            for entry in self.result
        )


def decode(body: bytes) -> Answer:
    """Read an answer without building its rows: large tables would hold up an event loop.

    :raises msgspec.DecodeError: It is no answer of this kind.
    """
    return msgspec.json.decode(body, type=Answer)


def moment(text: str | None) -> datetime | None:
    """A time as Superset writes it, in UTC with or without a zone."""
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def judge(filled: Answer, again: Answer, filtered: Sequence[bool]) -> Failure | None:
    """Why reading a query again is no proof, or None when every part of it is a hit on what was just stored.

    Times are compared with times of the same clock, Superset's: each answer says when its data was queried.

    :param filled: The answer that filled the cache.
    :param again: The answer to the same question afterwards, without ``force``.
    :param filtered: Of each query of the chart, whether it has filters: :func:`has_filters`.
    """
    if not again.result or not len(again.result) == len(filled.result) == len(filtered):
        counts = f"{len(filled.result)} answers first and {len(again.result)} then"
        return Failure(Reason.KEY_MISMATCH, f"Superset gave {counts} to the same question")
    for first, second, has_filters in zip(filled.result, again.result, filtered, strict=True):
        failure = _judge_entry(first, second, has_filters)
        if failure is not None:
            return failure
    return None


def _judge_entry(first: Entry, second: Entry, has_filters: bool) -> Failure | None:
    if DISABLED_TIMEOUT in (first.cache_timeout, second.cache_timeout):
        return Failure(Reason.TIMEOUT_DISABLED, "a cache timeout of -1 keeps it out of the cache")
    if first.cache_key != second.cache_key:
        return Failure(
            Reason.KEY_MISMATCH,
            f"asked twice, it has two cache keys ({first.cache_key} and {second.cache_key}): Jinja in its dataset "
            "gives another text each time, or the dataset is being changed",
        )
    if second.asked_again or (has_filters and second.applied_filters == []):
        return Failure(
            Reason.FILTERS_REJECTED,
            "none of its filters names a column of its dataset, and Superset asks such a query anew each time: take "
            "the chart out of the filter's scope, or add the column",
        )
    if second.is_cached is not True:
        return Failure(Reason.CACHE_DISABLED, "it was not in the cache right after it was asked")
    stored, queried = second.queried_at, first.queried_at
    if stored is None:
        return Failure(Reason.NOT_STORED, "the hit has no time, which proves nothing")
    if queried is not None and stored < queried:
        return Failure(
            Reason.NOT_STORED,
            f"the cache still has the entry of {stored.isoformat()}, older than this warm-up: the new one was not "
            "stored (the cache is full, cannot be written, or the entry is larger than it takes)",
        )
    return None


def name_the_cause(failure: Failure, hits: int, reads: int) -> Failure:
    """Tell a cache that keeps nothing from one that each worker has to itself.

    :param failure: Of a query that was no hit.
    :param hits: Of further reads over new connections, how many hit.
    :param reads: How many there were.
    """
    if failure.reason is not Reason.CACHE_DISABLED:
        return failure
    if hits == reads and reads:
        return Failure(
            Reason.NOT_STORED,
            "the query that was to fill the cache was not stored, but the one after it was: look for 'Could not cache "
            "key' in Superset's log",
        )
    if hits:
        return unshared(hits, reads)
    return Failure(
        Reason.CACHE_DISABLED,
        "Superset keeps nothing: its DATA_CACHE_CONFIG is NullCache (the default), or its cache cannot be written",
    )


def unshared(hits: int, reads: int) -> Failure:
    """The failure that a cache per worker is."""
    return Failure(
        Reason.CACHE_NOT_SHARED,
        f"{hits} of {reads} reads over new connections hit: each of Superset's workers has a cache of its own (a "
        "SimpleCache); give DATA_CACHE_CONFIG one that they share, such as RedisCache",
    )


def has_filters(body: Mapping[str, Any]) -> list[bool]:
    """Of each query of a chart, whether it has filters.

    :param body: Of ``POST /api/v1/chart/data``.
    """
    return [bool(query.get("filters")) for query in body.get("queries") or ()]


def moves_with_the_day(body: Mapping[str, Any]) -> bool:
    """Whether a query's time range is relative ("Last week"): its key stays tomorrow, its rows do not.

    :param body: Of ``POST /api/v1/chart/data``.
    """
    return any(not _fixed(text) for query in body.get("queries") or () for text in _time_ranges(query))


def _time_ranges(query: Mapping[str, Any]) -> Iterator[str]:
    yield str(query.get("time_range") or "")
    for condition in query.get("filters") or ():
        if condition.get("op") == "TEMPORAL_RANGE":
            yield str(condition.get("val") or "")


def _fixed(text: str) -> bool:
    return text in _NO_TIME_RANGE or all(not part or _ABSOLUTE.match(part.strip()) for part in text.split(" : "))
