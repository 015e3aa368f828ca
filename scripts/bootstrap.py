"""Set up the project's Python environments below ``.venv`` from the locked requirements.

Needs nothing but Python 3.11 or newer: no package of ours or of anyone else. Installs with uv, from PATH or installed
into ``.venv/bootstrap``. A stamp in each environment makes a call that has nothing to do return at once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV_VERSION = "0.13.9"
PYTHONS = ">=3.11,<3.13"
"""What all environments run on: Superset's locked packages have no wheels for later versions."""

INSTALL_BYTES = 4_000_000_000
"""Free space for a first installation: 1.7 GB of packages, as much again in uv's cache if that cannot be linked."""
UPDATE_BYTES = 1_000_000_000

_NETWORK = (
    "dns error",
    "error sending request",
    "failed to fetch",
    "timed out",
    "connection refused",
    "network is unreachable",
)
_NO_SPACE = ("no space left", "disk quota exceeded", "os error 28")
_NO_PYTHON = ("no interpreter found", "no python", "failed to download python", "python downloads")


class BootstrapError(Exception):
    """Something a person can put right; its text is the whole message."""


@dataclass(frozen=True)
class Environment:
    """One virtual environment: its name below ``.venv`` and the locked files it is made of."""

    name: str
    requirements: tuple[str, ...]
    project: bool = False
    """Whether this project itself is installed into it."""


ENVIRONMENTS = (
    Environment("airflow", ("requirements.txt", "requirements-sandbox.txt"), project=True),
    Environment("dbt", ("requirements-dbt.txt",)),
    Environment("superset", ("requirements-superset.txt",)),
    Environment("adbc", ("requirements-adbc.txt",)),
)
DEVELOPMENT = "requirements-dev.txt"


def main() -> int:
    """Run the command line; the exit status is 0, or 2 after a message that says what to do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="also what `make test` and `make lint` need")
    parser.add_argument("--uv", action="store_true", help="only print the path of uv, installed if need be")
    chosen = parser.parse_args()
    try:
        if chosen.uv:
            print(find_uv())
        else:
            bootstrap(chosen.dev)
    except BootstrapError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. Run it again; it goes on where it stopped.", file=sys.stderr)
        return 130
    return 0


def bootstrap(development: bool) -> None:
    """Bring all environments up to date.

    Args:
        development: whether the test tools belong to them.

    Raises:
        BootstrapError: if something is missing.
    """
    wanted = {environment.name: _wanted(environment, development) for environment in ENVIRONMENTS}
    stale = [environment for environment in ENVIRONMENTS if _stamp(environment) != wanted[environment.name]]
    if not stale:
        return
    first = not all(_python(environment).exists() for environment in stale)
    check_space(ROOT, INSTALL_BYTES if first else UPDATE_BYTES)
    uv = find_uv()
    print(f"Setting up {', '.join(environment.name for environment in stale)} in .venv ...", flush=True)
    with ThreadPoolExecutor() as pool:
        tasks = [pool.submit(_install, uv, environment, wanted[environment.name]) for environment in stale]
        for task in tasks:
            task.result()


def check_space(directory: Path, needed: int) -> None:
    """Raise BootstrapError if fewer than ``needed`` bytes are free where ``directory`` is."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise BootstrapError(
            f"The disk is too full: {directory} has {free / 1e9:.1f} GB free, setting up needs {needed / 1e9:.0f} GB. "
            "Make room, or move the repository to a larger disk."
        )


def find_uv() -> str:
    """Return the path of uv: the one on PATH, or ours, installed now if it is missing.

    Raises:
        BootstrapError: if it cannot be installed.
    """
    on_path = shutil.which("uv")
    if on_path:
        return on_path
    home = ROOT / ".venv" / "bootstrap"
    program = home / "bin" / "uv"
    if not program.exists():
        _install_uv(home)
    return str(program)


def _install_uv(home: Path) -> None:
    probe = subprocess.run([sys.executable, "-c", "import venv, ensurepip"], capture_output=True, check=False)
    if probe.returncode != 0:
        raise BootstrapError(
            f"{sys.executable} has no venv module. Install it (Debian, Ubuntu: sudo apt install python3-venv), "
            "or install uv (https://docs.astral.sh/uv/) and put it on PATH."
        )
    print("Installing uv ...", flush=True)
    _run("uv", [sys.executable, "-m", "venv", "--clear", str(home)])
    _run("uv", [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}"])


def _install(uv: str, environment: Environment, wanted: dict[str, str]) -> None:
    started = time.monotonic()
    python = _python(environment)
    home = python.parent.parent
    _stamp_path(environment).unlink(missing_ok=True)
    if not _usable(python):
        _run(environment.name, [uv, "venv", "--quiet", "--clear", "--python", PYTHONS, str(home)])
    files = [*environment.requirements, *([DEVELOPMENT] if "development" in wanted else [])]
    _run(environment.name, [uv, "pip", "sync", "--require-hashes", "--python", str(python), *files])
    if environment.project:
        _run(environment.name, [uv, "pip", "install", "--no-deps", "--python", str(python), "--editable", "."])
    temporary = _stamp_path(environment).with_suffix(".new")
    temporary.write_text(json.dumps(wanted), encoding="utf-8")
    temporary.replace(_stamp_path(environment))
    print(f"  {environment.name:<9} ready ({time.monotonic() - started:.0f} s)", flush=True)


def _usable(python: Path) -> bool:
    """Return whether the environment's Python runs (its base may be gone) and has a version that fits."""
    script = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))"
    try:
        return subprocess.run([str(python), "-c", script], capture_output=True, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def _run(name: str, argv: list[str]) -> None:
    """Run a program, its output in ``.venv/<name>.log``; raise BootstrapError with one line that says what failed."""
    log_path = ROOT / ".venv" / f"{name}.log"
    environment = {**os.environ, "UV_NO_PROGRESS": "1", "VIRTUAL_ENV": ""}
    # A company's mirror is usually set for pip only.
    mirror = os.environ.get("PIP_INDEX_URL")
    if mirror and not any(os.environ.get(key) for key in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX")):
        environment["UV_DEFAULT_INDEX"] = mirror
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        result = subprocess.run(  # noqa: S603  our own arguments
            argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        text = result.stdout + result.stderr
        log_path.write_text(f"$ {' '.join(argv)}\n{text}", encoding="utf-8")
    except OSError as error:
        raise BootstrapError(explain(name, str(error).lower(), str(error), log_path)) from error
    if result.returncode != 0:
        raise BootstrapError(explain(name, text.lower(), _last_line(text), log_path))


def explain(name: str, text: str, line: str, log_path: Path) -> str:
    """Return one line about a failed installation.

    Args:
        name: the environment.
        text: everything the program said, in lower case.
        line: what to quote if nothing in it is known.
        log_path: where all of it can be read.
    """
    if any(sign in text for sign in _NO_SPACE):
        needed = f"{INSTALL_BYTES / 1e9:.0f} GB"
        return (
            f"The disk filled up while {name} was set up; a first installation needs {needed}. Make room, run it again."
        )
    if any(sign in text for sign in _NETWORK):
        return (
            f"No package registry could be reached while {name} was set up. Check the network or proxy. Log: {log_path}"
        )
    if any(sign in text for sign in _NO_PYTHON):
        return (
            "Python 3.11 or 3.12 is needed for the environments; none is installed and none could be downloaded. "
            "Install one (Debian, Ubuntu: sudo apt install python3.12; macOS: brew install python@3.12)."
        )
    return f"Setting up {name} failed: {line}. Log: {log_path}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _python(environment: Environment) -> Path:
    return ROOT / ".venv" / environment.name / "bin" / "python"


def _stamp_path(environment: Environment) -> Path:
    return ROOT / ".venv" / environment.name / ".bootstrap.json"


def _stamp(environment: Environment) -> dict[str, str]:
    try:
        stamp = json.loads(_stamp_path(environment).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and _python(environment).exists() else {}


def _wanted(environment: Environment, development: bool) -> dict[str, str]:
    """Return what an up-to-date environment's stamp says: a hash for each of its inputs.

    Test tools that are there stay: `make demo` after `make test` takes nothing away.
    """
    digest = hashlib.sha256(PYTHONS.encode())
    for name in environment.requirements:
        digest.update(_read(name))
    wanted = {"requirements": digest.hexdigest(), "directory": str(ROOT)}
    if environment.project:
        # An editable installation knows the packages that were there when it was made.
        packages = sorted(p.parent.name for room in ("plugins", "include") for p in (ROOT / room).glob("*/__init__.py"))
        wanted["project"] = hashlib.sha256(_read("pyproject.toml") + json.dumps(packages).encode()).hexdigest()
        if development or "development" in _stamp(environment):
            wanted["development"] = hashlib.sha256(_read(DEVELOPMENT)).hexdigest()
    return wanted


def _read(name: str) -> bytes:
    try:
        return (ROOT / name).read_bytes()
    except OSError as error:
        raise BootstrapError(f"{ROOT / name} cannot be read: {error.strerror}. Is this a complete clone?") from error


if __name__ == "__main__":
    sys.exit(main())
