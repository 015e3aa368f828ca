"""The rows of sys tables about reflections and jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sandbox.dremio.catalog import quoted
from sandbox.dremio.entities import View
from sandbox.dremio.jobs import FINAL, Job, Jobs
from sandbox.dremio.rest_reflection import ReflectionView
from sandbox.dremio.system_tables import JOB_STEPS, SystemTables

Row = dict[str, Any]
Json = dict[str, Any]


def _moment(millis: int | None) -> datetime | None:
    return None if millis is None else datetime.fromtimestamp(int(millis) / 1000, UTC).replace(tzinfo=None)


def _names(reflection: Json, field: str) -> str:
    return ", ".join(str(item["name"]) for item in reflection.get(field, []))


class SystemRows:
    """Feeds sys.reflections, sys.materializations, sys.refreshes, sys.reflection_dependencies and sys.jobs*.

    Args:
        view: reflections in Dremio's words.
        jobs: all jobs.
    """

    def __init__(self, view: ReflectionView, jobs: Jobs) -> None:
        self._view = view
        self._jobs = jobs

    def register(self, system: SystemTables) -> None:
        """Provide the tables."""
        system.provide("sys.reflections", self._reflections)
        system.provide("sys.materializations", self._materializations)
        system.provide("sys.refreshes", self._refreshes)
        system.provide("sys.reflection_dependencies", self._dependencies)
        system.provide("sys.jobs", lambda: self._job_rows(running=True))
        system.provide("sys.jobs_recent", lambda: self._job_rows(running=False))

    def _uses(self) -> Counter[tuple[str, str]]:
        """Count jobs by reflection and what it was to them: what is chosen was matched, what is matched considered."""
        levels = ("CONSIDERED", "MATCHED", "CHOSEN")
        return Counter(
            (entry["reflectionId"], level)
            for job in self._jobs.list()
            for entry in job.relationships
            for level in levels[: levels.index(entry["relationship"]) + 1]
        )

    def _reflections(self) -> Iterable[Row]:
        uses = self._uses()
        for reflection in self._view.reflections.all():
            dataset = self._view.catalog.by_id(reflection["datasetId"])
            shown = self._view.as_rest(reflection)
            status = shown["status"]
            current = self._view.current(reflection)
            yield {
                "reflection_id": reflection["id"],
                "reflection_name": reflection["name"],
                "type": reflection["type"],
                "created_at": _moment(reflection["createdAtMillis"]),
                "updated_at": _moment(reflection["updatedAtMillis"]),
                "status": status["combinedStatus"],
                "dataset_id": reflection["datasetId"],
                "dataset_name": quoted(dataset.path) if dataset is not None else "",
                "dataset_type": shown["datasetType"],
                "sort_columns": _names(reflection, "sortFields"),
                "partition_columns": _names(reflection, "partitionFields"),
                "distribution_columns": _names(reflection, "distributionFields"),
                "dimensions": _names(reflection, "dimensionFields"),
                "measures": _names(reflection, "measureFields"),
                "display_columns": _names(reflection, "displayFields"),
                "external_reflection": "",
                "num_failures": status["failureCount"],
                "last_failure_message": status.get("lastFailureMessage", ""),
                "last_failure_stack": "",
                "arrow_cache": reflection["arrowCachingEnabled"],
                "refresh_status": status["refresh"],
                "acceleration_status": status["availability"],
                "record_count": shown["recordCount"],
                "current_footprint_bytes": shown["currentSizeBytes"],
                "total_footprint_bytes": shown["totalSizeBytes"],
                "last_refresh_duration_millis": status["lastRefreshDurationMillis"],
                "last_refresh_from_table": _moment(current["fetched"]) if current else None,
                "refresh_method": status["refreshMethod"],
                "available_until": _moment(min(current["expires"], 253_402_300_799_000)) if current else None,
                "considered_count": uses[reflection["id"], "CONSIDERED"],
                "matched_count": uses[reflection["id"], "MATCHED"],
                "accelerated_count": uses[reflection["id"], "CHOSEN"],
                "reflection_mode": "MANUAL",
                "last_refresh_decision": _decision(current) if current else "",
                "last_refresh_finished": _moment(current["finished"]) if current else None,
            }

    def _materializations(self) -> Iterable[Row]:
        stale = {
            reflection["_state"]["current"]
            for reflection in self._view.reflections.all()
            if self._view.current(reflection) is not None and self._view.manager.is_stale(reflection)
        }
        for entry in self._view.reflections.materializations:
            finished = entry["finished"]
            yield {
                "reflection_id": entry["reflection_id"],
                "materialization_id": entry["id"],
                "created": _moment(entry["created"]),
                "expires": _moment(min(entry["expires"], 253_402_300_799_000)) if entry["expires"] else None,
                "size_bytes": entry["bytes"],
                "series_id": entry["created"],
                "init_refresh_job_id": entry["job_id"],
                "series_ordinal": 0,
                "state": entry["state"],
                "failure_msg": entry["failure_msg"],
                "data_partitions": "",
                "last_refresh_from_pds": _moment(entry.get("fetched")),
                "last_refresh_finished": _moment(finished),
                "last_refresh_duration_millis": finished - entry["created"] if finished else None,
                "refresh_decision": _decision(entry) if entry["state"] in ("DONE", "DELETED") else "",
                "is_stale": entry["id"] in stale,
            }

    def _refreshes(self) -> Iterable[Row]:
        for entry in self._view.reflections.materializations:
            if entry["state"] == "DONE":
                yield {
                    "refresh_id": entry["id"],
                    "reflection_id": entry["reflection_id"],
                    "series_id": entry["created"],
                    "created_at": _moment(entry["created"]),
                    "modified_at": _moment(entry["finished"]),
                    "path": f"{entry['reflection_id']}/{entry['id']}",
                    "job_id": entry["job_id"],
                    "job_start": _moment(entry["created"]),
                    "job_end": _moment(entry["finished"]),
                }

    def _dependencies(self) -> Iterable[Row]:
        for reflection in self._view.reflections.all():
            for key in self._view.manager.dependencies(reflection):
                table = self._view.catalog.get((key,))
                if table is not None:
                    yield {
                        "reflection_id": reflection["id"],
                        "dependency_id": table.id,
                        "dependency_type": "VIEW" if isinstance(table, View) else "DATASET",
                        "dependency_path": quoted(table.path),
                    }

    def _job_rows(self, *, running: bool) -> Iterable[Row]:
        return [_job_row(job) for job in self._jobs.list() if (job.state not in FINAL) == running or not running]


def _decision(materialization: Json) -> str:
    first = " No existing refresh, doing an initial full refresh." if materialization.get("first") else ""
    return f"Full Refresh.{first}"


def _job_row(job: Job) -> Row:
    steps = dict.fromkeys(JOB_STEPS, job.started_at) | {"final_state": job.ended_at}
    return {
        "job_id": job.id,
        "status": job.state,
        "query_type": job.query_type,
        "user_name": job.user,
        "queried_datasets": "[" + ", ".join(".".join(path) for path in job.queried) + "]",
        "scanned_datasets": "[" + ", ".join(".".join(path) for path in job.scanned) + "]",
        "attempt_count": 1,
        **{f"{step}_ts": _moment(millis) for step, millis in steps.items()},
        **{f"{step}_epoch_millis": millis for step, millis in steps.items()},
        "rows_returned": job.rows,
        "accelerated": job.accelerated,
        "queue_name": "SMALL",
        "engine": "",
        "error_msg": job.error or "",
        "query": job.sql,
        "is_profile_incomplete": False,
    }
