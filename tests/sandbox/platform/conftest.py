"""A sandbox of its own for each test: a state directory, and ports that nobody uses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.postgres import fallback_directory
from sandbox.processes import ProcessTable
from sandbox.services import port_taken
from sandbox.settings import BASE_PORTS, Settings


def free_offset() -> str:
    """Return an offset that moves every port of the platform to a free one, as the environment holds it."""
    while True:
        offset = random.randrange(2000, 12000)
        if not any(port_taken(base + offset) for base in BASE_PORTS.values()):
            return str(offset)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a new sandbox; whatever a test leaves running is ended."""
    # pytest's directories are closed to others, and PostgreSQL may have to run as another user.
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    made = Settings.load({"SANDBOX_VAR": str(tmp_path / "var"), "SANDBOX_PORT_OFFSET": free_offset()})
    yield made
    ProcessTable(made).sweep()
    assert not fallback_directory(made.var).exists()
