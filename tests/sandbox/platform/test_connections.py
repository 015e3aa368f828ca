from __future__ import annotations

import json

import pytest

from sandbox.connections import declared, fingerprint, same

NAMES = {
    "airbyte_default",
    "airbyte_config",
    "dremio_default",
    "superset_default",
    "lake_s3",
    "elasticsearch_default",
    "metadata_postgres",
    "shop_postgres",
    "payment_provider",
}


def test_all_connections_point_at_this_sandbox(settings):
    connections = {connection["connection_id"]: connection for connection in declared(settings)}
    assert set(connections) == NAMES
    assert connections["airbyte_default"]["host"] == f"{settings['AIRBYTE_URL']}/api/public/v1"
    assert connections["dremio_default"]["port"] == settings.port("dremio")
    assert json.loads(connections["dremio_default"]["extra"])["flight_port"] == settings.port("dremio_flight")
    assert connections["shop_postgres"]["schema"] == "shop"
    assert json.loads(connections["lake_s3"]["extra"])["endpoint_url"] == settings["S3_ENDPOINT"]


def shown(connection: dict[str, object]) -> dict[str, object]:
    """Return a connection as Airflow shows it: with all fields, without its password."""
    empty = dict.fromkeys(("description", "host", "login", "schema", "port", "extra"))
    return {**empty, **connection, "password": "***"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_unchanged_connection_is_recognised(settings, name):
    connection = next(c for c in declared(settings) if c["connection_id"] == name)
    assert same(shown(connection), connection)
    assert not same({**shown(connection), "host": "elsewhere"}, connection)
    assert not same({**shown(connection), "extra": '{"other": 1}'}, connection)


def test_a_changed_password_changes_the_fingerprint(settings):
    connection = next(c for c in declared(settings) if c["connection_id"] == "dremio_default")
    changed = {**connection, "password": "another"}
    assert fingerprint(connection) == fingerprint(dict(connection))
    assert fingerprint(connection) != fingerprint(changed)
    assert connection["password"] not in fingerprint(connection)
