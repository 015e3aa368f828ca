"""Airflow's REST API, as far as the demo and the connections need it."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx

from sandbox.settings import SandboxError, Settings

PAGE = 100
"""Airflow gives at most so many entries at a time, whatever is asked for."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TELLING = re.compile(r"error|fail|exception|refused|denied|not found", re.IGNORECASE)

FINISHED = frozenset({"success", "failed"})


class AirflowClient:
    """A session with the sandbox's Airflow.

    Args:
        settings: where it is and who logs in.
        timeout: seconds that an answer may take.

    Raises:
        SandboxError: from every method, if Airflow does not answer or refuses; with its address and what it said.
    """

    def __init__(self, settings: Settings, timeout: float = 30) -> None:
        self._address = settings["AIRFLOW_URL"]
        self._login = {"username": settings["AIRFLOW_USER"], "password": settings["AIRFLOW_PASSWORD"]}
        self._http = httpx.Client(base_url=self._address, timeout=timeout, trust_env=False)

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def request(self, method: str, path: str, accept: tuple[int, ...] = (), **options: Any) -> httpx.Response:
        """Send one request, with a token that is fetched when there is none or it has expired.

        Args:
            method: HTTP method.
            path: path below the root, e.g. ``/api/v2/dags``.
            accept: error statuses that the caller handles itself.
            options: passed on to httpx.
        """
        try:
            response = self._send(method, path, **options)
            if response.status_code == 401:
                answer = self._http.post("/auth/token", json=self._login)
                if answer.is_success:
                    self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
                    response = self._http.request(method, path, **options)
                else:
                    response = answer
        except httpx.HTTPError as error:
            text = f"Airflow at {self._address} does not answer {method} {path}: {error}. See `make status`."
            raise SandboxError(text) from error
        if response.is_success or response.status_code in accept:
            return response
        raise SandboxError(
            f"Airflow at {self._address} answered {method} {path} with {response.status_code}: {response.text[:500]}"
        )

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TimeoutException:
            # A machine that slept meanwhile wakes up to this, however quick the answer was.
            if method != "GET":
                raise
            return self._http.request(method, path, **options)

    def unpause(self, dag_id: str, seconds: float = 90) -> None:
        """Wait until Airflow has read the DAG, and let it run.

        Raises:
            SandboxError: if the DAG does not appear; with the import error of its file if there is one.
        """
        end = time.monotonic() + seconds
        while self.request("GET", f"/api/v2/dags/{dag_id}", accept=(404,)).status_code == 404:
            broken = self._import_error(dag_id)
            if broken:
                raise SandboxError(f"Airflow cannot read the file of DAG {dag_id}:\n{broken}")
            if time.monotonic() > end:
                raise SandboxError(
                    f"Airflow knows no DAG {dag_id} after {seconds:.0f} s. Is its file in the DAGs folder?"
                )
            time.sleep(0.5)
        self.request("PATCH", f"/api/v2/dags/{dag_id}", params={"update_mask": "is_paused"}, json={"is_paused": False})

    def _import_error(self, dag_id: str) -> str:
        for error in self.request("GET", "/api/v2/importErrors").json()["import_errors"]:
            if dag_id in str(error["filename"]):
                return str(error["stack_trace"]).strip()
        return ""

    def trigger(self, dag_id: str, logical_date: str | None) -> str:
        """Start a run and return its id; ``logical_date`` is an ISO timestamp or None."""
        answer = self.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": logical_date})
        return str(answer.json()["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return one run as Airflow describes it."""
        found: dict[str, Any] = self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()
        return found

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.request(
                "GET",
                f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances",
                params={"limit": PAGE, "offset": len(found)},
            ).json()
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def active_runs(self, dag_id: str) -> list[str]:
        """Return the ids of the runs of a DAG that run or wait."""
        answer = self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"state": ["running", "queued"]})
        return [str(run["dag_run_id"]) for run in answer.json()["dag_runs"]]

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned, or None if it returned nothing or does not exist."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        answer = self.request("GET", path, accept=(404,))
        return None if answer.status_code == 404 else answer.json()["value"]

    def error_lines(self, dag_id: str, run_id: str, task: dict[str, Any], count: int = 12) -> list[str]:
        """Return the last lines of a failed task's log that say why it failed."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        parameters = {"full_content": True, "map_index": task["map_index"]}
        answer = self.request("GET", path, accept=(404,), params=parameters, headers={"Accept": "application/json"})
        if answer.status_code == 404:
            return []
        content = answer.json()["content"]
        entries = [entry if isinstance(entry, dict) else {"event": str(entry)} for entry in content]
        serious = [entry for entry in entries if str(entry.get("level", "")).lower() in ("error", "critical")]
        lines = [line for entry in serious or entries for line in _lines(entry)]
        # A program's whole output may come as one entry; what matters are the lines that speak of the failure.
        return ([line for line in lines if _TELLING.search(line)] or lines)[-count:]


def _lines(entry: dict[str, Any]) -> list[str]:
    """Return one log entry as lines: the message and, of an exception, its types and texts but not its frames."""
    lines = _COLOUR.sub("", str(entry.get("event", ""))).splitlines()
    for cause in entry.get("error_detail") or []:
        lines += f"{cause.get('exc_type', '')}: {cause.get('exc_value', '')}".splitlines()
    return [line for line in lines if line.strip()]
