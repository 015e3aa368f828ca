"""The commands behind the Makefile: what they print and the exit status they end with."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sandbox import airflow, postgres, s3, servers, superset
from sandbox.airflow import run_step
from sandbox.services import Node, Platform, Preparation, State
from sandbox.settings import SandboxError, Settings
from sandbox.shop.settings import STAMP_FILE, wanted_stamp

_MADE_OF_THE_SHOP = ("airbyte", "dremio", "s3")
"""Services whose state follows from the shop's data; each keeps it in the directory of its name."""

# A pipe has no width of its own, and rich's guess of 80 would fold addresses.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
errors = Console(stderr=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0 done, 1 not everything is as it should be, 2 a message said what to do, 130 interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="The whole platform on one laptop.")
    parser.add_argument("command", choices=["up", "demo", "demo-live", "down", "status", "reset", "run"])
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="for `up`: only these services and what they need; for `demo-live`: changes a second, and for how many "
        "seconds; for `run`: a command that sees the platform as a task "
        "of its Airflow does",
    )
    chosen = parser.parse_args(arguments)
    commands = {"demo": demo, "down": down, "status": status, "reset": reset}
    try:
        settings = Settings.load()
        if chosen.command == "up":
            return up(settings, chosen.words)
        if chosen.command == "demo-live":
            return demo_live(settings, chosen.words)
        return run(settings, chosen.words) if chosen.command == "run" else commands[chosen.command](settings)
    except SandboxError as error:
        errors.print(str(error), style="red", markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        errors.print("\nInterrupted. What was started keeps running: `make status` shows it, `make down` ends it.")
        return 130


def check_space(settings: Settings) -> None:
    """Make sure that there is room for the databases, the lake and their logs.

    Raises:
        SandboxError: if there is not.
    """
    scale = float(settings["SANDBOX_SCALE"])
    needed = 1e9 + scale * 6e9
    free = shutil.disk_usage(settings.var).free
    if free < needed:
        raise SandboxError(
            f"The disk is too full: {settings.var} has {free / 1e9:.1f} GB free, scale {scale:g} needs "
            f"{needed / 1e9:.1f} GB. Make room, or set SANDBOX_VAR to a directory on another disk."
        )


def build(settings: Settings, quiet: bool = False, more: Sequence[Node] = ()) -> Platform:
    """Return the platform of these settings, with ``more`` to do on the way up."""
    nodes = [
        postgres.service(settings),
        s3.service(settings),
        *servers.services(settings),
        *superset.nodes(settings),
        *airflow.nodes(settings),
        *more,
    ]
    return Platform(settings, nodes, None if quiet else _announce)


def up(settings: Settings, only: Sequence[str] = ()) -> int:
    """Start what does not run; of all services, or of ``only`` those and what they need."""
    started = time.monotonic()
    with exclusive(settings):
        check_space(settings)
        build(settings).up(only)
    console.print(f"The platform is up ({time.monotonic() - started:.0f} s).", style="green")
    console.print(f"Airflow {settings['AIRFLOW_URL']}   Superset {settings['SUPERSET_URL']}")
    console.print(f"Addresses and credentials: {settings.path}", soft_wrap=True)
    return 0


def run(settings: Settings, words: Sequence[str]) -> int:
    """Run a command with Airflow's environment, in which its connections are found; the exit status is the command's.

    Raises:
        SandboxError: if there is no command, or no such program.
    """
    if not words:
        raise SandboxError("What is to run? python -m sandbox run <program> [<argument> ...]")
    program = shutil.which(words[0])
    if program is None:
        raise SandboxError(f"There is no program {words[0]!r}.")
    return subprocess.run([program, *words[1:]], env=airflow.environment(settings), check=False).returncode  # noqa: S603  the command is the caller's


def down(settings: Settings) -> int:
    """Stop everything that is ours."""
    with exclusive(settings):
        strays = build(settings).down()
    extra = f" ({strays} left-over processes ended)" if strays else ""
    console.print(f"The platform is down{extra}.", style="green")
    return 0


def status(settings: Settings) -> int:
    """Show what runs; the exit status is 0 only if everything does."""
    states = build(settings, quiet=True).states()
    table = Table("service", "state", "pid", "address", "memory", "up", box=None, pad_edge=False)
    for state in states:
        style = {"running": "green", "dead": "red"}.get(state.state, "dim")
        table.add_row(state.name, f"[{style}]{state.state}[/]", *_figures(state))
    console.print(table)
    console.print(f"together {_megabytes(sum(state.memory for state in states))}")
    return 0 if all(state.state == "running" for state in states) else 1


def demo(settings: Settings) -> int:
    """Bring the platform up, load the shop, and watch one nightly batch."""
    from sandbox.demo import run

    shop = Preparation("shop", lambda: load_shop(settings), ("postgres", "s3"))
    with exclusive(settings):
        check_space(settings)
        platform = build(settings, more=[shop])
        if replaces_shop(settings):
            console.print("Another shop than the one in the lake is asked for: its lake starts empty.")
            empty_lake(settings, platform)
        platform.up()
    return run(settings, console)


def demo_live(settings: Settings, words: Sequence[str]) -> int:
    """Bring the platform up, change the shop at a rate, and watch how the live charts follow.

    Args:
        settings: of the sandbox.
        words: changes a second, and for how many seconds.

    Raises:
        SandboxError: if these are no numbers greater than zero.
    """
    from sandbox.live.demo import run

    try:
        rate, seconds = (float(word) for word in words)
    except ValueError:
        rate = seconds = 0.0
    if rate <= 0 or seconds <= 0:
        raise SandboxError(f"{' '.join(words) or 'Nothing'} is no rate and no time: make demo-live RATE=100 SECONDS=60")
    shop = Preparation("shop", lambda: load_shop(settings), ("postgres", "s3"))
    with exclusive(settings):
        platform = build(settings, more=[] if (settings.var / "shop" / STAMP_FILE).is_file() else [shop])
        platform.up()
    return run(settings, console, rate, seconds)


def replaces_shop(settings: Settings) -> bool:
    """Return whether the sandbox holds a shop, and it is another one (scale, last day) than `make demo` will load."""
    directory = settings.var / "shop"
    stamp = directory / STAMP_FILE
    if not stamp.is_file():
        return False
    wanted = wanted_stamp(directory, settings.child_environment())
    return stamp.read_text(encoding="utf-8").strip() != wanted.as_json()


def empty_lake(settings: Settings, platform: Platform) -> None:
    """Forget everything that was made of the shop's data: lake, Dremio's catalog, and how far Airbyte's syncs came.

    A cursor that was set by the old shop would pass over the rows of the new one.

    Raises:
        SandboxError: if something cannot be deleted.
    """
    platform.stop(_MADE_OF_THE_SHOP)
    for name in _MADE_OF_THE_SHOP:
        delete_tree(settings.var / name)


def load_shop(settings: Settings) -> bool:
    """Generate the shop's data and load it into the sources, unless it is there at this scale; always True."""
    argv = [sys.executable, "-m", "sandbox.shop", "load"]
    run_step(settings, "shop", argv, settings.child_environment(), seconds=3600)
    return True


def reset(settings: Settings) -> int:
    """Stop everything and delete all state; the environments below ``.venv`` stay."""
    certain = bool(os.environ.get("FORCE") or os.environ.get("CI"))
    if not certain:
        if not sys.stdin.isatty():
            raise SandboxError(f"`reset` deletes {settings.var} with all data. Say FORCE=1 make reset.")
        if input(f"Delete {settings.var} with all data? [y/N] ").strip().lower() not in ("y", "yes"):
            return 1
    with exclusive(settings):
        build(settings).down()
        for directory in (settings.var, postgres.fallback_directory(settings.var)):
            delete_tree(directory)
    console.print(f"Deleted {settings.var}. The environments in .venv are kept.", style="green", soft_wrap=True)
    return 0


def delete_tree(directory: Path) -> None:
    """Delete a directory and all that is in it; one that is not there is fine.

    Raises:
        SandboxError: if some of it stays.
    """
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        raise SandboxError(f"Cannot delete {directory}: some of it belongs to another user.")


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Hold the sandbox against another `make up` or `make down` at the same time.

    Raises:
        SandboxError: if one is under way.
    """
    try:
        settings.var.mkdir(parents=True, exist_ok=True)
        lock = (settings.var / ".lock").open("w")
    except OSError as error:
        raise SandboxError(f"Cannot write below {settings.var}: {error.strerror}.") from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SandboxError("Another `make up`, `down`, `demo` or `reset` is at work. Wait for it.") from error
        yield


def _announce(name: str, event: str, seconds: float) -> None:
    console.print(f"  {name:<24} {event} ({seconds:.1f} s)")


def _figures(state: State) -> tuple[str, str, str, str]:
    minutes, seconds = divmod(int(state.uptime), 60)
    hours, minutes = divmod(minutes, 60)
    running = state.state == "running"
    up_time = f"{hours}:{minutes:02}:{seconds:02}" if running else ""
    return (str(state.pid or ""), state.address, _megabytes(state.memory) if state.memory else "", up_time)


def _megabytes(number: int) -> str:
    return f"{number / 1_000_000:,.0f} MB"
