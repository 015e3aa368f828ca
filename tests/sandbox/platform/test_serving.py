from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]

TWO_APPLICATIONS = """
from fastapi import FastAPI
from sandbox.serving import port, required, serve
required("DREMIO_USER")
first, second = FastAPI(), FastAPI()
first.get("/")(lambda: "first")
second.get("/")(lambda: "second")
serve([(first, port(8000)), (second, port(8001))], "pair")
"""


def start(settings, script: str = TWO_APPLICATIONS, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**settings.child_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_up(url: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(url, trust_env=False)
            return
        except httpx.ConnectError:
            time.sleep(0.05)
    pytest.fail(f"{url} does not answer: {process.communicate()}")


def test_two_applications_share_a_process_and_stop_on_sigterm(settings):
    process = start(settings)
    wait_until_up(settings["AIRBYTE_URL"], process)
    assert httpx.get(settings["AIRBYTE_URL"]).json() == "first"
    assert httpx.get(settings["AIRBYTE_CONFIG_URL"]).json() == "second"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=5)
    assert process.returncode == 0
    assert "listening on 127.0.0.1:" in out


def test_a_taken_port_is_one_line_and_exit_status_2(settings):
    process = start(settings)
    wait_until_up(settings["AIRBYTE_URL"], process)
    second = start(settings)
    _, errors = second.communicate(timeout=20)
    process.terminate()
    process.communicate(timeout=5)
    assert second.returncode == 2
    assert errors.count("\n") == 1
    assert f"127.0.0.1:{settings.port('airbyte')}" in errors


@pytest.mark.parametrize(("name", "value"), [("DREMIO_USER", ""), ("SANDBOX_PORT_OFFSET", "x")])
def test_a_bad_variable_is_one_line_and_exit_status_2(settings, name, value):
    process = start(settings, **{name: value})
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert name in errors


def test_a_failed_start_up_ends_both(settings):
    script = TWO_APPLICATIONS.replace("serve(", "second.router.on_startup.append(lambda: 1 / 0)\nserve(")
    process = start(settings, script)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "ZeroDivisionError" in out
