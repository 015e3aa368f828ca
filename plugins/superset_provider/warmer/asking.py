"""Asking for the data of charts as a browser does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import httpx
import msgspec

from superset_provider import protocol
from superset_provider.browser.page import PageQuery
from superset_provider.exceptions import (
    SupersetAuthenticationError,
    SupersetChartDataError,
    SupersetError,
    SupersetTerminalError,
    SupersetTransientError,
)
from superset_provider.warmer.outcomes import Failure, Reason
from superset_provider.warmer.proof import Answer, decode


class Sender(Protocol):
    """What asking needs of a client: hooks have it, and the client of a service user."""

    async def send(  # noqa: D102  # the clients document it
        self, method: str, path: str, *, idempotent: bool | None = None, **options: Any
    ) -> httpx.Response: ...


async def ask(sender: Sender, query: PageQuery, dashboard_id: int, *, force: bool) -> Answer:
    """Ask one query of a page.

    :param sender: A client that is logged in.
    :param query: What is asked.
    :param dashboard_id: The dashboard that is open.
    :param force: Whether to go past the cache.
    :raises SupersetError: It failed.
    :raises msgspec.DecodeError: The answer is none of Superset's.
    """
    return await send(sender, query.request_body(force=force), dashboard_id, query.chart_id, keep_connection=not force)


async def send(
    sender: Sender,
    body: Mapping[str, Any],
    dashboard_id: int,
    chart_id: int | None = None,
    *,
    keep_connection: bool = True,
) -> Answer:
    """Send one request for chart data; arguments and errors as for :func:`ask`.

    :param body: Of ``POST /api/v1/chart/data``.
    :param chart_id: The chart, where the request is of one only: the server reads its cache timeout.
    :param keep_connection: Whether the connection serves the next request too. Whichever of Superset's workers is free
        takes a new one; a kept one stays with its worker, however busy that is.
    """
    params: dict[str, Any] = {"dashboard_id": dashboard_id}
    if chart_id is not None:
        params["form_data"] = json.dumps({"slice_id": chart_id})
    headers = {} if keep_connection else {"Connection": "close"}
    response = await sender.send(
        "POST", protocol.CHART_DATA_PATH, json=body, params=params, headers=headers, idempotent=True
    )
    return decode(response.content)


def failure_of(error: SupersetError | msgspec.DecodeError, query: PageQuery, dataset: str) -> Failure:
    """What an error of :func:`ask` means for a chart.

    :param query: What was asked.
    :param dataset: Name of the dataset it reads.
    """
    if isinstance(error, SupersetTransientError):
        return Failure(Reason.SERVER_BUSY, error.received or error.message)
    if isinstance(error, SupersetAuthenticationError):
        return Failure(Reason.FORBIDDEN, f"this user may not read it: {error.received or error.message}")
    if isinstance(error, SupersetTerminalError):
        known = protocol.chart_data_error(error, query.name, dataset)
        message = known.database_message if isinstance(known, SupersetChartDataError) else None
        return Failure(Reason.QUERY_FAILED, message or error.received or error.message)
    return Failure(Reason.QUERY_FAILED, "the answer does not come from Superset: a proxy may have answered")
