"""dbt in Airflow: the profile and the arguments that every dbt task of every DAG shares.

Cosmos is imported where it is used, so that nothing but a DAG file pays for it.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.services import require

if TYPE_CHECKING:
    from cosmos import ProfileConfig

DBT_PROJECT = Path(os.environ.get("DBT_PROJECT_DIR") or Path(__file__).resolve().parents[2] / "dbt")
DBT_EXECUTABLE = os.environ.get("DBT_EXECUTABLE", "dbt")
