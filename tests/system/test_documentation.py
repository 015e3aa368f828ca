"""Every operator, sensor and transfer has a how-to with an example that is run, and the pages say what is true."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import pytest
from airflow.sdk import BaseOperator

from tests.system.snippets import PROVIDERS, REPOSITORY, Guide

GUIDES = {provider: Guide(provider) for provider in PROVIDERS}
# What several modules of a folder build on.
HELPERS = {
    "dremio": {"operators.apply", "sensors.base", "transfers.s3_objects", "triggers.polling"},
    "superset": set(),
}
each_provider = pytest.mark.parametrize("provider", PROVIDERS)
each_page = pytest.mark.parametrize(
    ("provider", "page"), [(provider, page) for provider, guide in GUIDES.items() for page in guide.pages]
)


def info(provider: str) -> dict[str, Any]:
    """What this provider tells Airflow."""
    module = importlib.import_module(f"{provider}_provider.get_provider_info")
    told: dict[str, Any] = module.provider_info()
    return told


def modules(provider: str, *kinds: str) -> set[str]:
    """The modules of these kinds that Airflow learns about."""
    told = info(provider)
    listed = {name for kind in kinds for entry in told.get(kind, ()) for name in entry.get("python-modules", ())}
    return listed | {e["python-module"] for kind in kinds for e in told.get(kind, ()) if "python-module" in e}


def operators() -> list[Any]:
    """Every operator that Airflow learns about."""
    found = []
    for provider in PROVIDERS:
        for name in sorted(modules(provider, "operators", "sensors", "transfers")):
            members = inspect.getmembers(importlib.import_module(name), inspect.isclass)
            found += [
                pytest.param(GUIDES[provider], member, id=member.__name__)
                for _, member in members
                if member.__module__ == name and issubclass(member, BaseOperator)
            ]
    return found


@each_provider
def test_all_modules_with_operators_are_registered(provider: str) -> None:
    """What lies in these folders and is not named by the provider is not found by anybody."""
    root = REPOSITORY / "plugins" / f"{provider}_provider"
    kinds = ("operators", "sensors", "transfers", "triggers")
    there = {
        f"{provider}_provider.{kind}.{path.stem}"
        for kind in kinds
        for path in (root / kind).glob("*.py")
        if path.stem != "__init__"
    }
    assert there - modules(provider, *kinds) == {f"{provider}_provider.{name}" for name in HELPERS[provider]}


@each_provider
def test_everything_else_that_is_registered_is_there(provider: str) -> None:
    told = info(provider)
    for uris in told.get("asset-uris", ()):
        for path in (uris["handler"], uris["factory"], uris["to_openlineage_converter"]):
            module, _, name = path.rpartition(".")
            assert callable(getattr(importlib.import_module(module), name))
    guides = [entry["how-to-guide"] for entry in told.get("transfers", ())]
    guides += told["integrations"][0]["how-to-guide"]
    for guide in guides:
        assert (REPOSITORY / guide.lstrip("/")).is_file(), guide


@pytest.mark.parametrize(("guide", "operator"), operators())
def test_an_operator_has_a_guide_and_an_example_that_is_run(guide: Guide, operator: type[BaseOperator]) -> None:
    assert any(f"## {operator.__name__}\n" in guide.text(page) for page in guide.pages)
    assert f"{operator.__name__}(\n" in guide.examples
    assert operator.__doc__
    # What can be given is explained.
    own = set(inspect.signature(operator.__init__).parameters) - {"self", "kwargs"}
    assert {name for name in own if f":param {name}:" not in operator.__doc__} == set()


@each_page
def test_the_examples_of_a_page_are_those_that_are_run(provider: str, page: str) -> None:
    assert GUIDES[provider].filled(page) == GUIDES[provider].text(page), "run tests/system/snippets.py"


@each_provider
def test_every_part_of_an_example_is_shown(provider: str) -> None:
    guide = GUIDES[provider]
    shown = set().union(*(guide.named(page) for page in guide.pages))
    assert shown == set(re.findall(r"# \[START (\w+)\]", guide.examples))


@each_page
def test_a_link_leads_somewhere(provider: str, page: str) -> None:
    guide = GUIDES[provider]
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", guide.text(page)):
        assert (guide.pages[page].parent / target).exists(), target


@each_provider
def test_every_row_of_the_comparison_names_a_test_that_exists(provider: str) -> None:
    rows = [row for row in GUIDES[provider].text("comparison").splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 20
    folders = (f"providers/{provider}", f"system/{provider}", f"contract/{provider}", "system", "providers", "e2e")
    for row in rows:
        found = re.search(r"`(test_\w+\.py)::(test_\w+)` \|$", row)
        assert found is not None, row
        files = [REPOSITORY / "tests" / folder / found[1] for folder in folders]
        texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
        assert any(f"def {found[2]}(" in text for text in texts), row
