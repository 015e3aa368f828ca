"""What can go wrong with Superset, in two families: worth a retry, and not.

Every error says what was asked, of which address, what came back and what to check next. None carries a secret.
All of them survive pickling, because Airflow moves exceptions between processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SupersetError(Exception):
    """Base of everything this provider raises.

    :param message: What happened, to what.
    :param asked: The request, for example ``POST /api/v1/chart/data``.
    :param address: The server's address, without credentials.
    :param received: What the server answered.
    :param check: What a person should look at next.
    :param status_code: The HTTP status, where there was one.
    :param details: Further facts for structured logs; JSON-serialisable values only.
    """

    def __init__(
        self,
        message: str,
        *,
        asked: str | None = None,
        address: str | None = None,
        received: str | None = None,
        check: str | None = None,
        status_code: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.asked = asked
        self.address = address
        self.received = received
        self.check = check
        self.status_code = status_code
        self.details = dict(details or {})

    def attrs(self) -> dict[str, Any]:
        """Everything the error knows, for structured logs."""
        return {
            "asked": self.asked,
            "address": self.address,
            "received": self.received,
            "check": self.check,
            "status_code": self.status_code,
            "details": self.details,
        }

    def __str__(self) -> str:
        parts = [self.message]
        if self.asked:
            parts.append(f"Asked: {self.asked}" + (f" at {self.address}" if self.address else "") + ".")
        elif self.address:
            parts.append(f"Address: {self.address}.")
        if self.received:
            parts.append(f"Received: {self.received}")
        if self.check:
            parts.append(f"Check: {self.check}")
        return " ".join(parts)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _rebuild, (type(self), self.message, self.attrs())


def _rebuild(kind: type[SupersetError], message: str, attrs: dict[str, Any]) -> SupersetError:
    return kind(message, **attrs)


class SupersetTransientError(SupersetError):
    """The same request may succeed later: no connection, a timeout, 429, 502 to 504, a login answered with 5xx.

    ``details["delivered"]`` tells whether the server may have acted on the request before the failure.
    """

    @property
    def delivered(self) -> bool:
        """Whether the request may have reached the server; such a request is repeated only when that is harmless."""
        return bool(self.details.get("delivered", True))


class SupersetTerminalError(SupersetError):
    """The same request will fail again: something has to be changed first."""


class SupersetConfigurationError(SupersetTerminalError):
    """An Airflow connection or an operator's arguments do not make sense."""


class SupersetAuthenticationError(SupersetTerminalError):
    """The user name and password, or the rights that come with them, were refused (401, 403)."""


class SupersetNotFoundError(SupersetTerminalError):
    """What was asked for does not exist (404)."""


class SupersetChartDataError(SupersetTerminalError):
    """The query of a chart failed: a column, a table or the database is not there, or Superset cannot build it."""

    @classmethod
    def about(cls, chart: str | None, dataset: str, database_message: str, **attrs: Any) -> SupersetChartDataError:
        """The error of one chart.

        :param chart: Name of the chart; None for a query that belongs to none.
        :param dataset: Name or id of the dataset.
        :param database_message: What the database, or Superset before it, said.
        :param attrs: Further arguments of :class:`SupersetError`.
        """
        known = {"chart": chart, "dataset": dataset, "database_message": database_message}
        return cls(
            f"The query of {f'chart {chart!r}' if chart else 'a filter or a check'} on dataset {dataset!r} failed: "
            f"{database_message}",
            check="the chart in Superset, and the table or the query of its dataset.",
            details=known,
            **attrs,
        )

    @property
    def chart(self) -> str | None:
        """Name of the chart."""
        return self.details.get("chart")

    @property
    def dataset(self) -> str:
        """Name of the dataset, or its id."""
        return str(self.details.get("dataset", ""))

    @property
    def database_message(self) -> str:
        """What the database, or Superset before it, said."""
        return str(self.details.get("database_message", ""))


class SupersetWarmingError(SupersetTerminalError):
    """At least one query of a dashboard could not be warmed. ``failures`` has the reasons."""

    @property
    def failures(self) -> list[dict[str, Any]]:
        """``[{"dashboard", "chart", "reason"}]``."""
        return list(self.details.get("failures", []))
