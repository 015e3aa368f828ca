"""The life of a reflection, and which edition refreshes it how."""

from __future__ import annotations

import pytest

from tests.sandbox.dremio.services import wait_until


@pytest.fixture(scope="module")
def dataset(target):
    target.rows(f'create or replace view "{target.space}".numbers as select * from (values (1), (2)) as v(n)')
    return target.entity(target.space, "numbers")["id"]


@pytest.fixture
def reflection(target, dataset):
    body = {"type": "RAW", "name": "r", "datasetId": dataset, "enabled": True, "displayFields": [{"name": "n"}]}
    created = target.http.post("/api/v3/reflection", json=body)
    assert created.status_code == 200
    yield created.json()
    target.http.delete(f"/api/v3/reflection/{created.json()['id']}")


def test_it_becomes_available(target, dataset, reflection):
    address = f"/api/v3/reflection/{reflection['id']}"

    def available() -> bool:
        status = target.http.get(address).json()["status"]
        return status["availability"] == "AVAILABLE" and status["refresh"] not in ("RUNNING", "PENDING")

    wait_until(available, 120, "the reflection")
    listed = target.http.get(f"/api/v3/dataset/{dataset}/reflection").json()["data"]
    assert [entry["id"] for entry in listed] == [reflection["id"]]
    shown = target.http.get(address).json()
    assert shown["status"]["combinedStatus"] == "CAN_ACCELERATE"
    assert shown["displayFields"] == [{"name": "n"}]
    assert "dimensionFields" not in shown


def test_it_is_changed_with_its_tag_only(target, reflection):
    address = f"/api/v3/reflection/{reflection['id']}"
    renamed = target.http.put(address, json={**reflection, "name": "renamed"})
    assert renamed.status_code == 200
    assert renamed.json()["tag"] != reflection["tag"]
    assert target.http.put(address, json={**reflection, "name": "late"}).status_code == 409
    assert target.http.delete(address).status_code == 200
    assert target.http.get(address).status_code == 404


@pytest.mark.parametrize("fields", [[], [{"name": "nowhere"}]])
def test_fields_that_do_not_exist_are_refused(target, dataset, fields):
    body = {"type": "RAW", "name": "wrong", "datasetId": dataset, "enabled": True, "displayFields": fields}
    assert target.http.post("/api/v3/reflection", json=body).status_code == 400


def test_refreshing_one(target, reflection):
    answer = target.http.post(f"/api/v3/reflection/{reflection['id']}/refresh")
    assert answer.status_code == (200 if target.can.enterprise else 404)
    statement = f'alter view "{target.space}".numbers refresh reflections'
    if target.can.enterprise:
        assert target.rows(statement)[0]["ok"] is True
    else:
        assert target.error(statement) == "REFRESH REFLECTIONS command is not supported."


def test_they_are_listed_in_the_system_table(target, reflection):
    rows = target.rows(f"select * from sys.reflections where reflection_id = '{reflection['id']}'")
    assert [(row["reflection_name"], row["type"]) for row in rows] == [("r", "RAW")]
    assert {"status", "dataset_name", "num_failures", "record_count", "last_refresh_from_table"} <= set(rows[0])
