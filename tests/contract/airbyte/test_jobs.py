"""Jobs: what the stock Airflow operator and Airbyte's own client see of them, whichever server answers."""

from __future__ import annotations

import time
from typing import Any

from airbyte_api import api, models

from tests.contract.airbyte.conftest import Target

STATUSES = {"pending", "running", "incomplete", "succeeded", "failed", "cancelled"}
"""What the stock operator and its trigger know; ``queued`` is in Airbyte's enumeration and fails both."""


def test_a_sync_runs_to_its_end_and_is_read_by_airbytes_own_models(target: Target) -> None:
    client = target.sdk()
    started = client.jobs.create_job(
        request=models.JobCreateRequest(connection_id=target.connection_id, job_type=models.JobTypeEnum.SYNC)
    ).job_response
    assert started.status.value in STATUSES
    raw = target.client.wait(started.job_id, "succeeded", 600)
    job = models.JobResponse.model_validate(raw)
    assert (job.connection_id, job.job_type) == (target.connection_id, models.JobTypeEnum.SYNC)
    assert job.duration.startswith("PT")
    assert job.start_time.endswith("Z")
    assert job.last_updated_at >= job.start_time
    assert job.rows_synced >= 0
    assert job.bytes_synced >= 0
    listed = target.client.get("jobs", connectionId=target.connection_id, limit=1, orderBy="createdAt|DESC")["data"]
    assert [item["jobId"] for item in listed] == [job.job_id]
    problem = target.client.call("DELETE", f"jobs/{job.job_id}", 409)
    assert problem["data"]["message"] == "Job is not currently running"


def test_refresh_is_not_a_job_of_the_public_api(target: Target) -> None:
    body = {"connectionId": target.connection_id, "jobType": "refresh"}
    problem = target.client.post("jobs", body, 422)
    assert problem["data"]["message"] == "Refreshes are not supported in the public API"


def test_a_second_sync_is_refused_and_a_running_one_can_be_cancelled(target: Target) -> None:
    client = target.client
    body = {"connectionId": target.connection_id, "jobType": "sync"}
    with target.hold():
        job = models.JobResponse.model_validate(client.post("jobs", body))
        assert job.status.value in ("pending", "running")
        problem = client.post("jobs", body, 409)
        assert (problem["status"], problem["title"]) == (409, "try-again-later")
        assert problem["data"]["message"] == f"A sync is already running for: {target.connection_id}"
        refused = client.configuration("connections/sync", {"connectionId": target.connection_id}, 409)
        assert target.connection_id in refused["message"]
        newest = client.get("jobs", connectionId=target.connection_id, limit=1)["data"]
        assert [item["jobId"] for item in newest] == [job.job_id]
        cancelled = models.JobResponse.model_validate(client.call("DELETE", f"jobs/{job.job_id}"))
        assert cancelled.job_id == job.job_id
        ended = models.JobResponse.model_validate(client.wait(job.job_id, "cancelled", 120))
    assert ended.rows_synced == 0
    info = client.configuration("jobs/get", {"id": job.job_id})
    assert info["job"]["status"] == "cancelled"
    (failure,) = info["attempts"][-1]["attempt"]["failureSummary"]["failures"]
    assert failure["failureType"] == "manual_cancellation"


def test_the_status_words_of_a_sync_are_known_to_the_operator_and_never_go_back(target: Target) -> None:
    client = target.client
    job_id = client.post("jobs", {"connectionId": target.connection_id, "jobType": "sync"})["jobId"]
    seen: list[str] = []
    deadline = time.monotonic() + 600
    while (not seen or seen[-1] not in ("succeeded", "failed", "cancelled")) and time.monotonic() < deadline:
        status = models.JobResponse.model_validate(client.get(f"jobs/{job_id}")).status.value
        if not seen or seen[-1] != status:
            seen.append(status)
    assert set(seen) <= STATUSES
    assert seen == sorted(seen, key=["pending", "running", "succeeded"].index)


def test_jobs_are_paged_ordered_and_filtered(target: Target) -> None:
    client = target.sdk()

    def page(**more: Any) -> list[models.JobResponse]:
        request = api.ListJobsRequest(connection_id=target.connection_id, **more)
        answer = client.jobs.list_jobs(request=request).jobs_response
        assert answer is not None
        return list(answer.data)

    newest = page(limit=2)
    assert len(newest) == 2
    assert newest[0].job_id > newest[1].job_id
    assert [job.job_id for job in page(limit=1, offset=1)] == [newest[1].job_id]
    oldest = page(limit=1, order_by="createdAt|ASC")[0]
    assert oldest.job_id <= newest[1].job_id
    assert {job.status for job in page(status=models.JobStatusEnum.SUCCEEDED)} <= {models.JobStatusEnum.SUCCEEDED}
    assert page(offset=10_000) == []
    target.client.call("GET", "jobs", 400, params={"status": "dancing"})
    target.client.get("jobs", 400, limit=0)
