"""Every template, taken as its first lines say, is a set of files that passes all checks but asking Airbyte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from lakehouse import files, templates
from lakehouse.config import load_streams
from lakehouse.setup.airbyte.checking import check
from lakehouse.setup.airbyte.declared import Declared, read, stream_configurations

from sandbox.airbyte.declarative.manifest import Manifest

FOLDER = files.include_dir() / "airbyte" / "templates"
TEMPLATES = sorted(path.name for path in FOLDER.glob("*.yml") if path.name != "rest_api_manifest.yml")
ADDRESS = {"host": "db.example.org", "login": "reader", "password": "pass-word", "schema": "shop"}
BUCKET = {"service_config": {"s3": {"bucket_name": "lake"}}, "region_name": "us-east-1", "endpoint_url": "http://s3"}


@pytest.fixture
def taken(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declared:
    """What is declared once a template is copied into the files it names."""
    template = yaml.safe_load((FOLDER / request.param).read_text())
    (tmp_path / "config").mkdir()
    (tmp_path / "airbyte" / "manifests").mkdir(parents=True)
    shutil.copy(FOLDER / "rest_api_manifest.yml", tmp_path / "airbyte" / "manifests" / "tickets.yml")
    streams = template.pop("streams")
    (tmp_path / "config" / "streams.yml").write_text(yaml.safe_dump({"sources": streams}, sort_keys=False))
    for part, content in template.items():
        (tmp_path / "airbyte" / f"{part}.yml").write_text(yaml.safe_dump({part: content}))
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path))
    for conn_id in ("lake_s3", *streams):
        address = {"conn_type": "generic", **ADDRESS, "extra": BUCKET}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(address))
    return read()


def test_there_is_one_for_every_kind_of_source() -> None:
    assert TEMPLATES == [
        "files.yml", "mongodb.yml", "mysql.yml", "postgres.yml", "postgres_cdc.yml", "postgres_xmin.yml",
        "rest_api.yml", "sqlserver_cdc.yml",
    ]  # fmt: skip


@pytest.mark.parametrize("taken", TEMPLATES, indirect=True)
def test_a_template_passes_the_clients_models(taken: Declared) -> None:
    assert {actor.kind for actor in taken.actors} == {"source", "destination"}
    for actor in taken.actors:
        configuration = templates.resolve(actor.configuration)
        if actor.manifest is None:
            check(actor, configuration)
        else:
            [stream] = Manifest.parse(actor.manifest).streams
            assert stream["retriever"]["paginator"]["pagination_strategy"]["page_size"] == 100
    assert set(load_streams().sources) == {source.name for source in taken.streams.values()}


@pytest.mark.parametrize(
    ("taken", "cursors"),
    [
        ("postgres.yml", [["updated_at"], None]),
        ("postgres_xmin.yml", [None]),
        ("postgres_cdc.yml", [None]),
        ("mysql.yml", [None]),
        ("mongodb.yml", [None]),
    ],
    indirect=["taken"],
)
def test_a_cursor_is_given_where_the_source_has_none_of_its_own(taken: Declared, cursors: list[Any]) -> None:
    [connection] = taken.connections
    assert [stream.get("cursorField") for stream in stream_configurations(taken, connection)] == cursors
