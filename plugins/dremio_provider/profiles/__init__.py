"""dbt profiles for Cosmos, built from Airflow connections of type ``dremio``."""

from __future__ import annotations

from dremio_provider.profiles.mapping import DremioProfileMapping

__all__ = ["DremioProfileMapping"]
