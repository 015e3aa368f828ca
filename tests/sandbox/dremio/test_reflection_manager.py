"""The manager on a clock of the test's own: back-off, giving up, policies, expiry. Everything else is real."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from sandbox.dremio.entities import Source, Space, Table, View
from sandbox.dremio.errors import ApiError
from sandbox.dremio.server import Server
from tests.sandbox.dremio.services import S3, USER

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
# 2026-01-05 is a Monday; 06:00 UTC.
START = 1_767_592_800_000


class Manual:
    """A server whose clock and whose manager move only when they are told to."""

    def __init__(self, folder: Any, s3: S3) -> None:
        self.now = START
        folder.mkdir()
        self.server = Server(folder, USER, "Secret-123", clock=lambda: self.now)
        body = s3.source()
        settings = {"metadataPolicy": body["metadataPolicy"]}
        self.server.catalog.put(Source(("lake",), config=body["config"], settings=settings))
        self.server.catalog.put(Space(("gold",)))

    def run(self, sql: str) -> pa.Table:
        return pa.Table.from_batches(list(self.server.jobs.stream(sql, USER)))

    def relationships(self, sql: str) -> list[str]:
        self.run(sql)
        return [entry["relationship"] for entry in self.server.jobs.list()[-1].relationships]

    def reflect(self, *path: str, **fields: Any) -> str:
        dataset = self.server.catalog.get(path)
        assert isinstance(dataset, View | Table)
        body = {"datasetId": dataset.id, "name": "r", "type": "RAW", "displayFields": [{"name": "n"}], **fields}
        return str(self.server.reflections.create(body)["id"])

    def policy(self, *path: str, **policy: Any) -> None:
        table = self.server.catalog.get(path)
        assert isinstance(table, Table)
        self.server.catalog.replace(table, replace(table, policy=policy))

    def work(self, later: int = 0) -> None:
        self.now += later
        self.server.manager.work()

    def attempts(self, reflection: str) -> int:
        return sum(m["reflection_id"] == reflection for m in self.server.reflections.materializations)

    def status(self, reflection: str) -> dict[str, Any]:
        status: dict[str, Any] = self.server.reflection_view.status(self.server.reflections.get(reflection))
        return status


@pytest.fixture
def manual(tmp_path, s3, request) -> Iterator[Manual]:
    made = Manual(tmp_path / "dremio", s3)
    yield made
    made.run("drop table if exists lake.datalake.manual.t")
    made.server.close()


@pytest.fixture
def failing(manual) -> str:
    manual.run("create table lake.datalake.manual.t as select 'no number' as text")
    manual.run("create view gold.v as select cast(text as integer) as n from lake.datalake.manual.t")
    return manual.reflect("gold", "v")


@pytest.fixture
def table(manual) -> str:
    manual.run("create table lake.datalake.manual.t as select 1 as n")
    return manual.reflect("lake", "datalake", "manual", "t")


def test_it_backs_off_and_gives_up_after_24_attempts(manual, failing):
    waits = [1, 2, 5, 15, 30, 60, 120, *[240] * 16]
    manual.work()
    for number, minutes in enumerate(waits, 1):
        status = manual.status(failing)
        assert (manual.attempts(failing), status["failureCount"], status["refresh"]) == (number, number, "SCHEDULED")
        manual.work(minutes * MINUTE - 1)
        assert manual.attempts(failing) == number
        manual.work(1)
    status = manual.status(failing)
    assert (status["failureCount"], status["refresh"], status["combinedStatus"]) == (24, "GIVEN_UP", "FAILED")
    assert "no number" in status["lastFailureMessage"]
    manual.work(DAY)
    assert manual.attempts(failing) == 24


def test_a_request_skips_the_back_off_but_does_not_revive_what_was_given_up(manual, failing):
    table = manual.server.catalog.get(("lake", "datalake", "manual", "t"))
    manual.work()
    for number in range(2, 25):
        manual.server.manager.request(table)
        manual.work()
        assert manual.attempts(failing) == number
    assert manual.status(failing)["refresh"] == "GIVEN_UP"
    manual.server.manager.request(table)
    manual.work(DAY)
    assert manual.attempts(failing) == 24


def test_an_edit_revives_what_was_given_up(manual, failing):
    manual.server.reflections.note(failing, refresh="GIVEN_UP", failures=24)
    manual.run("create or replace view gold.v as select 5 as n from lake.datalake.manual.t")
    manual.work()
    assert manual.attempts(failing) == 0
    body = manual.server.reflections.get(failing)
    manual.server.reflections.update(failing, {**body, "name": "renamed"})
    assert manual.status(failing)["failureCount"] == 0
    manual.work()
    assert manual.status(failing)["combinedStatus"] == "CAN_ACCELERATE"


def test_period_refreshes_by_the_clock(manual, table):
    manual.policy("lake", "datalake", "manual", "t", activePolicyType="PERIOD", refreshPeriodMs=2 * HOUR)
    manual.work()
    for number in (1, 2, 3):
        assert manual.attempts(table) == number
        manual.work(2 * HOUR - 1)
        assert manual.attempts(table) == number
        manual.work(1)
    assert manual.status(table)["refresh"] == "SCHEDULED"


@pytest.mark.parametrize(
    ("schedule", "first", "second"),
    [
        ("0 0 8 * * ?", 2 * HOUR, DAY),
        ("0 30 6 ? * MON-FRI", HOUR // 2, DAY),
        # Quartz counts the days of the week from Sunday = 1.
        ("0 0 6 ? * 3", DAY, 7 * DAY),
    ],
)
def test_schedule_refreshes_when_the_cron_expression_says(manual, table, schedule, first, second):
    manual.policy("lake", "datalake", "manual", "t", activePolicyType="SCHEDULE", refreshSchedule=schedule)
    manual.work()
    for number, wait in ((1, first), (2, second)):
        assert manual.attempts(table) == number
        manual.work(wait - 1)
        assert manual.attempts(table) == number
        manual.work(1)
    assert manual.attempts(table) == 3
    assert manual.status(table)["refresh"] == "SCHEDULED"


@pytest.mark.parametrize("policy", ["NEVER", "REFRESH_ON_DATA_CHANGES"])
def test_never_means_once_and_the_community_edition_ignores_data_changes(manual, table, policy):
    manual.policy("lake", "datalake", "manual", "t", activePolicyType=policy, neverExpire=True)
    manual.work()
    manual.run("insert into lake.datalake.manual.t values (2)")
    manual.work(365 * DAY)
    status = manual.status(table)
    assert manual.attempts(table) == 1
    assert (status["refresh"], status["availability"]) == ("MANUAL", "AVAILABLE")


def test_the_enterprise_edition_refreshes_on_data_changes(manual, table, monkeypatch):
    monkeypatch.setenv("SANDBOX_DREMIO_EDITION", "enterprise")
    manual.policy("lake", "datalake", "manual", "t", activePolicyType="REFRESH_ON_DATA_CHANGES", neverExpire=True)
    manual.work()
    manual.work(DAY)
    assert manual.attempts(table) == 1
    assert manual.status(table)["refresh"] == "ON_DATA_CHANGES"
    manual.run("insert into lake.datalake.manual.t values (2)")
    manual.work()
    assert manual.attempts(table) == 2
    assert manual.relationships("select n from lake.datalake.manual.t") == ["CHOSEN"]


def test_what_has_expired_answers_no_more(manual, table):
    manual.policy("lake", "datalake", "manual", "t", activePolicyType="NEVER", gracePeriodMs=3 * HOUR)
    manual.work()
    query = "select n from lake.datalake.manual.t"
    manual.now += 3 * HOUR - 1
    assert manual.relationships(query) == ["CHOSEN"]
    manual.now += 1
    assert manual.relationships(query) == []
    status = manual.status(table)
    assert (status["availability"], status["combinedStatus"]) == ("NONE", "CANNOT_ACCELERATE_MANUAL")


def test_what_is_disabled_or_out_of_use_is_deleted(manual, table):
    manual.work()
    query = "select n from lake.datalake.manual.t"
    assert manual.relationships(query) == ["CHOSEN"]
    body = manual.server.reflections.get(table)
    manual.server.reflections.update(table, {**body, "enabled": False})
    assert manual.relationships(query) == []
    assert manual.status(table)["combinedStatus"] == "DISABLED"
    assert len(manual.server.accelerator.kept()) == 1
    manual.work(5_000)
    assert manual.server.accelerator.kept() == set()
    manual.server.reflections.update(table, {**manual.server.reflections.get(table), "enabled": True})
    manual.work()
    assert manual.relationships(query) == ["CHOSEN"]


def test_a_reflection_that_is_edited_while_it_is_built_is_built_again(manual, table):
    reflections = manual.server.reflections
    succeeded = reflections.succeeded

    def edited(identifier: str, *arguments: Any, **noted: Any) -> bool:
        reflections.succeeded = succeeded
        reflections.update(identifier, {**reflections.get(identifier), "name": "other"})
        return succeeded(identifier, *arguments, **noted)

    reflections.succeeded = edited
    manual.work()
    assert manual.status(table)["availability"] == "NONE"
    manual.work()
    assert manual.status(table)["combinedStatus"] == "CAN_ACCELERATE"
    assert [m["state"] for m in reflections.materializations] == ["CANCELED", "DONE"]


@pytest.mark.parametrize(
    "policy",
    [
        {"activePolicyType": "SOMETIMES"},
        {"activePolicyType": "SCHEDULE"},
        {"activePolicyType": "SCHEDULE", "refreshSchedule": "0 0 25 * * ?"},
        {"activePolicyType": "SCHEDULE", "refreshSchedule": "0 8 * * *"},
    ],
)
def test_policies_that_cannot_be_followed_are_refused(policy):
    from sandbox.dremio import refresh_policy

    with pytest.raises(ApiError, match="Invalid"):
        refresh_policy.check(policy)
