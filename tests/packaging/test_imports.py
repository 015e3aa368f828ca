"""What a user's machine gets is enough: every import is of a locked distribution, not of one that only tests bring."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
OWN = {
    "dremio_provider", "superset_provider", "lakehouse", "lakehouse_airbyte", "sandbox", "event_log", "kept_rights",
    "leaner_queries",
}  # fmt: skip
SUPERSET = {"cachetools", "flask", "sqlalchemy", "sqlalchemy_dremio", "superset", "werkzeug"}
"""Imported only by what runs in Superset's own environment."""


def locked(*names: str) -> set[str]:
    texts = [(REPOSITORY / name).read_text() for name in names]
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==", "\n".join(texts), re.MULTILINE)
    return {normalised(name) for name in found}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder: str) -> dict[str, str]:
    """Top-level module -> a file that imports it."""
    found: dict[str, str] = {}
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        checked = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]
        only_for_types = {id(inner) for node in checked for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in only_for_types:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            found |= {name.partition(".")[0]: str(path.relative_to(REPOSITORY)) for name in names}
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | OWN | SUPERSET}


@pytest.mark.parametrize("folder", ["sandbox", "include", "plugins", "dags"])
def test_what_is_imported_is_locked(folder: str) -> None:
    lock = locked("requirements.txt", *(["requirements-sandbox.txt"] if folder == "sandbox" else []))
    distributions = packages_distributions()
    missing = {
        name: path
        for name, path in imported(folder).items()
        if not lock & {normalised(distribution) for distribution in distributions.get(name, [])}
    }
    assert missing == {}
