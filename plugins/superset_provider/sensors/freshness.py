"""Sensor that waits until dashboards show data that is new enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, conf
from airflow.sdk.exceptions import AirflowSensorTimeout

from superset_provider.connection import DEFAULT_CONN_ID
from superset_provider.exceptions import SupersetConfigurationError, SupersetTerminalError, SupersetTransientError
from superset_provider.freshness import FreshnessRequest, FreshnessWatch
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.triggers.freshness import SupersetDashboardFreshnessTrigger
from superset_provider.warmer.proof import moment

if TYPE_CHECKING:
    from airflow.sdk import Context

# The trigger ends by itself; this only catches a triggerer that is gone.
GRACE_SECONDS = 60.0
_SHOWN = 10


class SupersetDashboardFreshnessSensor(BaseSensorOperator):
    """Wait until every query of dashboards is answered with data that is new enough, or until the newest value in a
    table's time column is.

    It asks as a browser does, so a query that is not cached at all is asked of the database and is fresh by that; what
    is cached and too old stays so until somebody warms it, or it expires.

    :param dashboards: Slugs, uuids or ids: all their charts with the filters' defaults, and the filters' options.
    :param time_columns: ``{dataset: column}``: the newest value, asked of the database; a dataset as ``schema.table``,
        ``database.schema.table``, uuid or id.
    :param since: Moment from which on data is fresh (ISO text or a datetime, UTC without a zone).
    :param max_age: Instead of ``since``: how old it may be (seconds or a timedelta), by Superset's clock.
    :param option_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT, if it was changed there.
    :param superset_conn_id: Airflow connection of type ``superset``; row-level security gives each user an own cache.
    :param deferrable: Wait in the triggerer instead of in a worker.
    :param max_poll_errors: When deferred: so many transient errors in a row end the waiting; single ones do not.

    ``timeout``, ``poke_interval``, ``soft_fail`` and ``mode`` are those of every sensor.
    """

    template_fields: Sequence[str] = ("dashboards", "time_columns", "since", "superset_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"time_columns": "json"}
    ui_color = "#d8f0f2"

    def __init__(
        self,
        *,
        dashboards: Sequence[str | int] = (),
        time_columns: Mapping[str, str] | None = None,
        since: datetime | str | None = None,
        max_age: timedelta | float | None = None,
        option_row_limit: int = 1000,
        superset_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        max_poll_errors: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dashboards = dashboards
        self.time_columns = time_columns
        self.since = since
        self.max_age = max_age
        self.option_row_limit = option_row_limit
        self.superset_conn_id = superset_conn_id
        self.deferrable = deferrable
        self.max_poll_errors = max_poll_errors

    def request(self) -> FreshnessRequest:
        """What has to be fresh.

        :raises SupersetConfigurationError: It says nothing, or since when not exactly once.
        """
        if not self.dashboards and not self.time_columns:
            raise SupersetConfigurationError(
                f"Task {self.task_id!r} names neither dashboards nor time columns.",
                check="give SupersetDashboardFreshnessSensor one of the two.",
            )
        if (self.since is None) == (self.max_age is None):
            raise SupersetConfigurationError(
                f"Task {self.task_id!r} has since {self.since!r} and max_age {self.max_age!r}.",
                check="give exactly one of the two.",
            )
        since = self.since.isoformat() if isinstance(self.since, datetime) else self.since
        try:
            moment(since)
        except ValueError as error:
            raise SupersetConfigurationError(
                f"Task {self.task_id!r}: since is no ISO time: {since!r}.", check="the argument since."
            ) from error
        age = self.max_age.total_seconds() if isinstance(self.max_age, timedelta) else self.max_age
        return FreshnessRequest(list(self.dashboards), dict(self.time_columns or {}), since, age, self.option_row_limit)

    def execute(self, context: Context) -> Any:
        """Wait.

        :raises AirflowSensorTimeout: It took longer than ``timeout``.
        :raises SupersetError: Something cannot be read: an unknown dashboard, a broken chart, a missing table.
        """
        if not self.deferrable:
            return super().execute(context)
        deadline = time.time() + self.timeout
        if self.poke(context):
            return None
        return self.defer(
            trigger=SupersetDashboardFreshnessTrigger(
                self.superset_conn_id,
                self.request().to_dict(),
                deadline,
                poll_interval=self.poke_interval,
                max_poll_errors=self.max_poll_errors,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + 2 * self.poke_interval + GRACE_SECONDS),
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Judge what the trigger reported; errors as for :meth:`execute`."""
        if event["status"] == "timeout":
            raise AirflowSensorTimeout(
                f"{self.task_id} has waited for {self.timeout:g} s. Too old: {_listed(event['stale'])}."
            )
        if event["status"] == "error":
            kind = SupersetTransientError if event["transient"] else SupersetTerminalError
            raise kind(f"Waiting for Superset ended early. {event['message']}")

    def poke(self, context: Context) -> bool:
        """Look once.

        :returns: Whether all is fresh.
        """
        stale = asyncio.run(self._look(self.request()))
        if stale:
            self.log.info("Too old: %s", _listed(stale))
        return not stale

    async def _look(self, request: FreshnessRequest) -> list[str]:
        async with SupersetAsyncHook(self.superset_conn_id) as hook:
            return await FreshnessWatch(hook, request).look()


def _listed(stale: Sequence[str]) -> str:
    more = f" and {len(stale) - _SHOWN} more" if len(stale) > _SHOWN else ""
    return f"{'; '.join(stale[:_SHOWN])}{more}"
