"""Spaces, folders, views, promotion, metadata, wikis and tags."""

from __future__ import annotations

import urllib.parse

import pyarrow as pa
import pytest


def create(target, **entity):
    return target.http.post("/api/v3/catalog", json=entity)


def test_names_are_taken_once(target):
    again = create(target, entityType="space", name=target.space)
    assert again.status_code == 409
    assert target.space in again.json()["errorMessage"]


def test_a_folder_from_creation_to_deletion(target):
    folder = create(target, entityType="folder", path=[target.space, "f"])
    assert folder.status_code == 200
    assert target.entity(target.space, "f")["entityType"] == "folder"
    assert [child["path"][-1] for child in target.entity(target.space)["children"]].count("f") == 1
    assert target.http.delete(f"/api/v3/catalog/{folder.json()['id']}").status_code == 204
    assert target.http.get(f"/api/v3/catalog/by-path/{target.space}/f").status_code == 404


def test_views_by_statement_and_over_rest(target):
    created = target.rows(f'create or replace view "{target.space}".v as select 1 as "Id", \'x\' as name')
    assert created[0]["ok"] is True
    assert target.rows(f'select ID from "{target.space}".v') == [{"ID": 1}]
    assert target.rows("select id from v", [target.space]) == [{"id": 1}]
    entity = target.entity(target.space, "v")
    assert entity["type"] == "VIRTUAL_DATASET"
    assert [field["name"] for field in entity["fields"]] == ["Id", "name"]
    changed = target.http.put(f"/api/v3/catalog/{entity['id']}", json={**entity, "sql": "select 2 as n"})
    assert changed.status_code == 200
    assert target.rows(f'select n from "{target.space}".v') == [{"n": 2}]
    assert target.http.put(f"/api/v3/catalog/{entity['id']}", json={**entity, "tag": "stale"}).status_code == 409
    target.rows(f'drop view "{target.space}".v')
    assert "not found" in target.error(f'select * from "{target.space}".v')


def test_several_at_once_and_search(target):
    target.rows(f'create or replace view "{target.space}".bulk_{target.mark} as select 1 as a')
    view = target.entity(target.space, f"bulk_{target.mark}")
    found = target.http.post("/api/v3/catalog/by-ids?maxChildren=10", json=[view["id"], "nowhere"]).json()
    assert [entity["id"] for entity in found["data"]] == [view["id"]]
    assert len(found["errors"]) == 1
    by_path = target.http.post("/api/v3/catalog/by-paths?maxChildren=10", json=[[target.space]]).json()
    assert [entity["name"] for entity in by_path["data"]] == [target.space]
    assert target.http.post("/api/v3/catalog/by-ids", json=[view["id"]]).status_code == 400


def test_wikis_and_tags_have_versions(target):
    space = target.entity(target.space)["id"]
    wiki = f"/api/v3/catalog/{space}/collaboration/wiki"
    first = target.http.post(wiki, json={"text": "one"}).json()
    second = target.http.post(wiki, json={"text": "two", "version": first["version"]}).json()
    assert second["version"] == first["version"] + 1
    assert target.http.post(wiki, json={"text": "three", "version": first["version"]}).status_code == 409
    assert target.http.get(wiki).json()["text"] == "two"
    target.rows(f'create or replace view "{target.space}".tagged as select 1 as a')
    tags = f"/api/v3/catalog/{target.entity(target.space, 'tagged')['id']}/collaboration/tag"
    made = target.http.post(tags, json={"tags": ["gold"]}).json()
    assert isinstance(made["version"], str)
    assert target.http.post(tags, json={"tags": ["silver"], "version": "stale"}).status_code == 409
    assert target.http.get(tags).json()["tags"] == ["gold"]


def test_the_secret_of_a_source_is_never_shown(target, lake):
    source = target.entity(target.source)
    assert source["config"]["accessSecret"] == "$DREMIO_EXISTING_VALUE$"
    assert lake.secret not in target.http.get(f"/api/v3/catalog/{source['id']}").text


def test_promotion_metadata_and_reversion(target, lake):
    folder, path = f"contract_{target.mark}/promoted", (*target.folder, "promoted")
    lake.put(f"{folder}/day=1/data.parquet", pa.table({"n": pa.array([1], pa.int32())}))
    table = target.name(*path)
    assert target.entity(*path)["entityType"] == "folder"
    identifier = "dremio:/" + "/".join(path)
    body = {
        "entityType": "dataset", "id": identifier, "path": list(path), "type": "PHYSICAL_DATASET",
        "format": {"type": "Parquet"},
    }  # fmt: skip
    address = "/api/v3/catalog/" + urllib.parse.quote(identifier, safe="")
    wrong = target.http.post(address, json={**body, "path": [*path, "other"]})
    assert wrong.status_code == 400
    promoted = target.http.post(address, json=body)
    assert promoted.status_code == 200, promoted.text
    assert target.rows(f"select n, dir0 from {table}") == [{"n": 1, "dir0": "day=1"}]
    lake.put(f"{folder}/day=2/data.parquet", pa.table({"n": pa.array([2], pa.int32())}))
    assert target.rows(f"select count(*) as c from {table}") == [{"c": 1}]
    assert target.rows(f"alter table {table} refresh metadata for partitions (\"dir0\" = 'day=2')")[0]["ok"] is True
    assert target.rows(f"select count(*) as c from {table}") == [{"c": 2}]
    assert target.http.delete(f"/api/v3/catalog/{promoted.json()['id']}").status_code == 204
    assert target.entity(*path)["entityType"] == "folder"


@pytest.mark.parametrize("entity", [{"entityType": "nonsense"}, {"entityType": "folder", "path": []}])
def test_what_cannot_be_created(target, entity):
    assert create(target, **entity).status_code == 400
