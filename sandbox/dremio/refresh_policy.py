"""When reflections are refreshed and when they expire: the accelerationRefreshPolicy of the tables they stand on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from croniter import CroniterBadDateError, CroniterError, croniter

from sandbox.dremio.catalog import Catalog
from sandbox.dremio.edition import is_enterprise
from sandbox.dremio.entities import HOUR_MILLIS, Source, Table
from sandbox.dremio.errors import ApiError

Json = dict[str, Any]

PERIOD, SCHEDULE, NEVER, ON_DATA_CHANGES = "PERIOD", "SCHEDULE", "NEVER", "REFRESH_ON_DATA_CHANGES"
KINDS = (PERIOD, SCHEDULE, NEVER, ON_DATA_CHANGES)
NEVER_EXPIRES = 1000 * 365 * 24 * HOUR_MILLIS
_DEFAULT: Json = {
    "activePolicyType": PERIOD,
    "refreshPeriodMs": HOUR_MILLIS,
    "gracePeriodMs": 3 * HOUR_MILLIS,
    "refreshSchedule": None,
    "neverExpire": False,
}
_INHERITED = {
    "activePolicyType": "accelerationActivePolicyType",
    "refreshPeriodMs": "accelerationRefreshPeriodMs",
    "refreshSchedule": "accelerationRefreshSchedule",
    "gracePeriodMs": "accelerationGracePeriodMs",
    "neverExpire": "accelerationNeverExpire",
}
_DAYS = {str(number): name for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"), 1)}


class RefreshPolicies:
    """The policies of tables, taken together for a reflection: what comes first for any of its tables holds.

    Args:
        catalog: holds the tables and their sources.
        tables: keys of the tables.
    """

    def __init__(self, catalog: Catalog, tables: Iterable[str]) -> None:
        self._policies = [_of_table(catalog, key) for key in tables] or [dict(_DEFAULT)]

    def _kinds(self) -> set[str]:
        return {str(policy["activePolicyType"]) for policy in self._policies}

    @property
    def idle_status(self) -> str:
        """What status.refresh says while nothing happens."""
        kinds = self._kinds()
        if is_enterprise() and kinds == {ON_DATA_CHANGES}:
            return "ON_DATA_CHANGES"
        return "SCHEDULED" if kinds & {PERIOD, SCHEDULE} else "MANUAL"

    @property
    def on_data_changes(self) -> bool:
        """Whether new data alone is a reason to refresh; the community edition stores that policy and ignores it."""
        return is_enterprise() and ON_DATA_CHANGES in self._kinds()

    def next_refresh(self, fetched: int) -> int | None:
        """Return when the next refresh is due, None if there is none by the clock.

        Args:
            fetched: when the last one began, milliseconds since 1970.
        """
        moments = [_next(policy, fetched) for policy in self._policies]
        return min((moment for moment in moments if moment is not None), default=None)

    def expiry(self, fetched: int) -> int:
        """Return when what was fetched at a moment expires, milliseconds since 1970."""
        return min(
            fetched + (NEVER_EXPIRES if policy["neverExpire"] else int(policy["gracePeriodMs"]))
            for policy in self._policies
        )


def _next(policy: Json, fetched: int) -> int | None:
    if policy["activePolicyType"] == PERIOD:
        return fetched + int(policy["refreshPeriodMs"])
    if policy["activePolicyType"] == SCHEDULE and policy["refreshSchedule"]:
        after = datetime.fromtimestamp(fetched / 1000, UTC)
        try:
            moment: datetime = _cron(str(policy["refreshSchedule"]), after).get_next(datetime)
        except CroniterBadDateError:
            return None
        return int(moment.timestamp() * 1000)
    return None


def _of_table(catalog: Catalog, key: str) -> Json:
    table = catalog.get((key,))
    own = dict(table.policy) if isinstance(table, Table) else {}
    source = catalog.source_of(table.path) if table is not None else None
    settings = source.settings if isinstance(source, Source) else {}
    inherited = {name: settings.get(setting) for name, setting in _INHERITED.items()}
    if settings.get("accelerationNeverRefresh"):
        inherited["activePolicyType"] = NEVER
    if own.get("neverRefresh"):
        own["activePolicyType"] = NEVER
    return _DEFAULT | {n: v for n, v in inherited.items() if v} | {n: v for n, v in own.items() if v is not None}


def check(policy: Json) -> None:
    """Refuse a policy that could not be followed.

    Args:
        policy: an accelerationRefreshPolicy.

    Raises:
        ApiError: 400 for an unknown type, or a schedule that is not a cron expression as Quartz writes them.
    """
    kind = policy.get("activePolicyType")
    if kind is not None and kind not in KINDS:
        raise ApiError(400, f"Invalid activePolicyType [{kind}]: {', '.join(KINDS)} are valid.")
    schedule = policy.get("refreshSchedule")
    if kind == SCHEDULE or schedule:
        try:
            _cron(str(schedule or ""), datetime.now(UTC))
        except (CroniterError, ValueError) as error:
            raise ApiError(400, f"Invalid refreshSchedule [{schedule}]: {error}") from error


def _cron(quartz: str, after: datetime) -> croniter:
    """Read a Quartz expression: seconds first, ``?`` for "any", days of the week from 1 = Sunday."""
    fields = quartz.split()
    if len(fields) not in (6, 7):
        raise ValueError("six fields are needed: second, minute, hour, day of month, month, day of week")
    second, minute, hour, day, month, weekday = ("*" if field == "?" else field for field in fields[:6])
    weekday = ",".join(
        "-".join(_DAYS.get(end, end.lower()) for end in part.split("-")) if "#" not in part else part
        for part in weekday.split(",")
    )
    return croniter(f"{second} {minute} {hour} {day} {month} {weekday}", after, second_at_beginning=True)
