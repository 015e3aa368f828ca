"""What Airflow learns about both providers."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from dremio_provider.get_provider_info import get_provider_info as dremio_info
from superset_provider.get_provider_info import get_provider_info as superset_info

INFOS = [pytest.param(dremio_info, id="dremio"), pytest.param(superset_info, id="superset")]


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("info", INFOS)
def test_it_fits_airflows_schema(info: Any) -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(info(), schema)


@pytest.mark.parametrize("info", INFOS)
def test_either_entry_point_answers_for_the_whole_distribution(info: Any) -> None:
    # Airflow reads one entry point per distribution and silently skips the others.
    types = {entry["connection-type"] for entry in info()["connection-types"]}
    assert types == {"dremio", "superset"}
    assert info()["name"] == "Apache Superset and Dremio"


def test_everything_that_is_named_can_be_imported() -> None:
    info = dremio_info()
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                importlib.import_module(module)
    for entry in info["dialects"]:
        assert _import(entry["dialect-class-name"])
    for link in info["extra-links"]:
        assert _import(link)().name
    for entry in info["connection-types"]:
        hook = _import(entry["hook-class-name"])
        assert hook.conn_type == entry["connection-type"]
        assert hook.hook_name == entry["hook-name"]
        assert hook.default_conn_name == f"{hook.conn_type}_default"


def test_airflow_registers_both_connection_types(tmp_path: Path) -> None:
    script = (
        "from airflow.providers_manager import ProvidersManager as M; m = M(); m.initialize_providers_hooks();"
        "print('found', [m.hooks[t].hook_name for t in ('dremio', 'superset')],"
        "sorted(f[15:] for f in m.connection_form_widgets if f.startswith('extra__dremio__')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    fields = [
        "auth",
        "ca_file",
        "cloud_host",
        "default_context",
        "edition",
        "flight_port",
        "project_id",
        "tls",
        "verify",
    ]
    assert f"found ['Dremio', 'Apache Superset'] {fields}" in done.stdout


def _modules(info: dict[str, Any], *kinds: str) -> set[str]:
    return {module for kind in kinds for entry in info.get(kind, ()) for module in entry["python-modules"]}


def test_a_dag_file_can_import_the_operators_without_heavy_libraries() -> None:
    info = dremio_info()
    modules = _modules(info, "operators", "sensors") | {entry["python-module"] for entry in info["transfers"]}
    imports = f"import {', '.join(sorted(modules))}, dremio_provider.assets.dremio;"
    names = ("pyarrow", "pandas", "polars", "sqlalchemy", "sqlglot", "cosmos", "openlineage")
    heavy = f"print('heavy', [m for m in {names} if m in sys.modules])"
    first = "import sys; from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, conf;"
    ours, without = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True).stdout
        for text in (first + imports + heavy, first + heavy)
    )
    assert ours == without
