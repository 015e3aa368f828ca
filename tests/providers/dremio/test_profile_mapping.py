"""The Cosmos profile mapping: claiming, selection, arguments, overrides, environment variables."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from cosmos.profiles import get_automatic_profile_mapping
from dremio_provider.profiles import DremioProfileMapping

SECRET = "s3cr3t-value"
PASSWORD = {
    "conn_type": "dremio",
    "host": "dremio.example.com",
    "port": 9047,
    "login": "dbt",
    "password": SECRET,
    "extra": {"flight_port": 32010, "tls": False},
}
TOKEN = {**PASSWORD, "extra": {"auth": "personal_access_token", "tls": True}}
CLOUD = {"conn_type": "dremio", "password": SECRET, "extra": {"project_id": "p-1"}}
PLACES = {
    "object_storage_source": "lake",
    "object_storage_path": "datalake.silver",
    "dremio_space": "silver",
    "dremio_space_folder": "no_schema",
}
WAYS = [
    pytest.param(PASSWORD, id="password"),
    pytest.param(TOKEN, id="token"),
    pytest.param(CLOUD, id="cloud"),
]


@pytest.fixture
def mapping(monkeypatch: pytest.MonkeyPatch) -> Any:
    def build(
        connection: dict[str, Any],
        profile_args: dict[str, Any] | None = None,
        **changes: Any,
    ) -> DremioProfileMapping:
        connection = {key: value for key, value in {**connection, **changes}.items() if value is not None}
        monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps(connection))
        return DremioProfileMapping("dremio_default", profile_args)

    return build


@pytest.mark.parametrize("connection", WAYS)
def test_a_complete_connection_is_claimed(mapping: Any, connection: Any) -> None:
    assert mapping(connection).can_claim_connection()


@pytest.mark.parametrize(
    ("connection", "dropped"),
    [
        (PASSWORD, "host"),
        (PASSWORD, "login"),
        (PASSWORD, "password"),
        (TOKEN, "host"),
        (TOKEN, "password"),
        (CLOUD, "extra"),
        (CLOUD, "password"),
    ],
)
def test_a_connection_without_a_required_field_is_not_claimed(mapping: Any, connection: Any, dropped: str) -> None:
    assert not mapping(connection, **{dropped: None}).can_claim_connection()


def test_a_connection_of_another_type_is_not_claimed(mapping: Any) -> None:
    assert not mapping(PASSWORD, conn_type="postgres").can_claim_connection()


@pytest.mark.parametrize("connection", WAYS)
def test_it_is_selected_among_the_mappings_of_cosmos(
    mapping: Any, monkeypatch: pytest.MonkeyPatch, connection: Any
) -> None:
    import cosmos.profiles

    mapping(connection)
    monkeypatch.setattr(cosmos.profiles, "profile_mappings", [*cosmos.profiles.profile_mappings, DremioProfileMapping])
    assert isinstance(get_automatic_profile_mapping("dremio_default"), DremioProfileMapping)


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (
            PASSWORD,
            {
                "software_host": "dremio.example.com",
                "port": 9047,
                "user": "dbt",
                "password": "{{ env_var('COSMOS_CONN_DREMIO_PASSWORD') }}",
                "use_ssl": False,
            },
        ),
        (
            TOKEN,
            {
                "software_host": "dremio.example.com",
                "port": 9047,
                "user": "dbt",
                "pat": "{{ env_var('COSMOS_CONN_DREMIO_PAT') }}",
                "use_ssl": True,
                "verify_ssl": True,
            },
        ),
        (
            CLOUD,
            {
                "cloud_host": "api.dremio.cloud",
                "cloud_project_id": "p-1",
                "pat": "{{ env_var('COSMOS_CONN_DREMIO_PAT') }}",
                "use_ssl": True,
            },
        ),
    ],
)
def test_the_connection_and_the_places_make_the_profile(mapping: Any, connection: Any, expected: Any) -> None:
    assert mapping(connection, PLACES).profile == {"type": "dremio", "threads": 4, **expected, **PLACES}


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
    assert mapping(PASSWORD, **changes).profile.items() >= expected.items()


def test_the_european_control_plane_follows_the_connection(mapping: Any) -> None:
    made = mapping(CLOUD, extra={"project_id": "p-1", "cloud_host": "api.eu.dremio.cloud"})
    assert made.profile["cloud_host"] == "api.eu.dremio.cloud"


@pytest.mark.parametrize("connection", WAYS)
def test_arguments_override_the_connection(mapping: Any, connection: Any) -> None:
    profile = mapping(connection, {"user": "other", "threads": 8, "use_ssl": "always"}).profile
    assert (profile["user"], profile["threads"], profile["use_ssl"]) == ("other", 8, "always")


@pytest.mark.parametrize(
    ("connection", "name"),
    [(PASSWORD, "COSMOS_CONN_DREMIO_PASSWORD"), (TOKEN, "COSMOS_CONN_DREMIO_PAT"), (CLOUD, "COSMOS_CONN_DREMIO_PAT")],
)
def test_the_secret_goes_only_through_the_environment(mapping: Any, connection: Any, name: str) -> None:
    made = mapping(connection, PLACES)
    assert made.env_vars == {name: SECRET}
    assert SECRET not in made.get_profile_file_contents("shop")


def test_the_mock_profile_reads_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_DREMIO_DEFAULT", raising=False)
    contents = DremioProfileMapping("dremio_default", PLACES).get_profile_file_contents("shop", use_mock_values=True)
    target = yaml.safe_load(contents)["shop"]["outputs"]["cosmos_target"]
    assert target["type"] == "dremio"
    assert target["password"] == "mock_value"
    assert target.items() >= PLACES.items()
