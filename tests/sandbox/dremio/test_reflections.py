"""Reflections: defined over REST and SQL, built in the background, built again when their tables are refreshed."""

from __future__ import annotations

import pytest

from tests.sandbox.dremio.services import wait_until


@pytest.fixture(scope="module")
def dataset(dremio, s3):
    dremio.rows(
        "create table lake.datalake.refl.orders as select * from (values "
        "(1, date '2026-01-01', 10.5, 'a'), (2, date '2026-01-01', 1.5, 'b'), (3, date '2026-01-02', 2, 'a')) "
        "as v(id, order_date, amount, status)"
    )
    dremio.rows("create or replace view gold.refl_inner as select * from lake.datalake.refl.orders")
    dremio.rows("create or replace view gold.refl as select id, order_date, amount from gold.refl_inner where id > 0")
    return dremio.entity("gold", "refl")["id"]


def reflections(dremio, dataset) -> dict[str, dict]:
    answer = dremio.http.get(f"/api/v3/dataset/{dataset}/reflection")
    assert answer.status_code == 200
    return {entry["name"]: entry for entry in answer.json()["data"]}


def ready(dremio, identifier, after: str = "") -> dict:
    def finished() -> dict | None:
        body = dremio.http.get(f"/api/v3/reflection/{identifier}").json()
        status = body["status"]
        idle = status["refresh"] not in ("PENDING", "RUNNING")
        return body if idle and status["availability"] == "AVAILABLE" and status["lastDataFetch"] > after else None

    return wait_until(finished, what=f"the refresh of {identifier}")


def create(dremio, dataset, **fields) -> dict:
    answer = dremio.http.post("/api/v3/reflection", json={"datasetId": dataset, "enabled": True, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_dbt_sends_is_taken_and_shown(dremio, dataset):
    body = create(
        dremio,
        dataset,
        name="as_dbt",
        type="AGGREGATION",
        dimensionFields=[{"name": "order_date"}],
        dateFields=[{"name": "order_date", "granularity": "DATE"}],
        measureFields=[{"name": "amount", "measureTypeList": ["SUM", " COUNT"]}],
        partitionFields=[],
        arrowCachingEnabled=False,
        partitionDistributionStrategy="STRIPED",
        entityType="reflection",
    )
    assert body["dimensionFields"] == [{"name": "order_date", "granularity": "DATE"}]
    assert body["measureFields"] == [{"name": "amount", "measureTypeList": ["SUM", "COUNT"]}]
    assert "partitionFields" not in body
    assert "dateFields" not in body
    assert body["status"]["lastDataFetch"] == "1969-12-31T23:59:59.999Z"
    built = ready(dremio, body["id"])
    assert built["status"]["combinedStatus"] == "CAN_ACCELERATE"
    assert built["status"]["config"] == "OK"
    assert built["recordCount"] == 2
    assert built["currentSizeBytes"] > 0
    assert built["status"]["expiresAt"] > "2500"


def test_the_materialization_holds_what_was_defined(dremio, dataset):
    body = create(dremio, dataset, name="raw_", type="RAW", displayFields=[{"name": "ID"}, {"name": "amount"}])
    assert body["displayFields"] == [{"name": "id"}, {"name": "amount"}]
    assert ready(dremio, body["id"])["recordCount"] == 3
    job = dremio.job("select amount, id from gold.refl order by 2")
    assert {"datasetId": dataset, "reflectionId": body["id"], "relationship": "CHOSEN"} in (
        job["acceleration"]["reflectionRelationships"]
    )
    rows = dremio.http.get(f"/api/v3/job/{job['id']}/results").json()["rows"]
    assert rows == [{"amount": "10.5", "id": 1}, {"amount": "1.5", "id": 2}, {"amount": "2.0", "id": 3}]
    assert dremio.http.delete(f"/api/v3/reflection/{body['id']}").status_code == 200
    assert dremio.http.get(f"/api/v3/reflection/{body['id']}").status_code == 404
    states = dremio.rows(f"select state from sys.materializations where reflection_id = '{body['id']}'")
    assert states == [{"state": "DELETED"}]


def test_refreshing_the_table_builds_the_reflections_of_views_on_it(dremio, dataset):
    identifier = create(dremio, dataset, name="follows", type="RAW", displayFields=[{"name": "id"}])["id"]
    before = ready(dremio, identifier)["status"]["lastDataFetch"]
    dremio.rows("insert into lake.datalake.refl.orders values (4, date '2026-01-03', 1, 'c')")
    assert dremio.http.post(f"/api/v3/catalog/{dataset}/refresh").status_code == 204
    table = dremio.entity("lake", "datalake", "refl", "orders")["id"]
    assert dremio.http.get(f"/api/v3/reflection/{identifier}").json()["status"]["lastDataFetch"] == before
    assert dremio.http.post(f"/api/v3/catalog/{table}/refresh").status_code == 204
    after = ready(dremio, identifier, after=before)
    assert after["recordCount"] == 4
    states = dremio.rows(
        f"select state from sys.materializations where reflection_id = '{identifier}' order by created"
    )
    assert [row["state"] for row in states] == ["DELETED", "DONE"]
    dependencies = dremio.rows(
        f"select dependency_path from sys.reflection_dependencies where reflection_id = '{identifier}'"
    )
    assert dependencies == [{"dependency_path": '"lake"."datalake"."refl"."orders"'}]


def test_by_statement(dremio, dataset):
    dremio.rows(
        "ALTER VIEW gold.refl CREATE AGGREGATE REFLECTION by_sql USING DIMENSIONS (order_date BY DAY) "
        "MEASURES (amount (SUM, COUNT, APPROXIMATE COUNT DISTINCT)) PARTITION BY (order_date) LOCALSORT BY (order_date)"
    )
    dremio.rows("ALTER DATASET gold.refl CREATE RAW REFLECTION by_sql_raw USING DISPLAY (id, order_date) ARROW CACHE")
    found = reflections(dremio, dataset)
    assert found["by_sql"]["measureFields"][0]["measureTypeList"] == ["SUM", "COUNT", "APPROX_COUNT_DISTINCT"]
    assert found["by_sql"]["partitionFields"] == [{"name": "order_date", "transform": {"type": "IDENTITY"}}]
    assert found["by_sql_raw"]["arrowCachingEnabled"] is True
    ready(dremio, found["by_sql"]["id"])
    (row,) = dremio.rows(
        "select status, dataset_name, dimensions, measures from sys.reflections where reflection_name = 'by_sql'"
    )
    assert row == {
        "status": "CAN_ACCELERATE",
        "dataset_name": '"gold"."refl"',
        "dimensions": "order_date",
        "measures": "amount",
    }
    for name in ("by_sql", "by_sql_raw"):
        dremio.rows(f"ALTER VIEW gold.refl DROP REFLECTION {name}")
    assert "No matching reflection" in dremio.error("ALTER VIEW gold.refl DROP REFLECTION by_sql")


def test_edits_need_the_current_tag_and_disabling_shows(dremio, dataset):
    body = create(dremio, dataset, name="edited", type="RAW", displayFields=[{"name": "id"}])
    assert dremio.http.put(f"/api/v3/reflection/{body['id']}", json={**body, "tag": "old"}).status_code == 409
    same = dremio.http.put(f"/api/v3/reflection/{body['id']}", json=body).json()
    assert same["tag"] == body["tag"]
    off = dremio.http.put(f"/api/v3/reflection/{body['id']}", json={**body, "enabled": False}).json()
    assert off["tag"] != body["tag"]
    assert off["status"]["combinedStatus"] == "DISABLED"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "x", "type": "RAW"}, 400),
        ({"name": "x", "type": "RAW", "displayFields": [{"name": "nope"}]}, 400),
        ({"name": "x", "type": "AGGREGATION", "measureFields": [{"name": "id", "measureTypeList": ["MEDIAN"]}]}, 400),
        ({"name": "x", "type": "WRONG"}, 400),
        ({"type": "RAW", "displayFields": [{"name": "id"}]}, 400),
        ({"name": "x", "type": "RAW", "displayFields": [{"name": "id"}], "datasetId": "nope"}, 404),
    ],
)
def test_invalid_reflections_are_refused(dremio, dataset, fields, status):
    answer = dremio.http.post("/api/v3/reflection", json={"datasetId": dataset, **fields})
    assert answer.status_code == status
    assert set(answer.json()) == {"errorMessage", "moreInfo"}


def test_a_reflection_whose_query_fails_says_so_and_recovers(dremio):
    dremio.rows("create table lake.datalake.refl.fragile as select 1 as n, '5' as text")
    dremio.rows(
        "create or replace view gold.fragile as "
        "select n, cast(text as integer) as number from lake.datalake.refl.fragile"
    )
    dataset = dremio.entity("gold", "fragile")["id"]
    identifier = create(dremio, dataset, name="fragile", type="RAW", displayFields=[{"name": "number"}])["id"]
    first = ready(dremio, identifier)
    table = dremio.entity("lake", "datalake", "refl", "fragile")["id"]
    dremio.rows("insert into lake.datalake.refl.fragile values (2, 'not a number')")
    dremio.http.post(f"/api/v3/catalog/{table}/refresh")

    def failed() -> dict | None:
        status = dremio.http.get(f"/api/v3/reflection/{identifier}").json()["status"]
        return status if status["failureCount"] and status["refresh"] not in ("PENDING", "RUNNING") else None

    status = wait_until(failed, what="the failure")
    assert status["combinedStatus"] == "CAN_ACCELERATE_WITH_FAILURES"
    assert "not a number" in status["lastFailureMessage"]
    assert status["lastDataFetch"] == first["status"]["lastDataFetch"]
    dremio.rows("delete from lake.datalake.refl.fragile where n = 2")
    dremio.http.post(f"/api/v3/catalog/{table}/refresh")
    healed = ready(dremio, identifier, after=first["status"]["lastDataFetch"])
    assert healed["status"]["failureCount"] == 0
    assert healed["status"]["combinedStatus"] == "CAN_ACCELERATE"


def test_a_dropped_dataset_takes_its_reflections_with_it(dremio):
    dremio.rows("create or replace view gold.gone as select 1 as a")
    dataset = dremio.entity("gold", "gone")["id"]
    identifier = create(dremio, dataset, name="gone", type="RAW", displayFields=[{"name": "a"}])["id"]
    dremio.rows("drop view gold.gone")
    assert dremio.http.get(f"/api/v3/reflection/{identifier}").status_code == 404
    assert dremio.http.get(f"/api/v3/dataset/{dataset}/reflection").status_code == 404


def test_the_community_edition_has_no_reflection_refresh(dremio, dataset):
    identifier = create(dremio, dataset, name="no_refresh", type="RAW", displayFields=[{"name": "id"}])["id"]
    assert dremio.http.post(f"/api/v3/reflection/{identifier}/refresh").status_code == 404
    assert dremio.http.get("/api/v3/reflection/summary").status_code == 404
    refused = dremio.error("alter view gold.refl refresh reflections")
    assert refused == "REFRESH REFLECTIONS command is not supported."
