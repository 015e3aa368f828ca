"""Who is calling: passwords are exchanged for tokens, which REST and Flight both take."""

from __future__ import annotations

import hmac
import secrets
import threading
from dataclasses import dataclass

from sandbox.dremio.entities import now_millis

TOKEN_MILLIS = 30 * 3_600_000
"""Dremio's tokens last thirty hours."""


@dataclass(frozen=True)
class Login:
    """A granted token.

    Args:
        token: what the client sends from now on.
        user: who it stands for.
        expires: milliseconds since 1970.
    """

    token: str
    user: str
    expires: int


class Authenticator:
    """Knows one user, an administrator.

    Args:
        user: the name.
        password: the password.
    """

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self._password = password
        self._logins: dict[str, Login] = {}
        self._lock = threading.Lock()

    def login(self, user: str, password: str) -> Login | None:
        """Return a fresh token, None if name or password are wrong."""
        right_user = hmac.compare_digest(user.encode(), self.user.encode())
        if not hmac.compare_digest(password.encode(), self._password.encode()) or not right_user:
            return None
        login = Login(secrets.token_hex(16), self.user, now_millis() + TOKEN_MILLIS)
        with self._lock:
            moment = now_millis()
            self._logins = {token: kept for token, kept in self._logins.items() if kept.expires > moment}
            self._logins[login.token] = login
        return login

    def logout(self, token: str) -> None:
        """Make a token worthless."""
        with self._lock:
            self._logins.pop(token, None)

    def tokens(self) -> set[str]:
        """Return all tokens that were granted and are still kept."""
        with self._lock:
            return set(self._logins)

    def user_of(self, header: str) -> str | None:
        """Return the user an ``Authorization`` header stands for, None if it is not valid.

        Args:
            header: ``_dremio{token}`` or ``Bearer {token}``.
        """
        login = self._logins.get(token_of(header))
        return login.user if login is not None and login.expires > now_millis() else None


def token_of(header: str) -> str:
    """Return the token in an ``Authorization`` header, empty if there is none."""
    if header.startswith("_dremio"):
        return header.removeprefix("_dremio").strip()
    kind, _, token = header.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
