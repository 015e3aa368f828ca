"""Where a benchmark's figures go, and what machine they are from."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """Return what the figures are measured on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_average": [round(value, 1) for value in psutil.getloadavg()],
    }


def describe(box: dict[str, Any]) -> str:
    """Return a machine as a sentence."""
    return (
        f"{box['system']}, {box['cores']} cores, {box['memory_gb']} GB, Python {box['python']}, load "
        f"{box['load_average'][0]} at the start. Times belong to this machine: read the ratios."
    )


def write(name: str, result: dict[str, Any], page: str) -> None:
    """Keep a result as ``results/<name>-<date>.json`` and, for people, as ``.md``.

    Args:
        name: of the benchmark.
        result: everything that was measured.
        page: the same in Markdown.
    """
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{name}-{datetime.now(UTC).date().isoformat()}"
    target.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(page, encoding="utf-8")
    print(f"written: {target}.md and .json")
