"""What a run of the nightly batch did, stage by stage, and how many rows went from the sources to the marts."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml
from psycopg import sql

from sandbox.settings import BASE_PORTS, LOOPBACK, REPOSITORY, SandboxError, Settings, write_atomically

PLAN = REPOSITORY / "include" / "config" / "plan.yml"
SOURCE_TABLES = ("customers", "products", "orders", "order_items")
SPACES = ("bronze", "silver", "gold")

_DONE = frozenset({"success", "skipped"})


@dataclass(frozen=True)
class PlannedStage:
    """One stage of the plan: its window, and the prefix of its tasks' ids."""

    name: str
    planned_start: str
    planned_minutes: int
    task_group: str

    @property
    def window(self) -> str:
        """The planned window as ``HH:MM-HH:MM``."""
        hours, minutes = (int(part) for part in self.planned_start.split(":"))
        end = (hours * 60 + minutes + self.planned_minutes) % (24 * 60)
        return f"{self.planned_start}-{end // 60:02}:{end % 60:02}"


@dataclass(frozen=True)
class Plan:
    """The DAG that is planned and its stages, in order."""

    dag_id: str
    stages: tuple[PlannedStage, ...]


@dataclass(frozen=True)
class StageResult:
    """How far a stage is: its state, when it started, how long it took (so far) in seconds."""

    stage: PlannedStage
    state: str
    started: datetime | None
    seconds: float


def load_plan(path: Path = PLAN) -> Plan:
    """Read the plan.

    Raises:
        SandboxError: if it cannot be read or a field is missing; names the file and the field.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages = tuple(
            PlannedStage(
                name=str(stage["name"]),
                planned_start=str(stage["planned_start"]),
                planned_minutes=int(stage["planned_minutes"]),
                task_group=str(stage.get("task_group", stage["id"])),
            )
            for stage in raw["stages"]
        )
        return Plan(str(raw["dag_id"]), stages)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SandboxError(f"{path} is not a plan: {type(error).__name__} {error}") from error


def stage_results(plan: Plan, tasks: Sequence[Mapping[str, Any]], now: datetime) -> list[StageResult]:
    """Return the state of every stage of the plan, in order.

    Args:
        plan: the plan.
        tasks: the run's task instances as Airflow's API gives them; a stage's are those below its task group.
        now: what a stage that still runs is measured against.
    """
    results = []
    for stage in plan.stages:
        own = [task for task in tasks if str(task["task_id"]).startswith(f"{stage.task_group}.")]
        starts = [_time(task["start_date"]) for task in own if task.get("start_date")]
        ends = [_time(task["end_date"]) for task in own if task.get("end_date")]
        state = stage_state([task.get("state") for task in own])
        started = min(starts, default=None)
        last = now if state == "running" else max(ends, default=now)
        seconds = max(0.0, (last - started).total_seconds()) if started else 0.0
        results.append(StageResult(stage, state, started, round(seconds, 1)))
    return results


def stage_state(states: Sequence[str | None]) -> str:
    """Return one state for the states of a stage's tasks: waiting, running, success, failed or upstream_failed."""
    if not states:
        return "missing"
    if "failed" in states:
        return "failed"
    if all(state in _DONE for state in states):
        return "success" if "success" in states else "skipped"
    if "upstream_failed" in states:
        return "upstream_failed"
    begun = any(state not in (None, "scheduled", "removed") for state in states)
    return "running" if begun else "waiting"


def build(
    run: Mapping[str, Any], results: Sequence[StageResult], rows: Mapping[str, int], services: Mapping[str, str]
) -> dict[str, Any]:
    """Return the report of a finished run, ready to be written as JSON."""
    started, ended = run.get("start_date"), run.get("end_date")
    seconds = (_time(ended) - _time(started)).total_seconds() if started and ended else 0.0
    stages = []
    for result in results:
        planned = asdict(result.stage)
        planned.pop("task_group")
        stages.append({**planned, "state": result.state, "seconds": result.seconds})
    return {
        "dag_id": run["dag_id"],
        "run_id": run["dag_run_id"],
        "state": run["state"],
        "started_at": started,
        "seconds": round(seconds, 1),
        "stages": stages,
        "rows": dict(rows),
        "services": dict(services),
    }


def write(settings: Settings, report: Mapping[str, Any]) -> Path:
    """Write ``<var>/demo/report.json`` and return its path."""
    path = settings.var / "demo" / "report.json"
    write_atomically(path, json.dumps(report, indent=2) + "\n")
    return path


def addresses(settings: Settings) -> dict[str, str]:
    """Return the address of every service, without credentials."""
    schemes = {"postgres": "postgresql", "dremio_flight": "grpc"}
    return {name: f"{schemes.get(name, 'http')}://{LOOPBACK}:{settings.port(name)}" for name in BASE_PORTS}


def count_rows(settings: Settings) -> dict[str, int]:
    """Count the rows of the shop's tables, of the bronze views over what was landed, and of all silver and gold views.

    Raises:
        SandboxError: if PostgreSQL or Dremio does not answer.
    """
    counts = {}
    try:
        with psycopg.connect(settings["SOURCE_POSTGRES_DSN"], connect_timeout=5) as connection:
            for table in SOURCE_TABLES:
                query = sql.SQL("select count(*) from {}").format(sql.Identifier(table))
                row = connection.execute(query).fetchone()
                counts[f"source.{table}"] = int(row[0]) if row else 0
    except psycopg.Error as error:
        raise SandboxError(f"Cannot count the shop's rows: {error}") from error
    return {**counts, **_count_dremio(settings)}


def _count_dremio(settings: Settings) -> dict[str, int]:
    address = settings["DREMIO_URL"]
    login = {"userName": settings["DREMIO_USER"], "password": settings["DREMIO_PASSWORD"]}
    try:
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            token = client.post("/apiv2/login", json=login).raise_for_status().json()["token"]
            client.headers["Authorization"] = f"_dremio{token}"
            views = [view for space in SPACES for view in _views(client, space)]
            if not views:
                return {}
            rows = _query(client, " UNION ALL ".join(_count_statement(*view) for view in views))
            found = {str(row["name"]): int(row["n"]) for row in rows}
            return {f"{space}.{name}": found[f"{space}.{name}"] for space, name in views}
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise SandboxError(f"Cannot count rows in Dremio at {address}: {type(error).__name__} {error}") from error


def _count_statement(space: str, name: str) -> str:
    literal = f"{space}.{name}".replace("'", "''")
    path = ".".join('"' + part.replace('"', '""') + '"' for part in (space, name))
    return f"SELECT '{literal}' AS name, COUNT(*) AS n FROM {path}"  # noqa: S608  quoted; names come from the catalog


def _views(client: httpx.Client, space: str) -> list[tuple[str, str]]:
    answer = client.get(f"/api/v3/catalog/by-path/{space}")
    if answer.status_code == 404:
        return []
    children = answer.raise_for_status().json().get("children", [])
    names = sorted(str(child["path"][-1]) for child in children if child.get("type") == "DATASET")
    # The other bronze views show the newest snapshot only; what was landed is in raw_*.
    return [(space, name) for name in names if space != "bronze" or name.startswith("raw_")]


def _query(client: httpx.Client, statement: str, seconds: float = 120) -> list[dict[str, Any]]:
    job = client.post("/api/v3/sql", json={"sql": statement}).raise_for_status().json()["id"]
    end = time.monotonic() + seconds
    while (status := client.get(f"/api/v3/job/{job}").raise_for_status().json())["jobState"] != "COMPLETED":
        if status["jobState"] in ("FAILED", "CANCELED", "INVALID_STATE"):
            raise ValueError(f"job {job} {status['jobState']}: {status.get('errorMessage', '')}")
        if time.monotonic() > end:
            raise ValueError(f"job {job} is {status['jobState']} after {seconds:.0f} s")
        time.sleep(0.1)
    rows: list[dict[str, Any]] = (
        client.get(f"/api/v3/job/{job}/results", params={"limit": 500}).raise_for_status().json()["rows"]
    )
    return rows


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
