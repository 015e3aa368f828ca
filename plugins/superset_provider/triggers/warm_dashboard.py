"""Trigger that warms dashboards in the triggerer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from superset_provider.exceptions import SupersetError, SupersetTransientError
from superset_provider.warmer.engine import warm
from superset_provider.warmer.request import WarmRequest


class SupersetWarmDashboardTrigger(BaseTrigger):
    """Warm dashboards, and fire one event, ``{"status": "done" | "error", "message": str, "result": {..} | None,
    "transient": bool}``. ``done`` says that every query has an outcome, not that every outcome is good.

    The deadline is the trigger's own. When it is killed or its triggerer ends, the queries that are being asked are
    given up, and service users are deactivated; a triggerer that takes over asks again only what has not been asked
    since the request was made.

    :param request: :meth:`WarmRequest.to_dict`; it holds no secret.
    """

    def __init__(self, request: Mapping[str, Any]) -> None:
        super().__init__()
        self.request = dict(request)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"request": self.request}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Warm; whatever Superset says, there is one event."""
        event: dict[str, Any] = {"status": "done", "message": "", "result": None, "transient": False}
        try:
            event["result"] = (await warm(WarmRequest.from_dict(self.request), self.log)).to_dict()
        except SupersetError as error:
            transient = isinstance(error, SupersetTransientError)
            event.update(status="error", message=str(error), transient=transient)
        yield TriggerEvent(event)
