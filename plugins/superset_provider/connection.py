"""Where a Superset is and how to log in: an Airflow connection of type ``superset``, read once and checked."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from superset_provider.exceptions import SupersetConfigurationError

DEFAULT_CONN_ID = "superset_default"
DEFAULT_PORT = 8088
# What POST /api/v1/security/login takes (flask_appbuilder/security/api.py).
PROVIDERS = ("db", "ldap")
PASSWORD, API_KEY = "password", "api_key"  # the names of two ways to log in
AUTHENTICATIONS = (PASSWORD, API_KEY)
EXTRA_FIELDS = ("auth", "ca_file", "provider", "tls", "verify")
# What connections of other clients of Superset hold, and where it belongs here.
_FOREIGN_FIELDS = {
    "access_token": f"the Password field, with auth = {API_KEY}",
    "api_key": f"the Password field, with auth = {API_KEY}",
    "api_token": f"the Password field, with auth = {API_KEY}",
    "auth_provider": "provider",
    "auth_type": "auth",
    "base_url": "the Host field",
    "endpoint_url": "the Host field",
    "password": "the Password field",
    "ssl": "tls",
    "token": f"the Password field, with auth = {API_KEY}",
    "url": "the Host field",
    "use_ssl": "tls",
    "user": "the User field",
    "username": "the User field",
    "verify_ssl": "verify",
}


@dataclass(frozen=True)
class SupersetSettings:
    """Where a Superset is and how to log in.

    :param address: Root of Superset, for example ``http://127.0.0.1:8088``; with a path where it lives under one.
    :param password: The password, or the API key where ``auth`` says so.
    :param provider: Who checks the password for Superset: ``db`` or ``ldap``.
    :param auth: ``password`` or ``api_key``.
    :param verify: Whether the server's certificate is checked.
    :param ca_file: PEM file with the authorities it is checked against; by default the system's.
    """

    conn_id: str
    address: str
    login: str
    password: str = field(repr=False)
    provider: str = "db"
    verify: bool = True
    ca_file: str | None = None
    auth: str = PASSWORD

    @classmethod
    def from_connection(cls, conn: Any) -> SupersetSettings:
        """Read an Airflow connection of type ``superset``.

        :param conn: ``host`` (with or without ``http://``, a path stays), ``port`` (8088), ``login``, ``password``;
            ``extra`` holds the fields of the connection form.
        :raises SupersetConfigurationError: Something is missing, unknown or not allowed; the message names it.
        """
        extra: Mapping[str, Any] = conn.extra_dejson
        where = f"The Airflow connection {conn.conn_id!r}"
        _refuse_unknown(where, extra)
        auth = _choice(where, extra, "auth", AUTHENTICATIONS)
        needed = ["host", *(["login"] if auth == PASSWORD else []), "password"]
        missing = [name for name in needed if not getattr(conn, name)]
        if missing:
            raise SupersetConfigurationError(
                f"{where} lacks {', '.join(missing)}.",
                check="complete the connection (type superset: host, port, login, password; an API key goes into "
                "password).",
            )
        return cls(
            conn_id=str(conn.conn_id),
            address=_address(where, conn, extra),
            login=str(conn.login or ""),
            password=str(conn.password),
            provider=_choice(where, extra, "provider", PROVIDERS),
            verify=_as_bool(extra.get("verify"), default=True),
            ca_file=str(extra.get("ca_file") or "") or None,
            auth=auth,
        )

    @property
    def who(self) -> str:
        """As whom we are logged in, for messages."""
        return self.login or "the owner of the API key"

    def tls_context(self) -> ssl.SSLContext | bool:
        """What httpx checks certificates with.

        :raises SupersetConfigurationError: The file of authorities cannot be read.
        """
        if not self.address.startswith("https") or not self.verify:
            return False
        if self.ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise SupersetConfigurationError(
                f"The file {self.ca_file!r} holds no certificates that can be read.",
                received=str(error),
                check=f"ca_file of the Airflow connection {self.conn_id!r}: a PEM file on the machine that runs the "
                "task.",
            ) from error


def _refuse_unknown(where: str, extra: Mapping[str, Any]) -> None:
    unknown = sorted(set(extra) - set(EXTRA_FIELDS))
    if not unknown:
        return
    moved = "; ".join(f"{name} is {_FOREIGN_FIELDS[name]} here" for name in unknown if name in _FOREIGN_FIELDS)
    raise SupersetConfigurationError(
        f"{where} has the unknown extra {', '.join(unknown)}.",
        check=f"allowed are {', '.join(EXTRA_FIELDS)}." + (f" {moved}." if moved else ""),
    )


def _choice(where: str, extra: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = str(extra.get(name) or allowed[0]).lower()
    if value not in allowed:
        raise SupersetConfigurationError(f"{where} has {name} {value!r}.", check=f"allowed are {', '.join(allowed)}.")
    return value


def _address(where: str, conn: Any, extra: Mapping[str, Any]) -> str:
    scheme, _, rest = str(conn.host).rpartition("://")
    host, slash, path = rest.rstrip("/").partition("/")
    if scheme not in ("", "http", "https") or not host or "@" in host:
        raise SupersetConfigurationError(
            f"{where} has a host that is no address.",
            check="a name, http://name:8088 or https://name/path; user and password have fields of their own.",
        )
    tls = scheme == "https" if scheme else _as_bool(extra.get("tls"), default=False)
    inline = ""
    if ":" in host and not host.endswith("]"):
        host, _, inline = host.rpartition(":")
    # A full address without a port means the scheme's own.
    port = str(conn.port or inline or ("" if scheme else DEFAULT_PORT))
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise SupersetConfigurationError(f"{where} has port {port!r}.", check="a number from 1 to 65535.")
    return f"{'https' if tls else 'http'}://{host}{':' + port if port else ''}{slash}{path}"


def _as_bool(value: Any, *, default: bool) -> bool:
    """A connection's extra may hold true, "true" or nothing at all."""
    if value is None or value == "":
        return default
    return value if isinstance(value, bool) else str(value).strip().lower() in {"1", "true", "yes", "on"}
