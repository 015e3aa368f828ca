"""Access tokens of the public API: signed, short-lived, valid across a restart."""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid

import jwt

from sandbox.airbyte.problems import invalid_api_key

ISSUER = "http://localhost"
LIFETIME_SECONDS = 15 * 60
"""Airbyte's default for application tokens."""


class Tokens:
    """Issues and checks bearer tokens for one application (client id and secret).

    Args:
        client_id: the application's id.
        client_secret: the application's secret; the signing key is derived from it, so a new secret ends all tokens.
        lifetime_seconds: how long a token is valid.
    """

    def __init__(self, client_id: str, client_secret: str, lifetime_seconds: int = LIFETIME_SECONDS) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._key = hashlib.sha256(f"token:{client_secret}".encode()).hexdigest()
        self.lifetime_seconds = lifetime_seconds

    def issue(self, client_id: str, client_secret: str) -> str | None:
        """Return a new token, or None if the credentials are wrong."""
        known = hmac.compare_digest(client_id.encode(), self._client_id.encode())
        if not (hmac.compare_digest(client_secret.encode(), self._client_secret.encode()) and known):
            return None
        issued = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": self._client_id,
            "typ": "io.airbyte.auth.application",
            "iat": issued,
            "exp": issued + self.lifetime_seconds,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def check(self, authorization: str | None) -> None:
        """Check an ``Authorization`` header.

        Raises:
            Problem: 401 if it is missing, not a bearer token, expired or not ours.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise invalid_api_key()
        try:
            jwt.decode(token.strip(), self._key, algorithms=["HS256"], issuer=ISSUER)
        except jwt.InvalidTokenError as error:
            raise invalid_api_key() from error
