"""Plan and apply of Airbyte's objects: what the plan shows, what it hides, and what it refuses before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from lakehouse import files, setup
from lakehouse.airbyte import ask, every, public_api
from lakehouse.files import ConfigError
from lakehouse.setup.airbyte import plan
from lakehouse.setup.airbyte.__main__ import main
from lakehouse.setup.airbyte.checking import check
from lakehouse.setup.airbyte.declared import Actor, read

from .conftest import Platform


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the declared files that a test may change."""
    for name in ("airbyte", "config", "postgres"):
        shutil.copytree(files.include_dir() / name, tmp_path / name)
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path))
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def remove_all() -> None:
    api = public_api()
    for item in every(api.connections.list_connections):
        ask(api.connections.delete_connection, connection_id=item["connectionId"])
    for kind, actors in (("source", api.sources), ("destination", api.destinations)):
        for item in every(getattr(actors, f"list_{kind}s")):
            ask(getattr(actors, f"delete_{kind}"), **{f"{kind}_id": item[f"{kind}Id"]})


def test_the_plan_shows_everything_changes_nothing_and_hides_secrets(
    platform: Platform, declared: Path, capsys: Any
) -> None:
    setup.apply("postgres")
    remove_all()
    assert main(["plan", "--check"]) == 2
    shown = capsys.readouterr().out
    assert "+ source shop_postgres\n" in shown
    assert "      replication_method.replication_slot: 'airbyte_slot'\n" in shown
    assert "      password: (hidden)\n" in shown
    assert "      configurations.streams.2.syncMode: 'incremental_append'\n" in shown
    for secret in ("trusted-anyway", "provider-token", "not-a-secret-of-anything"):
        assert secret not in shown
    assert list(every(public_api().connections.list_connections)) == []
    assert main(["apply"]) == 0
    capsys.readouterr()
    assert main(["plan", "--check"]) == 0
    assert "0 to create, 0 to change" in capsys.readouterr().out


def test_only_what_differs_is_changed_field_by_field(platform: Platform, declared: Path, capsys: Any) -> None:
    setup.apply("postgres")
    setup.apply("airbyte")
    before = {item["name"]: item for item in every(public_api().sources.list_sources)}
    change(declared / "config" / "streams.yml", "compression: snappy", "compression: zstd")
    change(declared / "airbyte" / "manifests" / "payment_provider.yml", "max_retries: 10", "max_retries: 11")
    steps = {(step.kind, step.name): step for step in plan() if step.action != "unchanged"}
    assert {key: step.fields for key, step in steps.items()} == {
        ("destination", "lake_postgres"): ("format.compression_codec: 'SNAPPY' -> 'ZSTD'",),
        ("connector", "payment_provider"): ("streams.0.retriever.requester.error_handler.max_retries: 10 -> 11",),
    }
    assert main(["apply"]) == 0
    assert (
        "~ destination lake_postgres\n      format.compression_codec: 'SNAPPY' -> 'ZSTD'\n" in capsys.readouterr().out
    )
    assert {item["name"]: item for item in every(public_api().sources.list_sources)} == before
    assert {step.action for step in plan()} == {"unchanged"}


def test_a_low_code_configuration_arrives_as_declared(platform: Platform, declared: Path, recwarn: Any) -> None:
    """The client's union of all connectors would make it another connector's, and warn with the token in the text."""
    setup.apply("postgres")
    setup.apply("airbyte")
    [found] = [item for item in every(public_api().sources.list_sources) if item["name"] == "payment_provider"]
    assert set(found["configuration"]) == {"url_base", "api_token"}
    assert not [warning for warning in recwarn if "provider-token" in str(warning.message)]


def test_an_object_changed_in_airbyte_is_set_right(platform: Platform, declared: Path) -> None:
    setup.apply("postgres")
    setup.apply("airbyte")
    api = public_api()
    [found] = [item for item in every(api.connections.list_connections) if item["name"] == "partner_files"]
    ask(
        api.connections.patch_connection,
        connection_id=found["connectionId"],
        connection_patch_request={"status": "inactive"},
    )
    [step] = [step for step in plan() if step.action != "unchanged"]
    assert (step.name, step.fields) == ("partner_files", ("status: 'inactive' -> 'active'",))
    step.carry_out()
    assert {step.action for step in plan()} == {"unchanged"}


def test_a_connection_can_be_kept_out(declared: Path) -> None:
    change(declared / "airbyte" / "connections.yml", "destination: lake_cdc", "destination: lake_cdc\n    apply: false")
    kept = read()
    assert "shop_cdc" not in [connection.name for connection in kept.connections]
    assert not {"shop_postgres_cdc", "lake_cdc"} & {actor.name for actor in kept.actors}


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "connections",
            "source: partner_files",
            "source: partner",
            ["connections.2.source: 'partner'", "shop_postgres"],
        ),
        ("connections", "- name: shop_cdc", "- name: shop", ["sources.postgres_cdc.connection: 'shop_cdc'", "shop"]),
        ("sources", "manifest: payment", "manifests: payment", ["sources.2.manifests"]),
        ("destinations", "format_type: JSONL", "format_type: Avro", ["sources.api.tuning.compression: 'gzip'", "Avro"]),
    ],
)
def test_a_fault_in_a_file_is_named(declared: Path, file: str, old: str, new: str, words: list[str]) -> None:
    change(declared / "airbyte" / f"{file}.yml", old, new)
    with pytest.raises(ConfigError) as caught:
        read()
    for word in words:
        assert word in str(caught.value)


POSTGRES = {"sourceType": "postgres", "host": "h", "port": 5432, "database": "d", "username": "u"}
S3 = {"destinationType": "s3", "s3_bucket_name": "b", "s3_bucket_path": "p", "s3_bucket_region": "us-east-1"}


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({**POSTGRES, "port": "five"}, ["configuration.port: 'five'", "valid integer"]),
        ({**POSTGRES, "hots": "h"}, ["configuration.hots: no such field; allowed: ", "host"]),
        ({**POSTGRES, "replication_method": {"method": "Log"}}, ["replication_method: ", "'Log'", "'CDC', 'Xmin'"]),
        (
            {**POSTGRES, "replication_method": {"method": "CDC", "publication": "p"}},
            ["replication_slot: Field required"],
        ),
        (
            {**POSTGRES, "replication_method": {"method": "Xmin", "slot": "s"}},
            ["replication_method.slot: no such field"],
        ),
        ({**POSTGRES, "sourceType": "postgress"}, ["sourceType: 'postgress'", "no such connector", "postgres"]),
        ({"host": "h"}, ["sourceType: None"]),
        (
            {**S3, "format": {"format_type": "Parquet", "compression_codec": "SNAPY"}},
            ["format.compression_codec: 'SNAPY'", "'SNAPPY'", "'ZSTD'"],
        ),
    ],
)
def test_a_configuration_is_held_against_the_clients_model(configuration: dict[str, Any], words: list[str]) -> None:
    kind = "destination" if "destinationType" in configuration else "source"
    with pytest.raises(ConfigError) as caught:
        check(Actor(kind, "source", configuration, None, Path("file.yml")), configuration)
    text = str(caught.value)
    assert text.startswith(f"file.yml: {kind}s.source.configuration.")
    assert len(text.splitlines()) == 1, text
    for word in words:
        assert word in text


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    written = {**POSTGRES, "port": "{{ conn.shop.password }}"}
    with pytest.raises(ConfigError, match=r"configuration\.port: .*valid integer") as caught:
        check(Actor("source", "source", written, None, Path("file.yml")), {**written, "port": "s3cret"})
    assert "s3cret" not in str(caught.value)


def test_everything_that_is_declared_passes(platform: Platform) -> None:
    names = {actor.name for actor in read().actors}
    listed = [
        yaml.safe_load((files.include_dir() / "airbyte" / f"{kind}.yml").read_text())[kind]
        for kind in ("sources", "destinations")
    ]
    assert names == {item["name"] for items in listed for item in items}
    setup.apply("postgres")
    assert {step.name for step in plan()} >= names
