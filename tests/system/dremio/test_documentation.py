"""Every operator, sensor and transfer has a how-to with an example that is run, and the pages say what is true."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
from airflow.sdk import BaseOperator
from dremio_provider.get_provider_info import provider_info

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.system.dremio import snippets

REPOSITORY = Path(__file__).resolve().parents[3]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(snippets.PAGES.glob("*.md"))}
EXAMPLES = "\n".join(path.read_text(encoding="utf-8") for path in snippets.FOLDER.glob("example_*.py"))


def operators() -> list[type[BaseOperator]]:
    """Every operator that Airflow learns about."""
    info = provider_info()
    modules = [name for kind in ("operators", "sensors") for entry in info[kind] for name in entry["python-modules"]]
    modules += [entry["python-module"] for entry in info["transfers"]]
    found = []
    for name in modules:
        module = importlib.import_module(name)
        found += [
            member
            for _, member in inspect.getmembers(module, inspect.isclass)
            if member.__module__ == name and issubclass(member, BaseOperator)
        ]
    return found


def test_all_modules_with_operators_are_registered() -> None:
    """What lies in these folders and is not named by the provider is not found by anybody."""
    root = REPOSITORY / "plugins" / "dremio_provider"
    there = {
        f"dremio_provider.{kind}.{path.stem}"
        for kind in ("operators", "sensors", "transfers", "triggers")
        for path in (root / kind).glob("*.py")
    }
    info = provider_info()
    told = {name for kind in ("operators", "sensors", "triggers") for e in info[kind] for name in e["python-modules"]}
    told |= {entry["python-module"] for entry in info["transfers"]}
    helpers = {"operators.apply", "sensors.base", "transfers.s3_objects", "triggers.polling"}
    assert there - told == {
        f"dremio_provider.{kind}.__init__" for kind in ("operators", "sensors", "transfers", "triggers")
    } | {f"dremio_provider.{name}" for name in helpers}


def test_everything_else_that_is_registered_can_be_imported() -> None:
    [uris] = provider_info()["asset-uris"]
    for path in (uris["handler"], uris["factory"], uris["to_openlineage_converter"]):
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
    guides = [entry["how-to-guide"] for entry in provider_info()["transfers"]]
    guides += provider_info()["integrations"][0]["how-to-guide"]
    for guide in guides:
        assert (REPOSITORY / guide.lstrip("/")).is_file(), guide


@pytest.mark.parametrize("operator", operators(), ids=lambda operator: operator.__name__)
def test_an_operator_has_a_guide_and_an_example_that_is_run(operator: type[BaseOperator]) -> None:
    assert any(f"## {operator.__name__}\n" in page for page in PAGES.values())
    assert f"{operator.__name__}(\n" in EXAMPLES
    assert operator.__doc__
    # What can be given is explained.
    own = set(inspect.signature(operator.__init__).parameters) - {"self", "kwargs"}
    assert {name for name in own if f":param {name}:" not in operator.__doc__} == set()


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page_are_those_that_are_run(name: str) -> None:
    assert snippets.filled(PAGES[name]) == PAGES[name], "run tests/system/dremio/snippets.py"


def test_every_part_of_an_example_is_shown() -> None:
    shown = set().union(*(snippets.named(page) for page in PAGES.values()))
    assert shown == set(re.findall(r"# \[START (\w+)\]", EXAMPLES))


@pytest.mark.parametrize("name", PAGES)
def test_a_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", PAGES[name]):
        assert (snippets.PAGES / target).exists(), target


def test_every_row_of_the_comparison_names_a_test_that_exists() -> None:
    rows = [row for row in PAGES["comparison"].splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 30
    for row in rows:
        found = re.search(r"`(test_\w+\.py)::(test_\w+)` \|$", row)
        assert found is not None, row
        places = [REPOSITORY / "tests" / folder for folder in ("providers/dremio", "system/dremio", "providers")]
        file = next(folder / found[1] for folder in places if (folder / found[1]).is_file())
        assert f"def {found[2]}(" in file.read_text(encoding="utf-8"), row
