"""Dates as Elasticsearch reads and writes them: ISO 8601, epoch milliseconds and date math, all in milliseconds UTC."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sandbox.elasticsearch.errors import ElasticsearchError, illegal_argument, missing

DEFAULT_FORMAT = "strict_date_optional_time||epoch_millis"
FORMATS = {
    "strict_date_optional_time",
    "date_optional_time",
    "epoch_millis",
    "epoch_second",
    "yyyy-MM-dd",
    "strict_date",
}
"""What a mapping or a request may name as format, alone or joined by ``||``."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{2})(?:-(?P<day>\d{2})"
    r"(?:T(?P<hour>\d{2})?(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)?)?)?)?"
)
_MATH = re.compile(r"(?P<sign>[+-])(?P<count>\d*)(?P<unit>[yMwdhHms])|/(?P<round>[yMwdhHms])")
_UNIT_NAMES = {
    "y": "year",
    "M": "month",
    "w": "week",
    "d": "day",
    "h": "hour",
    "H": "hour",
    "m": "minute",
    "s": "second",
}
_FIXED = {"w": timedelta(weeks=1), "d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
_FIXED |= {"H": timedelta(hours=1), "s": timedelta(seconds=1)}


def check_format(pattern: str) -> str:
    """Return ``pattern`` if every alternative in it is one this server reads.

    Raises:
        ElasticsearchError: 501 naming the format.
    """
    for alternative in pattern.split("||"):
        if alternative not in FORMATS:
            raise missing(f"the date format [{alternative}]")
    return pattern


def zone(name: str | None) -> tzinfo:
    """Return the time zone called ``name`` (an offset such as ``+02:00`` or a name such as ``Europe/Berlin``).

    Raises:
        ElasticsearchError: 400 if there is no such zone.
    """
    if name in (None, "Z", "UTC"):
        return UTC
    assert name is not None
    if re.fullmatch(r"[+-]\d{2}(:?\d{2})?", name):
        parsed = datetime.strptime(name if len(name) > 3 else name + "00", "%z").tzinfo
        assert parsed is not None
        return parsed
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise illegal_argument(f"Unknown time-zone ID: {name}") from None


def to_millis(moment: datetime) -> int:
    """Return milliseconds since 1970 of an aware ``moment``, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_millis(value: int) -> datetime:
    """Return the aware UTC moment ``value`` milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=value)


def render(value: int, pattern: str | None = None, zone_info: tzinfo = UTC) -> str:
    """Return ``value`` (milliseconds since 1970) as Elasticsearch prints it, e.g. ``2025-10-16T00:00:00.000Z``."""
    first = (pattern or DEFAULT_FORMAT).split("||")[0]
    if first == "epoch_millis":
        return str(value)
    if first == "epoch_second":
        return str(value // 1000)
    text = from_millis(value).astimezone(zone_info).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text[:10] if first in ("yyyy-MM-dd", "strict_date") else text


def looks_like_date(text: str) -> bool:
    """Return whether dynamic mapping takes ``text`` for a date: a full ISO date, with or without time."""
    found = _ISO.fullmatch(text)
    return bool(found and found["day"] and _readable(text))


def _readable(text: str) -> bool:
    try:
        _parse_iso(text, UTC, round_up=False)
    except ValueError:
        return False
    return True


def parse(value: object, pattern: str = DEFAULT_FORMAT, *, zone_info: tzinfo = UTC, round_up: bool = False) -> int:
    """Return a date as milliseconds since 1970.

    Args:
        value: a number or text in one of the formats of ``pattern``.
        pattern: formats joined by ``||``, tried in order.
        zone_info: the zone of a text that names none.
        round_up: fill missing parts with their last value (``2025-10-16`` is 23:59:59.999) instead of the first.

    Raises:
        ElasticsearchError: 400 if the value fits none of the formats.
    """
    text = str(value)
    for alternative in pattern.split("||"):
        if alternative in ("epoch_millis", "epoch_second"):
            if re.fullmatch(r"-?\d+(\.\d+)?", text):
                return int(float(text) * 1000) if alternative == "epoch_second" else int(text.split(".")[0])
            continue
        try:
            return _parse_iso(text, zone_info, round_up=round_up)
        except ValueError:
            continue
    raise illegal_argument(
        f"failed to parse date field [{text}] with format [{pattern}]",
        ElasticsearchError(400, "date_time_parse_exception", "Failed to parse with all enclosed parsers"),
    )


def _parse_iso(text: str, zone_info: tzinfo, *, round_up: bool) -> int:
    found = _ISO.fullmatch(text)
    if not found:
        raise ValueError(text)
    parts = [int(found[name]) for name in ("year", "month", "day", "hour", "minute", "second") if found[name]]
    start = datetime(*(parts + [1, 1][: max(0, 3 - len(parts))]), tzinfo=_offset(found["zone"], zone_info))  # type: ignore[misc, arg-type]  # the pattern bounds the number of parts
    if found["fraction"]:
        return to_millis(start) + int(found["fraction"][:3].ljust(3, "0"))
    if not round_up:
        return to_millis(start)
    return to_millis(_add(start, "yMdhms"[len(parts) - 1], 1)) - 1


def _offset(text: str | None, default: tzinfo) -> tzinfo:
    return default if text is None else zone(text)


def resolve(
    value: object,
    pattern: str = DEFAULT_FORMAT,
    *,
    zone_info: tzinfo = UTC,
    round_up: bool = False,
    now: Callable[[], float] = time.time,
) -> int:
    """Return a date or a date-math expression (``now-1h/d``, ``2025-10-16||+1M/d``) as milliseconds since 1970.

    Args:
        value: what the request says.
        pattern: formats of a date in it.
        zone_info: the zone of dates without one and of rounding.
        round_up: round to the last millisecond of a unit instead of its first.
        now: the clock, in seconds since 1970.

    Raises:
        ElasticsearchError: 400 if it can be read neither way.
    """
    text = str(value)
    if text.startswith("now"):
        base, math = int(now() * 1000), text[3:]
    elif "||" in text:
        head, math = text.split("||", 1)
        base = parse(head, pattern, zone_info=zone_info)
    else:
        return parse(value, pattern, zone_info=zone_info, round_up=round_up)
    return _apply(base, math, zone_info, round_up, text)


def _apply(base: int, math: str, zone_info: tzinfo, round_up: bool, text: str) -> int:
    moment, position = from_millis(base).astimezone(zone_info), 0
    while position < len(math):
        found = _MATH.match(math, position)
        if not found:
            raise ElasticsearchError(
                400,
                "parse_exception",
                f"failed to parse date field [{text}]: operator not supported [{math[position]}]",
            )
        if found["round"]:
            moment = floor(moment, _UNIT_NAMES[found["round"]])
            if round_up:
                moment = _add(moment, found["round"], 1) - timedelta(milliseconds=1)
        else:
            count = int(found["count"] or 1)
            moment = _add(moment, found["unit"], count if found["sign"] == "+" else -count)
        position = found.end()
    return to_millis(moment)


def floor(moment: datetime, unit: str) -> datetime:
    """Return the start of the calendar ``unit`` (``year`` ... ``second``; weeks start on Monday) that holds "
    "``moment``."""
    cleared: dict[str, int] = {"microsecond": 0}
    for name, first in (("second", 0), ("minute", 0), ("hour", 0), ("day", 1), ("month", 1)):
        if unit == name:
            break
        if unit in ("week", "quarter") and name in ("day", "month"):
            break
        cleared[name] = first
    start = moment.replace(**cleared)  # type: ignore[arg-type]  # the keys are field names of datetime
    if unit == "week":
        return start - timedelta(days=start.weekday())
    if unit == "quarter":
        return start.replace(day=1, month=(start.month - 1) // 3 * 3 + 1)
    return start


def add(moment: datetime, unit: str, count: int) -> datetime:
    """Return ``moment`` moved by ``count`` calendar units, a day past a month's end becoming its last day."""
    if unit == "quarter":
        return _add(moment, "M", 3 * count)
    letter = next(letter for letter, name in _UNIT_NAMES.items() if name == unit)
    return _add(moment, letter, count)


def _add(moment: datetime, letter: str, count: int) -> datetime:
    if letter in _FIXED:
        return moment + count * _FIXED[letter]
    months = moment.year * 12 + moment.month - 1 + (12 * count if letter == "y" else count)
    year, month = divmod(months, 12)
    for day in (moment.day, 30, 29, 28):
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    raise illegal_argument(f"the date {moment.isoformat()} moved by {count}{letter} is out of range")
