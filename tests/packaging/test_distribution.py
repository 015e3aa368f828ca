"""The one distribution, the locks, and what stays out of the repository."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

ENTRY_POINTS = {
    "dremio": "dremio_provider.get_provider_info:get_provider_info",
    "superset": "superset_provider.get_provider_info:get_provider_info",
}
LOCKS = [f"requirements{name}" for name in ("", "-dbt", "-superset", "-sandbox", "-adbc", "-dev")]


def canonical(name):
    return re.sub(r"[._-]+", "-", name).lower()


@pytest.fixture(scope="module")
def metadata(root, tmp_path_factory):
    """What an installer learns of the distribution from its own build backend."""
    source = tmp_path_factory.mktemp("distribution")
    shutil.copy(root / "pyproject.toml", source)
    shutil.copy(root / "README.md", source)
    for folder in ("plugins", "include"):
        shutil.copytree(root / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    code = "import setuptools.build_meta as b, sys; print(b.prepare_metadata_for_build_editable(sys.argv[1]))"
    target = source / "metadata"
    target.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    [found] = target.glob("*.dist-info")
    return found


def test_both_providers_are_registered(metadata):
    parser = configparser.ConfigParser()
    parser.read(metadata / "entry_points.txt")
    assert dict(parser["apache_airflow_provider"]) == ENTRY_POINTS


@pytest.mark.parametrize("provider", ENTRY_POINTS)
def test_a_provider_describes_itself_and_what_it_names_exists(root, provider, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "plugins"))
    module, function = ENTRY_POINTS[provider].split(":")
    info = getattr(importlib.import_module(module), function)()
    assert info["package-name"]
    # Airflow asks one entry point of a distribution only, so a provider may answer for the other as well.
    types = {connection["connection-type"] for connection in info["connection-types"]}
    assert provider in types <= set(ENTRY_POINTS)
    named = [connection["hook-class-name"] for connection in info["connection-types"]]
    named += [name for group in ("hooks", "operators", "sensors", "triggers") for name in modules(info, group)]
    assert named
    for dotted in named:
        assert importlib.util.find_spec(
            dotted.rpartition(".")[0] if dotted[dotted.rfind(".") + 1].isupper() else dotted
        )


def modules(info, group):
    return [name for integration in info.get(group, []) for name in integration["python-modules"]]


def test_an_installed_distribution_offers_the_same(root):
    installed = [point for point in importlib.metadata.entry_points(group="apache_airflow_provider")]
    ours = {point.name: point.value for point in installed if point.value in ENTRY_POINTS.values()}
    # Nothing of ours is installed where only the packaging is looked at; where it is, it has to be all of it.
    assert ours in ({}, ENTRY_POINTS)


def test_dependencies_of_the_distribution_are_locked(root, locked):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {canonical(re.split(r"[<>=!~\[; ]", dependency)[0]) for dependency in project["dependencies"]}
    assert names
    assert names <= set(locked["requirements.txt"])


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_address(root, lock):
    text = (root / f"{lock}.txt").read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=\S)", "\n" + text) if entry.strip() and not entry.startswith("#")]
    entries = [entry.strip() for entry in entries if not entry.strip().startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[^\]]+\])?==\S+", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b", text, re.MULTILINE)
    assert "://" not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_its_source_asks_for(root, locked, lock):
    wanted = (root / f"{lock}.in").read_text(encoding="utf-8").splitlines()
    lines = [line.strip() for line in wanted if line.strip() and not line.startswith(("#", "-c"))]
    assert lines
    for line in lines:
        name, pin = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?:==(\S+))?", line).groups()
        version = locked[f"{lock}.txt"].get(canonical(name))
        assert version, f"{lock}.txt has no {name}"
        assert pin in (None, version), f"{lock}.txt: {name} {version}"


def test_locks_of_one_environment_agree(locked):
    """Airflow, the sandbox and the test tools are installed together."""
    together = [locked[name] for name in ("requirements.txt", "requirements-sandbox.txt", "requirements-dev.txt")]
    for index, first in enumerate(together):
        for second in together[index + 1 :]:
            shared = first.keys() & second.keys()
            assert {name: first[name] for name in shared} == {name: second[name] for name in shared}


def test_secrets_and_state_are_ignored_by_git(root, tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True, timeout=30)
    shutil.copy(root / ".gitignore", tmp_path)
    secret = [
        ".env",
        "var/sandbox.env",
        "var/postgres/PG_VERSION",
        ".venv/airflow/bin/python",
        "dbt/target/manifest.json",
    ]
    public = [".env.example", "docker-compose.yml", "requirements.txt", "dbt/dbt_project.yml"]
    result = subprocess.run(
        ["git", "-C", tmp_path, "check-ignore", *secret, *public], capture_output=True, text=True, timeout=30
    )
    assert set(result.stdout.split()) == set(secret)


def test_hooks_run_locked_tools_only(root, locked):
    config = yaml.safe_load((root / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = {hook["id"]: hook for hook in config["repos"][0]["hooks"]}
    assert {"ruff", "ruff-format", "mypy", "sqlfluff", "check-yaml", "detect-private-key", "codespell"} <= set(hooks)
    for hook in hooks.values():
        assert hook["language"] in ("system", "fail")
        if hook["language"] == "system":
            assert hook["entry"].startswith(".venv/airflow/bin/")
    assert {
        "ruff",
        "mypy",
        "sqlfluff",
        "codespell",
        "yamllint",
        "pre-commit",
        "pre-commit-hooks",
        "check-jsonschema",
    } <= set(locked["requirements-dev.txt"])
