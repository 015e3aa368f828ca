"""Login, jobs, results, and how requests are refused."""

from __future__ import annotations

import httpx
import pytest

from tests.sandbox.dremio.services import wait_until

DIGITS = "(values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))"
ENDLESS = (
    f"select count(*) from {DIGITS} a(n)"
    + "".join(f", {DIGITS} a{i}(n)" for i in range(12))
    + " where a.n"
    + "".join(f" + a{i}.n" for i in range(12))
    + " = -1"
)
NOWHERE = "00000000-0000-0000-0000-000000000000"


def test_login(target):
    good = httpx.post(f"{target.url}/apiv2/login", json={"userName": target.user, "password": target.password})
    assert {"token", "userName", "expires", "version"} <= set(good.json())
    for header in (f"_dremio{good.json()['token']}", f"Bearer {good.json()['token']}"):
        answer = httpx.get(f"{target.url}/api/v3/catalog", headers={"authorization": header})
        assert answer.status_code == 200


@pytest.mark.parametrize("header", [None, "_dremiononsense", "Bearer nonsense"])
def test_without_a_token_nothing_is_answered(target, header):
    headers = {"authorization": header} if header else {}
    assert httpx.get(f"{target.url}/api/v3/catalog", headers=headers).status_code == 401


def test_wrong_credentials(target):
    for user, password in ((target.user, "definitely wrong"), ("nobody at all", target.password)):
        answer = httpx.post(f"{target.url}/apiv2/login", json={"userName": user, "password": password})
        assert answer.status_code == 401
        assert answer.json()["errorMessage"]


def test_job_and_results(target):
    job = target.job(
        "select 1 as \"One\", 'a' as t, cast(1.5 as decimal(10,2)) as d, timestamp '2026-01-02 03:04:05' as ts, "
        "date '2026-01-02' as dt, cast(2 as bigint) as b, cast(0.5 as double) as f, true as yes, "
        "cast(null as varchar) as nothing"
    )
    assert job["jobState"] == "COMPLETED"
    assert job["rowCount"] == 1
    assert job["queryType"] == "REST"
    assert job["startedAt"] <= job["endedAt"]
    body = target.http.get(f"/api/v3/job/{job['id']}/results").json()
    assert [column["name"] for column in body["schema"]] == ["One", "t", "d", "ts", "dt", "b", "f", "yes", "nothing"]
    assert [column["type"]["name"] for column in body["schema"]] == [
        "INTEGER", "VARCHAR", "DECIMAL", "TIMESTAMP", "DATE", "BIGINT", "DOUBLE", "BOOLEAN", "VARCHAR"
    ]  # fmt: skip
    row = body["rows"][0]
    assert (row["ts"], row["dt"], row["f"], row["yes"], row["nothing"]) == (
        "2026-01-02 03:04:05.000", "2026-01-02", 0.5, True, None
    )  # fmt: skip


def test_pages(target):
    job = target.job(
        f"select a.n * 100 + b.n * 10 + c.n as n from {DIGITS} a(n), {DIGITS} b(n), {DIGITS} c(n) order by 1"
    )
    results = f"/api/v3/job/{job['id']}/results"
    assert len(target.http.get(results).json()["rows"]) == 100
    page = target.http.get(results, params={"offset": 400, "limit": 500}).json()
    assert page["rowCount"] == 1000
    assert [row["n"] for row in page["rows"]] == list(range(400, 900))
    refused = target.http.get(results, params={"limit": 501})
    assert refused.status_code == 400
    assert "limit can not exceed 500 rows" in refused.json()["errorMessage"]


def test_a_failed_job(target):
    job = target.job(f'select * from "{target.space}".nowhere')
    assert job["jobState"] == "FAILED"
    assert "not found" in job["errorMessage"]
    answer = target.http.get(f"/api/v3/job/{job['id']}/results")
    assert answer.status_code == 400
    assert "FAILED" in answer.json()["errorMessage"]


def test_a_cancelled_job(target):
    job_id = target.submit(ENDLESS)
    address = f"/api/v3/job/{job_id}"
    wait_until(lambda: target.http.get(address).json()["jobState"] == "RUNNING", 60, "the job's start")
    assert target.http.post(f"{address}/cancel").status_code == 204
    state = lambda: target.http.get(address).json()["jobState"]  # noqa: E731
    wait_until(lambda: state() == "CANCELED", 60, "the job's end")
    assert "CANCELED" in target.http.get(f"{address}/results").json()["errorMessage"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/api/v3/job/{NOWHERE}"),
        ("GET", f"/api/v3/job/{NOWHERE}/results"),
        ("POST", f"/api/v3/job/{NOWHERE}/cancel"),
        ("GET", f"/api/v3/catalog/{NOWHERE}"),
        ("DELETE", f"/api/v3/catalog/{NOWHERE}"),
        ("GET", "/api/v3/catalog/by-path/nowhere/at/all"),
        ("GET", f"/api/v3/reflection/{NOWHERE}"),
        ("DELETE", f"/api/v3/reflection/{NOWHERE}"),
        ("GET", f"/api/v3/dataset/{NOWHERE}/reflection"),
    ],
)
def test_what_is_not_there_is_not_found(target, method, path):
    answer = target.http.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["errorMessage"]


def test_malformed_bodies_are_bad_requests(target):
    headers = {"content-type": "application/json"}
    for path in ("/api/v3/sql", "/api/v3/catalog", "/api/v3/reflection", "/apiv2/login"):
        answer = target.http.post(path, content=b'{"sql": ', headers=headers)
        assert answer.status_code == 400, path
    assert target.http.post("/api/v3/sql", json={"sql": ""}).status_code == 400
