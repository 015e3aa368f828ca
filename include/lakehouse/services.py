"""Is it there? A cheap question to a service before a task needs it, and an answer that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lakehouse import connections

TIMEOUT_SECONDS = 3.0


class ServiceUnavailable(RuntimeError):
    """A service does not answer."""


@dataclass(frozen=True)
class _Service:
    """How to ask one kind of service whether it is there."""

    name: str
    probe: Callable[[connections.Address, str], str]
    path: str = ""


@dataclass(frozen=True)
class Requirement:
    """A hook for ``pre_execute``: the task fails at once, with a clear message, when a service is not there.

    Args:
        conn_ids: Airflow connections whose services the task needs.
    """

    conn_ids: tuple[str, ...]

    def __call__(self, context: Any = None) -> None:
        """Ask every service; raises ServiceUnavailable for the first that does not answer."""
        for conn_id in self.conn_ids:
            check(conn_id)


def require(*conn_ids: str) -> Requirement:
    """Return a check for an operator's ``pre_execute``.

    Args:
        conn_ids: Airflow connections, such as "dremio_default".
    """
    return Requirement(conn_ids)


def check(conn_id: str) -> None:
    """Ask one service whether it is there.

    Args:
        conn_id: Its Airflow connection.

    Raises:
        ServiceUnavailable: When it does not answer in time or answers with an error; the message names the service,
            its address, the reason and what to do.
        ConnectionMissing: When Airflow has no such connection.
        ValueError: When it is not known how to ask a service of this type.
    """
    address = connections.get(conn_id)
    service = _BY_ID.get(conn_id) or _BY_TYPE.get(address.conn_type)
    if service is None:
        raise ValueError(
            f"Airflow connection {conn_id!r} is of type {address.conn_type!r}; "
            f"services of these types can be asked: {', '.join(sorted(_BY_TYPE))}"
        )
    reason = service.probe(address, service.path)
    if reason:
        raise ServiceUnavailable(
            f"{service.name} at {_where(address)} does not answer ({reason}). "
            f"Start it, or correct the Airflow connection {conn_id!r}; then clear this task."
        )


def _where(address: connections.Address) -> str:
    if address.conn_type == "aws":
        return str(address.extra.get("endpoint_url") or "its default endpoint")
    if address.conn_type == "postgres":
        return f"{address.host}:{address.port or 5432}/{address.schema}"
    return _root(address)


def _root(address: connections.Address) -> str:
    if address.extra.get("tls") and "://" not in address.host:
        return address.url.replace("http://", "https://", 1)
    return address.url


def _ask_http(address: connections.Address, path: str) -> str:
    import httpx

    try:
        reply = httpx.get(_root(address) + path, timeout=TIMEOUT_SECONDS)
    except httpx.TimeoutException:
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    except httpx.ConnectError as error:
        return _plain(error)
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    # 401 and 403 are answers: whether the credentials are right is for the task itself to find out.
    return "" if reply.status_code < 400 or reply.status_code in (401, 403) else f"HTTP {reply.status_code}"


def _ask_postgres(address: connections.Address, _path: str) -> str:
    import psycopg2

    try:
        psycopg2.connect(
            host=address.host,
            port=address.port or 5432,
            dbname=address.schema,
            user=address.login,
            password=address.password,
            connect_timeout=int(TIMEOUT_SECONDS),
        ).close()
    except psycopg2.OperationalError as error:
        return _plain(error)
    return ""


def _ask_s3(address: connections.Address, _path: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    from lakehouse.lake import Lake

    lake = Lake.from_connection(address.conn_id, timeout=TIMEOUT_SECONDS, attempts=1)
    try:
        lake.ping()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        return f"bucket {lake.bucket!r} does not exist" if code == "404" else f"{code} for bucket {lake.bucket!r}"
    except BotoCoreError as error:
        return _plain(error)
    return ""


def _plain(error: Exception) -> str:
    """Return the reason of a failed connection in a few words."""
    text = str(error).lower()
    for words in ("connection refused", "name or service not known", "timed out", "timeout", "password authentication"):
        if words in text:
            return f"{words} failed" if words == "password authentication" else words
    if "could not connect to the endpoint" in text:
        return "connection refused or host unknown"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


_BY_TYPE = {
    "airbyte": _Service("Airbyte", _ask_http, "/health"),
    "dremio": _Service("Dremio", _ask_http, "/apiv2/server_status"),
    "superset": _Service("Superset", _ask_http, "/health"),
    "elasticsearch": _Service("Elasticsearch", _ask_http, "/"),
    "postgres": _Service("PostgreSQL", _ask_postgres),
    "aws": _Service("The S3 object store", _ask_s3),
    "http": _Service("The HTTP service", _ask_http, "/"),
}
_BY_ID = {
    "airbyte_config": _Service("Airbyte's Config API", _ask_http, "/api/v1/health"),
    "payment_provider": _Service("The payment provider", _ask_http, "/health"),
}
