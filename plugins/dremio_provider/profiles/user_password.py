"""Maps an Airflow connection of type ``dremio`` with user and password to a dbt-dremio profile."""

from __future__ import annotations

from typing import Any

from cosmos.profiles.base import BaseProfileMapping

from dremio_provider.protocol import DEFAULT_PORT, DremioSettings, as_bool

# What dbt-dremio 1.11 accepts beside the connection itself; where tables and views go is the project's choice.
LOCATION_FIELDS = ("object_storage_source", "object_storage_path", "dremio_space", "dremio_space_folder")


class DremioUserPasswordProfileMapping(BaseProfileMapping):
    """User and password of the Airflow connection, REST host and port, TLS; the locations come as ``profile_args``.

    The password never stands in ``profiles.yml``: dbt reads it from an environment variable that Cosmos sets.
    """

    airflow_connection_type: str = "dremio"
    dbt_profile_type: str = "dremio"

    required_fields = [  # noqa: RUF012  # the shape Cosmos declares
        "software_host",
        "user",
        "password",
    ]
    secret_fields = [  # noqa: RUF012
        "password",
    ]
    airflow_param_mapping = {  # noqa: RUF012
        "software_host": "host",
        "port": "port",
        "user": "login",
        "password": "password",
        "use_ssl": "extra.tls",
        "verify_ssl": "extra.verify",
    }

    def transform_software_host(self, host: str) -> str:
        """dbt wants the bare host, an Airflow connection may hold ``http://host``."""
        return host.rpartition("://")[2].split("/", 1)[0].partition(":")[0]

    @property
    def profile(self) -> dict[str, Any]:
        """The profile; the password is a reference to an environment variable."""
        profile = {
            **self._defaults(),
            **self.mapped_params,
            **self._tls(),
            **self.profile_args,
            "password": self.get_env_var_format("password"),
        }
        return {key: value for key, value in profile.items() if value is not None}

    @property
    def mock_profile(self) -> dict[str, Any]:
        """A profile for parsing and tests, for which no connection is read."""
        return {
            "use_ssl": False,
            **self._defaults(),
            **super().mock_profile,
            **{key: value for key, value in self.profile_args.items() if key != "password"},
        }

    def _defaults(self) -> dict[str, Any]:
        return {"port": DEFAULT_PORT, "threads": 4}

    def _tls(self) -> dict[str, Any]:
        # dbt-dremio takes TLS for granted unless told otherwise, and Cosmos drops false values of a connection.
        extra = self.conn.extra_dejson
        if not self.conn.host:
            return {"use_ssl": as_bool(extra.get("tls"), default=False)}
        secure = str(self.conn.host).startswith("https://") or as_bool(extra.get("tls"), default=False)
        return {
            "use_ssl": secure,
            "verify_ssl": as_bool(extra.get("verify"), default=True) if secure else None,
            "port": self._port(),
        }

    def _port(self) -> int:
        if not (self.conn.login and self.conn.password):
            return int(self.conn.port or DEFAULT_PORT)
        address = DremioSettings.from_connection(self.conn).address
        return int(address.rpartition(":")[2])
