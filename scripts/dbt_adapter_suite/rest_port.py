"""A pytest plugin: the suite's profile has no port, so it is given the one that the sandbox listens on."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Generator[None, Any, None]:
    """Add the port to the dictionary that the suite's own fixture returned."""
    outcome = yield
    if fixturedef.argname == "dbt_profile_target":
        outcome.get_result()["port"] = int(os.environ["DREMIO_SUITE_PORT"])
