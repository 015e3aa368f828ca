"""The packaging files, read once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """docker-compose.yml, anchors and merges resolved, variables as they stand."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return compose["services"]


@pytest.fixture(scope="session")
def declared() -> dict[str, str]:
    """The variables of .env.example and their values."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    assert all(separator for _, separator, _ in pairs)
    assert len({name for name, _, _ in pairs}) == len(pairs), "a variable is declared twice"
    return {name: value for name, _, value in pairs}


@pytest.fixture(scope="session")
def locked(root: Path) -> dict[str, dict[str, str]]:
    """Package versions of every requirements file: {"requirements.txt": {"apache-airflow": "3.3.2", ...}, ...}."""
    found = {}
    for path in sorted(root.glob("requirements*.txt")):
        pins = re.findall(
            r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        found[path.name] = {re.sub(r"[._-]+", "-", name).lower(): version for name, version in pins}
    return found
