"""Where a Dremio is and how to log in: an Airflow connection of type ``dremio``, read once and checked."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dremio_provider.exceptions import DremioConfigurationError
from dremio_provider.paths import parse_path

DEFAULT_CONN_ID = "dremio_default"
DEFAULT_PORT = 9047
DEFAULT_FLIGHT_PORT = 32010
DEFAULT_CLOUD_HOST = "api.dremio.cloud"
CLOUD_FLIGHT_PORT = 443
EDITIONS = ("auto", "community", "enterprise")
PASSWORD, PERSONAL_ACCESS_TOKEN = "password", "personal_access_token"  # the names of two ways to log in
AUTHENTICATIONS = (PASSWORD, PERSONAL_ACCESS_TOKEN)
EXTRA_FIELDS = (
    "auth",
    "ca_file",
    "cloud_host",
    "default_context",
    "edition",
    "flight_port",
    "project_id",
    "tls",
    "verify",
)
# DbApiHook reads these from any connection's extra.
DB_API_FIELDS = (
    "escape_column_names",
    "escape_word_format",
    "insert_statement_format",
    "placeholder",
    "replace_statement_format",
)
# What connections of other Dremio clients hold, and where it belongs here.
_FOREIGN_FIELDS = {
    "auth_type": "auth",
    "pat": f"the Password field, with auth = {PERSONAL_ACCESS_TOKEN}",
    "token": f"the Password field, with auth = {PERSONAL_ACCESS_TOKEN}",
    "access_token": f"the Password field, with auth = {PERSONAL_ACCESS_TOKEN}",
    "personal_access_token": f"the Password field, with auth = {PERSONAL_ACCESS_TOKEN}",
    "username": "the User field",
    "password": "the Password field",
    "use_ssl": "tls",
    "ssl": "tls",
    "use_tls": "tls",
    "UseEncryption": "tls",
    "verify_ssl": "verify",
    "disableCertificateVerification": "verify",
    "trustedCerts": "ca_file",
    "endpoint_url": "the Host field",
    "software_host": "the Host field",
    "project": "project_id",
    "cloud_project_id": "project_id",
    "schema": "default_context",
    "arrow_port": "flight_port",
}


@dataclass(frozen=True)
class DremioSettings:
    """Where a Dremio is and how to log in.

    :param address: Root of REST, for example ``http://127.0.0.1:9047``.
    :param flight_address: Address of Arrow Flight, for example ``grpc://127.0.0.1:32010``.
    :param password: The password, or the personal access token where ``auth`` says so.
    :param edition: ``auto``, ``community`` or ``enterprise``.
    :param verify: Whether the server's certificate is checked.
    :param ca_file: PEM file with the authorities it is checked against; by default the system's.
    :param auth: ``password`` or ``personal_access_token``.
    :param project_id: Project of Dremio Cloud; None for Dremio software.
    :param default_context: Path that unqualified names are looked up in.
    """

    conn_id: str
    address: str
    flight_address: str
    login: str
    password: str = field(repr=False)
    edition: str = "auto"
    verify: bool = True
    ca_file: str | None = None
    auth: str = PASSWORD
    project_id: str | None = None
    default_context: tuple[str, ...] = ()

    @classmethod
    def from_connection(cls, conn: Any) -> DremioSettings:
        """Read an Airflow connection of type ``dremio``.

        :param conn: ``host`` (with or without ``http://``), ``port`` (9047), ``login``, ``password``; ``extra`` holds
            the fields of the connection form.
        :raises DremioConfigurationError: Something is missing, unknown or not allowed; the message names it.
        """
        extra: Mapping[str, Any] = conn.extra_dejson
        where = f"The Airflow connection {conn.conn_id!r}"
        _refuse_unknown(where, extra)
        context = extra.get("default_context")
        project = str(extra.get("project_id") or "") or None
        auth = _choice(where, extra, "auth", AUTHENTICATIONS, PERSONAL_ACCESS_TOKEN if project else PASSWORD)
        if project and auth != PERSONAL_ACCESS_TOKEN:
            raise DremioConfigurationError(
                f"{where} has project_id and auth {auth!r}.",
                check=f"Dremio Cloud takes a {PERSONAL_ACCESS_TOKEN} only.",
            )
        needed = ["password"] if project else ["host", *(["login"] if auth == PASSWORD else []), "password"]
        missing = [name for name in needed if not getattr(conn, name)]
        if missing:
            raise DremioConfigurationError(
                f"{where} lacks {', '.join(missing)}.",
                check="complete the connection (type dremio: host, port, login, password; a personal access token goes "
                "into password).",
            )
        if project:
            cloud = str(extra.get("cloud_host") or DEFAULT_CLOUD_HOST)
            address = f"https://{cloud}"
            # The data endpoint of a control plane differs from its API in the first word: api.eu.. and data.eu..
            flight_address = f"grpc+tls://data.{cloud.removeprefix('api.')}:{CLOUD_FLIGHT_PORT}"
        else:
            address, flight_address = software_addresses(where, conn, extra)
        return cls(
            conn_id=str(conn.conn_id),
            address=address,
            flight_address=flight_address,
            login=str(conn.login or ""),
            password=str(conn.password),
            edition=_choice(where, extra, "edition", EDITIONS, "auto"),
            verify=as_bool(extra.get("verify"), default=True),
            ca_file=str(extra.get("ca_file") or "") or None,
            auth=auth,
            project_id=project,
            default_context=parse_path(context) if context else (),
        )

    @property
    def uses_tls(self) -> bool:
        """Whether REST and Flight are encrypted."""
        return self.address.startswith("https")

    @property
    def who(self) -> str:
        """As whom we are logged in, for messages."""
        return self.login or "the owner of the personal access token"

    def rest_path(self, path: str) -> str:
        """The path of a REST call on this Dremio.

        :param path: As Dremio software has it, for example ``/api/v3/catalog``.
        :raises DremioConfigurationError: Dremio Cloud does not have this call.
        """
        if self.project_id is None:
            return path
        if not path.startswith("/api/v3/"):
            raise DremioConfigurationError(
                f"Dremio Cloud does not have {path}.",
                address=self.address,
                check=f"project_id of the Airflow connection {self.conn_id!r}: without it the connection is for "
                "Dremio software.",
            )
        return f"/v0/projects/{self.project_id}/{path.removeprefix('/api/v3/')}"

    def tls_context(self) -> ssl.SSLContext | bool:
        """What httpx checks certificates with.

        :raises DremioConfigurationError: The file of authorities cannot be read.
        """
        if not self.uses_tls or not self.verify:
            return False
        if self.ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise _unreadable_authorities(self, error) from error

    def flight_options(self) -> dict[str, Any]:
        """What pyarrow's Flight client checks certificates with.

        :raises DremioConfigurationError: The file of authorities cannot be read.
        """
        if not self.uses_tls:
            return {}
        if not self.verify:
            return {"disable_server_verification": True}
        if self.ca_file is None:
            return {}
        try:
            with open(self.ca_file, "rb") as file:
                return {"tls_root_certs": file.read()}
        except OSError as error:
            raise _unreadable_authorities(self, error) from error


def _unreadable_authorities(settings: DremioSettings, error: OSError) -> DremioConfigurationError:
    return DremioConfigurationError(
        f"The file {settings.ca_file!r} holds no certificates that can be read.",
        received=str(error),
        check=f"ca_file of the Airflow connection {settings.conn_id!r}: a PEM file on the machine that runs the task.",
    )


def _refuse_unknown(where: str, extra: Mapping[str, Any]) -> None:
    unknown = sorted(set(extra) - {*EXTRA_FIELDS, *DB_API_FIELDS})
    if not unknown:
        return
    moved = "; ".join(f"{name} is {_FOREIGN_FIELDS[name]} here" for name in unknown if name in _FOREIGN_FIELDS)
    raise DremioConfigurationError(
        f"{where} has the unknown extra {', '.join(unknown)}.",
        check=f"allowed are {', '.join(EXTRA_FIELDS)}." + (f" {moved}." if moved else ""),
    )


def _choice(where: str, extra: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = str(extra.get(name) or default).lower()
    if value not in allowed:
        raise DremioConfigurationError(f"{where} has {name} {value!r}.", check=f"allowed are {', '.join(allowed)}.")
    return value


def software_addresses(where: str, conn: Any, extra: Mapping[str, Any]) -> tuple[str, str]:
    """The addresses of REST and Arrow Flight of Dremio software.

    :param where: The connection's name, for messages.
    :param conn: The connection; ``host`` is there.
    :param extra: Its extra.
    :raises DremioConfigurationError: A port is none.
    """
    scheme, _, rest = str(conn.host).rpartition("://")
    tls = scheme == "https" if scheme else as_bool(extra.get("tls"), default=False)
    host = rest.split("/", 1)[0]
    port: Any = conn.port or DEFAULT_PORT
    if ":" in host and not host.endswith("]"):
        host, _, inline = host.rpartition(":")
        port = conn.port or inline
    flight_port = extra.get("flight_port") or DEFAULT_FLIGHT_PORT
    for name, value in (("port", port), ("flight_port", flight_port)):
        if not str(value).isdigit() or not 0 < int(value) < 65536:
            raise DremioConfigurationError(f"{where} has {name} {value!r}.", check="a number from 1 to 65535.")
    return (
        f"{'https' if tls else 'http'}://{host}:{int(port)}",
        f"{'grpc+tls' if tls else 'grpc'}://{host}:{int(flight_port)}",
    )


def as_bool(value: Any, *, default: bool) -> bool:
    """A connection's extra may hold true, "true" or nothing at all."""
    if value is None or value == "":
        return default
    return value if isinstance(value, bool) else str(value).strip().lower() in {"1", "true", "yes", "on"}
