"""State over a restart, and over a crash in the middle of a commit."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from tests.sandbox.dremio.services import PASSWORD, REPOSITORY, Dremio, free_offset, s3_server, wait_until


@pytest.fixture
def place(tmp_path):
    with s3_server(tmp_path / "s3") as s3:
        server = Dremio(tmp_path / "var", free_offset())
        server.var.mkdir()
        server.start()
        assert server.http.post("/api/v3/catalog", json=s3.source()).status_code == 200
        server.http.post("/api/v3/catalog", json={"entityType": "space", "name": "gold"})
        yield server, s3
        server.stop()


def test_everything_survives_a_restart(place):
    dremio, s3 = place
    dremio.rows("create table lake.datalake.kept.t partition by (d) as select 1 as id, date '2026-01-01' as d")
    dremio.rows("create view gold.v as select * from lake.datalake.kept.t")
    s3.put("bronze/x/date=1/a.json", b'[{"a": 1}]')
    dremio.rows("alter table lake.datalake.bronze.x refresh metadata auto promotion")
    view = dremio.entity("gold", "v")["id"]
    body = {"type": "RAW", "name": "r", "datasetId": view, "displayFields": [{"name": "id"}]}
    reflection = dremio.http.post("/api/v3/reflection", json=body).json()["id"]
    dremio.http.post(f"/api/v3/catalog/{view}/collaboration/wiki", json={"text": "kept"})

    def available() -> dict | None:
        shown = dremio.http.get(f"/api/v3/reflection/{reflection}").json()
        return shown if shown["status"]["combinedStatus"] == "CAN_ACCELERATE" else None

    before = wait_until(available, what="the reflection")
    job = dremio.job("select * from gold.v")
    tree = [dremio.entity("lake"), dremio.entity("gold", "v"), dremio.entity("lake", "datalake", "kept", "t")]
    assert dremio.stop() == 0
    dremio.start()
    assert [dremio.entity("lake"), dremio.entity("gold", "v"), dremio.entity("lake", "datalake", "kept", "t")] == tree
    assert dremio.rows("select id from gold.v") == [{"id": 1}]
    (relationship,) = dremio.job("select id from gold.v")["acceleration"]["reflectionRelationships"]
    assert relationship == {"datasetId": view, "reflectionId": reflection, "relationship": "CHOSEN"}
    assert dremio.rows("select a, dir0 from lake.datalake.bronze.x") == [{"a": 1, "dir0": "date=1"}]
    after = available()
    assert after is not None
    assert after["status"]["lastDataFetch"] == before["status"]["lastDataFetch"]
    assert dremio.http.get(f"/api/v3/catalog/{view}/collaboration/wiki").json()["text"] == "kept"
    assert dremio.http.get(f"/api/v3/job/{job['id']}/results").json()["rows"] == [{"id": 1, "d": "2026-01-01"}]


def test_a_kill_in_the_middle_leaves_the_old_table_or_the_new_one(place):
    dremio, s3 = place
    digits = "(values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))"
    days = f"(select date_add(date '2026-01-01', a.n * 10 + b.n) as d from {digits} a(n), {digits} b(n))"
    create = f"create table lake.datalake.crash.t partition by (d) as select d, 1 as v from {days} x"
    dremio.rows(create)
    listing = s3.keys("crash/")
    assert len(listing) == 100
    for round_ in range(3):
        expected = dremio.rows("select sum(v) as s from lake.datalake.crash.t")[0]["s"]
        statement = (
            "update lake.datalake.crash.t set v = v + 1 where v > 0"
            if round_ < 2
            else f"insert into lake.datalake.crash.t select d, 1 from {days} x"
        )
        job_id = dremio.submit(statement)
        wait_until(lambda job_id=job_id: dremio.http.get(f"/api/v3/job/{job_id}").json()["jobState"] != "PENDING")
        dremio.kill()
        dremio.start()
        assert dremio.http.get(f"/api/v3/job/{job_id}").json()["jobState"] in ("FAILED", "COMPLETED")
        total = dremio.rows("select sum(v) as s from lake.datalake.crash.t")[0]["s"]
        assert total in (expected, expected + 100)
        stored = sum(s3.parquet(key).read().column("v").to_pylist()[0] for key in s3.keys("crash/"))
        assert stored == total
    dremio.rows("drop table lake.datalake.crash.t")
    assert s3.keys("crash/") == []
    dremio.rows(create)
    assert s3.keys("crash/") == listing


@pytest.mark.parametrize("base", [9047, 32010])
def test_a_taken_port_is_one_line(tmp_path, base):
    server = Dremio(tmp_path, free_offset())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + server.offset))
        taken.listen()
        ended = subprocess.run(
            [sys.executable, "-m", "sandbox.dremio"],
            cwd=REPOSITORY, env=server.environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert ended.returncode == 2
    assert str(base + server.offset) in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_sigterm_ends_it_while_a_query_runs(tmp_path):
    from tests.sandbox.dremio.test_protocol import ENDLESS

    server = Dremio(tmp_path, free_offset())
    server.start()
    server.submit(ENDLESS)
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=5) == 0
    assert PASSWORD not in (tmp_path / "dremio.log").read_text()


def test_reflections_survive_a_kill_whatever_is_being_built(place):
    dremio, _ = place
    dremio.rows("create table lake.datalake.killed.t as select 1 as id union all select 2")
    dremio.rows("create view gold.killed as select id from lake.datalake.killed.t")
    view = dremio.entity("gold", "killed")["id"]
    table = dremio.entity("lake", "datalake", "killed", "t")["id"]
    body = {"type": "RAW", "name": "r", "datasetId": view, "displayFields": [{"name": "id"}]}
    reflection = dremio.http.post("/api/v3/reflection", json=body).json()["id"]

    def chosen() -> bool:
        (relationship,) = dremio.job("select id from gold.killed")["acceleration"]["reflectionRelationships"] or [{}]
        return relationship.get("relationship") == "CHOSEN"

    for round_ in range(3):
        wait_until(chosen, what="the reflection")
        dremio.rows(f"insert into lake.datalake.killed.t values ({round_})")
        dremio.http.post(f"/api/v3/catalog/{table}/refresh")
        dremio.kill()
        dremio.start()
        assert dremio.rows("select count(*) as c from gold.killed") == [{"c": 3 + round_}]
        dremio.http.post(f"/api/v3/catalog/{table}/refresh")
    wait_until(chosen, what="the reflection")
    states = dremio.rows(f"select state from sys.materializations where reflection_id = '{reflection}'")
    assert [row["state"] for row in states].count("DONE") == 1


def test_rows_that_another_version_laid_out_are_built_again(place):
    dremio, _ = place
    dremio.rows("create table lake.datalake.older.t as select 1 as id union all select 2")
    dremio.rows("create view gold.older as select id from lake.datalake.older.t")
    view = dremio.entity("gold", "older")["id"]
    body = {"type": "AGGREGATION", "name": "r", "datasetId": view, "dimensionFields": [{"name": "id"}]}
    assert dremio.http.post("/api/v3/reflection", json=body).status_code == 200

    def chosen() -> bool:
        job = dremio.job("select id, count(*) as c from gold.older group by id order by id")
        assert job["jobState"] == "COMPLETED"
        (relationship,) = job["acceleration"]["reflectionRelationships"] or [{}]
        return relationship.get("relationship") == "CHOSEN"

    wait_until(chosen, what="the reflection")
    assert dremio.stop() == 0
    (rows,) = (dremio.var / "dremio").rglob("accelerator-*.duckdb")
    older = rows.rename(rows.with_name("accelerator-0.duckdb"))
    dremio.start()
    assert not older.exists()
    wait_until(chosen, what="the reflection, built again")
