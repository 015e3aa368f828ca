"""Airflow provider for Apache Superset: its REST API as a hook, and warming that is proved by a cache hit."""

from __future__ import annotations

__version__ = "0.1.0"
