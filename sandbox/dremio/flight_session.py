"""Who makes a Flight call and in which session: credentials and client properties are in the call's headers."""

from __future__ import annotations

import base64
import binascii
import threading
from typing import Any

from pyarrow import flight

from sandbox.dremio.auth import Authenticator, token_of
from sandbox.dremio.errors import ParseError
from sandbox.dremio.sql.tokens import Tokens

Path = tuple[str, ...]

MIDDLEWARE = "session"


class NoHandshake(flight.ServerAuthHandler):
    """Lets the old handshake pass: who calls is found in the headers."""

    def authenticate(self, outgoing: Any, incoming: Any) -> None:
        """Accept any caller."""

    def is_valid(self, token: bytes) -> str:
        """Accept any token."""
        return ""


class Session(flight.ServerMiddleware):
    """One call.

    Args:
        user: who calls.
        token: the caller's token; the session belongs to it.
        granted: whether the token was granted by this call and is to be sent back.
        sessions: keeps what outlives the call.
    """

    def __init__(self, user: str, token: str, granted: bool, sessions: Sessions) -> None:
        self.user = user
        self._token = token
        self._granted = granted
        self._sessions = sessions

    def sending_headers(self) -> dict[str, str]:
        """Return the headers of the answer."""
        return {"authorization": f"Bearer {self._token}"} if self._granted else {}

    @property
    def context(self) -> Path:
        """The current schema."""
        return self._sessions.contexts.get(self._token, ())

    @context.setter
    def context(self, path: Path) -> None:
        self._sessions.use(self._token, path)


class Sessions(flight.ServerMiddlewareFactory):
    """Turns credentials into sessions and refuses calls without.

    As in Dremio a session belongs to a token: the ``schema`` header and ``USE`` hold for the token's later calls.

    Args:
        authenticator: says who calls.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._lock = threading.Lock()
        self.contexts: dict[str, Path] = {}

    def use(self, token: str, path: Path) -> None:
        """Change the current schema of a session."""
        with self._lock:
            alive = self._authenticator.tokens()
            self.contexts = {known: kept for known, kept in self.contexts.items() if known in alive}
            self.contexts[token] = path

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> Session:
        """Return the session of a call.

        Raises:
            FlightUnauthenticatedError: if the credentials are wrong or missing.
        """
        values = {name.lower(): str(entries[0]) for name, entries in headers.items() if entries}
        authorization = values.get("authorization", "")
        if authorization.lower().startswith("basic "):
            login = self._authenticator.login(*_credentials(authorization))
            if login is None:
                raise flight.FlightUnauthenticatedError("Login failed: Invalid username or password")
            session = Session(login.user, login.token, True, self)
        else:
            known = self._authenticator.user_of(authorization)
            if known is None:
                raise flight.FlightUnauthenticatedError("Unauthenticated: send Basic credentials or a Bearer token")
            session = Session(known, token_of(authorization), False, self)
        quoting = values.get("quoting", "DOUBLE_QUOTE")
        if quoting != "DOUBLE_QUOTE":
            raise flight.FlightServerError(f"The sandbox reads identifiers in double quotes only, not [{quoting}].")
        if values.get("schema"):
            session.context = _path(values["schema"])
        return session


def _credentials(header: str) -> tuple[str, str]:
    encoded = header[6:].rstrip("=")
    try:
        # Go's clients send no padding.
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        user, _, password = decoded.decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _path(header: str) -> Path:
    try:
        tokens = Tokens(header)
        path = tokens.path()
        tokens.finish()
    except ParseError:
        return (header,)
    return path
