"""What tests that ask a real Superset share; conftest files import it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.real import RealSuperset
from tests.providers.superset.workshop import Workshop


@pytest.fixture(scope="module")
def hook(real_superset: RealSuperset) -> Iterator[SupersetHook]:
    """Logged in as the administrator, over the Airflow connection ``superset_default``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(real_superset.connection()))
        with SupersetHook() as opened:
            yield opened


@pytest.fixture
def workshop(hook: SupersetHook, real_superset: RealSuperset) -> Iterator[Workshop]:
    """Makes objects for one test."""
    made = Workshop(hook, real_superset)
    yield made
    made.remove()


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hook for any connection."""
    opened: list[SupersetHook] = []

    def log_in(connection: dict[str, Any]) -> SupersetHook:
        name = f"other_{len(opened)}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
        opened.append(SupersetHook(name, attempts=2))
        return opened[-1]

    yield log_in
    for one in opened:
        one.close()
