from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sandbox.processes import Command, ProcessTable, memory_bytes
from sandbox.settings import OWNER_VARIABLE, sandbox_id

REPOSITORY = Path(__file__).resolve().parents[3]


def command(settings, script: str) -> Command:
    return Command((sys.executable, "-c", script), settings.child_environment(), settings.var)


def wait_for(path: Path) -> int:
    """Return the process id that a test's program writes when it is ready."""
    end = time.monotonic() + 20
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.02)
    return int(path.read_text())


def ended(process: psutil.Process) -> bool:
    """Return whether a process is gone; one that only waits for init to take notice is."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def child_script(pid_file: Path, child: str) -> str:
    """Return a program that starts ``child`` (Popen arguments) and waits."""
    return f"""
import os, subprocess, sys, time
child = subprocess.Popen({child})
open({str(pid_file)!r} + ".new", "w").write(str(child.pid))
os.rename({str(pid_file)!r} + ".new", {str(pid_file)!r})
time.sleep(600)
"""


ESCAPED = '[sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True'
STRIPPED = '[sys.executable, "-c", "import time; time.sleep(600)"], env={}'


@pytest.mark.parametrize("child", [ESCAPED, STRIPPED], ids=["left its session", "lost its environment"])
def test_orphans_are_swept_after_their_parent_was_killed(settings, tmp_path, child):
    table = ProcessTable(settings)
    pid_file = tmp_path / "pid"
    record = table.spawn("service", command(settings, child_script(pid_file, child)), ())
    orphan = psutil.Process(wait_for(pid_file))
    psutil.Process(record.pid).kill()
    assert table.exit_code("service") in (None, -signal.SIGKILL)
    assert orphan.is_running()
    assert orphan.pid in {process.pid for process in table.owned()}

    assert table.sweep() >= 1
    assert ended(orphan)
    assert table.records() == {}


def test_stop_ends_the_whole_group(settings, tmp_path):
    table = ProcessTable(settings)
    pid_file = tmp_path / "pid"
    table.spawn("service", command(settings, child_script(pid_file, STRIPPED)), ())
    child = psutil.Process(wait_for(pid_file))
    table.stop("service", signal.SIGTERM, True, 5)
    assert ended(child)
    assert table.record("service") is None


def test_a_service_that_ignores_the_signal_is_killed(settings, tmp_path):
    table = ProcessTable(settings)
    ready = tmp_path / "pid"
    script = f"""
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open({str(ready)!r}, "w").write(str(os.getpid()))
time.sleep(600)
"""
    record = table.spawn("stubborn", command(settings, script), ())
    wait_for(ready)
    table.stop("stubborn", signal.SIGTERM, True, 0.2)
    assert table.process(record) is None


def test_another_sandbox_and_the_caller_are_left_alone(settings, tmp_path):
    """A sweep started by a program that itself carries the mark ends others, not itself or its parents."""
    table = ProcessTable(settings)
    record = table.spawn("service", command(settings, "import time; time.sleep(600)"), ())
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={OWNER_VARIABLE: sandbox_id(tmp_path / "other")}
    )
    script = (
        "from sandbox.processes import ProcessTable; from sandbox.settings import Settings; "
        "print(ProcessTable(Settings.load()).sweep())"
    )
    try:
        swept = subprocess.run(
            [sys.executable, "-c", script],
            env=settings.child_environment(),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (swept.returncode, swept.stdout.strip()) == (0, "1"), swept.stderr
        assert table.process(record) is None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_record_of_a_pid_that_is_someone_else_now_names_no_process(settings):
    table = ProcessTable(settings)
    record = table.spawn("service", command(settings, "import time; time.sleep(600)"), ())
    path = settings.var / "run" / "service.json"
    path.write_text(path.read_text().replace(str(record.create_time), str(record.create_time - 1000)))
    changed = table.record("service")
    assert changed is not None
    assert table.process(changed) is None


def test_output_goes_to_the_log_and_only_that_of_this_start_is_quoted(settings):
    table = ProcessTable(settings)
    for line in ("first", "second"):
        record = table.spawn("service", command(settings, f"print({line!r})"), ())
        while table.exit_code("service") is None:
            time.sleep(0.02)
    assert table.log_path("service").read_text() == "first\nsecond\n"
    assert table.last_lines(record) == ["second"]


def test_memory_is_that_of_the_processes_given(settings):
    own = memory_bytes([psutil.Process()])
    assert 0 < own <= psutil.Process().memory_info().rss * 2
    assert memory_bytes([]) == 0
