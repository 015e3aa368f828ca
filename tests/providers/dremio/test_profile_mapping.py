"""The Cosmos profile mapping: claiming, selection, arguments, overrides, environment variables."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from cosmos.profiles import get_automatic_profile_mapping
from dremio_provider.profiles import DremioUserPasswordProfileMapping

COMPLETE = {
    "conn_type": "dremio",
    "host": "dremio.example.com",
    "port": 9047,
    "login": "dbt",
    "password": "s3cr3t-pass",
    "extra": {"flight_port": 32010, "tls": False},
}
PLACES = {
    "object_storage_source": "lake",
    "object_storage_path": "datalake.silver",
    "dremio_space": "silver",
    "dremio_space_folder": "no_schema",
}


@pytest.fixture
def mapping(monkeypatch: pytest.MonkeyPatch) -> Any:
    def build(profile_args: dict[str, Any] | None = None, **changes: Any) -> DremioUserPasswordProfileMapping:
        connection = {key: value for key, value in {**COMPLETE, **changes}.items() if value is not None}
        monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps(connection))
        return DremioUserPasswordProfileMapping("dremio_default", profile_args)

    return build


def test_a_complete_connection_is_claimed(mapping: Any) -> None:
    assert mapping().can_claim_connection()


@pytest.mark.parametrize("dropped", ["host", "login", "password"])
def test_a_connection_without_a_required_field_is_not_claimed(mapping: Any, dropped: str) -> None:
    assert not mapping(**{dropped: None}).can_claim_connection()


def test_a_connection_of_another_type_is_not_claimed(mapping: Any) -> None:
    assert not mapping(conn_type="postgres").can_claim_connection()


def test_it_is_selected_among_the_mappings_of_cosmos(mapping: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import cosmos.profiles

    mapping()
    monkeypatch.setattr(
        cosmos.profiles, "profile_mappings", [*cosmos.profiles.profile_mappings, DremioUserPasswordProfileMapping]
    )
    assert isinstance(get_automatic_profile_mapping("dremio_default"), DremioUserPasswordProfileMapping)


def test_the_connection_and_the_places_make_the_profile(mapping: Any) -> None:
    assert mapping(PLACES).profile == {
        "type": "dremio",
        "software_host": "dremio.example.com",
        "port": 9047,
        "user": "dbt",
        "password": "{{ env_var('COSMOS_CONN_DREMIO_PASSWORD') }}",
        "use_ssl": False,
        "threads": 4,
        **PLACES,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"extra": {"tls": True}}, {"use_ssl": True, "verify_ssl": True}),
        ({"extra": {"tls": True, "verify": False}}, {"use_ssl": True, "verify_ssl": False}),
        ({"host": "https://dremio.example.com"}, {"use_ssl": True, "software_host": "dremio.example.com"}),
        ({"host": "http://10.0.0.1:9999/", "port": None}, {"software_host": "10.0.0.1", "port": 9999}),
        ({"port": None}, {"port": 9047}),
    ],
)
def test_address_and_tls_follow_the_connection(mapping: Any, changes: Any, expected: dict[str, Any]) -> None:
    assert mapping(**changes).profile.items() >= expected.items()


def test_arguments_override_the_connection(mapping: Any) -> None:
    profile = mapping({"user": "other", "threads": 8, "software_host": "elsewhere"}).profile
    assert (profile["user"], profile["threads"], profile["software_host"]) == ("other", 8, "elsewhere")


def test_the_password_goes_only_through_the_environment(mapping: Any) -> None:
    made = mapping(PLACES)
    assert made.env_vars == {"COSMOS_CONN_DREMIO_PASSWORD": "s3cr3t-pass"}
    assert "s3cr3t-pass" not in made.get_profile_file_contents("shop")


def test_the_mock_profile_reads_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_DREMIO_DEFAULT", raising=False)
    contents = DremioUserPasswordProfileMapping("dremio_default", PLACES).get_profile_file_contents(
        "shop", use_mock_values=True
    )
    target = yaml.safe_load(contents)["shop"]["outputs"]["cosmos_target"]
    assert target["type"] == "dremio"
    assert target["password"] == "mock_value"
    assert target.items() >= PLACES.items()
