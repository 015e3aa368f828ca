"""The catalog over REST: sources and their secrets, spaces, folders, promotion, wikis and tags."""

from __future__ import annotations

import datetime
import decimal
import json
import urllib.parse

import pyarrow as pa
import pytest


def day(number: int, **extra: list) -> pa.Table:
    moment = datetime.datetime(2026, 1, number, 3, 4, 5, 678901)
    return pa.table(
        {
            "order_id": pa.array([number], pa.int64()),
            "amount": pa.array([decimal.Decimal("1.50")], pa.decimal128(12, 2)),
            "updated_at": pa.array([moment], pa.timestamp("us")),
            "_airbyte_extracted_at": pa.array([moment.replace(microsecond=0)], pa.timestamp("ms", "UTC")),
            **extra,
        }
    )


def promote(dremio, path: list[str], options: dict) -> dict:
    identifier = "dremio:/" + "/".join(path)
    answer = dremio.http.post(
        "/api/v3/catalog/" + urllib.parse.quote(identifier, safe=""),
        json={"entityType": "dataset", "id": identifier, "path": path, "type": "PHYSICAL_DATASET", "format": options},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_secret_of_a_source_is_masked_and_survives_a_put(dremio, s3):
    source = dremio.entity("lake")
    assert source["config"]["accessSecret"] == "$DREMIO_EXISTING_VALUE$"
    assert s3.secret not in json.dumps(source)
    source["metadataPolicy"]["datasetExpireAfterMs"] = 0
    changed = dremio.http.put(f"/api/v3/catalog/{source['id']}", json=source)
    assert changed.status_code == 200, changed.text
    assert changed.json()["tag"] != source["tag"]
    assert [child["path"] for child in dremio.entity("lake")["children"]] == [["lake", "datalake"]]
    stale = dremio.http.put(f"/api/v3/catalog/{source['id']}", json=source)
    assert stale.status_code == 409


def test_a_source_that_does_not_answer_or_is_of_another_type_is_refused(dremio, s3):
    wrong = s3.source("wrong")
    wrong["config"]["accessSecret"] = "not the secret"
    refused = dremio.http.post("/api/v3/catalog", json=wrong)
    assert refused.status_code == 400
    assert "not the secret" not in refused.text
    other = dremio.http.post(
        "/api/v3/catalog", json={"entityType": "source", "name": "es", "type": "ELASTIC", "config": {}}
    )
    assert other.status_code == 501
    assert "ELASTIC" in other.json()["errorMessage"]


def test_spaces_and_folders(dremio):
    create = lambda body: dremio.http.post("/api/v3/catalog", json=body)  # noqa: E731
    assert create({"entityType": "space", "name": "lab"}).status_code == 200
    again = create({"entityType": "space", "name": "lab"})
    assert again.status_code == 409
    assert again.json()["errorMessage"] == "A space with the name [lab] already exists."
    assert create({"entityType": "folder", "path": ["lab", "a"]}).status_code == 200
    assert create({"entityType": "folder", "path": ["lab", "a"]}).status_code == 409
    assert create({"entityType": "folder", "path": ["lab", "nope", "b"]}).status_code == 400
    inside = create({"entityType": "folder", "path": ["lake", "x"]})
    assert inside.status_code == 400
    assert "Can not create a folder inside a [SOURCE]" in inside.json()["errorMessage"]
    space = dremio.entity("lab")
    assert [child["path"] for child in space["children"]] == [["lab", "a"]]
    assert dremio.http.delete(f"/api/v3/catalog/{space['id']}", params={"tag": "stale"}).status_code == 409
    assert dremio.http.delete(f"/api/v3/catalog/{space['id']}").status_code == 204
    assert dremio.http.get("/api/v3/catalog/by-path/lab").status_code == 404
    assert dremio.http.get("/api/v3/catalog/by-path/lab/a").status_code == 404


def test_a_view_is_created_and_changed_over_rest(dremio):
    body = {"entityType": "dataset", "type": "VIRTUAL_DATASET", "path": ["gold", "rest_view"], "sql": "select 1 as a"}
    created = dremio.http.post("/api/v3/catalog", json=body)
    assert created.status_code == 200, created.text
    assert dremio.http.post("/api/v3/catalog", json=body).status_code == 409
    changed = dremio.http.put(
        f"/api/v3/catalog/{created.json()['id']}", json={**created.json(), "sql": "select 2 as b"}
    )
    assert changed.json()["fields"] == [{"name": "b", "type": {"name": "INTEGER"}}]
    assert dremio.rows("select * from gold.rest_view") == [{"b": 2}]
    broken = dremio.http.post(
        "/api/v3/catalog", json={**body, "path": ["gold", "broken"], "sql": "select * from nowhere"}
    )
    assert broken.status_code == 400
    assert broken.json()["errorMessage"] == "Object 'nowhere' not found"


def test_parquet_is_invisible_until_metadata_is_refreshed(dremio, s3):
    root, table = "bronze/postgres/orders", "lake.datalake.bronze.postgres.orders"
    s3.put(f"{root}/date=2026-01-01/data.parquet", day(1, line=pa.array([1], pa.int16())))
    assert "not found" in dremio.error(f"select * from {table}")
    assert dremio.entity("lake", "datalake", "bronze", "postgres", "orders")["entityType"] == "folder"
    promoted = promote(dremio, table.split("."), {"type": "Parquet"})
    assert [field["name"] for field in promoted["fields"]][-1] == "dir0"
    (row,) = dremio.rows(f"select * from {table}")
    assert row == {
        "order_id": 1,
        "amount": "1.50",
        "updated_at": "2026-01-01 03:04:05.678",
        "_airbyte_extracted_at": "2026-01-01 03:04:05.000",
        "line": 1,
        "dir0": "date=2026-01-01",
    }
    s3.put(f"{root}/date=2026-01-02/data.parquet", day(2, added=["x"]))
    assert dremio.rows(f"select count(*) as c from {table}") == [{"c": 1}]
    refresh = f"alter pds {table} refresh metadata auto promotion force update delete when missing"
    assert dremio.rows(refresh)[0]["ok"] is True
    newest = f"select order_id, added, line from {table} t where t.dir0 = (select max(f.dir0) from {table} as f)"
    assert dremio.rows(newest) == [{"order_id": 2, "added": "x", "line": None}]
    assert "unchanged" in dremio.rows(refresh)[0]["summary"]
    s3.client.delete_object(Bucket="datalake", Key=f"{root}/date=2026-01-01/data.parquet")
    dremio.rows(refresh)
    assert dremio.rows(f"select dir0 from {table}") == [{"dir0": "date=2026-01-02"}]


def test_auto_promotion_by_statement(dremio, s3):
    s3.put("bronze/auto/date=2026-01-01/data.parquet", day(1))
    assert "not found" in dremio.error("alter table lake.datalake.bronze.auto refresh metadata avoid promotion")
    dremio.rows("alter table lake.datalake.bronze.auto refresh metadata auto promotion")
    assert dremio.rows("select dir0 from lake.datalake.bronze.auto") == [{"dir0": "date=2026-01-01"}]
    assert "not found" in dremio.error("alter table lake.datalake.bronze.nothing refresh metadata auto promotion")


@pytest.mark.parametrize("lines", [False, True])
def test_json_arrays_and_lines(dremio, s3, lines):
    records = [
        {"payment_id": "p1", "amount": "1.50", "created_at": "2026-01-02T03:04:05Z", "meta": {"n": 1}},
        {"payment_id": "p2", "order_id": 7, "amount": "2.50", "mixed": "x"},
        {"payment_id": "p3", "mixed": 3},
    ]
    text = "\n".join(json.dumps(r) for r in records) if lines else json.dumps(records)
    name = f"payments_{int(lines)}"
    s3.put(f"bronze/api/{name}/timestamp=20260101_010000/response.json", text.encode())
    promote(dremio, ["lake", "datalake", "bronze", "api", name], {"type": "JSON"})
    rows = dremio.rows(f"select payment_id, order_id, created_at, mixed, dir0 from lake.datalake.bronze.api.{name}")
    assert rows[0]["created_at"] == "2026-01-02T03:04:05Z"
    assert [row["order_id"] for row in rows] == [None, 7, None]
    assert [row["mixed"] for row in rows] == [None, "x", "3"]
    assert rows[0]["dir0"] == "timestamp=20260101_010000"


def test_text_is_all_varchar_and_empty_is_not_null(dremio, s3):
    for number in (1, 2):
        s3.put(f"bronze/files/returns/batch_{number:03}.csv", f'id,order_id,reason\nr{number},,"a, ""b"""\n'.encode())
    path = ["lake", "datalake", "bronze", "files", "returns"]
    table = promote(dremio, path, {"type": "Text", "fieldDelimiter": ",", "extractHeader": True, "trimHeader": True})
    assert {field["type"]["name"] for field in table["fields"]} == {"VARCHAR"}
    rows = dremio.rows("select * from lake.datalake.bronze.files.returns order by id")
    assert rows == [{"id": f"r{number}", "order_id": "", "reason": 'a, "b"'} for number in (1, 2)]
    without = dremio.http.put(f"/api/v3/catalog/{table['id']}", json={**table, "format": {"type": "Text"}})
    assert [field["name"] for field in without.json()["fields"]] == ["A", "B", "C"]
    assert dremio.http.delete(f"/api/v3/catalog/{table['id']}").status_code == 204
    assert dremio.entity(*path)["entityType"] == "folder"
    assert s3.keys("bronze/files/returns/") != []


def test_a_file_that_is_not_its_format_is_named(dremio, s3):
    s3.put("bronze/broken/data.parquet", b"not parquet")
    words = dremio.error("alter table lake.datalake.bronze.broken refresh metadata auto promotion")
    assert "s3://datalake/bronze/broken/data.parquet is not a Parquet file" in words


def test_wikis_count_up_and_tags_get_new_versions(dremio):
    dremio.rows("create or replace view gold.documented as select 1 as a")
    base = f"/api/v3/catalog/{dremio.entity('gold', 'documented')['id']}/collaboration"
    assert "version" not in dremio.http.get(f"{base}/wiki").json()
    assert dremio.http.post(f"{base}/wiki", json={"text": "# One"}).json() == {"text": "# One", "version": 0}
    assert dremio.http.post(f"{base}/wiki", json={"text": "# Two", "version": 0}).json()["version"] == 1
    assert dremio.http.post(f"{base}/wiki", json={"text": "# Three", "version": 0}).status_code == 409
    assert dremio.http.get(f"{base}/wiki").json() == {"text": "# Two", "version": 1}
    tags = dremio.http.post(f"{base}/tag", json={"tags": ["a"]}).json()
    assert isinstance(tags["version"], str)
    assert dremio.http.post(f"{base}/tag", json={"tags": [], "version": tags["version"]}).json()["tags"] == []
    assert dremio.http.post(f"{base}/tag", json={"tags": ["b"], "version": tags["version"]}).status_code == 409


def test_what_is_not_there_is_not_found(dremio):
    for path in ("by-path/nowhere", "by-path/lake/nowhere", "nowhere", "dremio%3A%2Flake%2Fnowhere"):
        answer = dremio.http.get(f"/api/v3/catalog/{path}")
        assert answer.status_code == 404
        assert answer.json()["errorMessage"].startswith("Could not find entity with")
