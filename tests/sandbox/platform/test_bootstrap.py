from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """The module, working on a copy of the locked requirements instead of this repository."""
    spec = importlib.util.spec_from_file_location("bootstrap", REPOSITORY / "scripts" / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bootstrap", module)
    spec.loader.exec_module(module)
    for path in [*REPOSITORY.glob("requirements*.txt"), REPOSITORY / "pyproject.toml"]:
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fail_with(bootstrap, monkeypatch, tmp_path, said: str) -> str:
    """Return the message when uv fails, having said something on standard error."""
    uv = program(tmp_path / "bin" / "uv", f"echo '{said}' >&2; exit 2")
    monkeypatch.setenv("PATH", f"{uv.parent}:{os.environ['PATH']}")
    with pytest.raises(bootstrap.BootstrapError) as caught:
        bootstrap.bootstrap(False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("said", "explained"),
    [
        ("error: failed to write: No space left on device (os error 28)", "The disk filled up"),
        (
            "error: error sending request for url (x): dns error: failed to lookup",
            "No package registry could be reached",
        ),
        (
            "error: No interpreter found for Python >=3.11, <3.13 in managed installations",
            "Python 3.11 or 3.12 is needed",
        ),
        ("error: something else entirely", "something else entirely"),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(bootstrap, monkeypatch, tmp_path, said, explained):
    message = fail_with(bootstrap, monkeypatch, tmp_path, said)
    assert explained in message
    assert "\n" not in message


def test_a_full_disk_is_told_before_anything_is_installed(bootstrap, tmp_path):
    needed = shutil.disk_usage(tmp_path).free + 10**9
    with pytest.raises(bootstrap.BootstrapError, match=r"has \d+\.\d GB free, setting up needs \d+ GB"):
        bootstrap.check_space(tmp_path, needed)


def test_a_python_without_venv_is_told(bootstrap, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python", "exit 1")))
    with pytest.raises(bootstrap.BootstrapError, match=r"has no venv module.*python3-venv"):
        bootstrap.find_uv()


def test_an_old_python_is_told_without_a_traceback(tmp_path):
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        program(tmp_path / name, 'if [ "$1" = --version ]; then echo "Python 3.9.2"; else exit 1; fi')
    path = f"{tmp_path}:/usr/bin:/bin"
    environment = {"PATH": path, "PYTHON": str(tmp_path / "python3")}
    done = subprocess.run([REPOSITORY / "scripts" / "bootstrap"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Python 3.11 or newer is needed, and there is Python 3.9.2." in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_up_to_date_is_left_alone(bootstrap, monkeypatch, tmp_path):
    calls = tmp_path / "calls"
    script = f"""
echo "$*" >> {calls}
if [ "$1" = venv ]; then for last; do :; done; mkdir -p "$last/bin"; ln -s {sys.executable} "$last/bin/python"; fi"""
    uv = program(tmp_path / "bin" / "uv", script)
    monkeypatch.setenv("PATH", f"{uv.parent}:{os.environ['PATH']}")
    bootstrap.bootstrap(False)
    first = calls.read_text().splitlines()
    assert sum("--require-hashes" in line for line in first) == 4
    assert sum("--editable" in line for line in first) == 1

    bootstrap.bootstrap(False)
    assert calls.read_text().splitlines() == first

    bootstrap.bootstrap(True)
    added = calls.read_text().splitlines()[len(first) :]
    assert [line for line in added if "sync" in line and "requirements-dev.txt" in line]
    assert not [line for line in added if "requirements-superset.txt" in line]

    bootstrap.bootstrap(False)
    assert len(calls.read_text().splitlines()) == len(first) + len(added), "the test tools stay"

    (tmp_path / "requirements-dbt.txt").write_text("changed\n")
    bootstrap.bootstrap(False)
    last = calls.read_text().splitlines()[-1]
    assert "requirements-dbt.txt" in last


def test_the_locked_files_hold_a_hash_for_every_package():
    for path in REPOSITORY.glob("requirements*.txt"):
        lines = path.read_text().splitlines()
        packages = [line for line in lines if line and not line.startswith((" ", "#", "-"))]
        assert packages
        assert all(line.rstrip().endswith("\\") for line in packages), path
