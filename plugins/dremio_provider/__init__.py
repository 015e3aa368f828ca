"""Airflow provider for Dremio: SQL, catalog and Arrow Flight hooks, operators that know when reflections are ready."""

from __future__ import annotations

__version__ = "0.1.0"
