"""Public API: jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request

from sandbox.airbyte import views
from sandbox.airbyte.paging import page
from sandbox.airbyte.problems import bad_request, unprocessable
from sandbox.airbyte.requests import JobCreate, JobId, Limit, Offset
from sandbox.airbyte.state import State
from sandbox.airbyte.store import WORKSPACE_ID

Status = Literal["pending", "queued", "running", "incomplete", "failed", "succeeded", "cancelled"]
Type = Literal["sync", "reset", "refresh", "clear"]
_ORDER_FIELDS = {"createdAt": "created_at", "updatedAt": "updated_at"}


def router(state: State) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()
    jobs = state.jobs

    @routes.post("/jobs")
    def create_job(body: JobCreate) -> dict[str, Any]:
        connection_id = str(body.connection_id)
        state.store.connection(connection_id)
        if body.job_type == "refresh":
            raise unprocessable("Refreshes are not supported in the public API")
        if body.job_type == "sync":
            return views.job(state.runner.sync(connection_id), jobs)
        return views.job(state.runner.clear(connection_id, body.job_type), jobs)

    @routes.get("/jobs/{jobId}")
    def get_job(job_id: JobId) -> dict[str, Any]:
        return views.job(jobs.get(job_id), jobs)

    @routes.delete("/jobs/{jobId}")
    def cancel_job(job_id: JobId) -> dict[str, Any]:
        return views.job(state.runner.cancel(job_id), jobs)

    @routes.get("/jobs")
    def list_jobs(
        request: Request,
        limit: Limit = 20,
        offset: Offset = 0,
        connection_id: Annotated[UUID | None, Query(alias="connectionId")] = None,
        job_type: Annotated[Type | None, Query(alias="jobType")] = None,
        status: Annotated[Status | None, Query()] = None,
        workspace_ids: Annotated[list[UUID] | None, Query(alias="workspaceIds")] = None,
        created_from: Annotated[datetime | None, Query(alias="createdAtStart")] = None,
        created_to: Annotated[datetime | None, Query(alias="createdAtEnd")] = None,
        updated_from: Annotated[datetime | None, Query(alias="updatedAtStart")] = None,
        updated_to: Annotated[datetime | None, Query(alias="updatedAtEnd")] = None,
        order_by: Annotated[str, Query(alias="orderBy")] = "createdAt|DESC",
    ) -> dict[str, Any]:
        conditions: list[tuple[str, Any]] = [
            ("connection_id = ?", str(connection_id) if connection_id else None),
            ("type = ?", job_type),
            ("status = ?", status),
            ("created_at >= ?", epoch(created_from)),
            ("created_at <= ?", epoch(created_to)),
            ("updated_at >= ?", epoch(updated_from)),
            ("updated_at <= ?", epoch(updated_to)),
        ]
        used = [(condition, value) for condition, value in conditions if value is not None]
        if workspace_ids and WORKSPACE_ID not in map(str, workspace_ids):
            used.append(("1 = ?", 0))
        where, parameters = [condition for condition, _ in used], [value for _, value in used]
        found, _ = jobs.find(where, parameters, _order(order_by), limit, offset)
        return page(request, [views.job(job, jobs) for job in found], limit, offset)

    return routes


def epoch(moment: datetime | None) -> float | None:
    """Return a moment in epoch seconds; one without a zone is UTC.

    Raises:
        Problem: 400 if it is so far away that it has no such number.
    """
    if moment is None:
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise bad_request(f"{moment.isoformat()}: is out of range") from error


def _order(order_by: str) -> str:
    """Return ``orderBy`` (``createdAt|ASC``) as SQL.

    Raises:
        Problem: 400 if it names another field or direction.
    """
    name, _, direction = order_by.partition("|")
    if name not in _ORDER_FIELDS or direction not in ("ASC", "DESC"):
        raise bad_request("orderBy: must be createdAt or updatedAt with |ASC or |DESC")
    return f"{_ORDER_FIELDS[name]} {direction.lower()}"
