"""The product's dashboards are applied to a real Superset; applied again, nothing changes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from lakehouse import files, setup
from superset_provider.assets.bundle import read_folder
from superset_provider.assets.export import export_assets
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.bundles import remove_bundle
from tests.providers.superset.real import RealSuperset

from .servers import postgres


@pytest.fixture
def dremio(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the password of the Dremio that the files refer to; it does not run."""

    def set_password(password: str) -> None:
        connection = {"conn_type": "dremio", "host": "127.0.0.1", "login": "dremio", "password": password}
        extra = {"flight_port": 9, "tls": False}
        monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps({**connection, "extra": extra}))

    set_password("s3cret-of-dremio")
    return set_password


@pytest.fixture
def declared(dremio: Any, real_superset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the declared files."""
    for name in ("postgres", "superset"):
        shutil.copytree(files.include_dir() / name, tmp_path / name)
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(real_superset.connection()))
    with postgres(["platform"]) as port:
        store = {"conn_type": "postgres", "host": "127.0.0.1", "port": port, "schema": "platform", "login": "postgres"}
        monkeypatch.setenv("AIRFLOW_CONN_METADATA_POSTGRES", json.dumps({**store, "password": "trusted-anyway"}))
        with psycopg.connect(host="127.0.0.1", port=port, dbname="platform", user="postgres") as connection:
            connection.execute((tmp_path / "postgres" / "030_applied_configuration.sql").read_text())
        yield tmp_path / "superset" / "assets"
    with SupersetHook() as hook:
        remove_bundle(hook, read_folder(tmp_path / "superset" / "assets"))


def changed() -> dict[str, str]:
    """Apply, and tell what was not as declared."""
    return {
        f"{change.kind} {change.name}": change.detail
        for change in setup.apply("superset")
        if change.action != "unchanged"
    }


def changed_on(hook: SupersetHook) -> dict[str, str]:
    """When each dataset was changed last, which is part of the keys of everything cached of it."""
    return {entry["table_name"]: hook.get_dataset(entry["id"])["changed_on"] for entry in hook.list_datasets()}


def stored_password(superset: RealSuperset) -> bytes:
    """The password of the declared database, as Superset keeps it: encrypted."""
    assert superset.home is not None, "the metadata of another server cannot be read"
    with closing(sqlite3.connect(superset.home / "metadata.db")) as metadata:
        [[password]] = metadata.execute("SELECT password FROM dbs WHERE database_name = 'Dremio'")
    assert b"s3cret" not in password
    return bytes(password)


def test_only_what_differs_is_applied(declared: Path, dremio: Any, real_superset: RealSuperset) -> None:
    assert {change.action for change in setup.apply("superset")} == {"created"}
    with SupersetHook() as hook:
        times = changed_on(hook)
        assert changed() == {}
        path = min((declared / "charts").glob("*.yaml"))
        chart = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**chart, "description": "Another."}))
        assert list(changed()) == [f"chart {chart['slice_name']}"]
        # A new password cannot be seen in Superset, but it gets there.
        kept = stored_password(real_superset)
        dremio("another-s3cret")
        assert changed() == {"database Dremio": "password"}
        assert stored_password(real_superset) != kept
        assert changed() == {}
        assert changed_on(hook) == times
        # What Superset has now is what the files say: an export changes nothing but their form.
        export_assets(hook, declared)
        assert changed() == {}
        assert {entry.action for entry in export_assets(hook, declared)} == {"same"}
    assert "s3cret" not in "".join(path.read_text() for path in declared.rglob("*.yaml"))
