"""A test run that is told to end leaves no server behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lakehouse.servers import REPOSITORY

ENDLESS = """
import sys, time
import pytest
from tests.lakehouse.servers import free_port, running

@pytest.fixture(scope="session")
def port():
    port = free_port()
    with running([sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], port):
        yield port

def test_endless(port):
    print(f"port {port}", flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_stops_its_servers(told: signal.Signals, tmp_path: Path) -> None:
    test = tmp_path / "test_endless.py"
    test.write_text(ENDLESS)
    command = [sys.executable, "-m", "pytest", "-s", "-q", "-c", "pyproject.toml", "-p", "tests.conftest", str(test)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        port = next(int(line.split()[-1]) for line in run.stdout if "port " in line)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        run.send_signal(told)
        assert run.wait(30) == pytest.ExitCode.INTERRUPTED
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
