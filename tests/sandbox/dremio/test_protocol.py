"""Login, the life of a job, paging, cancelling, and the errors of each."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import httpx
import pytest

from tests.sandbox.dremio.services import PASSWORD, REPOSITORY, USER

ENDLESS = (
    "select count(*) from (values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) a(n), "
    + ", ".join(f"(values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) a{i}(n)" for i in range(12))
    + " where a.n + a1.n + a2.n + a3.n + a4.n + a5.n + a6.n + a7.n + a8.n + a9.n + a10.n + a11.n + a0.n = -1"
)


def test_login_answers_what_dbt_reads(dremio):
    body = httpx.post(f"{dremio.url}/apiv2/login", json={"userName": USER, "password": PASSWORD}).json()
    assert body["userName"] == USER
    assert body["expires"] > time.time() * 1000
    for header in (f"_dremio{body['token']}", f"Bearer {body['token']}"):
        answer = httpx.get(f"{dremio.url}/api/v3/catalog", headers={"authorization": header})
        assert answer.status_code == 200


@pytest.mark.parametrize("credentials", [(USER, "wrong"), ("nobody", PASSWORD)])
def test_wrong_credentials_are_refused_in_dremios_words(dremio, credentials):
    answer = httpx.post(f"{dremio.url}/apiv2/login", json=dict(zip(("userName", "password"), credentials, strict=True)))
    assert answer.status_code == 401
    assert answer.json() == {"errorMessage": "Login failed: Invalid username or password", "moreInfo": ""}


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "_dremiononsense", "Basic YTpi"])
def test_without_a_valid_token_nothing_is_answered(dremio, header):
    headers = {"authorization": header} if header else {}
    for call in (("POST", "/api/v3/sql"), ("GET", "/api/v3/catalog"), ("GET", "/api/v3/job/x")):
        assert httpx.request(call[0], dremio.url + call[1], headers=headers).status_code == 401


def test_bad_json_and_missing_sql_are_bad_requests(dremio):
    assert dremio.http.post("/api/v3/sql", content=b"{nope").status_code == 400
    assert dremio.http.post("/api/v3/sql", json={}).status_code == 400
    assert dremio.http.post("/api/v3/sql", json=["select 1"]).status_code == 400


def test_a_job_from_submission_to_rows(dremio):
    job = dremio.job('/* {"app": "dbt"} */ select 1 as one, \'a\' as text, cast(1.5 as decimal(4,2)) as d;')
    assert job["jobState"] == "COMPLETED"
    assert job["rowCount"] == 1
    assert job["queryType"] == "REST"
    assert job["startedAt"] <= job["endedAt"]
    assert job["acceleration"] == {"reflectionRelationships": []}
    body = dremio.http.get(f"/api/v3/job/{job['id']}/results").json()
    assert body["rows"] == [{"one": 1, "text": "a", "d": "1.50"}]
    assert [column["type"] for column in body["schema"]] == [
        {"name": "INTEGER"},
        {"name": "VARCHAR"},
        {"name": "DECIMAL", "precision": 4, "scale": 2},
    ]


def test_pages(dremio):
    numbers = "(values (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))"
    job = dremio.job(
        f"select a.n * 100 + b.n * 10 + c.n as n from {numbers} a(n), {numbers} b(n), {numbers} c(n) order by 1"
    )
    results = f"/api/v3/job/{job['id']}/results"
    assert job["rowCount"] == 1000
    assert len(dremio.http.get(results).json()["rows"]) == 100
    page = dremio.http.get(results, params={"offset": 400, "limit": 500}).json()
    assert page["rowCount"] == 1000
    assert [row["n"] for row in page["rows"]] == list(range(400, 900))
    assert dremio.http.get(results, params={"offset": 2000}).json()["rows"] == []
    refused = dremio.http.get(results, params={"limit": 501})
    assert refused.status_code == 400
    assert refused.json()["errorMessage"] == "limit can not exceed 500 rows"


def test_unknown_jobs_and_endpoints_are_not_found(dremio):
    for path in ("/api/v3/job/nope", "/api/v3/job/nope/results", "/api/v3/nope", "/api/v3/reflection"):
        answer = dremio.http.get(path)
        assert answer.status_code in (404, 405)
        assert set(answer.json()) == {"errorMessage", "moreInfo"}
    assert dremio.http.post("/api/v3/job/nope/cancel").status_code == 404


def test_a_failed_job_says_why_and_has_no_rows(dremio):
    job = dremio.job("select * from lake.nowhere.t")
    assert job["jobState"] == "FAILED"
    assert job["errorMessage"] == "Object 't' not found within 'lake.nowhere'"
    answer = dremio.http.get(f"/api/v3/job/{job['id']}/results")
    assert answer.status_code == 400
    assert answer.json()["errorMessage"] == "Can not fetch details for a job that is in [FAILED] state."


def test_a_running_job_is_cancelled(dremio):
    job_id = dremio.submit(ENDLESS)
    answer = dremio.http.get(f"/api/v3/job/{job_id}/results")
    assert answer.status_code == 400
    assert dremio.http.post(f"/api/v3/job/{job_id}/cancel").status_code == 204
    job = dremio.wait(job_id)
    assert job["jobState"] == "CANCELED"
    assert job["cancellationReason"]
    assert dremio.rows("select 1 as one") == [{"one": 1}]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("selec 1", "Failure parsing the query."),
        ("select 1; select 2", "Only one statement"),
        ("select nothing from (values (1)) t(n)", "Column 'nothing' not found in any table"),
        ("select nosuch(1)", "No match found for function signature NOSUCH"),
        (
            "select datediff('day', date '2026-01-01', date '2026-01-02')",
            "No match found for function signature DATEDIFF",
        ),
        ("select 1/0", "divide by zero"),
        ("select cast('x' as integer)", "x"),
        ("select * from 'data.parquet'", "not found"),
        ('select * from "/etc/passwd"', "not found"),
        ("select * from read_csv('/etc/passwd')", "READ_CSV"),
        ("select * from table(lake.external_query('select 1'))", "EXTERNAL_QUERY is not implemented"),
        ("select * from gold.x at snapshot '1'", "Time travel"),
        ("select hash64('a')", "HASH64 is not implemented"),
        ("grant select on table gold.x to user u", "GRANT action is only supported in Enterprise Edition."),
        ("create user u", "CREATE USER action is only supported in Enterprise Edition."),
        ("create branch b", "CREATE BRANCH action is not supported."),
        ("alter table gold.x refresh reflections", "REFRESH REFLECTIONS command is not supported."),
        ("alter table gold.x route reflections to default queue", "not supported in this edition"),
        ("select * from sys.privileges", "Unable to retrieve sys.privileges."),
        ("copy into gold.x from '@lake'", "The statement COPY is not implemented"),
        ("create table x (a int) partition by (a) (a int) as select 1", "Failure parsing the query."),
        ("create reflection r on gold.x using display (a)", "Failure parsing the query."),
    ],
)
def test_refusals(dremio, sql, words):
    assert words in dremio.error(sql)


@pytest.mark.parametrize("missing", ["DREMIO_USER", "DREMIO_PASSWORD"])
def test_a_missing_setting_ends_the_server_with_one_line(dremio, missing):
    environment = {name: value for name, value in dremio.environment().items() if name != missing}
    ended = subprocess.run(
        [sys.executable, "-m", "sandbox.dremio"], cwd=REPOSITORY, env=environment, capture_output=True, timeout=60
    )
    assert ended.returncode == 2
    lines = ended.stderr.decode().splitlines()
    assert len(lines) == 1
    assert missing in lines[0]
    assert os.environ.get("DREMIO_PASSWORD", PASSWORD) not in lines[0]
