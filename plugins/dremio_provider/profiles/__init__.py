"""dbt profiles for Cosmos, built from Airflow connections of type ``dremio``."""

from __future__ import annotations

from dremio_provider.profiles.user_password import DremioUserPasswordProfileMapping

__all__ = ["DremioUserPasswordProfileMapping"]
