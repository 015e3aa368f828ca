"""Maps an Airflow connection of type ``dremio`` to a dbt-dremio profile."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from cosmos.profiles.base import BaseProfileMapping

from dremio_provider.connection import (
    DEFAULT_CLOUD_HOST,
    DEFAULT_PORT,
    PERSONAL_ACCESS_TOKEN,
    as_bool,
    software_addresses,
)

# What dbt-dremio 1.11 wants for each way to log in; the last field is the secret.
_SOFTWARE_PASSWORD = ("software_host", "user", "password")
_SOFTWARE_TOKEN = ("software_host", "pat")
_CLOUD = ("cloud_host", "cloud_project_id", "pat")


class DremioProfileMapping(BaseProfileMapping):
    """Whatever way to log in the Airflow connection has: user and password, a personal access token, or a project of
    Dremio Cloud. So the same DAG runs on each of them; only the connection differs.

    Where tables and views go is the project's choice and comes as ``profile_args``: ``object_storage_source``,
    ``object_storage_path``, ``dremio_space``, ``dremio_space_folder``. The secret never stands in ``profiles.yml``: dbt
    reads it from an environment variable that Cosmos sets.
    """

    airflow_connection_type: str = "dremio"
    dbt_profile_type: str = "dremio"

    airflow_param_mapping = {  # noqa: RUF012  # the shape Cosmos declares
        "software_host": "host",
        "port": "port",
        "user": "login",
        "password": "password",
        "pat": "password",
        "cloud_host": "extra.cloud_host",
        "cloud_project_id": "extra.project_id",
        "use_ssl": "extra.tls",
        "verify_ssl": "extra.verify",
    }

    @property
    def required_fields(self) -> list[str]:  # type: ignore[override, unused-ignore]  # a list where all log in alike
        """The profile's fields without which the connection is not claimed."""
        extra = self.conn.extra_dejson
        if extra.get("project_id"):
            return list(_CLOUD)
        return list(_SOFTWARE_TOKEN if extra.get("auth") == PERSONAL_ACCESS_TOKEN else _SOFTWARE_PASSWORD)

    @property
    def secret_fields(self) -> list[str]:  # type: ignore[override, unused-ignore]
        """The one field that goes through the environment."""
        return self.required_fields[-1:]

    @property
    def profile(self) -> dict[str, Any]:
        """The profile; the secret is a reference to an environment variable."""
        (secret,) = self.secret_fields
        profile = {
            "type": self.dbt_profile_type,
            "user": self.get_dbt_value("user"),
            "threads": 4,
            **(self._cloud() if "cloud_host" in self.required_fields else self._software()),
            **self.profile_args,
            secret: self.get_env_var_format(secret),
        }
        return {key: value for key, value in profile.items() if value is not None}

    def _cloud(self) -> dict[str, Any]:
        return {
            "cloud_host": self.get_dbt_value("cloud_host") or DEFAULT_CLOUD_HOST,
            "cloud_project_id": self.get_dbt_value("cloud_project_id"),
            "use_ssl": True,
        }

    def _software(self) -> dict[str, Any]:
        if not self.conn.host:
            return {}
        # dbt wants the bare host, an Airflow connection may hold http://host:port. dbt-dremio takes TLS for granted
        # unless told otherwise, and Cosmos drops false values of a connection.
        extra = self.conn.extra_dejson
        address = urlsplit(software_addresses(f"The Airflow connection {self.conn_id!r}", self.conn, extra)[0])
        secure = address.scheme == "https"
        return {
            "software_host": address.hostname,
            "port": address.port,
            "use_ssl": secure,
            "verify_ssl": as_bool(extra.get("verify"), default=True) if secure else None,
        }

    @property
    def mock_profile(self) -> dict[str, Any]:
        """A profile for parsing and tests, for which no connection is read."""
        secret = _SOFTWARE_PASSWORD[-1]
        return {
            "type": self.dbt_profile_type,
            "use_ssl": False,
            "port": DEFAULT_PORT,
            "threads": 4,
            **dict.fromkeys(_SOFTWARE_PASSWORD, "mock_value"),
            **{key: value for key, value in self.profile_args.items() if key != secret},
        }
