"""Public API: jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request

from sandbox.airbyte import responses, views
from sandbox.airbyte.description import errors
from sandbox.airbyte.paging import page
from sandbox.airbyte.problems import unprocessable
from sandbox.airbyte.requests import JobCreate, JobId, Limit, Moment, Offset
from sandbox.airbyte.responses import JobStatus, JobType
from sandbox.airbyte.state import State
from sandbox.airbyte.store import WORKSPACE_ID

OrderBy = Literal["createdAt|ASC", "createdAt|DESC", "updatedAt|ASC", "updatedAt|DESC"]
_ORDER_FIELDS = {"createdAt": "created_at", "updatedAt": "updated_at"}


def router(state: State) -> APIRouter:
    """Return the routes."""
    routes = APIRouter()
    jobs = state.jobs

    @routes.post("/jobs", response_model=responses.Job, responses=errors(404, 409, 422))
    def create_job(body: JobCreate) -> dict[str, Any]:
        connection_id = str(body.connection_id)
        state.store.connection(connection_id)
        if body.job_type == "refresh":
            raise unprocessable("Refreshes are not supported in the public API")
        if body.job_type == "sync":
            return views.job(state.runner.sync(connection_id), jobs)
        return views.job(state.runner.clear(connection_id, body.job_type), jobs)

    @routes.get("/jobs/{jobId}", response_model=responses.Job, responses=errors(404))
    def get_job(job_id: JobId) -> dict[str, Any]:
        return views.job(jobs.get(job_id), jobs)

    @routes.delete("/jobs/{jobId}", response_model=responses.Job, responses=errors(404, 409))
    def cancel_job(job_id: JobId) -> dict[str, Any]:
        return views.job(state.runner.cancel(job_id), jobs)

    @routes.get("/jobs", response_model=responses.Page[responses.Job])
    def list_jobs(
        request: Request,
        limit: Limit = 20,
        offset: Offset = 0,
        connection_id: Annotated[UUID | None, Query(alias="connectionId")] = None,
        job_type: Annotated[JobType | None, Query(alias="jobType")] = None,
        status: Annotated[JobStatus | None, Query()] = None,
        workspace_ids: Annotated[list[UUID] | None, Query(alias="workspaceIds")] = None,
        created_from: Annotated[Moment | None, Query(alias="createdAtStart")] = None,
        created_to: Annotated[Moment | None, Query(alias="createdAtEnd")] = None,
        updated_from: Annotated[Moment | None, Query(alias="updatedAtStart")] = None,
        updated_to: Annotated[Moment | None, Query(alias="updatedAtEnd")] = None,
        order_by: Annotated[OrderBy, Query(alias="orderBy")] = "createdAt|DESC",
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
    """Return a moment in epoch seconds; one without a zone is UTC."""
    if moment is None:
        return None
    # Counted by hand: at the ends of the calendar a conversion to UTC is out of range.
    offset = moment.utcoffset() or timedelta()
    return (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) - offset).total_seconds()


def _order(order_by: OrderBy) -> str:
    """Return ``orderBy`` (``createdAt|ASC``) as SQL."""
    name, _, direction = order_by.partition("|")
    return f"{_ORDER_FIELDS[name]} {direction.lower()}"
