"""Run dbt-dremio's own functional tests against the sandbox Dremio: ``.. scripts/dbt_adapter_suite CHECKOUT``.

CHECKOUT is a clone of github.com/dremio/dbt-dremio; its tests run where they lie, unchanged. The adapter under test is
the one this project has locked, installed with the tests' needs into a throw-away environment.
"""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path[:0] = [str(REPOSITORY), str(HERE)]

from platform_for_suite import platform  # noqa: E402

SUITE = Path("tests", "functional", "adapter")
REQUIREMENTS = ("dbt-tests-adapter==1.20.0", "pytest<9", "python-dotenv")
OUTCOMES = ("passed", "failed", "error", "skipped")


@dataclass(frozen=True)
class Exemption:
    """A test that is left out.

    Args:
        test: its node id, or the beginning of several, within :data:`SUITE`.
        reason: what it needs that the sandbox does not have.
        editions: the editions in which it is left out.
    """

    test: str
    reason: str
    editions: tuple[str, ...] = ("community", "enterprise")


def exemptions(edition: str) -> list[Exemption]:
    """Return the tests that are left out in an edition, from ``exemptions.yml``."""
    entries = yaml.safe_load((HERE / "exemptions.yml").read_text())
    listed = [Exemption(e["test"], e["reason"], tuple(e.get("editions", Exemption.editions))) for e in entries]
    return [exemption for exemption in listed if edition in exemption.editions]


def environment(folder: Path) -> Path:
    """Install the locked adapter and what its tests need into a fresh environment; return its Python."""
    uv = subprocess.run([REPOSITORY / "scripts" / "bootstrap", "--uv"], check=True, capture_output=True, text=True)
    program, python = uv.stdout.strip(), folder / "venv" / "bin" / "python"
    locked = REPOSITORY / "requirements-dbt.txt"
    subprocess.run([program, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    install = [program, "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "--requirement", locked], check=True)
    subprocess.run([*install, "--constraint", locked, *REQUIREMENTS], check=True)
    return python


def reflection_imports(python: Path, folder: Path) -> Path:
    """Return a folder from which ``build.lib.dbt`` is imported, as which one test knows the installed adapter."""
    script = "import dbt.adapters.dremio as adapter; print(adapter.__path__[0])"
    found = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    installed = Path(found.stdout.strip()).parents[1]
    library = folder / "imports" / "build" / "lib"
    library.mkdir(parents=True)
    (library / "dbt").symlink_to(installed, target_is_directory=True)
    return folder / "imports"


def run(python: Path, checkout: Path, directory: Path, variables: dict[str, str], options: list[str]) -> dict[str, int]:
    """Run the tests of one directory and return how many ended how."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            python, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:warnings", "-p", "rest_port",
            # The installed adapter comes before the checkout's own.
            "--tb=short", "--import-mode=append", f"--junitxml={report}", *options, directory,
        ]  # fmt: skip
        subprocess.run(command, cwd=checkout, env=variables, check=False)
        if not report.exists():
            return {"error": 1}
        return count(report)


def count(report: Path) -> dict[str, int]:
    """Return how many tests of a JUnit report ended how."""
    counts: collections.Counter[str] = collections.Counter()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # written by our own pytest
        tags = {child.tag for child in case}
        ended = next((tag for tag in ("failure", "error", "skipped") if tag in tags), "passed")
        counts["failed" if ended == "failure" else ended] += 1
    return dict(counts)


def show(counts: dict[str, dict[str, int]], left_out: list[Exemption]) -> None:
    """Print the counts by directory and what was left out."""
    print(f"\n{'directory':20}" + "".join(f"{outcome:>9}" for outcome in OUTCOMES))
    total: collections.Counter[str] = collections.Counter()
    for directory, ended in counts.items():
        total.update(ended)
        print(f"{directory:20}" + "".join(f"{ended.get(outcome, 0):9}" for outcome in OUTCOMES))
    print(f"{'all':20}" + "".join(f"{total.get(outcome, 0):9}" for outcome in OUTCOMES))
    for exemption in left_out:
        print(f"left out: {exemption.test}: {exemption.reason}")


def main() -> int:
    """Run the command line; the exit status is 0 if no test failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="a clone of dbt-dremio")
    parser.add_argument("directories", nargs="*", help=f"only these directories of {SUITE}")
    parser.add_argument("--edition", choices=("community", "enterprise"), default="community")
    parser.add_argument("-k", dest="expression", help="only the tests that match, as for pytest")
    chosen = parser.parse_args()
    suite = chosen.checkout.resolve() / SUITE
    if not suite.is_dir():
        parser.error(f"{suite} does not exist: {chosen.checkout} is not a clone of dbt-dremio")
    left_out = exemptions(chosen.edition)
    options = [f"--deselect={(SUITE / exemption.test).as_posix()}" for exemption in left_out]
    options += ["-k", chosen.expression] if chosen.expression else []
    known = sorted(path.name for path in suite.iterdir() if any(path.glob("test_*.py")))
    counts: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(prefix="dbt-adapter-suite-") as folder:
        python = environment(Path(folder))
        imports = reflection_imports(python, Path(folder))
        with platform(Path(folder), chosen.edition) as settings:
            path = os.pathsep.join([str(HERE), str(imports)])
            variables = {**os.environ, **settings, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": folder}
            for name in chosen.directories or known:
                counts[name] = run(python, chosen.checkout.resolve(), suite / name, variables, options)
    show(counts, left_out)
    return 1 if any(ended.get("failed") or ended.get("error") for ended in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
