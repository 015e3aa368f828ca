"""What dbt leaves behind after a command: results and log, as one record of the run history."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

_GOOD = {"success", "pass", "warn", "no-op"}
_RUNNING = {"run", "build", "test", "seed", "snapshot", "clone", "retry", "run-operation"}
# "dbt source freshness" is the one command that writes its results elsewhere.
_RESULTS = {"run_results.json": None, "sources.json": "source freshness"}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# "============================== 01:00:05.123456 | <invocation id> =============================="
_HEADER = re.compile(r"=+ (?P<at>\d\d:\d\d:\d\d\.\d+) \| (?P<id>[0-9a-f-]{36}) =+")
_TEXT_LINE = re.compile(
    r"(?P<at>\d\d:\d\d:\d\d(?:\.\d+)?)\s+\[(?P<level>\w+)\s*\]\s+\[(?P<thread>[^\]]*)\]:\s?(?P<message>.*)"
)


@dataclass(frozen=True)
class DbtInvocation:
    """One dbt command, as ``dbt_run_history`` keeps it.

    Args:
        run_id: dbt's invocation id, a UUID.
        project_name: Name of the project.
        started_at: Start, UTC, without a zone.
        completed_at: End, UTC, without a zone.
        status: "success", "failed" or "skipped" (nothing was run).
        models_run: How many models were run.
        tests_run: How many data and unit tests were run.
        metadata: Command, dbt version, every node with status and seconds, and which Airflow task it was.
    """

    run_id: str
    project_name: str
    started_at: datetime
    completed_at: datetime
    status: str
    models_run: int
    tests_run: int
    metadata: dict[str, Any]


def newest_results(project_dir: Path) -> Path | None:
    """Return the results of the last dbt command of a project, or None when no command left any.

    Args:
        project_dir: The folder dbt ran in.
    """
    written = [path for name in _RESULTS if (path := project_dir / "target" / name).is_file()]
    return max(written, key=lambda path: path.stat().st_mtime_ns, default=None)


def read_invocation(project_dir: Path, airflow: Mapping[str, Any]) -> DbtInvocation:
    """Read what the last dbt command of a project did.

    Args:
        project_dir: The folder dbt ran in.
        airflow: Ids of the Airflow task, kept as they are.

    Returns:
        The invocation.

    Raises:
        ValueError: When the results are missing or are no results of dbt.
    """
    path = newest_results(project_dir)
    if path is None:
        raise ValueError(f"{project_dir / 'target'}: has no results of a dbt command")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        head = found["metadata"]
        run_id, generated = str(head["invocation_id"]), str(head["generated_at"])
        results: list[dict[str, Any]] = found["results"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: is no result of a dbt command: {error!r}") from error
    completed = _utc(generated)
    elapsed = float(found.get("elapsed_time") or 0.0)
    started = _utc(str(head["invocation_started_at"])) if head.get("invocation_started_at") else None
    arguments = found.get("args") or {"which": _RESULTS[path.name]}
    # "docs generate" and "compile" leave results too, of models that they did not run.
    ran = arguments["which"] in _RUNNING
    run = [result for result in results if ran and result.get("status") != "skipped"]
    kinds = Counter(str(result["unique_id"]).split(".", 1)[0] for result in run)
    return DbtInvocation(
        run_id=run_id,
        project_name=_project_name(project_dir),
        started_at=started or completed - timedelta(seconds=elapsed),
        completed_at=completed,
        status=_status(results),
        models_run=kinds["model"],
        tests_run=kinds["test"] + kinds["unit_test"],
        metadata={
            "command": arguments.get("invocation_command") or arguments.get("which"),
            "select": arguments.get("select"),
            "dbt_version": head.get("dbt_version"),
            "elapsed_seconds": elapsed,
            "statuses": dict(Counter(str(result.get("status")) for result in results)),
            "nodes": [_node(result) for result in results],
            "airflow": dict(airflow),
        },
    )


def _status(results: Sequence[Mapping[str, Any]]) -> str:
    statuses = {str(result.get("status")) for result in results}
    if statuses - _GOOD - {"skipped"}:
        return "failed"
    return "success" if statuses & _GOOD or not statuses else "skipped"


def _node(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "unique_id": result["unique_id"],
        "status": result.get("status"),
        "seconds": result.get("execution_time"),
        "failures": result.get("failures"),
        "message": result.get("message") or result.get("error"),
        "timing": [
            {key: step.get(key) for key in ("name", "started_at", "completed_at")}
            for step in result.get("timing") or ()
        ],
    }


def _project_name(project_dir: Path) -> str:
    path = project_dir / "dbt_project.yml"
    try:
        return str(yaml.safe_load(path.read_text(encoding="utf-8"))["name"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: names no dbt project: {error!r}") from error


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.replace(tzinfo=None) if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def log_lines(project_dir: Path, invocation: DbtInvocation, secrets: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the log lines of one invocation as JSON objects.

    Args:
        project_dir: The folder dbt ran in; its log is ``logs/dbt.log``, of text or of JSON lines.
        invocation: Whose lines.
        secrets: Values that are replaced by asterisks.

    Yields:
        timestamp, level, message and invocation_id; without a log file, one line for each result.
    """
    path = project_dir / "logs" / "dbt.log"
    lines = _file_lines(path, invocation) if path.is_file() else _result_lines(invocation)
    for line in lines:
        for secret in secrets:
            line["message"] = line["message"].replace(secret, "***")
        yield {**line, "invocation_id": invocation.run_id}


def _file_lines(path: Path, invocation: DbtInvocation) -> Iterator[dict[str, Any]]:
    ours = True
    at, level = invocation.started_at.isoformat(), "info"
    with path.open(encoding="utf-8", errors="replace") as file:
        for raw in file:
            text = _ANSI.sub("", raw).rstrip("\n")
            header = _HEADER.fullmatch(text.strip())
            if header:
                ours = header["id"] == invocation.run_id
                continue
            if text.startswith("{"):
                entry = _json_line(text)
                if entry is not None:
                    if entry.pop("invocation_id") == invocation.run_id:
                        yield entry
                    continue
            if not ours or not text.strip():
                continue
            match = _TEXT_LINE.fullmatch(text)
            if match:
                at, level = _at(match["at"], invocation.started_at), match["level"].lower()
            yield {"timestamp": at, "level": level, "message": match["message"] if match else text}


def _json_line(text: str) -> dict[str, Any] | None:
    try:
        info = json.loads(text)["info"]
        return {
            "timestamp": info["ts"],
            "level": info["level"],
            "message": str(info["msg"]),
            "invocation_id": info.get("invocation_id"),
        }
    except (ValueError, KeyError, TypeError):
        return None


def _at(clock: str, started: datetime) -> str:
    """Give a time of day its date: that of the start, or the day after when the clock went past midnight."""
    moment = datetime.combine(
        started.date(), datetime.strptime(clock[:15], "%H:%M:%S.%f" if "." in clock else "%H:%M:%S").time()
    )
    if moment < started - timedelta(hours=12):
        moment += timedelta(days=1)
    return moment.isoformat()


def _result_lines(invocation: DbtInvocation) -> Iterator[dict[str, Any]]:
    for node in invocation.metadata["nodes"]:
        bad = node["status"] not in _GOOD
        yield {
            "timestamp": invocation.completed_at.isoformat(),
            "level": "error" if bad else "info",
            "message": f"{node['unique_id']}: {node['status']} {node['message'] or ''}".rstrip(),
        }
