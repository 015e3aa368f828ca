"""When Dremio refreshes the reflections of a table by itself, and for how long they serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from dremio_provider.exceptions import DremioConfigurationError, DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import display_path
from dremio_provider.plans import Step, value_differences

TYPES = ("PERIOD", "SCHEDULE", "NEVER", "REFRESH_ON_DATA_CHANGES")
METHODS = ("AUTO", "FULL", "INCREMENTAL")


def refresh_policy(
    *,
    period: timedelta | float | None = None,
    schedule: str | None = None,
    never: bool = False,
    on_data_changes: bool = False,
    grace_period: timedelta | float | None = None,
    never_expire: bool | None = None,
    method: str | None = None,
    refresh_field: str | None = None,
) -> dict[str, Any]:
    """The ``accelerationRefreshPolicy`` of Dremio's REST API. What is not given stays as it is.

    :param period: Time between two refreshes (seconds, or a timedelta).
    :param schedule: Quartz expression in UTC, for example ``0 0 8 * * ?``.
    :param never: Only when asked for.
    :param on_data_changes: When the table's Iceberg snapshot changes (Enterprise edition; the community edition stores
        it and does nothing).
    :param grace_period: Time after a refresh during which the reflection serves (seconds, or a timedelta).
    :param never_expire: Whether it serves for ever.
    :param method: AUTO, FULL or INCREMENTAL.
    :param refresh_field: Column that grows with every new row, for INCREMENTAL.
    :raises DremioConfigurationError: Two ways exclude each other, or a value is unknown.
    """
    chosen = [
        kind
        for kind, given in zip(TYPES, (period is not None, bool(schedule), never, on_data_changes), strict=True)
        if given
    ]
    if len(chosen) > 1:
        raise DremioConfigurationError(
            f"A refresh policy cannot be {' and '.join(chosen)} at once.",
            check="give one of period, schedule, never and on_data_changes.",
        )
    if method is not None and method.upper() not in METHODS:
        raise DremioConfigurationError(
            f"The refresh method {method!r} is unknown.", check=f"allowed are {', '.join(METHODS)}."
        )
    if refresh_field and (method or "").upper() != "INCREMENTAL":
        raise DremioConfigurationError(
            f"The refresh field {refresh_field!r} belongs to the method INCREMENTAL.", check="the argument method."
        )
    kind = chosen[0] if chosen else None
    policy = {
        "activePolicyType": kind,
        "refreshPeriodMs": _millis(period),
        "refreshSchedule": schedule,
        "neverRefresh": None if kind is None else kind == "NEVER",
        "gracePeriodMs": _millis(grace_period),
        "neverExpire": never_expire,
        "method": method.upper() if method else None,
        "refreshField": refresh_field,
    }
    given = {name: value for name, value in policy.items() if value is not None}
    if not given:
        raise DremioConfigurationError("The refresh policy says nothing.", check="the arguments.")
    return given


def _millis(time: timedelta | float | None) -> int | None:
    if time is None:
        return None
    return int((time.total_seconds() if isinstance(time, timedelta) else time) * 1000)


def plan_refresh_policy(hook: DremioHook, datasets: Sequence[str], policy: Mapping[str, Any]) -> list[Step]:
    """What has to be done so that these tables have this policy.

    :param datasets: Paths of tables.
    :param policy: As from :func:`refresh_policy`.
    :raises DremioTerminalError: A dataset is a view: its reflections follow the tables it reads.
    """
    return [_step(hook, dataset, policy) for dataset in datasets]


def _step(hook: DremioHook, dataset: str, policy: Mapping[str, Any]) -> Step:
    entity = hook.get_dataset(dataset)
    path = display_path(entity["path"])
    if entity.get("type") == "VIRTUAL_DATASET":
        raise DremioTerminalError(
            f"{path} is a view, and a refresh policy belongs to a table.",
            address=hook.address,
            check="set it on the tables that the view reads.",
        )
    before = entity.get("accelerationRefreshPolicy") or {}
    # A field that the server has never shown is one that it has not got: setting it is a difference.
    unset = {name: None for name in policy}
    differences = value_differences(dict(policy), {**unset, **before})
    if not differences:
        return Step("policy", path, "unchanged")
    changed = {**entity, "accelerationRefreshPolicy": {**before, **policy}}
    told = tuple(f"{name}: {before.get(name)!r} -> {policy[name]!r}" for name in differences)
    return Step("policy", path, "updated", told, partial(hook.update_catalog_entity, changed))
