"""What can go wrong with Dremio, in two families: worth a retry, and not.

Every error says what was asked, of which address, what came back and what to check next. None carries a secret.
All of them survive pickling, because Airflow moves exceptions between processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DremioError(Exception):
    """Base of everything this provider raises.

    :param message: What happened, to what.
    :param asked: The request, for example ``POST /api/v3/sql``.
    :param address: The server's address, without credentials.
    :param received: What the server answered (shortened by the caller where it can be long).
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


def _rebuild(kind: type[DremioError], message: str, attrs: dict[str, Any]) -> DremioError:
    return kind(message, **attrs)


class DremioTransientError(DremioError):
    """The same request may succeed later: no connection, a timeout, 429, 502 to 504, a login answered with 5xx.

    ``details["delivered"]`` tells whether the server may have acted on the request before the failure.
    """

    @property
    def delivered(self) -> bool:
        """Whether the request may have reached the server; such a request is repeated only when that is harmless."""
        return bool(self.details.get("delivered", True))


class DremioTerminalError(DremioError):
    """The same request will fail again: something has to be changed first."""


class DremioConfigurationError(DremioTerminalError):
    """An Airflow connection or an operator's arguments do not make sense."""


class DremioAuthenticationError(DremioTerminalError):
    """The user name and password, or the rights that come with them, were refused (401, 403)."""


class DremioNotFoundError(DremioTerminalError):
    """What was asked for does not exist (404)."""


class DremioConflictError(DremioTerminalError):
    """The object exists already or was changed by somebody else in between (409)."""


class DremioJobFailedError(DremioTerminalError):
    """A job ended in FAILED or CANCELED."""

    @property
    def job_id(self) -> str:
        """Identifier of the job."""
        return str(self.details.get("job_id", ""))

    @property
    def job_state(self) -> str:
        """The final state."""
        return str(self.details.get("job_state", ""))


class DremioTimeoutError(DremioTransientError):
    """Something did not finish within the time it was given."""


class DremioReflectionError(DremioTerminalError):
    """At least one reflection cannot accelerate. ``outcomes`` has all of them, the good ones too."""

    @property
    def outcomes(self) -> dict[str, dict[str, Any]]:
        """``{"<dataset>.<reflection>": {"outcome", "seconds", "message"}}``."""
        return dict(self.details.get("outcomes", {}))
