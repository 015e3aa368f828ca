"""What every client of Dremio relies on."""

from __future__ import annotations

import httpx
import pytest
from pyarrow import flight

from tests.sandbox.dremio.services import wait_until


def test_login(target):
    good = httpx.post(f"{target.url}/apiv2/login", json={"userName": target.user, "password": target.password})
    assert {"token", "userName", "expires", "version"} <= set(good.json())
    bad = httpx.post(f"{target.url}/apiv2/login", json={"userName": target.user, "password": "definitely wrong"})
    assert bad.status_code == 401
    assert bad.json()["errorMessage"]
    assert httpx.get(f"{target.url}/api/v3/catalog").status_code == 401


def test_job_and_results(target):
    job = target.job(
        "select 1 as \"One\", 'a' as t, cast(1.5 as decimal(10,2)) as d, timestamp '2026-01-02 03:04:05' as ts"
    )
    assert job["jobState"] == "COMPLETED"
    assert job["rowCount"] == 1
    body = target.http.get(f"/api/v3/job/{job['id']}/results").json()
    assert [column["name"] for column in body["schema"]] == ["One", "t", "d", "ts"]
    assert [column["type"]["name"] for column in body["schema"]] == ["INTEGER", "VARCHAR", "DECIMAL", "TIMESTAMP"]
    assert body["rows"][0]["ts"] == "2026-01-02 03:04:05.000"
    refused = target.http.get(f"/api/v3/job/{job['id']}/results", params={"limit": 501})
    assert refused.status_code == 400
    assert "limit can not exceed 500 rows" in refused.json()["errorMessage"]


def test_failed_jobs(target):
    job = target.job(f'select * from "{target.space}".nowhere')
    assert job["jobState"] == "FAILED"
    assert "not found" in job["errorMessage"]
    answer = target.http.get(f"/api/v3/job/{job['id']}/results")
    assert answer.status_code == 400
    assert "FAILED" in answer.json()["errorMessage"]
    assert target.http.get("/api/v3/job/00000000-0000-0000-0000-000000000000").status_code == 404


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7 / 2", 3),
        ("datediff(date '2026-01-31', date '2026-01-01')", 30),
        ("timestampadd(SQL_TSI_DAY, 1, timestamp '2026-01-01 00:00:00')", "2026-01-02 00:00:00.000"),
        ("timestampdiff(SQL_TSI_HOUR, timestamp '2026-01-01 00:59:00', timestamp '2026-01-01 02:00:00')", 1),
        ("ilike('Abc', 'a%')", True),
    ],
)
def test_functions(target, expression, value):
    assert target.rows(f"select {expression} as v") == [{"v": value}]


def test_space_folder_and_view(target):
    again = target.http.post("/api/v3/catalog", json={"entityType": "space", "name": target.space})
    assert again.status_code == 409
    folder = target.http.post("/api/v3/catalog", json={"entityType": "folder", "path": [target.space, "f"]})
    assert folder.status_code == 200
    assert target.http.get(f"/api/v3/catalog/by-path/{target.space}/f").json()["entityType"] == "folder"
    assert target.http.get(f"/api/v3/catalog/by-path/{target.space}/nowhere").status_code == 404
    created = target.rows(f'create or replace view "{target.space}".f.v as select 1 as "Id", \'x\' as name')
    assert created[0]["ok"] is True
    assert target.rows(f'select ID from "{target.space}".f.v') == [{"ID": 1}]
    entity = target.http.get(f"/api/v3/catalog/by-path/{target.space}/f/v").json()
    assert entity["type"] == "VIRTUAL_DATASET"
    assert [field["name"] for field in entity["fields"]] == ["Id", "name"]
    columns = target.rows(
        "select column_name, data_type from information_schema.columns "
        f"where table_schema = '{target.space}.f' order by ordinal_position"
    )
    assert [tuple(row.values()) for row in columns] == [("Id", "INTEGER"), ("name", "CHARACTER VARYING")]


def test_wiki_versions(target):
    space = target.http.get(f"/api/v3/catalog/by-path/{target.space}").json()["id"]
    path = f"/api/v3/catalog/{space}/collaboration/wiki"
    first = target.http.post(path, json={"text": "one"}).json()
    second = target.http.post(path, json={"text": "two", "version": first["version"]}).json()
    assert second["version"] == first["version"] + 1
    assert target.http.post(path, json={"text": "three", "version": first["version"]}).status_code == 409


def test_reflection_becomes_available(target):
    target.rows(f'create or replace view "{target.space}".numbers as select * from (values (1), (2)) as v(n)')
    dataset = target.http.get(f"/api/v3/catalog/by-path/{target.space}/numbers").json()["id"]
    body = {"type": "RAW", "name": "r", "datasetId": dataset, "enabled": True, "displayFields": [{"name": "n"}]}
    created = target.http.post("/api/v3/reflection", json=body)
    assert created.status_code == 200
    identifier = created.json()["id"]

    def available() -> bool:
        status = target.http.get(f"/api/v3/reflection/{identifier}").json()["status"]
        return status["availability"] == "AVAILABLE" and status["refresh"] not in ("RUNNING", "PENDING")

    wait_until(available, 120, "the reflection")
    listed = target.http.get(f"/api/v3/dataset/{dataset}/reflection").json()["data"]
    assert [entry["id"] for entry in listed] == [identifier]
    stale = target.http.put(f"/api/v3/reflection/{identifier}", json={**created.json(), "tag": "stale"})
    assert stale.status_code == 409
    assert target.http.delete(f"/api/v3/reflection/{identifier}").status_code == 200


def test_flight(target):
    client = flight.FlightClient(target.flight)
    options = flight.FlightCallOptions(headers=[client.authenticate_basic_token(target.user, target.password)])
    descriptor = flight.FlightDescriptor.for_command(b"select 1 as a, timestamp '2026-01-02 03:04:05' as ts")
    info = client.get_flight_info(descriptor, options)
    table = client.do_get(info.endpoints[0].ticket, options).read_all()
    assert table.column_names == ["a", "ts"]
    assert str(table.schema.field("ts").type) == "timestamp[ms]"
    with pytest.raises(flight.FlightUnauthenticatedError):
        flight.FlightClient(target.flight).authenticate_basic_token(target.user, "definitely wrong")
