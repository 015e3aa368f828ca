"""The product's configuration of Superset, with what tests need on top."""

from __future__ import annotations

import runpy
from pathlib import Path

globals().update(
    (name, value)
    for name, value in runpy.run_path(
        str(Path(__file__).resolve().parents[3] / "include" / "superset" / "superset_config.py")
    ).items()
    if name.isupper()
)

# Metadata and source are SQLite files, which Superset warns of.
PREVENT_UNSAFE_DB_CONNECTIONS = False
FAB_API_KEY_ENABLED = True
FEATURE_FLAGS = {
    **globals().get("FEATURE_FLAGS", {}),
    "ENABLE_TEMPLATE_PROCESSING": True,
    "TAGGING_SYSTEM": True,
}
